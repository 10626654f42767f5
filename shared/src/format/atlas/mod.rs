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
mod files;
mod history;
mod sum;

use std::time::Duration;

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, nanos};
use crate::{
    site::{Row, Site},
    version::Version,
};

use self::files::is_script;

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
        files::parse(files)
    }

    /// The directory's sums have to be made anew then, by Atlas.
    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let mode = if draft.no_transaction { "-- atlas:txmode none\n\n" } else { "" };
        let name = format!("{}_{}.sql", draft.number, draft.words);
        vec![File { name, content: format!("{mode}{}", draft.comment("apply")) }]
    }

    fn create(&self, site: &Site) -> String {
        history::create(site)
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
        history::read(rows, migrations)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String {
        let statements = history::statements(site, entry);
        if marked {
            return format!(
                "UPDATE {} SET applied = {statements}, total = {statements}, execution_time = {}, error = '' WHERE version = {}",
                site.table(),
                nanos(took),
                site.text(entry.migration.version.as_str()),
            );
        }
        history::insert(site, entry, statements, statements, nanos(took))
    }

    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        Some(history::insert(site, entry, 0, history::statements(site, entry).max(1), 0))
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

#[cfg(test)]
mod tests {
    use super::{files::tests::files, *};

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
