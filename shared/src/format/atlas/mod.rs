//! The format of Atlas: `20240101000001_create_users.sql`, with `atlas.sum` beside them.
//!
//! Rules from Atlas of June 2026 (`sql/migrate/dir.go`, `migrate.go`, `cmd/atlas/internal/migrate`). The version is what
//! stands before the first `_`; files are ordered by name. `atlas.sum` must be right. The history keeps a file's sum,
//! which is of all files up to it, too: an older file that is added changes the sums of all behind it. So neither Atlas
//! nor this compares what was applied with what is there now: `atlas.sum` alone guards the files.
//!
//! How many statements of how many are applied tells a migration that was begun from one that is done. The first row can
//! stand for what is before it: a baseline, or a checkpoint, which is all older files in one. Where those are there,
//! they are run, and checkpoints are left out, which is what Atlas does with every database but an empty one.
//!
//! What a file needs Atlas itself for (`atlas:delimiter`, `atlas:txtar`) is an error that names it.

mod directive;
mod sum;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, is_code, nanos};
use crate::{
    place::Engine,
    site::{Row, Site},
    statement::split,
    version::Version,
};

/// What wrote a row, in its column for that.
const OPERATOR: &str = "Tenantry";

/// Beginnings of rows that are Atlas's own affair.
const INTERNAL: char = '.';

/// The rules of Atlas.
#[derive(Debug)]
pub struct Atlas;

impl Rules for Atlas {
    fn name(&self) -> &'static str {
        "atlas"
    }

    fn table(&self) -> &'static str {
        "atlas_schema_revisions"
    }

    /// Atlas keeps sums of other tools' directories, too, and runs them in their way.
    fn suits(&self, files: &[File]) -> bool {
        let has = |wanted: &dyn Fn(&str) -> bool| files.iter().any(|file| wanted(&file.name));
        let of_two = |name: &str| name.ends_with(".up.sql") || name.ends_with(".down.sql");
        let other = |rules: &&dyn Rules| rules.name() != self.name() && rules.suits(files);
        has(&|name| name == sum::NAME) && has(&is_script) && !has(&of_two) && !super::ALL.iter().any(other)
    }

    fn keeps(&self, name: &str) -> bool {
        name == sum::NAME || is_script(name)
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        parse(files)
    }

    /// The directory's sums have to be made anew then, by Atlas.
    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let mode = if draft.no_transaction { "-- atlas:txmode none\n\n" } else { "" };
        let name = format!("{}_{}.sql", draft.number, draft.words);
        vec![File { name, content: format!("{mode}{}", draft.comment("apply")) }]
    }

    fn create(&self, site: &Site) -> String {
        let (text, kind, number, time, long, json, after) = match site.engine {
            Engine::Postgres => ("VARCHAR", "BIGINT", "BIGINT", "TIMESTAMPTZ", "TEXT", "JSONB", ""),
            Engine::MySql => (
                "VARCHAR(255)",
                "BIGINT UNSIGNED",
                "BIGINT",
                "TIMESTAMP",
                "LONGTEXT",
                "JSON",
                " CHARSET utf8mb4 COLLATE utf8mb4_bin",
            ),
            Engine::Sqlite => ("text", "integer", "integer", "datetime", "text", "json", ""),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version {text} NOT NULL, description {text} NOT NULL, type {kind} NOT NULL DEFAULT 2, applied {number} NOT NULL DEFAULT 0, total {number} NOT NULL DEFAULT 0, executed_at {time} NOT NULL, execution_time {number} NOT NULL, error {long} NULL, error_stmt {long} NULL, hash {text} NOT NULL, partial_hashes {json} NULL, operator_version {text} NOT NULL, PRIMARY KEY (version)){after}",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!(
            "SELECT {}, {} FROM {}",
            site.as_text("version"),
            site.as_flag("applied = total"),
            site.table()
        )
    }

    /// The first row stands for all before it.
    fn lists_all(&self) -> bool {
        false
    }

    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
        read(rows, migrations)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String {
        let statements = statements(site, entry);
        if marked {
            return format!(
                "UPDATE {} SET applied = {statements}, total = {statements}, execution_time = {}, error = '' WHERE version = {}",
                site.table(),
                nanos(took),
                site.text(entry.migration.version.as_str()),
            );
        }
        insert(site, entry, statements, statements, nanos(took))
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(insert(site, entry, 0, statements(site, entry).max(1), 0))
    }

    fn mend(&self, version: &Version) -> String {
        format!("set applied to total in, or delete, row {version} of the history table")
    }

    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String {
        let version = site.text(entry.migration.version.as_str());
        format!("DELETE FROM {} WHERE version = {version} AND applied < total", site.table())
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        format!(
            "DELETE FROM {} WHERE version = {}",
            site.table(),
            site.text(entry.migration.version.as_str())
        )
    }
}

/// How many statements the script has. Only this history wants to know, and large files take a while to be taken apart.
fn statements(site: &Site, entry: Entry<'_>) -> u32 {
    let up = entry.migration.up.as_ref().map(|up| split(&up.text, site.engine).map_or(0, |all| all.len()));
    u32::try_from(up.unwrap_or_default()).unwrap_or(u32::MAX)
}

fn insert(site: &Site, entry: Entry<'_>, applied: u32, total: u32, took: i64) -> String {
    let now = match site.engine {
        Engine::Postgres => "clock_timestamp()",
        Engine::MySql => "CURRENT_TIMESTAMP",
        Engine::Sqlite => "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
    };
    format!(
        "INSERT INTO {} (version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, operator_version) VALUES ({}, {}, 2, {applied}, {total}, {now}, {took}, '', '', {}, '{OPERATOR}')",
        site.table(),
        site.text(entry.migration.version.as_str()),
        site.text(parts(&entry.migration.file).1),
        site.text(entry.migration.checksum.as_deref().unwrap_or_default()),
    )
}

fn is_script(name: &str) -> bool {
    name.ends_with(".sql") && !name.contains('/')
}

/// The version and the description that a script's name says.
fn parts(name: &str) -> (&str, &str) {
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    stem.split_once('_').unwrap_or((stem, ""))
}

fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let mut scripts: Vec<&File> = files.iter().filter(|file| is_script(&file.name)).collect();
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    let code = |file: &&File| is_code(&file.name) && file.name.starts_with(|c: char| c.is_ascii_digit());
    if let Some(code) = files.iter().find(code) {
        return Err(FormatError::Code { file: code.name.clone() });
    }
    if scripts.is_empty() {
        return Err(FormatError::Empty);
    }
    let sums = sum::sums(&scripts);
    sum::check(files.iter().find(|file| file.name == sum::NAME), &sums)?;
    let sums: HashMap<String, String> = sums.into_iter().collect();
    let migration = |file: &&File| migration(file, sums.get(&file.name));
    let migrations: Result<_, _> = without_checkpoints(&scripts).iter().map(migration).collect();
    super::of_different_versions(migrations?)
}

/// Checkpoints stand for what is before them. Where nothing is, the last of them is the first migration.
fn without_checkpoints<'a>(scripts: &[&'a File]) -> Vec<&'a File> {
    let is_checkpoint = |file: &File| !directive::of_file(&file.content, "checkpoint").is_empty();
    let first = scripts.iter().position(|file| !is_checkpoint(file)).unwrap_or(scripts.len());
    let start = first.saturating_sub(1);
    let rest = scripts[first..].iter().filter(|file| !is_checkpoint(file));
    scripts[start..first].iter().chain(rest).copied().collect()
}

fn migration(file: &File, sum: Option<&String>) -> Result<Migration, FormatError> {
    let wrong = |reason: String| FormatError::Name { file: file.name.clone(), reason };
    let Some(sum) = sum else {
        return Err(wrong("it says 'atlas:sum ignore', and Atlas applies no file that has no sum".into()));
    };
    if let Some(delimiter) = directive::delimiter(&file.content) {
        return Err(wrong(format!("only Atlas itself takes it apart at '{delimiter}' (atlas:delimiter)")));
    }
    if !directive::of_file(&file.content, "txtar").is_empty() {
        return Err(wrong("only Atlas itself makes its checks (atlas:txtar)".into()));
    }
    let marked = match directive::of_file(&file.content, "txmode").as_slice() {
        [] | ["file"] => false,
        ["none"] => true,
        [mode] => return Err(wrong(format!("'{mode}' is no atlas:txmode of a file (none or file)"))),
        _ => return Err(wrong("it says atlas:txmode more than once".into())),
    };
    let (version, description) = parts(&file.name);
    Ok(Migration {
        version: version.into(),
        description: description.replace('_', " "),
        file: file.name.clone(),
        up: Some(Script::whole(&file.content, marked)),
        down: None,
        checksum: Some(sum.clone()),
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    })
}

fn read(rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
    let mut found = BTreeMap::new();
    for row in rows {
        if let [Some(version), done] = row.as_slice() {
            found.insert(version.as_str(), done.as_deref() == Some("1"));
        }
    }
    found.retain(|version, _| !version.starts_with(INTERNAL));
    let Some((&first, &done)) = found.first_key_value() else { return Vec::new() };
    if done && !migrations.iter().any(|migration| migration.version.as_str() == first) {
        found.remove(first);
    }
    let before =
        migrations.iter().map(|migration| migration.version.as_str()).filter(|version| *version < first);
    found.extend(before.map(|version| (version, true)));
    let applied =
        |(version, success): (&str, bool)| Applied { version: version.into(), checksum: None, success };
    found.into_iter().map(applied).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        let mut files: Vec<File> =
            pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect();
        files.push(sum::tests::sum_file(&files));
        files
    }

    fn versions(pairs: &[(&str, &str)]) -> Vec<String> {
        parse(&files(pairs)).unwrap().iter().map(|m| m.version.to_string()).collect()
    }

    fn refused(content: &str) -> bool {
        let wrong = parse(&files(&[("1_a.sql", content)]));
        matches!(wrong, Err(FormatError::Name { file, .. }) if file == "1_a.sql")
    }

    fn reads(names: &[&str], rows: &[(&str, bool)]) -> Vec<(String, bool)> {
        let pairs: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        let own = parse(&files(&pairs)).unwrap();
        let row = |(version, done): &(&str, bool)| {
            vec![Some((*version).to_owned()), Some(if *done { "1" } else { "0" }.to_owned())]
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        let read = read(&rows, &own.iter().collect::<Vec<_>>());
        read.into_iter().map(|a| (a.version.to_string(), a.success)).collect()
    }

    fn done(versions: &[&str]) -> Vec<(String, bool)> {
        versions.iter().map(|version| ((*version).to_owned(), true)).collect()
    }

    #[test]
    fn files_are_ordered_by_name_and_keep_their_sum() {
        let parsed = parse(&files(&[("1_create_t.sql", "a"), ("2.sql", "b"), ("3_x_y.sql", "c")])).unwrap();
        let names: Vec<_> = parsed.iter().map(|m| (m.version.as_str(), m.description.as_str())).collect();
        assert_eq!(names, [("1", "create t"), ("2", ""), ("3", "x y")]);
        assert!(parsed[0].checksum.as_ref().is_some_and(|sum| sum.len() == 44));
    }

    #[test]
    fn a_directory_that_is_not_as_its_sums_say_is_refused() {
        let mut changed = files(&[("1_a.sql", "a")]);
        changed[0].content.push('b');
        assert!(parse(&changed).unwrap_err().to_string().contains("atlas migrate hash"));
        changed.pop();
        assert!(parse(&changed).unwrap_err().to_string().starts_with("atlas.sum: "));
    }

    #[test]
    fn directives_are_followed_or_refused() {
        let marked =
            |content: &str| parse(&files(&[("1_a.sql", content)])).unwrap()[0].up.as_ref().unwrap().marked;
        assert!(marked("-- atlas:txmode none\n\nVACUUM;"));
        assert!(!marked("-- atlas:txmode file\n\nSELECT 1;") && !marked("-- atlas:txmode none\nSELECT 1;"));
        for content in [
            "-- atlas:txmode all\n\nSELECT 1;",
            "-- atlas:txmode none\n-- atlas:txmode none\n\nSELECT 1;",
            "-- atlas:delimiter //\n\nSELECT 1//",
            "-- atlas:txtar\n\n-- migration.sql --\nSELECT 1;",
            "-- atlas:sum ignore\n\nSELECT 1;",
        ] {
            assert!(refused(content), "{content}");
        }
    }

    #[test]
    fn two_files_of_one_version_and_code_are_refused() {
        let twice = parse(&files(&[("1_a.sql", "a"), ("1_b.sql", "b")]));
        assert!(matches!(twice, Err(FormatError::Duplicate { .. })));
        let mut with_code = files(&[("1_a.sql", "a")]);
        with_code.push(File { name: "2_b.go".into(), content: String::new() });
        assert_eq!(parse(&with_code), Err(FormatError::Code { file: "2_b.go".into() }));
    }

    #[test]
    fn a_checkpoint_is_run_only_where_nothing_is_before_it() {
        let checkpoint = "-- atlas:checkpoint\n\nCREATE TABLE t (id int);";
        assert_eq!(versions(&[("1_a.sql", "a"), ("2_c.sql", checkpoint), ("3_b.sql", "b")]), ["1", "3"]);
        assert_eq!(
            versions(&[("1_c.sql", checkpoint), ("2_c.sql", checkpoint), ("3_b.sql", "b")]),
            ["2", "3"]
        );
    }

    #[test]
    fn the_first_row_can_stand_for_what_is_before_it() {
        let names = ["1_a.sql", "2_b.sql", "3_c.sql"];
        assert_eq!(reads(&names, &[(".atlas_cloud_identifier", true), ("1", true)]), done(&["1"]));
        assert_eq!(reads(&names, &[("2", true)]), done(&["1", "2"]));
        assert_eq!(reads(&names, &[("2c", true), ("3", true)]), done(&["1", "2", "3"]));
        assert_eq!(reads(&names, &[("1", true), ("2x", true)]), done(&["1", "2x"]));
        assert_eq!(reads(&names, &[("1", false)]), [("1".to_owned(), false)]);
        assert!(reads(&names, &[]).is_empty());
    }

    #[test]
    fn what_other_tools_directories_have_a_sum_of_is_not_atlas() {
        assert!(Atlas.suits(&files(&[("1_a.sql", "a")])));
        for (name, content) in [
            ("1_a.up.sql", "a"),
            ("1_a.sql", "-- +goose Up\n"),
            ("V1__a.sql", "a"),
            ("1_a.sql", "-- migrate:up\n"),
        ] {
            assert!(!Atlas.suits(&files(&[(name, content)])), "{name} {content}");
        }
        assert!(!Atlas.suits(&files(&[("1_a.sql", "a")])[..1]));
    }
}
