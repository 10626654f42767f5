//! `new migration`: an empty migration with a fresh version.

use std::{io::Write as _, path::Path};

use serde_json::json;
use tenantry_shared::{
    bundle::{ONLY_SET, format_of},
    clock::version_stamp,
    exit::Exit,
    fault::Fault,
    format::{Draft, File, Rules},
    registry::{RegistryError, read_files},
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
    let there = if directory.is_dir() { read_files(&directory)? } else { Vec::new() };
    let unclear = |source| RegistryError::Format { path: directory.display().to_string(), source };
    let rules = format_of(ONLY_SET, &there).map_err(unclear)?;
    let (newest, width) = newest(rules, &there);
    let number = if sequential || rules.counts() {
        format!("{:0width$}", newest + 1)
    } else {
        version_stamp().max(newest + 1).to_string()
    };
    let draft = Draft { number: &number, words: &stem, reversible, no_transaction };
    let mut files = Vec::new();
    for File { name, content } in rules.skeleton(&draft) {
        let path = directory.join(name);
        write_new(&path, &content)
            .map_err(|e| Fault::new(Exit::Error, format!("{} cannot be written: {e}", path.display())))?;
        files.push(path.display().to_string());
    }
    let version = number.trim_start_matches('0');
    let document = json!({ "schema": "tenantry.migration/v1", "version": version, "files": files });
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

/// The newest number among these files, and how many digits it has.
fn newest(rules: &dyn Rules, files: &[File]) -> (i64, usize) {
    let digits = files.iter().filter_map(|file| rules.digits(&file.name));
    let numbers = digits.filter_map(|digits| Some((digits.parse().ok()?, digits.len())));
    numbers.max().unwrap_or((0, 4))
}
