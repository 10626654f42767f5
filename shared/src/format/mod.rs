//! Migration files as other tools write them. Pure: names, order and parsing, no I/O.
//!
//! A format turns files into [`Migration`]s. It never skips in silence what looks like a migration that
//! cannot be run: that is an error that names the file.

pub mod sqlx;

/// One file of a migration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without a directory.
    pub name: String,
    /// Its text, byte for byte.
    pub content: String,
}

/// One versioned step with a checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What orders it.
    pub version: i64,
    /// What it says it does, in words.
    pub description: String,
    /// The file it came from.
    pub file: String,
    /// The SQL that applies it.
    pub up: String,
    /// The SQL that reverts it, where there is some.
    pub down: Option<String>,
    /// What the history table keeps of [`Self::up`].
    pub checksum: Vec<u8>,
    /// Whether it runs inside a transaction together with its history row.
    pub transactional: bool,
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
        version: i64,
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
        version: i64,
    },
    /// Between the SQL files is a migration in another language.
    #[error("{file}: a migration that is not SQL cannot be run, and leaving it out would make a gap")]
    Code {
        /// The file.
        file: String,
    },
}
