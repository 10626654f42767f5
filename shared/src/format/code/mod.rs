//! Formats whose migrations are programs, which only their own tool can run. Their order and their histories are known
//! here, so that it can be told what a tenant lacks; their SQL is not. None of them is ever found out: each has to be
//! named, because leaving it to its tool is a decision.

pub mod alembic;
pub mod django;
mod python;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, Rules, leading_digits, listed, of_different_versions,
};
use crate::{
    place::Engine,
    site::{Row, Site},
    version::Version,
};

/// The rules of Rails (`ActiveRecord::MigrationContext`): `20240101000001_create_users.rb`, in a directory and those
/// below it. The version is the number.
pub const RAILS: Named = Named {
    name: "rails",
    tool: "rails",
    table: "schema_migrations",
    column: "version",
    version: |file| {
        let base = file.rsplit('/').next()?.strip_suffix(".rb")?;
        let digits = leading_digits(base).filter(|digits| base[digits.len()..].starts_with('_'))?;
        let number = digits.trim_start_matches('0');
        Some(if number.is_empty() { "0".to_owned() } else { number.to_owned() })
    },
    by_number: true,
    create: |site| {
        let (text, time) = match site.engine {
            Engine::Postgres => ("VARCHAR", "TIMESTAMP(6)"),
            Engine::MySql => ("VARCHAR(255)", "DATETIME(6)"),
            Engine::Sqlite => ("varchar", "datetime(6)"),
        };
        let key = site.name("key");
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version {text} NOT NULL PRIMARY KEY); CREATE TABLE IF NOT EXISTS {} ({key} {text} NOT NULL PRIMARY KEY, value {text}, created_at {time} NOT NULL, updated_at {time} NOT NULL)",
            site.table(),
            site.beside("ar_internal_metadata")
        )
    },
    batched: false,
};

/// The rules of Laravel (`DatabaseMigrationRepository`): `2024_01_01_000001_create_users.php`. The version is the name
/// without its ending. What is applied at once is a batch.
pub const LARAVEL: Named = Named {
    name: "laravel",
    tool: "laravel",
    table: "migrations",
    column: "migration",
    version: |file| {
        let stem = file.strip_suffix(".php")?;
        (stem.contains('_') && !stem.contains('/')).then(|| stem.to_owned())
    },
    by_number: false,
    create: |site| {
        let columns = match site.engine {
            Engine::Postgres => {
                "id SERIAL PRIMARY KEY, migration VARCHAR(255) NOT NULL, batch INTEGER NOT NULL"
            }
            Engine::MySql => {
                "id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, migration VARCHAR(255) NOT NULL, batch INT NOT NULL"
            }
            Engine::Sqlite => {
                "id integer not null primary key autoincrement, migration varchar not null, batch integer not null"
            }
        };
        format!("CREATE TABLE IF NOT EXISTS {} ({columns})", site.table())
    },
    batched: true,
};

/// The rules of Sequelize for what it usually has: `20240101000001-create-users.js` and its like. The version is the
/// whole name.
pub const SEQUELIZE: Named = Named {
    name: "sequelize-cli",
    tool: "sequelize",
    table: "SequelizeMeta",
    column: "name",
    version: |file| {
        let (_, ending) = file.rsplit_once('.')?;
        let runs = matches!(ending, "cjs" | "js" | "cts" | "ts") && !file.ends_with(".d.ts");
        (runs && !file.contains('/')).then(|| file.to_owned())
    },
    by_number: false,
    create: |site| super::sequelize::Sequelize.create(site),
    batched: false,
};

/// A tool whose history is a column of names.
#[derive(Debug)]
pub struct Named {
    name: &'static str,
    tool: &'static str,
    table: &'static str,
    column: &'static str,
    /// The version that a file's name says.
    version: fn(&str) -> Option<String>,
    by_number: bool,
    create: fn(&Site) -> String,
    /// Whether a second column says what was applied at once.
    batched: bool,
}

impl Rules for Named {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tool(&self) -> &'static str {
        self.tool
    }

    fn table(&self) -> &'static str {
        self.table
    }

    fn suits(&self, _: &[File]) -> bool {
        false
    }

    fn keeps(&self, name: &str) -> bool {
        (self.version)(name).is_some()
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let own = files.iter().filter_map(|file| Some(migration((self.version)(&file.name)?, file)));
        let mut own: Vec<Migration> = own.collect();
        if self.by_number {
            own.sort_by(|a, b| a.version.cmp(&b.version));
        } else {
            own.sort_by(|a, b| a.version.as_str().cmp(b.version.as_str()));
        }
        of_different_versions(own)
    }

    fn skeleton(&self, _: &Draft<'_>) -> Vec<File> {
        Vec::new()
    }

    fn create(&self, site: &Site) -> String {
        (self.create)(site)
    }

    fn select(&self, site: &Site) -> String {
        listed::select(site, self.column)
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        if !self.batched {
            return listed::insert(site, self.column, entry);
        }
        let (table, name) = (site.table(), site.text(entry.migration.version.as_str()));
        format!(
            "INSERT INTO {table} ({}, batch) SELECT {name}, COALESCE(MAX(batch), 0) + 1 FROM {table}",
            self.column
        )
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, self.column, entry)
    }
}

/// A migration that is a program.
fn migration(version: String, file: &File) -> Migration {
    let base = file.name.rsplit('/').next().unwrap_or(&file.name);
    let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
    let words = stem.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_' || c == '-');
    Migration {
        version: version.into(),
        description: words.replace(['_', '-'], " "),
        file: file.name.clone(),
        up: None,
        down: None,
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    }
}

/// Puts each migration behind those that it comes after; else they stay in their order. Those that are not among them
/// are not waited for.
///
/// # Errors
/// When they wait for each other in a circle.
fn ordered(migrations: Vec<Migration>) -> Result<Vec<Migration>, FormatError> {
    let places: HashMap<Version, usize> =
        migrations.iter().enumerate().map(|(at, migration)| (migration.version.clone(), at)).collect();
    let mut waits_for: Vec<BTreeSet<usize>> = Vec::with_capacity(migrations.len());
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); migrations.len()];
    for (at, migration) in migrations.iter().enumerate() {
        let before: BTreeSet<usize> =
            migration.after.iter().flatten().filter_map(|v| places.get(v).copied()).collect();
        before.iter().for_each(|before| followers[*before].push(at));
        waits_for.push(before);
    }
    let mut ready: BTreeSet<usize> = (0..migrations.len()).filter(|at| waits_for[*at].is_empty()).collect();
    let mut order = Vec::with_capacity(migrations.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for follower in &followers[at] {
            waits_for[*follower].remove(&at);
            if waits_for[*follower].is_empty() {
                ready.insert(*follower);
            }
        }
    }
    if let Some(stuck) = waits_for.iter().position(|before| !before.is_empty()) {
        let reason = "it comes after itself, by way of others".to_owned();
        return Err(FormatError::Name { file: migrations[stuck].file.clone(), reason });
    }
    let mut migrations: Vec<Option<Migration>> = migrations.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| migrations[at].take()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions(rules: &dyn Rules, names: &[&str]) -> Vec<String> {
        let files: Vec<File> =
            names.iter().map(|n| File { name: (*n).into(), content: String::new() }).collect();
        rules.parse(&files).unwrap().iter().map(|m| m.version.to_string()).collect()
    }

    #[test]
    fn rails_counts_by_number_wherever_a_file_is() {
        let names = ["10_c.rb", "sub/9_b.rb", "001_a.rb", "schema.rb", "20240101000001_d.rb", "1_x.sql"];
        assert_eq!(versions(&RAILS, &names), ["1", "9", "10", "20240101000001"]);
    }

    #[test]
    fn laravel_and_sequelize_go_by_name() {
        let names =
            ["2024_01_02_000000_b.php", "2014_10_12_000000_create_users.php", "x.php", "sub/2024_a.php"];
        assert_eq!(versions(&LARAVEL, &names), ["2014_10_12_000000_create_users", "2024_01_02_000000_b"]);
        let names = ["2-b.ts", "10-a.js", "index.d.ts", "3-c.cjs", "x.sql"];
        assert_eq!(versions(&SEQUELIZE, &names), ["10-a.js", "2-b.ts", "3-c.cjs"]);
    }

    #[test]
    fn programs_cannot_be_run_and_have_words() {
        let files = [File { name: "2014_10_12_000000_create_users.php".into(), content: "<?php".into() }];
        let parsed = LARAVEL.parse(&files).unwrap();
        assert_eq!((parsed[0].description.as_str(), parsed[0].up.is_none()), ("create users", true));
        assert_eq!(LARAVEL.parse(&[]), Err(FormatError::Empty));
    }

    #[test]
    fn a_batch_is_one_more_than_the_last() {
        let site = Site { engine: Engine::Postgres, schema: Some("s".into()), table: "migrations".into() };
        let migration = migration("a_b".into(), &File { name: "a_b.php".into(), content: String::new() });
        let entry = Entry { migration: &migration, previous: None };
        let row = "INSERT INTO \"s\".\"migrations\" (migration, batch) SELECT 'a_b', COALESCE(MAX(batch), 0) + 1 FROM \"s\".\"migrations\"";
        assert_eq!(LARAVEL.record(&site, entry, Duration::ZERO, false), row);
    }

    proptest! {
        #[test]
        fn whatever_comes_after_something_stands_behind_it(edges in prop::collection::vec((0_usize..8, 0_usize..8), 0..12)) {
            let mut all: Vec<Migration> = (0..8).map(|at| migration(at.to_string(), &File { name: format!("{at}.py"), content: String::new() })).collect();
            // From a lower to a higher number there is no circle; the list itself goes the other way.
            for (a, b) in &edges {
                if a != b {
                    all[*a.max(b)].after.get_or_insert_default().push((*a.min(b)).to_string().as_str().into());
                }
            }
            all.reverse();
            let ordered = ordered(all).unwrap();
            prop_assert_eq!(ordered.len(), 8);
            for (at, migration) in ordered.iter().enumerate() {
                let before = |version: &Version| ordered[..at].iter().any(|other| other.version == *version);
                prop_assert!(migration.after.iter().flatten().all(before));
            }
        }
    }
}
