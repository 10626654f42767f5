//! The format of sqlx: `<version>_<description>.sql`, or `….up.sql` with `….down.sql`.
//!
//! Rules from sqlx 0.9 (`sqlx-core/src/migrate/source.rs`): the version is the whole number before the
//! first `_`; the description is the rest with `_` read as a space; a file that begins, at its very first
//! byte, with `-- no-transaction` runs outside a transaction; the checksum is SHA-384 of the up file. Files
//! whose names have no `_`, or do not end in `.sql`, are no migrations. Directories are not looked into.
//!
//! A row with `success = false` is a migration that was begun outside a transaction and not finished.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    time::Duration,
};

use sha2::{Digest, Sha384};

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, is_code, nanos};
use crate::{
    digest::hex,
    place::Engine,
    site::{Row, Site},
    version::Version,
};

/// The rules of sqlx.
#[derive(Debug)]
pub struct Sqlx;

impl Rules for Sqlx {
    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn table(&self) -> &'static str {
        "_sqlx_migrations"
    }

    /// Never: its names are those of several tools, and it is what is taken where no other one suits.
    fn suits(&self, _: &[File]) -> bool {
        false
    }

    fn holds_foreign_keys(&self) -> bool {
        true
    }

    fn keeps(&self, name: &str) -> bool {
        version_of(name).is_some()
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        parse(files)
    }

    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        version_of(name).and_then(|_| name.split('_').next())
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        draft.files(&format!("{}_{}", draft.number, draft.words), ".sql")
    }

    fn create(&self, site: &Site) -> String {
        let (time, blob) = match site.engine {
            Engine::Postgres => ("TIMESTAMPTZ NOT NULL DEFAULT now()", "BYTEA"),
            Engine::MySql | Engine::Sqlite => ("TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP", "BLOB"),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on {time}, success BOOLEAN NOT NULL, checksum {blob} NOT NULL, execution_time BIGINT NOT NULL)",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!(
            "SELECT {}, {}, {} FROM {}",
            site.as_text("version"),
            site.as_hex("checksum"),
            site.as_flag("success"),
            site.table()
        )
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        let applied = |row: &Row| match row.as_slice() {
            [Some(version), checksum, success] => Some(Applied {
                version: version.as_str().into(),
                checksum: checksum.clone(),
                success: success.as_deref() == Some("1"),
            }),
            _ => None,
        };
        rows.iter().filter_map(applied).collect()
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String {
        if marked {
            let (table, took, version) = (site.table(), nanos(took), &entry.migration.version);
            return format!(
                "UPDATE {table} SET success = TRUE, execution_time = {took} WHERE version = {version}"
            );
        }
        insert(site, entry.migration, true, nanos(took))
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(insert(site, entry.migration, false, -1))
    }

    /// sqlx stops at a row without success, whatever time it says.
    fn begin_counted(&self, site: &Site, entry: Entry<'_>, number: i64) -> Option<String> {
        Some(insert(site, entry.migration, false, number))
    }

    fn recount(&self, site: &Site, version: &Version, number: i64) -> String {
        let table = site.table();
        format!("UPDATE {table} SET execution_time = {number} WHERE version = {version} AND success = FALSE")
    }

    fn counted(&self, site: &Site) -> Option<String> {
        let columns = [site.as_text("version"), site.as_hex("checksum"), site.as_text("execution_time")];
        Some(format!("SELECT {} FROM {} WHERE success = FALSE", columns.join(", "), site.table()))
    }

    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String {
        format!(
            "DELETE FROM {} WHERE version = {} AND success = FALSE",
            site.table(),
            entry.migration.version
        )
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("DELETE FROM {} WHERE version = {}", site.table(), entry.migration.version)
    }

    /// sqlx stops at a row without success, whichever way it was begun.
    fn begin_down(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(format!(
            "UPDATE {} SET success = FALSE WHERE version = {}",
            site.table(),
            entry.migration.version
        ))
    }

    fn forget_marked(&self, site: &Site, entry: Entry<'_>) -> String {
        self.forget(site, entry)
    }

    fn unmark_down(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("UPDATE {} SET success = TRUE WHERE version = {}", site.table(), entry.migration.version)
    }

    fn rewrite(&self, site: &Site, entry: Entry<'_>) -> String {
        format!(
            "UPDATE {} SET checksum = {} WHERE version = {}",
            site.table(),
            site.bytes(entry.migration.checksum.as_deref().unwrap_or_default()),
            entry.migration.version
        )
    }
}

fn insert(site: &Site, migration: &Migration, success: bool, took: i64) -> String {
    format!(
        "INSERT INTO {} (version, description, success, checksum, execution_time) VALUES ({}, {}, {success}, {}, {took})",
        site.table(),
        migration.version,
        site.text(&migration.description),
        site.bytes(migration.checksum.as_deref().unwrap_or_default()),
    )
}

fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let (mut ups, mut downs) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let Some((version, stem, side)) = name_parts(&file.name)? else { continue };
        let side_map = if side == Side::Down { &mut downs } else { &mut ups };
        match side_map.entry(version) {
            Slot::Vacant(slot) => slot.insert((stem, file)),
            Slot::Occupied(taken) => {
                let (first, version) = (taken.get().1.name.clone(), version.into());
                return Err(FormatError::Duplicate { version, first, second: file.name.clone() });
            }
        };
    }
    if let Some((&version, (_, down))) = downs.iter().find(|(version, _)| !ups.contains_key(version)) {
        return Err(FormatError::LoneDown { file: down.name.clone(), version: version.into() });
    }
    if ups.is_empty() {
        return Err(FormatError::Empty);
    }
    Ok(ups
        .into_iter()
        .map(|(version, (stem, up))| migration(version, stem, up, downs.get(&version).map(|d| d.1)))
        .collect())
}

/// The version a file's name says, if it names a migration.
fn version_of(name: &str) -> Option<i64> {
    name_parts(name).ok().flatten().map(|(version, ..)| version)
}

#[derive(PartialEq, Eq)]
enum Side {
    Up,
    Down,
}

fn name_parts(name: &str) -> Result<Option<(i64, &str, Side)>, FormatError> {
    let Some((prefix, rest)) = name.split_once('_').filter(|_| !name.contains('/')) else { return Ok(None) };
    let version = prefix.parse::<i64>();
    let Some(stem) = rest.strip_suffix(".sql") else {
        let code = version.is_ok() && is_code(rest);
        return if code { Err(FormatError::Code { file: name.to_owned() }) } else { Ok(None) };
    };
    let version = version.map_err(|_| FormatError::Version { file: name.to_owned() })?;
    Ok(Some(match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (version, stem, Side::Up),
        (_, Some(stem)) => (version, stem, Side::Down),
        _ => (version, stem, Side::Up),
    }))
}

fn migration(version: i64, stem: &str, up: &File, down: Option<&File>) -> Migration {
    let script = |file: &File| Script::plain(&file.content);
    Migration {
        version: version.into(),
        description: stem.replace('_', " "),
        file: up.name.clone(),
        up: Some(script(up)),
        down: down.map(script),
        checksum: Some(hex(&Sha384::digest(up.content.as_bytes()))),
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { name: name.into(), content: "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n".into() }
    }

    fn parse_names(names: &[&str]) -> Result<Vec<Migration>, FormatError> {
        parse(&names.iter().map(|n| file(n)).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_ordered_by_number_not_by_name() {
        let parsed = parse_names(&["10_c.sql", "9_b.sql", "001_a.sql"]).unwrap();
        assert_eq!(parsed.iter().map(|m| m.version.as_str()).collect::<Vec<_>>(), ["1", "9", "10"]);
    }

    #[test]
    fn the_checksum_is_sha384_of_the_file() {
        let parsed = parse_names(&["1_create_t.sql"]).unwrap();
        let known = "a95782d1368b6c60251874de3f0174875bdb35d875ff7cb204124ba2c8228b04e88f39e9ea4f7ebe61d962b279b34f62";
        assert_eq!(parsed[0].checksum.as_deref(), Some(known));
        assert_eq!(parsed[0].description, "create t");
    }

    #[test]
    fn up_and_down_belong_together() {
        let parsed = parse_names(&["1_a.up.sql", "1_a.down.sql", "2_b.sql"]).unwrap();
        assert_eq!((parsed.len(), parsed[0].down.is_some(), parsed[1].down.is_some()), (2, true, false));
        assert!(matches!(parse_names(&["2_b.sql", "1_a.down.sql"]), Err(FormatError::LoneDown { .. })));
    }

    #[test]
    fn two_files_of_one_version_are_refused() {
        assert!(matches!(parse_names(&["1_a.sql", "01_b.sql"]), Err(FormatError::Duplicate { .. })));
        assert!(matches!(parse_names(&["1_a.up.sql", "1_a.sql"]), Err(FormatError::Duplicate { .. })));
    }

    #[test]
    fn what_is_no_migration_is_left_alone_and_what_cannot_run_is_named() {
        assert_eq!(parse_names(&["README.md", "seed.sql", "atlas.sum", "1_a.sql"]).unwrap().len(), 1);
        assert_eq!(parse_names(&["README.md"]), Err(FormatError::Empty));
        assert_eq!(parse_names(&["1_a.sql", "2_b.go"]), Err(FormatError::Code { file: "2_b.go".into() }));
        assert_eq!(parse_names(&["v1_a.sql"]), Err(FormatError::Version { file: "v1_a.sql".into() }));
    }

    #[test]
    fn the_marker_counts_only_at_the_first_byte() {
        let with = |content: &str| {
            parse(&[File { name: "1_a.sql".into(), content: content.into() }]).unwrap().remove(0)
        };
        assert!(with("-- no-transaction\nCREATE INDEX CONCURRENTLY i ON t (id);").up.unwrap().marked);
        assert!(!with("\n-- no-transaction\nSELECT 1;").up.unwrap().marked);
    }
}
