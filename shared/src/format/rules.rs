//! What every format tells of its tool.

use std::time::Duration;

use super::{Applied, Draft, Entry, File, FormatError, Migration, NOTHING, leading_digits};
use crate::{
    site::{Row, Site},
    version::Version,
};

/// How one tool names its files and keeps its history.
///
/// The SQL that these give is run as it is, by the session that holds the tenant's lock. Several statements are
/// separated by `;`. Tables are named through [`Site`], always with their schema.
pub trait Rules: Send + Sync + std::fmt::Debug {
    /// The name in the configuration and in every output.
    fn name(&self) -> &'static str;

    /// The format that the tool's histories go by, where several formats are one tool's.
    fn tool(&self) -> &'static str {
        self.name()
    }

    /// The history table that the tool uses when nothing else is said.
    fn table(&self) -> &'static str;

    /// Whether something in these files, a name or what is in one, is this tool's and plainly no other's.
    fn suits(&self, files: &[File]) -> bool;

    /// Whether the history has something of every migration that was applied, and so can tell of any of them that it
    /// was not.
    fn lists_all(&self) -> bool {
        true
    }

    /// Whether the tool has SQLite hold its migrations to foreign keys, which SQLite itself does not unless it is told
    /// to. Where it does, a table that is dropped to be rebuilt takes the rows with it that refer to its own.
    fn holds_foreign_keys(&self) -> bool {
        false
    }

    /// Whether a file is part of a bundle: a migration, or what decides about one.
    fn keeps(&self, name: &str) -> bool;

    /// Reads a directory's files, in any order, into migrations in the order in which they are applied.
    ///
    /// # Errors
    /// When there is no migration among them, or one of them cannot be placed or run.
    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError>;

    /// The digits that number a migration in the name of its file.
    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        leading_digits(name)
    }

    /// Whether its migrations are counted: its versions have no room for a date and time.
    fn counts(&self) -> bool {
        false
    }

    /// The files of a new migration, up first.
    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File>;

    /// Makes the history table, with the rows that the tool expects in a new one, where it is not there.
    fn create(&self, site: &Site) -> String;

    /// Reads the history: one SELECT of texts ([`Site::as_text`] and its like).
    fn select(&self, site: &Site) -> String;

    /// What the rows of [`Self::select`] say was applied, in the words of [`Applied`].
    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied>;

    /// The row of a migration that has run, where [`Self::begin`] wrote none (`marked` is false) or did.
    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String;

    /// Marks a migration as begun, before it runs outside a transaction. None: the tool knows no such mark.
    fn begin(&self, _: &Site, _: Entry<'_>) -> Option<String> {
        None
    }

    /// The mark of [`Self::begin`] with a number of ours in it, which the tool ignores. None: it has no room for one.
    fn begin_counted(&self, _: &Site, _: Entry<'_>, _number: i64) -> Option<String> {
        None
    }

    /// Gives the mark of [`Self::begin`] another number. Changes one row.
    fn recount(&self, _: &Site, _version: &Version, _number: i64) -> String {
        NOTHING.to_owned()
    }

    /// Reads the marks: version, checksum and number of each as texts. None: they have no number.
    fn counted(&self, _: &Site) -> Option<String> {
        None
    }

    /// What a person does to the history when a migration that it says was begun has been finished, or undone, by hand.
    fn mend(&self, version: &Version) -> String {
        format!("set success to true in, or delete, row {version} of the history table")
    }

    /// Takes the mark of [`Self::begin`] away again: nothing was done.
    fn unmark(&self, _: &Site, _: Entry<'_>) -> String {
        NOTHING.to_owned()
    }

    /// Whether the history tells what is pending. One that does not leaves it to a command and its exit code.
    fn proves(&self) -> bool {
        true
    }

    /// Takes the row of a migration away that was reverted.
    fn forget(&self, site: &Site, entry: Entry<'_>) -> String;

    /// Marks an applied migration as begun to be reverted, before that runs outside a transaction, so that the tool
    /// itself stops there too. None: the tool knows no such mark.
    fn begin_down(&self, site: &Site, entry: Entry<'_>) -> Option<String> {
        let begin = self.begin(site, entry)?;
        Some(format!("{}; {begin}", self.forget(site, entry)))
    }

    /// Takes the row of a migration away that [`Self::begin_down`] has marked and that is reverted.
    fn forget_marked(&self, site: &Site, entry: Entry<'_>) -> String {
        self.unmark(site, entry)
    }

    /// Takes the mark of [`Self::begin_down`] away again: nothing was reverted.
    fn unmark_down(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("{}; {}", self.unmark(site, entry), self.record(site, entry, Duration::ZERO, false))
    }

    /// Gives the row of an applied migration the checksum of its file. Unless the format knows better, the row is
    /// written anew.
    fn rewrite(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("{}; {}", self.forget(site, entry), self.record(site, entry, Duration::ZERO, false))
    }

    /// Records migrations of a tenant that has them already, in a row of the tool's own kind. None: each has a row as
    /// if it had been run.
    fn baseline(&self, _site: &Site, _entries: &[Entry<'_>]) -> Option<String> {
        None
    }
}
