//! What is wrong with the configuration, and the way out.

use std::path::PathBuf;

use crate::{place::UrlError, secret::SecretError};

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named, or is meant to hold a secret, cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No profile has the name that was asked for: with the file, and those there are.
    #[error("{0}")]
    Profile(String),
    /// The configuration file is not what it must be. Shows line, column and what was expected.
    #[error("{path} is not a valid configuration\n{reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// A variable that stands for a setting is not what that must be.
    #[error("{name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that the file refers to is not set.
    #[error("the variable {name} is not set, and {setting} is taken from it")]
    Unset {
        /// The variable.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// An SQLite registry without a file.
    #[error("the registry URL names no file (expected sqlite:PATH, postgres://… or mysql://…)")]
    NoRegistryFile,
    /// A tenant source is not what it must be.
    #[error("{table}: {reason}")]
    Source {
        /// Its table in the file.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A schedule is not what it must be.
    #[error("[[schedule]] {name}: {reason}")]
    Schedule {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No key is configured.
    #[error("there is no master key, and tenants' URLs are kept encrypted")]
    NoKey,
    /// The key is of no use.
    #[error("{origin}: {source}")]
    Key {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// The central database's URL is of no use.
    #[error("the url of [central]: {0}")]
    Central(UrlError),
    /// The connection variables of one database do not fit together.
    #[error("{0}")]
    Dedicated(String),
}

impl ConfigError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey => Some(
                "set TENANTRY_MASTER_KEY or TENANTRY_MASTER_KEY_FILE; `openssl rand -hex 32` makes one, and `tenantry registry init` makes a key file for an SQLite registry",
            ),
            Self::Key { .. } => {
                Some("give 32 bytes as 64 hexadecimal digits or base64: `openssl rand -hex 32`")
            }
            Self::Unset { .. } => {
                Some("set it for this command, or name a file that holds the value: { file = \"PATH\" }")
            }
            Self::Unreadable { .. } => Some("name a file that is there and that this user may read"),
            Self::Central(_) => Some("correct `url` and `schema` of [central] in tenantry.toml"),
            Self::Schedule { .. } => Some("docs/schedule.md has examples"),
            Self::Source { .. } => Some("docs/sources.md has an example of each kind of source"),
            _ => None,
        }
    }
}
