//! The format of Flyway: `V1_2__add_email.sql`, `R__views.sql`, `U1_2__add_email.sql` and `B1_2__all_before.sql`, in a
//! directory and those below it.
//!
//! Rules from Flyway 13 (`ResourceNameParser`, `MigrationVersion`, `ChecksumCalculator`, `JdbcTableSchemaHistory`). What
//! Flyway would do and nothing here can is an error that names the file: callbacks that `migrate` runs, placeholders,
//! migrations in Java or as scripts. Names that Flyway's own tolerance passes over (`V1_a.sql`) are errors, too.
//!
//! The history is a log. A row with `success = false` was begun outside a transaction and not finished; Flyway writes
//! such a row when a migration fails, and refuses to go on until `repair`. A migration that is reverted gets a row of the
//! type `DELETE`, which every edition of Flyway reads as "not there any more"; `UNDO_SQL` is read by the paid one alone.
//! A row of the type `BASELINE` stands for all versions up to its own.

mod files;
mod history;
mod name;

use std::time::Duration;

use self::name::Role;
use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, leading_digits, refinery};
use crate::{
    place::Engine,
    site::{Row, Site},
};

/// The longest description and script that the table takes.
const DESCRIPTION: usize = 200;
const SCRIPT: usize = 1000;

/// The rules of Flyway.
#[derive(Debug)]
pub struct Flyway;

impl Rules for Flyway {
    fn name(&self) -> &'static str {
        "flyway"
    }

    fn table(&self) -> &'static str {
        "flyway_schema_history"
    }

    /// `V1__a.sql` is a name of refinery's, too: what is not clearly refinery's is Flyway's.
    fn suits(&self, files: &[File]) -> bool {
        let reads =
            |file: &File| matches!(name::read(&file.name), Ok(Some(_)) | Err(FormatError::Code { .. }));
        files.iter().any(reads) && !refinery::is_clear(files)
    }

    fn keeps(&self, name: &str) -> bool {
        let script = name.strip_suffix(files::SIDECAR).unwrap_or(name);
        matches!(name::read(script), Ok(Some(_)))
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        files::parse(files)
    }

    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        let base = name.rsplit('/').next().unwrap_or(name);
        base.strip_prefix(['V', 'U']).and_then(leading_digits)
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let base = format!("{}__{}.sql", draft.number, draft.words);
        let file = |name: String, content: String| File { name, content };
        let up = file(format!("V{base}"), draft.comment("apply"));
        let undo = draft.reversible.then(|| file(format!("U{base}"), draft.comment("revert")));
        let outside = "executeInTransaction=false\n".to_owned();
        let sidecar = draft.no_transaction.then(|| file(format!("V{base}{}", files::SIDECAR), outside));
        std::iter::once(up).chain(undo).chain(sidecar).collect()
    }

    fn create(&self, site: &Site) -> String {
        let table = site.table();
        let (key, index) =
            (site.name(&format!("{}_pk", site.table)), site.name(&format!("{}_s_idx", site.table)));
        let columns = "installed_rank INT NOT NULL{key}, version VARCHAR(50), description VARCHAR(200) NOT NULL, type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INT, installed_by VARCHAR(100) NOT NULL, installed_on {time}, execution_time INT NOT NULL, success BOOLEAN NOT NULL";
        let columns = |key: &str, time: &str| columns.replace("{key}", key).replace("{time}", time);
        let outside = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (success)");
        match site.engine {
            Engine::Postgres => format!(
                "CREATE TABLE IF NOT EXISTS {table} ({}, CONSTRAINT {key} PRIMARY KEY (installed_rank)); {outside}",
                columns("", "TIMESTAMP NOT NULL DEFAULT now()"),
            ),
            Engine::MySql => format!(
                "CREATE TABLE IF NOT EXISTS {table} ({}, CONSTRAINT {key} PRIMARY KEY (installed_rank), INDEX {index} (success))",
                columns("", "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"),
            ),
            Engine::Sqlite => format!(
                "CREATE TABLE IF NOT EXISTS {table} ({}); {outside}",
                columns(" PRIMARY KEY", "TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now'))"),
            ),
        }
    }

    fn select(&self, site: &Site) -> String {
        let columns = [
            format!("COALESCE({}, {})", site.as_text("version"), repeatable_in_sql(site.engine)),
            site.as_text("checksum"),
            site.as_flag("success"),
            site.as_text("type"),
        ];
        format!("SELECT {} FROM {} ORDER BY installed_rank", columns.join(", "), site.table())
    }

    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
        history::read(rows, migrations)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String {
        let took = i32::try_from(took.as_millis()).unwrap_or(i32::MAX);
        if marked {
            return format!(
                "UPDATE {} SET success = TRUE, execution_time = {took} WHERE {} AND success = FALSE",
                site.table(),
                row_of(site, entry.migration)
            );
        }
        insert(site, entry.migration, kind(entry.migration), took, true)
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(insert(site, entry.migration, kind(entry.migration), 0, false))
    }

    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("DELETE FROM {} WHERE {} AND success = FALSE", site.table(), row_of(site, entry.migration))
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        insert(site, entry.migration, "DELETE", 0, true)
    }

    fn rewrite(&self, site: &Site, entry: Entry<'_>) -> String {
        let Migration { checksum, .. } = entry.migration;
        format!(
            "UPDATE {} SET checksum = {} WHERE {} AND type = '{}' AND success = TRUE",
            site.table(),
            checksum.as_deref().unwrap_or("NULL"),
            row_of(site, entry.migration),
            kind(entry.migration)
        )
    }
}

/// What a repeatable migration is known by: it has no version.
fn repeatable(description: &str) -> String {
    format!("R__{}", short_description(description).replace(' ', "_"))
}

fn repeatable_in_sql(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres | Engine::Sqlite => "'R__' || REPLACE(description, ' ', '_')",
        Engine::MySql => "CONCAT('R__', REPLACE(description, ' ', '_'))",
    }
}

fn kind(migration: &Migration) -> &'static str {
    if name::role_of(&migration.file) == Some(Role::Baseline) { "SQL_BASELINE" } else { "SQL" }
}

/// The condition that a row is of this migration.
fn row_of(site: &Site, migration: &Migration) -> String {
    if migration.repeatable {
        let description = site.text(&short_description(&migration.description));
        return format!("version IS NULL AND description = {description}");
    }
    format!("version = {}", site.text(migration.version.as_str()))
}

fn insert(site: &Site, migration: &Migration, kind: &str, took: i32, success: bool) -> String {
    let version = Some(migration.version.as_str()).filter(|_| !migration.repeatable);
    let user = match site.engine {
        Engine::Postgres => "current_user",
        Engine::MySql => "SUBSTRING_INDEX(USER(), '@', 1)",
        Engine::Sqlite => "''",
    };
    let success = if success { "TRUE" } else { "FALSE" };
    format!(
        "INSERT INTO {table} (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success) SELECT COALESCE(MAX(installed_rank), 0) + 1, {}, {}, '{kind}', {}, {}, {user}, {took}, {success} FROM {table}",
        site.optional(version),
        site.text(&short_description(&migration.description)),
        site.text(&short_script(&migration.file)),
        migration.checksum.as_deref().unwrap_or("NULL"),
        table = site.table(),
    )
}

fn short_description(description: &str) -> String {
    if description.chars().count() <= DESCRIPTION {
        return description.to_owned();
    }
    description.chars().take(DESCRIPTION - 3).chain("...".chars()).collect()
}

fn short_script(script: &str) -> String {
    if script.chars().count() <= SCRIPT {
        return script.to_owned();
    }
    "...".chars().chain(script.chars().take(SCRIPT).skip(3)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(engine: Engine) -> Site {
        Site { engine, schema: Some("s".into()), table: "flyway_schema_history".into() }
    }

    fn migration(file: &str) -> Migration {
        let content = "SELECT 1;".to_owned();
        files::parse(&[File { name: file.into(), content }]).unwrap().remove(0)
    }

    fn recorded(file: &str) -> String {
        let migration = migration(file);
        let entry = Entry { migration: &migration, previous: None };
        Flyway.record(&site(Engine::Postgres), entry, Duration::from_millis(1500), false)
    }

    #[test]
    fn a_row_says_what_flyway_says() {
        let row = recorded("sub/V1_2__add_email.sql");
        let values = format!(
            "SELECT COALESCE(MAX(installed_rank), 0) + 1, '1.2', 'add email', 'SQL', 'sub/V1_2__add_email.sql', {}, current_user, 1500, TRUE FROM",
            files::checksum("SELECT 1;")
        );
        assert!(row.contains(&values), "{row}");
        assert!(recorded("R__v.sql").contains("+ 1, NULL, 'v', 'SQL', 'R__v.sql', "));
        assert!(recorded("B1__all.sql").contains("'1', 'all', 'SQL_BASELINE', "));
    }

    #[test]
    fn what_is_too_long_for_the_table_is_shortened_as_flyway_does() {
        let long = "a".repeat(201);
        assert_eq!(short_description(&long), "a".repeat(197) + "...");
        assert_eq!(short_description(&long[..200]), long[..200]);
        let script = format!("0123{}", "b".repeat(1000));
        assert_eq!(short_script(&script), format!("...3{}", "b".repeat(996)));
        assert_eq!(
            migration(&format!("R__{long}.sql")).version.as_str(),
            format!("R__{}...", "a".repeat(197))
        );
    }

    #[test]
    fn what_is_clearly_refinerys_is_not_flyways() {
        let suits = |names: &[&str]| {
            let files: Vec<File> =
                names.iter().map(|n| File { name: (*n).into(), content: String::new() }).collect();
            (Flyway.suits(&files), refinery::INT4.suits(&files), refinery::INT8.suits(&files))
        };
        assert_eq!(suits(&["V1__a.sql", "V2__b.sql"]), (true, false, false));
        assert_eq!(suits(&["V1.1__a.sql", "R__b.sql"]), (true, false, false));
        assert_eq!(suits(&["V1__a.sql", "V2__b.rs"]), (false, true, false));
        assert_eq!(suits(&["V1__a.sql", "mod.rs"]), (false, true, false));
        assert_eq!(suits(&["V20240101000001__a.sql", "refinery.toml"]), (false, false, true));
        assert_eq!(suits(&["1_a.sql"]), (false, false, false));
    }
}
