//! The format of diesel: a directory `2024-01-01-000001_create_users` per migration, with `up.sql`, `down.sql` and
//! `metadata.toml`.
//!
//! Rules from diesel 2.3 (`diesel_migrations`, `migrations_internals`). The version is what stands before the first `_`
//! in the directory's name, without `-`; versions are ordered as text. A directory without `up.sql` and an empty `up.sql`
//! are errors there and here. A `metadata.toml` that does not say `run_in_transaction` means that it is false. The
//! history keeps no checksum and no mark of a migration that was begun.

use std::time::Duration;

use serde::Deserialize;

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, Rules, Script,
    folder::{Folder, folders, place},
    leading_digits, listed,
};
use crate::site::{Row, Site};

const UP: &str = "up.sql";
const DOWN: &str = "down.sql";
const METADATA: &str = "metadata.toml";

/// The rules of diesel.
#[derive(Debug)]
pub struct Diesel;

impl Rules for Diesel {
    fn name(&self) -> &'static str {
        "diesel"
    }

    fn table(&self) -> &'static str {
        "__diesel_schema_migrations"
    }

    fn suits(&self, files: &[File]) -> bool {
        files.iter().any(|file| place(&file.name).is_some_and(|(_, name)| name == UP))
    }

    fn keeps(&self, name: &str) -> bool {
        place(name).is_some_and(|(_, name)| matches!(name, UP | DOWN | METADATA))
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let mut found = folders(files).iter().map(migration).collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| a.version.as_str().cmp(b.version.as_str()));
        super::of_different_versions(found)
    }

    /// Versions with `-` in them are not counted.
    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        leading_digits(name).filter(|digits| !name[digits.len()..].starts_with('-'))
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let file = |name: &str, content: String| File {
            name: format!("{}_{}/{name}", draft.number, draft.words),
            content,
        };
        let down = draft.reversible.then(|| file(DOWN, draft.comment("revert")));
        let outside = "run_in_transaction = false\n".to_owned();
        let metadata = draft.no_transaction.then(|| file(METADATA, outside));
        std::iter::once(file(UP, draft.comment("apply"))).chain(down).chain(metadata).collect()
    }

    fn create(&self, site: &Site) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        listed::select(site, "version")
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        listed::insert(site, "version", entry)
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "version", entry)
    }
}

fn migration(folder: &Folder<'_>) -> Result<Migration, FormatError> {
    let Some(up) = folder.file(UP) else {
        let reason = "a migration's directory must hold an up.sql".to_owned();
        return Err(FormatError::Name { file: folder.name.to_owned(), reason });
    };
    if up.content.is_empty() {
        let reason = "it is empty, which diesel takes for a mistake".to_owned();
        return Err(FormatError::Text { file: up.name.clone(), line: 1, reason });
    }
    let marked = folder.file(METADATA).map(outside).transpose()?.unwrap_or(false);
    let (version, words) = folder.name.split_once('_').unwrap_or((folder.name, ""));
    Ok(Migration {
        version: version.replace('-', "").into(),
        description: words.replace('_', " "),
        file: up.name.clone(),
        up: Some(Script::whole(&up.content, marked)),
        down: folder.file(DOWN).map(|down| Script::whole(&down.content, marked)),
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    })
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    run_in_transaction: bool,
}

/// Whether the metadata says that the migration runs outside a transaction.
fn outside(file: &File) -> Result<bool, FormatError> {
    let metadata = toml::from_str::<Metadata>(&file.content);
    metadata.map(|metadata| !metadata.run_in_transaction).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(file.content.len());
        let line = file.content.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        FormatError::Text { file: file.name.clone(), line, reason: error.message().to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Vec<Migration>, FormatError> {
        let file = |(name, content): &(&str, &str)| File { name: (*name).into(), content: (*content).into() };
        Diesel.parse(&pairs.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn a_directory_is_a_migration() {
        let parsed = parse(&[
            ("2024-01-01-000002_add_email/up.sql", "x"),
            ("2024-01-01-000001_create_users/up.sql", "y"),
            ("2024-01-01-000001_create_users/down.sql", "z"),
            ("00000000000000_diesel_initial_setup/up.sql", "w"),
            ("bare/up.sql", "v"),
            (".keep", ""),
        ]);
        let parsed = parsed.unwrap();
        let versions: Vec<_> = parsed.iter().map(|m| m.version.as_str()).collect();
        assert_eq!(versions, ["00000000000000", "20240101000001", "20240101000002", "bare"]);
        let first = &parsed[1];
        assert_eq!(
            (first.description.as_str(), first.file.as_str()),
            ("create users", "2024-01-01-000001_create_users/up.sql")
        );
        assert!(first.down.is_some() && first.checksum.is_none() && parsed[2].down.is_none());
    }

    #[test]
    fn the_metadata_says_whether_there_is_a_transaction() {
        let marked = |toml: &str| {
            parse(&[("1_a/up.sql", "x"), ("1_a/metadata.toml", toml)])
                .map(|parsed| parsed[0].up.as_ref().unwrap().marked)
        };
        assert_eq!(marked("run_in_transaction = false"), Ok(true));
        assert_eq!(marked("run_in_transaction = true"), Ok(false));
        assert_eq!(marked("# nothing said"), Ok(true));
        assert!(!parse(&[("1_a/up.sql", "x")]).unwrap()[0].up.as_ref().unwrap().marked);
        assert!(matches!(marked("\nrun_in_transaction = 7"), Err(FormatError::Text { line: 2, .. })));
    }

    #[test]
    fn what_diesel_refuses_is_refused() {
        assert_eq!(parse(&[("README.md", "x")]), Err(FormatError::Empty));
        let lone = parse(&[("1_a/up.sql", "x"), ("2_b/down.sql", "y")]);
        assert!(matches!(lone, Err(FormatError::Name { file, .. }) if file == "2_b"));
        assert!(matches!(parse(&[("1_a/up.sql", "")]), Err(FormatError::Text { .. })));
        let twice = parse(&[("2024-01_a/up.sql", "x"), ("202401_b/up.sql", "y")]);
        assert!(matches!(twice, Err(FormatError::Duplicate { .. })));
    }
}
