//! The format of node-pg-migrate, as far as it is SQL: `<number>_<title>.sql`, both sides in one file.
//!
//! A line `-- Up Migration` begins the one side and `-- Down Migration` the other; a file without them is all up side.
//! The order is that of the numbers: 13 digits are milliseconds since 1970, 17 digits a date and time in UTC, and what is
//! no number counts as zero. The history has the name without its ending, and by default the tool wants the history to be
//! the first of the files in their order: a tenant to which `--order any` was applied has to be run with its
//! `--no-check-order`.
//!
//! What stands before `-- Up Migration` the tool leaves out without a word, so SQL there is refused here.

use std::{ops::Range, time::Duration};

use chrono::NaiveDateTime;

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, NO_TRANSACTION, Rules, Script, is_code, is_silent,
    leading_digits, lines, listed,
};
use crate::{
    place::Engine,
    site::{Row, Site},
    version::Version,
};

/// The rules of node-pg-migrate.
#[derive(Debug)]
pub struct NodePgMigrate;

impl Rules for NodePgMigrate {
    fn name(&self) -> &'static str {
        "node-pg-migrate"
    }

    fn table(&self) -> &'static str {
        "pgmigrations"
    }

    fn suits(&self, files: &[File]) -> bool {
        let marked = |file: &File| file.content.lines().any(|line| is_marker(line, "up"));
        files.iter().any(|file| self.keeps(&file.name) && marked(file))
    }

    fn keeps(&self, name: &str) -> bool {
        name.ends_with(".sql") && !name.contains('/') && !name.starts_with('.')
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let code = |file: &&File| is_code(&file.name) && !file.name.contains('/');
        if let Some(code) = files.iter().find(code) {
            return Err(FormatError::Code { file: code.name.clone() });
        }
        let mut own: Vec<&File> = files.iter().filter(|file| self.keeps(&file.name)).collect();
        own.sort_by_key(|file| (moment(&file.name), Version::from(file.name.as_str())));
        let migrations: Result<Vec<_>, _> = own.into_iter().map(migration).collect();
        super::of_different_versions(migrations?)
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let marker = if draft.no_transaction { format!("{NO_TRANSACTION}\n") } else { String::new() };
        let down = format!("\n-- Down Migration\n{}", draft.comment("revert"));
        let down = if draft.reversible { down } else { String::new() };
        // A date and time has its milliseconds there.
        let rest = if draft.number.len() == 14 { "000" } else { "" };
        let name = format!("{}{rest}_{}.sql", draft.number, draft.words.replace('_', "-"));
        vec![File { name, content: format!("{marker}-- Up Migration\n{}{down}", draft.comment("apply")) }]
    }

    /// The tool itself knows PostgreSQL only.
    fn create(&self, site: &Site) -> String {
        let id = match site.engine {
            Engine::Postgres => "SERIAL PRIMARY KEY",
            Engine::MySql => "INT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            Engine::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id}, name VARCHAR(255) NOT NULL, run_on TIMESTAMP NOT NULL)",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!("{} ORDER BY run_on, id", listed::select(site, "name"))
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        let name = site.text(entry.migration.version.as_str());
        format!("INSERT INTO {} (name, run_on) VALUES ({name}, CURRENT_TIMESTAMP)", site.table())
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "name", entry)
    }
}

/// When a file was made, by its name.
fn moment(name: &str) -> i128 {
    let prefix = name.split('_').next().unwrap_or_default();
    let number = prefix.parse().unwrap_or(0);
    if prefix.len() != 17 || leading_digits(prefix) != Some(prefix) {
        return number;
    }
    let (second, rest) = prefix.split_at(14);
    let time = NaiveDateTime::parse_from_str(second, "%Y%m%d%H%M%S").map(|time| time.and_utc());
    time.map_or(number, |time| i128::from(time.timestamp_millis()) + rest.parse::<i128>().unwrap_or(0))
}

fn migration(file: &File) -> Result<Migration, FormatError> {
    let name = file.name.strip_suffix(".sql").unwrap_or(&file.name);
    let title = name.split_once('_').map_or(name, |(_, title)| title);
    let (up, down) = sides(file)?;
    let marked = file.content.starts_with(NO_TRANSACTION);
    Ok(Migration {
        version: name.into(),
        description: title.replace(['-', '_'], " "),
        file: file.name.clone(),
        up: Some(Script::part(&file.content, up, marked)),
        down: down.map(|down| Script::part(&file.content, down, marked)),
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    })
}

type Sides = (Range<usize>, Option<Range<usize>>);

fn sides(file: &File) -> Result<Sides, FormatError> {
    let text = &file.content;
    let first = |side| lines(text).find(|(.., line)| is_marker(line, side)).map(|(_, at, _)| at.start);
    let (up, down) = (first("up"), first("down"));
    let until = |start: usize, other: Option<usize>| other.filter(|at| *at > start).unwrap_or(text.len());
    let Some(up) = up else {
        let end = down.unwrap_or(text.len());
        return Ok((0..end, down.map(|at| at..text.len())));
    };
    let begin = down.unwrap_or(up).min(up);
    if let Some((line, ..)) = lines(text).find(|(_, at, line)| at.start < begin && !is_silent(line)) {
        let reason = "SQL before '-- Up Migration' is never run by node-pg-migrate".to_owned();
        return Err(FormatError::Text { file: file.name.clone(), line, reason });
    }
    Ok((up..until(up, down), down.map(|at| at..until(at, Some(up)))))
}

/// Whether a line begins a side.
fn is_marker(line: &str, side: &str) -> bool {
    // To JavaScript a byte order mark is white space, too.
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let Some(line) = line.trim_start_matches(blank).strip_prefix("--") else { return false };
    let words = line.trim_start_matches(|c: char| c == '-' || c.is_whitespace()).to_ascii_lowercase();
    let rest = words.strip_prefix(side).filter(|rest| rest.starts_with(char::is_whitespace));
    rest.is_some_and(|rest| rest.trim_start().starts_with("migration"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str, content: &str) -> File {
        File { name: name.into(), content: content.into() }
    }

    fn one(content: &str) -> Result<Migration, FormatError> {
        NodePgMigrate.parse(&[file("1704067200001_a.sql", content)]).map(|mut all| all.remove(0))
    }

    fn texts(content: &str) -> (String, Option<String>) {
        let both = one(content).unwrap();
        (both.up.unwrap().text, both.down.map(|down| down.text))
    }

    #[test]
    fn the_order_is_that_of_the_moments() {
        // 2024-01-01 00:00:00.002 in both ways to write it, and one without a moment.
        let names = ["1704067200003_c.sql", "20240101000000002_b.sql", "1704067200001_a-x.sql", "zero.sql"];
        let all = NodePgMigrate.parse(&names.map(|name| file(name, "SELECT 1;"))).unwrap();
        let versions: Vec<_> = all.iter().map(|m| m.version.as_str()).collect();
        assert_eq!(versions, ["zero", "1704067200001_a-x", "20240101000000002_b", "1704067200003_c"]);
        assert_eq!(all[1].description, "a x");
    }

    #[test]
    fn sides_begin_at_their_markers() {
        let text = "-- why\n  ---- UP   migration of it\nSELECT 1;\n-- Down Migration\nSELECT 2;";
        let both = one(text).unwrap();
        assert_eq!((both.up.as_ref().unwrap().line, both.down.as_ref().unwrap().line), (2, 4));
        assert_eq!(both.up.unwrap().text, "  ---- UP   migration of it\nSELECT 1;\n");
        assert_eq!(texts("SELECT 1;"), ("SELECT 1;".into(), None));
        assert_eq!(texts("-- Down Migration\nSELECT 2;").0, "");
        let only_down = ("SELECT 1;\n".into(), Some("-- Down Migration\nSELECT 2;".into()));
        assert_eq!(texts("SELECT 1;\n-- Down Migration\nSELECT 2;"), only_down);
        let turned = texts("-- Down Migration\nSELECT 2;\n-- Up Migration\nSELECT 1;");
        assert_eq!(turned.0, "-- Up Migration\nSELECT 1;");
        assert_eq!(turned.1.unwrap(), "-- Down Migration\nSELECT 2;\n");
    }

    #[test]
    fn sql_that_the_tool_would_leave_out_is_refused() {
        let refused = one("-- why\nSELECT 1;\n-- Up Migration\nSELECT 2;").unwrap_err();
        assert!(matches!(refused, FormatError::Text { line: 2, .. }), "{refused}");
        let code = NodePgMigrate.parse(&[file("1_a.sql", ""), file("2_b.cjs", "")]).unwrap_err();
        assert_eq!(code, FormatError::Code { file: "2_b.cjs".into() });
    }

    #[test]
    fn its_marker_tells_it_from_others() {
        assert!(NodePgMigrate.suits(&[file("1_a.sql", "-- Up Migration\n")]));
        assert!(NodePgMigrate.suits(&[file("1_a.sql", "\u{feff}-- up migration\n")]));
        assert!(!NodePgMigrate.suits(&[file("1_a.sql", "-- upmigration\n-- Upper migration\n")]));
    }

    proptest! {
        #[test]
        fn milliseconds_keep_their_order(numbers in proptest::collection::btree_set(1_000_000_000_000_u64..9_999_999_999_999, 1..9)) {
            let files: Vec<File> = numbers.iter().rev().map(|n| file(&format!("{n}_x.sql"), "")).collect();
            let versions = NodePgMigrate.parse(&files).unwrap().into_iter().map(|m| m.version.to_string());
            let sorted: Vec<String> = numbers.iter().map(|n| format!("{n}_x")).collect();
            prop_assert_eq!(versions.collect::<Vec<_>>(), sorted);
        }
    }
}
