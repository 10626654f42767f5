//! Migration files and history tables as other tools write them. Pure: names, order, parsing and SQL text, no I/O.
//!
//! Each format is one module with one value of [`Rules`]: how its files are read, and how its history table is made,
//! read and written, so that the tool itself afterwards says "up to date". A format never skips in silence what looks
//! like a migration that cannot be run: that is an error that names the file.

pub mod sqlx;

use std::time::Duration;

use crate::{
    site::{Row, Site},
    version::Version,
};

/// Every format, in the order in which a directory is tried for them.
pub const ALL: [&dyn Rules; 1] = [&sqlx::Sqlx];

/// The format of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Rules> {
    ALL.into_iter().find(|rules| rules.name() == name)
}

/// One file of a migration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the directory, parts joined by `/`.
    pub name: String,
    /// Its text, byte for byte.
    pub content: String,
}

/// SQL to run in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// In which line of its file it begins, counted from 1.
    pub line: u32,
    /// Whether the file says that it runs outside a transaction.
    pub marked: bool,
}

impl Script {
    /// A whole file.
    #[must_use]
    pub fn whole(text: &str, marked: bool) -> Self {
        Self { text: text.to_owned(), line: 1, marked }
    }
}

/// One versioned step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its name in the history, unique within its set.
    pub version: Version,
    /// What it says it does, in words.
    pub description: String,
    /// The file it came from.
    pub file: String,
    /// The SQL that applies it. None: it is not SQL, and only its own tool can run it.
    pub up: Option<Script>,
    /// The SQL that reverts it, where there is some.
    pub down: Option<Script>,
    /// What the history keeps of its contents, as the text that [`Rules::read`] gives. None where it keeps nothing.
    pub checksum: Option<String>,
    /// Other checksums that mean the same contents (other line ends, an older form).
    pub equivalents: Vec<String>,
    /// Whether it runs again when its checksum changes. Repeatable migrations come after all versioned ones.
    pub repeatable: bool,
}

impl Migration {
    /// Whether this checksum in a history is of these contents. A history without one is believed.
    #[must_use]
    pub fn is_what_was_applied(&self, recorded: Option<&str>) -> bool {
        match (recorded, &self.checksum) {
            (Some(recorded), Some(own)) => recorded == own || self.equivalents.iter().any(|e| e == recorded),
            _ => true,
        }
    }
}

/// One migration in a tenant's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its name there.
    pub version: Version,
    /// The checksum of what was applied, where the history keeps one.
    pub checksum: Option<String>,
    /// Whether it ran to its end. `false` marks a migration that was begun and not finished.
    pub success: bool,
}

/// What a row of the history is about.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The migration.
    pub migration: &'a Migration,
    /// The one before it in its set, which is the newest when this one is reverted.
    pub previous: Option<&'a Migration>,
    /// How many statements its script has.
    pub statements: u32,
}

/// How one tool names its files and keeps its history.
///
/// The SQL that these give is run as it is, by the session that holds the tenant's lock. Several statements are
/// separated by `;`. Tables are named through [`Site`], always with their schema.
pub trait Rules: Send + Sync + std::fmt::Debug {
    /// The name in the configuration and in every output.
    fn name(&self) -> &'static str;

    /// The history table that the tool uses when nothing else is said.
    fn table(&self) -> &'static str;

    /// Whether files of these names are of this format, and of no other that comes later in [`ALL`]. `None` where
    /// names alone do not tell: contents do.
    fn suits(&self, files: &[File]) -> bool;

    /// Whether a file is part of a bundle: a migration, or what decides about one.
    fn keeps(&self, name: &str) -> bool;

    /// Reads a directory's files, in any order, into migrations in the order in which they are applied.
    ///
    /// # Errors
    /// When there is no migration among them, or one of them cannot be placed or run.
    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError>;

    /// Makes the history table, with the rows that the tool expects in a new one, where it is not there.
    fn create(&self, site: &Site) -> String;

    /// Reads the history: one SELECT of texts ([`Site::as_text`] and its like).
    fn select(&self, site: &Site) -> String;

    /// What the rows of [`Self::select`] say was applied, in the words of [`Applied`].
    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied>;

    /// The row of a migration that has run, where [`Self::begin`] wrote none (`marked` is false) or did.
    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, marked: bool) -> String;

    /// Marks a migration as begun, before it runs outside a transaction. None: the tool knows no such mark.
    fn begin(&self, site: &Site, entry: Entry<'_>) -> Option<String>;

    /// Takes the mark of [`Self::begin`] away again: nothing was done.
    fn unmark(&self, site: &Site, entry: Entry<'_>) -> String;

    /// Whether the history tells what is pending. One that does not leaves it to a command and its exit code.
    fn proves(&self) -> bool {
        true
    }

    /// Takes the row of a migration away that was reverted.
    fn forget(&self, site: &Site, entry: Entry<'_>) -> String;
}

/// What is wrong with a directory of migrations. Each names its file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    /// Nothing in the directory is a migration.
    #[error("no migration found (expected files such as 20261121103012_add_email.sql)")]
    Empty,
    /// The part before the first `_` is not a number.
    #[error("{file}: its name must start with a whole number and '_'")]
    Version {
        /// The file.
        file: String,
    },
    /// Two files say the same version.
    #[error("{first} and {second} have the same version {version}")]
    Duplicate {
        /// The version.
        version: Version,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A down file without its up file.
    #[error("{file}: there is no {version}_….up.sql that belongs to it")]
    LoneDown {
        /// The file.
        file: String,
        /// Its version.
        version: Version,
    },
    /// Between the SQL files is a migration in another language.
    #[error("{file}: a migration that is not SQL cannot be run, and leaving it out would make a gap")]
    Code {
        /// The file.
        file: String,
    },
    /// The text of a file breaks a rule of its format.
    #[error("{file} line {line}: {reason}")]
    Text {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u32,
        /// What is wrong.
        reason: String,
    },
    /// A file's name breaks a rule of its format.
    #[error("{file}: {reason}")]
    Name {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

/// Endings of files that other runners execute as migrations.
const CODE: [&str; 13] =
    ["cjs", "cs", "cts", "go", "java", "js", "kt", "mjs", "mts", "php", "py", "rb", "ts"];

/// Whether a file's name ends like a program's.
#[must_use]
pub fn is_code(name: &str) -> bool {
    !name.ends_with(".d.ts")
        && name.rsplit_once('.').is_some_and(|(_, e)| CODE.contains(&e.to_ascii_lowercase().as_str()))
}

/// Nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
