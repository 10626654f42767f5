//! The format of Prisma: a directory `20240101000001_create_users` per migration, with `migration.sql`, and
//! `migration_lock.toml` beside them.
//!
//! Rules from Prisma 6 (`prisma-engines/schema-engine`). Directories are ordered by their names, which are what the
//! history keeps. The checksum is SHA-256 of the script; the other kind of line ends, and an older way of writing it
//! without leading zeros, mean the same. A row without `finished_at` is a migration that was begun and not finished:
//! Prisma applies nothing more then. A row with `rolled_back_at` counts as none, so that is what a migration gets that is
//! reverted, by a `down.sql` that Prisma itself leaves alone.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, NO_TRANSACTION, Rules, Script,
    folder::{Folder, folders, place},
};
use crate::{
    digest::hex,
    place::Engine,
    site::{Row, Site},
    version::Version,
};

const UP: &str = "migration.sql";
const DOWN: &str = "down.sql";
const LOCK: &str = "migration_lock.toml";

/// The rules of Prisma.
#[derive(Debug)]
pub struct Prisma;

impl Rules for Prisma {
    fn name(&self) -> &'static str {
        "prisma"
    }

    fn table(&self) -> &'static str {
        "_prisma_migrations"
    }

    fn suits(&self, files: &[File]) -> bool {
        files.iter().any(|file| place(&file.name).is_some_and(|(_, name)| name == UP))
    }

    fn holds_foreign_keys(&self) -> bool {
        true
    }

    fn keeps(&self, name: &str) -> bool {
        name == LOCK || place(name).is_some_and(|(_, name)| matches!(name, UP | DOWN))
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        super::of_different_versions(folders(files).iter().map(migration).collect::<Result<_, _>>()?)
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let file = |name: &str, content: String| File {
            name: format!("{}_{}/{name}", draft.number, draft.words),
            content,
        };
        let marker = if draft.no_transaction { format!("{NO_TRANSACTION}\n") } else { String::new() };
        let down = draft.reversible.then(|| file(DOWN, draft.comment("revert")));
        std::iter::once(file(UP, marker + &draft.comment("apply"))).chain(down).collect()
    }

    fn create(&self, site: &Site) -> String {
        let (id, sum, name, time, count, after) = match site.engine {
            Engine::Postgres => ("VARCHAR(36)", "VARCHAR(64)", "VARCHAR(255)", "TIMESTAMPTZ", "INTEGER", ""),
            Engine::MySql => (
                "VARCHAR(36)",
                "VARCHAR(64)",
                "VARCHAR(255)",
                "DATETIME(3)",
                "INTEGER UNSIGNED",
                " DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
            ),
            Engine::Sqlite => ("TEXT", "TEXT", "TEXT", "DATETIME", "INTEGER UNSIGNED", ""),
        };
        let now = match site.engine {
            Engine::Postgres => "now()",
            Engine::MySql => "CURRENT_TIMESTAMP(3)",
            Engine::Sqlite => "current_timestamp",
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id} PRIMARY KEY NOT NULL, checksum {sum} NOT NULL, finished_at {time}, migration_name {name} NOT NULL, logs TEXT, rolled_back_at {time}, started_at {time} NOT NULL DEFAULT {now}, applied_steps_count {count} NOT NULL DEFAULT 0){after}",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!(
            "SELECT {}, {}, {} FROM {} WHERE rolled_back_at IS NULL ORDER BY started_at",
            site.as_text("migration_name"),
            site.as_text("checksum"),
            site.as_flag("finished_at IS NOT NULL"),
            site.table()
        )
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        let mut newest: BTreeMap<&str, Applied> = BTreeMap::new();
        for row in rows {
            let [Some(name), checksum, finished] = row.as_slice() else { continue };
            let unfinished = newest.get(name.as_str()).is_some_and(|before| !before.success);
            let success = finished.as_deref() == Some("1") && !unfinished;
            let applied = Applied { version: name.as_str().into(), checksum: checksum.clone(), success };
            newest.insert(name, applied);
        }
        newest.into_values().collect()
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String {
        if marked {
            return format!(
                "UPDATE {} SET finished_at = {}, applied_steps_count = applied_steps_count + 1 WHERE migration_name = {} AND finished_at IS NULL AND rolled_back_at IS NULL",
                site.table(),
                now(site.engine, Duration::ZERO),
                site.text(entry.migration.version.as_str()),
            );
        }
        let (begun, ended) = (now(site.engine, took), now(site.engine, Duration::ZERO));
        insert(site, entry.migration, &begun, Some(&ended))
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(insert(site, entry.migration, &now(site.engine, Duration::ZERO), None))
    }

    fn mend(&self, version: &Version) -> String {
        format!("tell it: prisma migrate resolve --applied {version}, or --rolled-back {version}")
    }

    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String {
        format!(
            "DELETE FROM {} WHERE migration_name = {} AND finished_at IS NULL AND rolled_back_at IS NULL",
            site.table(),
            site.text(entry.migration.version.as_str())
        )
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        format!(
            "UPDATE {} SET rolled_back_at = {} WHERE migration_name = {} AND rolled_back_at IS NULL",
            site.table(),
            now(site.engine, Duration::ZERO),
            site.text(entry.migration.version.as_str())
        )
    }
}

fn insert(site: &Site, migration: &Migration, begun: &str, ended: Option<&str>) -> String {
    let steps = u8::from(ended.is_some());
    format!(
        "INSERT INTO {} (id, checksum, finished_at, migration_name, started_at, applied_steps_count) VALUES ({}, {}, {}, {}, {begun}, {steps})",
        site.table(),
        new_id(site.engine),
        site.text(migration.checksum.as_deref().unwrap_or_default()),
        ended.unwrap_or("NULL"),
        site.text(migration.version.as_str()),
    )
}

/// A new UUID. PostgreSQL has a function of its own for it only since version 13.
fn new_id(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "CAST(CAST(overlay(overlay(md5(random()::text || clock_timestamp()::text) placing '4' from 13) placing '8' from 17) AS uuid) AS text)"
        }
        Engine::MySql => "UUID()",
        Engine::Sqlite => {
            "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
        }
    }
}

/// The present time less this much, as Prisma writes it: in UTC on MySQL, as milliseconds since 1970 in SQLite.
fn now(engine: Engine, less: Duration) -> String {
    let micros = less.as_micros();
    match engine {
        Engine::Postgres => format!("clock_timestamp() - interval '{micros} microseconds'"),
        Engine::MySql => format!("UTC_TIMESTAMP(3) - INTERVAL {micros} MICROSECOND"),
        Engine::Sqlite => format!(
            "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) - {}",
            less.as_millis()
        ),
    }
}

fn migration(folder: &Folder<'_>) -> Result<Migration, FormatError> {
    let Some(up) = folder.file(UP) else {
        let reason = "a migration's directory must hold a migration.sql".to_owned();
        return Err(FormatError::Name { file: folder.name.to_owned(), reason });
    };
    let words = folder.name.split_once('_').map_or("", |(_, words)| words);
    let checksum = hex(&Sha256::digest(up.content.as_bytes()));
    Ok(Migration {
        version: folder.name.into(),
        description: words.replace('_', " "),
        file: up.name.clone(),
        up: Some(Script::plain(&up.content)),
        down: folder.file(DOWN).map(|down| Script::plain(&down.content)),
        equivalents: equivalents(&up.content, &checksum),
        checksum: Some(checksum),
        repeatable: false,
        after: None,
    })
}

/// What else Prisma accepts for these contents.
fn equivalents(text: &str, checksum: &str) -> Vec<String> {
    let unix = text.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    let sums = [text, &unix, &windows].map(|text| Sha256::digest(text.as_bytes()).to_vec());
    let written = sums.iter().flat_map(|sum| [hex(sum), unpadded(sum)]);
    let mut all: Vec<String> = written.filter(|other| other != checksum).collect();
    all.sort();
    all.dedup();
    all
}

fn unpadded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";

    fn parse(pairs: &[(&str, &str)]) -> Result<Vec<Migration>, FormatError> {
        let file = |(name, content): &(&str, &str)| File { name: (*name).into(), content: (*content).into() };
        Prisma.parse(&pairs.iter().map(file).collect::<Vec<_>>())
    }

    fn row(name: &str, finished: bool) -> Row {
        let flag = if finished { "1" } else { "0" };
        vec![Some(name.into()), Some("7".into()), Some(flag.into())]
    }

    #[test]
    fn the_checksum_is_sha256_of_the_script() {
        let parsed = parse(&[("20240101000001_create_t/migration.sql", BODY)]).unwrap();
        let known = "c3403c309b5d268a765d6e5ed557e981d31b55613966c07f11c1d301cf1fa09b";
        assert_eq!(parsed[0].checksum.as_deref(), Some(known));
        assert_eq!(
            (parsed[0].version.as_str(), parsed[0].description.as_str()),
            ("20240101000001_create_t", "create t")
        );
    }

    #[test]
    fn directories_are_ordered_by_name_and_must_hold_a_script() {
        let parsed = parse(&[
            ("migration_lock.toml", "provider = \"postgresql\""),
            ("20240102000000_b/migration.sql", "x"),
            ("20240101000000_a/migration.sql", "y"),
            ("20240101000000_a/down.sql", "z"),
        ]);
        let parsed = parsed.unwrap();
        let found: Vec<_> = parsed.iter().map(|m| (m.version.as_str(), m.down.is_some())).collect();
        assert_eq!(found, [("20240101000000_a", true), ("20240102000000_b", false)]);
        let empty = parse(&[("1_a/migration.sql", "x"), ("2_b/notes.md", "y")]);
        assert!(matches!(empty, Err(FormatError::Name { file, .. }) if file == "2_b"));
        assert_eq!(parse(&[("migration_lock.toml", "")]), Err(FormatError::Empty));
    }

    #[test]
    fn an_unfinished_row_is_a_migration_that_was_begun() {
        let read = |rows: &[Row]| Prisma.read(rows, &[]).into_iter().map(|a| a.success).collect::<Vec<_>>();
        assert_eq!(read(&[row("a", true), row("b", false)]), [true, false]);
        assert_eq!(read(&[row("a", false), row("a", true)]), [false]);
    }

    #[test]
    fn an_older_way_to_write_a_checksum_is_believed() {
        assert_eq!(unpadded(&[0x0a, 0xb0, 0x00]), "ab00");
    }

    proptest! {
        #[test]
        fn line_ends_of_another_system_mean_the_same(lines in prop::collection::vec("[a-z;]{0,9}", 1..6)) {
            let of = |end: &str| parse(&[("1_a/migration.sql", &lines.join(end))]).unwrap().remove(0);
            let (unix, windows) = (of("\n"), of("\r\n"));
            prop_assert!(unix.is_what_was_applied(windows.checksum.as_deref()));
            prop_assert!(windows.is_what_was_applied(unix.checksum.as_deref()));
            prop_assert!(!unix.is_what_was_applied(Some("0")));
        }
    }
}
