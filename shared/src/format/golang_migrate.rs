//! The format of golang-migrate: `<version>_<title>.up.sql` with `….down.sql`.
//!
//! The version is a whole number without a sign; what follows `.up.` is the kind of the file, and only `sql` can be run.
//! The history is one row, the newest version and whether it is `dirty`: begun and not finished. So all older files count
//! as applied, and one that comes later with an older number is never run, by the tool as by us.
//!
//! sqlx names its reversible migrations in the same way, and nothing in a file tells the two apart: this format is never
//! found out, it has to be named.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    time::Duration,
};

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, is_code, leading_digits};
use crate::{
    place::Engine,
    site::{Row, Site},
    version::Version,
};

/// The rules of golang-migrate.
#[derive(Debug)]
pub struct GolangMigrate;

impl Rules for GolangMigrate {
    fn name(&self) -> &'static str {
        "golang-migrate"
    }

    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn suits(&self, _: &[File]) -> bool {
        false
    }

    /// Its one row counts all older migrations as applied.
    fn lists_all(&self) -> bool {
        false
    }

    fn keeps(&self, name: &str) -> bool {
        name_parts(name).is_ok_and(|parts| parts.is_some())
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        parse(files)
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        draft.files(&format!("{}_{}", draft.number, draft.words), ".up.sql")
    }

    fn create(&self, site: &Site) -> String {
        let table = site.table();
        match site.engine {
            Engine::Postgres | Engine::MySql => format!(
                "CREATE TABLE IF NOT EXISTS {table} (version BIGINT NOT NULL PRIMARY KEY, dirty BOOLEAN NOT NULL)"
            ),
            Engine::Sqlite => format!(
                "CREATE TABLE IF NOT EXISTS {table} (version uint64, dirty bool); CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} (version)",
                site.beside("version_unique"),
                site.name(&site.table),
            ),
        }
    }

    fn select(&self, site: &Site) -> String {
        format!("SELECT {}, {} FROM {}", site.as_text("version"), site.as_flag("dirty"), site.table())
    }

    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
        let Some([Some(version), dirty]) = rows.first().map(Vec::as_slice) else { return Vec::new() };
        let clean = dirty.as_deref() != Some("1");
        let newest = Applied { version: version.as_str().into(), checksum: None, success: clean };
        let older = |migration: &&&Migration| migration.version < newest.version;
        let older = migrations.iter().filter(older).map(|migration| &migration.version);
        let applied = |version: &Version| Applied { version: version.clone(), checksum: None, success: true };
        older.map(applied).chain([newest.clone()]).collect()
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        stand_at(site, Some(entry.migration), false)
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(stand_at(site, Some(entry.migration), true))
    }

    fn mend(&self, _: &Version) -> String {
        "set dirty to false in the history table, and version to the newest that is done".to_owned()
    }

    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String {
        stand_at(site, entry.previous, false)
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        stand_at(site, entry.previous, false)
    }
}

/// Makes this the only row; none leaves the table empty.
fn stand_at(site: &Site, migration: Option<&Migration>, dirty: bool) -> String {
    let table = site.table();
    let row =
        |m: &Migration| format!("; INSERT INTO {table} (version, dirty) VALUES ({}, {dirty})", m.version);
    format!("DELETE FROM {table}{}", migration.map(row).unwrap_or_default())
}

fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let (mut ups, mut downs) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let Some((version, title, up)) = name_parts(&file.name)? else { continue };
        let side = if up { &mut ups } else { &mut downs };
        match side.entry(version) {
            Slot::Vacant(slot) => slot.insert((title, file)),
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
    let migration = |(version, (title, up)): (i64, (&str, &File))| Migration {
        version: version.into(),
        description: title.replace('_', " "),
        file: up.name.clone(),
        up: Some(Script::plain(&up.content)),
        down: downs.get(&version).map(|(_, down)| Script::plain(&down.content)),
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    };
    Ok(ups.into_iter().map(migration).collect())
}

/// Version, title, and whether it is the up side.
fn name_parts(name: &str) -> Result<Option<(i64, &str, bool)>, FormatError> {
    let refuse = |reason: &str| Err(FormatError::Name { file: name.to_owned(), reason: reason.to_owned() });
    let digits = leading_digits(name).filter(|_| !name.contains('/'));
    let Some((digits, rest)) = digits.and_then(|d| Some((d, name[d.len()..].strip_prefix('_')?))) else {
        return Ok(None);
    };
    let (up, down) = (rest.rfind(".up."), rest.rfind(".down."));
    let Some(at) = up.max(down) else {
        return match rest {
            code if is_code(code) => Err(FormatError::Code { file: name.to_owned() }),
            sql if sql.ends_with(".sql") => refuse("its name must end in .up.sql or .down.sql"),
            _ => Ok(None),
        };
    };
    let kind = rest[at + 1..].split_once('.').map(|(_, kind)| kind).unwrap_or_default();
    if is_code(kind) || is_code(rest) {
        return Err(FormatError::Code { file: name.to_owned() });
    }
    if kind != "sql" {
        return refuse("golang-migrate takes it for a migration, and it is not an .sql file");
    }
    match digits.parse() {
        Ok(version) => Ok(Some((version, &rest[..at], up > down))),
        Err(_) => refuse("its version is larger than the history table can hold"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str) -> File {
        File { name: name.into(), content: "SELECT 1;".into() }
    }

    fn parsed(names: &[&str]) -> Result<Vec<Migration>, FormatError> {
        parse(&names.iter().map(|name| file(name)).collect::<Vec<_>>())
    }

    fn site(engine: Engine) -> Site {
        let schema = (engine != Engine::Sqlite).then(|| "s".to_owned());
        Site { engine, schema, table: "schema_migrations".into() }
    }

    #[test]
    fn sides_belong_together_and_numbers_order_them() {
        let all = parsed(&["000010_b.up.sql", "9_a_x.up.sql", "9_a_x.down.sql", "README.md"]).unwrap();
        let seen: Vec<_> = all.iter().map(|m| (m.version.as_str(), m.down.is_some())).collect();
        assert_eq!(seen, [("9", true), ("10", false)]);
        assert_eq!(all[0].description, "a x");
    }

    #[test]
    fn what_cannot_be_placed_or_run_is_named() {
        let refused = |names: &[&str]| parsed(names).unwrap_err();
        assert!(matches!(refused(&["1_a.up.sql", "01_b.up.sql"]), FormatError::Duplicate { .. }));
        assert!(matches!(refused(&["1_a.up.sql", "2_b.down.sql"]), FormatError::LoneDown { .. }));
        assert_eq!(refused(&["1_a.up.sql", "2_b.up.go"]), FormatError::Code { file: "2_b.up.go".into() });
        assert_eq!(refused(&["1_a.up.sql", "2_b.go"]), FormatError::Code { file: "2_b.go".into() });
        for odd in ["2_b.sql", "2_b.up.json", "18446744073709551615_b.up.sql"] {
            assert!(matches!(refused(&["1_a.up.sql", odd]), FormatError::Name { .. }), "{odd}");
        }
        assert_eq!(refused(&["notes.sql"]), FormatError::Empty);
    }

    #[test]
    fn the_last_direction_in_a_name_counts() {
        assert_eq!(name_parts("1_up.down.up.sql").unwrap(), Some((1, "up.down", true)));
        assert_eq!(name_parts("1_.up.sql").unwrap(), Some((1, "", true)));
    }

    #[test]
    fn one_row_tells_of_all_older_ones() {
        let all = parsed(&["1_a.up.sql", "2_b.up.sql", "10_c.up.sql"]).unwrap();
        let read = |version: &str, dirty: &str| {
            let row = vec![Some(version.to_owned()), Some(dirty.to_owned())];
            GolangMigrate.read(&[row], &all.iter().collect::<Vec<_>>())
        };
        let shown = |applied: Vec<Applied>| -> Vec<String> {
            applied.iter().map(|a| format!("{}{}", a.version, if a.success { "" } else { "!" })).collect()
        };
        assert_eq!(shown(read("2", "0")), ["1", "2"]);
        assert_eq!(shown(read("10", "1")), ["1", "2", "10!"]);
        assert_eq!(shown(read("7", "0")), ["1", "2", "7"]);
        assert!(GolangMigrate.read(&[], &all.iter().collect::<Vec<_>>()).is_empty());
    }

    #[test]
    fn the_row_is_dirty_while_it_runs_and_goes_back_to_the_one_before() {
        let all = parsed(&["1_a.up.sql", "2_b.up.sql"]).unwrap();
        let (site, entry) = (site(Engine::Postgres), Entry { migration: &all[1], previous: Some(&all[0]) });
        let row = |row: &str| format!("DELETE FROM \"s\".\"schema_migrations\"{row}");
        let insert = |values: &str| {
            row(&format!("; INSERT INTO \"s\".\"schema_migrations\" (version, dirty) VALUES ({values})"))
        };
        assert_eq!(GolangMigrate.begin(&site, entry), Some(insert("2, true")));
        assert_eq!(GolangMigrate.record(&site, entry, Duration::ZERO, true), insert("2, false"));
        assert_eq!(GolangMigrate.unmark(&site, entry), insert("1, false"));
        let first = Entry { migration: &all[0], previous: None };
        assert_eq!(GolangMigrate.forget(&site, first), row(""));
    }

    proptest! {
        #[test]
        fn any_number_of_64_bits_is_a_version(number in 0..=i64::MAX, zeros in 0_usize..5, title in "[a-z_.]{0,9}") {
            let name = format!("{}{number}_{title}.up.sql", "0".repeat(zeros));
            prop_assert_eq!(name_parts(&name).unwrap(), Some((number, title.as_str(), true)));
        }
    }
}
