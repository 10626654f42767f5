//! What is wrong with an arrangement of sets.

use crate::{command::CommandError, format::FormatError};

/// What is wrong with an arrangement of sets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// The files of one chain.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The files of sets among others.
    #[error("set {sets}: {source}")]
    Set {
        /// The sets that share the history table.
        sets: String,
        /// What is wrong.
        source: FormatError,
    },
    /// A set has two files of one name.
    #[error("set {set} has {file} twice, with different contents")]
    Twice {
        /// The set.
        set: String,
        /// The file.
        file: String,
    },
    /// There is no such set.
    #[error("there is no set '{set}' (there are: {known})")]
    UnknownSet {
        /// The name.
        set: String,
        /// All names.
        known: String,
    },
    /// There is no such format.
    #[error("set {set}: there is no format '{format}' (known: {known})")]
    UnknownFormat {
        /// The set.
        set: String,
        /// The name.
        format: String,
        /// All names.
        known: String,
    },
    /// The files have marks of several formats.
    #[error("set {set}: its files could be of {formats}")]
    Ambiguous {
        /// The set.
        set: String,
        /// The formats.
        formats: String,
    },
    /// Sets that share a history table must be of one format.
    #[error("sets {first} and {second} keep their history in one table and are of two formats ({formats})")]
    MixedFormats {
        /// One set.
        first: String,
        /// The other.
        second: String,
        /// Both formats.
        formats: String,
    },
    /// A history that does not list every migration cannot be shared with a set that only some tenants take.
    #[error(
        "set {set} is for some tenants, and {format} cannot tell in a history it shares which of its migrations they have"
    )]
    Untold {
        /// The set.
        set: String,
        /// The format.
        format: String,
    },
    /// Two sets have different files of one name, and share a history table.
    #[error("sets {first} and {second} both have {file}, with different contents")]
    Clash {
        /// One set.
        first: String,
        /// The other.
        second: String,
        /// The file.
        file: String,
    },
    /// A set's condition cannot be read.
    #[error("set {set}: {reason}")]
    Condition {
        /// The set.
        set: String,
        /// Why.
        reason: String,
    },
    /// A set's command cannot be used.
    #[error("set {set}: {source}")]
    Command {
        /// The set.
        set: String,
        /// Why.
        source: CommandError,
    },
    /// No set is for the tenants.
    #[error("no set of migrations is for the tenants")]
    NoTenants,
    /// The stored arrangement is damaged.
    #[error("the arrangement of the sets cannot be read")]
    Manifest,
}
