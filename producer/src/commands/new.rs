//! `new migration`: an empty migration with a fresh version.

use std::{io::Write as _, path::Path};

use serde_json::json;
use tenantry_shared::{
    clock::version_stamp,
    exit::Exit,
    fault::Fault,
    format::sqlx::{new_names, version_of},
};

use crate::{
    app,
    cli::{Global, NewCommand},
    output::Output,
};

pub(crate) fn run(global: &Global, command: NewCommand, output: &Output) -> Result<Exit, Fault> {
    let NewCommand::Migration { name, reversible, no_transaction, sequential, source } = command;
    let directory = match source {
        Some(directory) => directory,
        None => app::config(global)?.migrations,
    };
    let stem = stem(&name)?;
    let (newest, width) = newest(&directory)?;
    let version = if sequential { newest + 1 } else { version_stamp().max(newest + 1) };
    let width = if sequential { width } else { 0 };
    let mut files = Vec::new();
    for (at, file) in new_names(version, width, &stem, reversible).into_iter().enumerate() {
        let marker = if no_transaction && at == 0 { "-- no-transaction\n" } else { "" };
        let verb = if at == 0 { "apply" } else { "revert" };
        let path = directory.join(file);
        write_new(&path, &format!("{marker}-- {verb}: {}\n", stem.replace('_', " ")))
            .map_err(|e| Fault::new(Exit::Error, format!("{} cannot be written: {e}", path.display())))?;
        files.push(path.display().to_string());
    }
    let document =
        json!({ "schema": "tenantry.migration/v1", "version": version.to_string(), "files": files });
    output.either(&document, || files.join("\n"));
    Ok(Exit::Ok)
}

/// Writes a file that is not there yet, and makes its directory.
fn write_new(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::File::create_new(path)?.write_all(content.as_bytes())
}

fn stem(name: &str) -> Result<String, Fault> {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() {
        return Err(Fault::usage(format!("'{name}' has no letter or digit to name a migration by")));
    }
    Ok(words.join("_"))
}

/// The newest version in a directory, and how many digits its number has.
fn newest(directory: &Path) -> Result<(i64, usize), Fault> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok((0, 4)) };
    let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()));
    let mut newest = (0, 4);
    for name in names {
        let name = name?;
        if let Some(version) = version_of(&name).filter(|version| *version > newest.0) {
            newest = (version, name.find('_').unwrap_or(4));
        }
    }
    Ok(newest)
}
