//! What is wrong with a directory of migrations.

use crate::version::Version;

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
