//! Migration files and history tables as other tools write them. Pure: names, order, parsing and SQL text, no I/O.
//!
//! Each format is one module with one value of [`Rules`]: how its files are read, and how its history table is made,
//! read and written, so that the tool itself afterwards says "up to date". A format never skips in silence what looks
//! like a migration that cannot be run: that is an error that names the file.

pub mod atlas;
pub mod code;
pub mod dbmate;
pub mod diesel;
pub mod flyway;
mod folder;
pub mod found;
pub mod golang_migrate;
pub mod goose;
mod listed;
pub mod multi_tenant;
pub mod node_pg_migrate;
pub mod none;
pub mod prisma;
pub mod refinery;
pub mod repeatable;
pub mod sequelize;
pub mod sqlx;
mod tally;

pub use self::tally::Tally;
use std::{collections::HashMap, ops::Range, time::Duration};

use crate::{
    site::{Row, Site},
    version::Version,
};

/// Every format. That of sqlx is the one of a directory that no other [suits](Rules::suits).
pub const ALL: &[&dyn Rules] = &[
    &golang_migrate::GolangMigrate,
    &dbmate::Dbmate,
    &goose::Goose,
    &sequelize::Sequelize,
    &multi_tenant::MultiTenant,
    &node_pg_migrate::NodePgMigrate,
    &flyway::Flyway,
    &diesel::Diesel,
    &refinery::INT4,
    &refinery::INT8,
    &prisma::Prisma,
    &atlas::Atlas,
    &code::RAILS,
    &code::LARAVEL,
    &code::SEQUELIZE,
    &code::django::Django,
    &code::alembic::Alembic,
    &repeatable::Repeatable,
    &none::Nothing,
    &sqlx::Sqlx,
];

/// What a file begins with, at its very first byte, that runs outside a transaction: sqlx's way, and ours for tools
/// whose files have no way of their own to say so.
pub const NO_TRANSACTION: &str = "-- no-transaction";

/// SQL that does nothing on any engine.
const NOTHING: &str = "SELECT 1";

/// The format of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Rules> {
    ALL.iter().copied().find(|rules| rules.name() == name)
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
        Self::part(text, 0..text.len(), marked)
    }

    /// A whole file that says at its first byte whether it runs outside a transaction.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self::whole(text, text.starts_with(NO_TRANSACTION))
    }

    /// A part of a file, given in bytes. One of comments alone has an empty text: not every server takes it for nothing.
    #[must_use]
    pub fn part(file: &str, part: Range<usize>, marked: bool) -> Self {
        let breaks = file[..part.start].matches('\n').count();
        let text = &file[part];
        let text = if text.lines().all(is_silent) { "" } else { text };
        Self { text: text.to_owned(), line: u32::try_from(breaks + 1).unwrap_or(u32::MAX), marked }
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
    /// The migrations that it says itself it comes after, if it does: it is out of order only for those that come after
    /// it in turn. None: its place says it all.
    pub after: Option<Vec<Version>>,
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
}

/// A migration that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Its number, with as many digits as it shall have.
    pub number: &'a str,
    /// What it does: words joined by `_`.
    pub words: &'a str,
    /// Whether it has a down side.
    pub reversible: bool,
    /// Whether it runs outside a transaction.
    pub no_transaction: bool,
}

impl Draft<'_> {
    /// The comment that stands where the SQL shall be.
    #[must_use]
    pub fn comment(&self, verb: &str) -> String {
        format!("-- {verb}: {}\n", self.words.replace('_', " "))
    }

    /// The files of a tool that has a file for each side, and for one without a down side perhaps one of a plainer
    /// name.
    #[must_use]
    pub fn files(&self, base: &str, only: &str) -> Vec<File> {
        let marker = if self.no_transaction { format!("{NO_TRANSACTION}\n") } else { String::new() };
        let up = if self.reversible { ".up.sql" } else { only };
        let up = File { name: format!("{base}{up}"), content: marker + &self.comment("apply") };
        let down = || File { name: format!("{base}.down.sql"), content: self.comment("revert") };
        std::iter::once(up).chain(self.reversible.then(down)).collect()
    }
}

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

/// Migrations, when there are any and no two of them have one version.
fn of_different_versions(migrations: Vec<Migration>) -> Result<Vec<Migration>, FormatError> {
    let mut seen: HashMap<&Version, &str> = HashMap::new();
    for migration in &migrations {
        if let Some(first) = seen.insert(&migration.version, &migration.file) {
            let (first, second) = (first.to_owned(), migration.file.clone());
            return Err(FormatError::Duplicate { version: migration.version.clone(), first, second });
        }
    }
    if migrations.is_empty() { Err(FormatError::Empty) } else { Ok(migrations) }
}

/// The digits that a name begins with, if there are any.
#[must_use]
pub fn leading_digits(name: &str) -> Option<&str> {
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    Some(&name[..end]).filter(|digits| !digits.is_empty())
}

/// Whether a line is blank or a comment.
#[must_use]
pub fn is_silent(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("--")
}

/// The lines of a text, each with its number, counted from 1, and where it begins and the next one does, in bytes.
pub fn lines(text: &str) -> impl Iterator<Item = (u32, Range<usize>, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').zip(1..).map(move |(line, number)| {
        let at = start..start + line.len();
        start = at.end;
        (number, at, line.trim_end_matches(['\r', '\n']))
    })
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

/// Milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_migration_is_one_of_its_format() {
        for rules in ALL {
            for (reversible, no_transaction) in [(false, false), (false, true), (true, false), (true, true)] {
                let number = if rules.counts() { "0007" } else { "20260102030405" };
                let draft = Draft { number, words: "add_email", reversible, no_transaction };
                let files = rules.skeleton(&draft);
                let seen = format!("{}: {files:?}", rules.name());
                assert!(files.iter().all(|file| rules.keeps(&file.name)), "{seen}");
                assert!(files.iter().all(|file| rules.digits(&file.name).is_some()), "{seen}");
                // Only its own tool writes a program, and the sums that Atlas wants.
                if files.is_empty() || rules.name() == "atlas" {
                    continue;
                }
                let parsed = rules.parse(&files).unwrap();
                let [only] = parsed.as_slice() else { panic!("{seen}") };
                assert_eq!(only.up.as_ref().map(|up| up.marked), Some(no_transaction), "{seen}");
                assert_eq!(only.description, "add email", "{seen}");
                match rules.name() {
                    "dbmate" => assert!(only.down.is_some(), "{seen}"),
                    "repeatable" | "refinery" | "refinery-int8" => assert!(only.down.is_none(), "{seen}"),
                    _ => assert_eq!(only.down.is_some(), reversible, "{seen}"),
                }
            }
        }
    }

    #[test]
    fn names_are_given_once() {
        for rules in ALL {
            assert_eq!(named(rules.name()).map(Rules::name), Some(rules.name()));
            assert_eq!(ALL.iter().filter(|other| other.name() == rules.name()).count(), 1);
        }
    }

    #[test]
    fn a_part_has_the_line_it_begins_in() {
        let text = "-- a\r\nSELECT 1;\n\n-- b\n";
        assert_eq!(
            Script::part(text, 6..16, true),
            Script { text: "SELECT 1;\n".into(), line: 2, marked: true }
        );
        assert_eq!(
            Script::part(text, 16..text.len(), false),
            Script { text: String::new(), line: 3, marked: false }
        );
        let numbered: Vec<_> = lines(text).map(|(number, at, line)| (number, at.start, line)).collect();
        assert_eq!(numbered, [(1, 0, "-- a"), (2, 6, "SELECT 1;"), (3, 16, ""), (4, 17, "-- b")]);
    }
}
