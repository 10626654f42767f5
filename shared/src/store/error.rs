//! What can go wrong between us and the registry database.

use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError};

use crate::{codes, failure::Class};

/// What can go wrong between us and the registry database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is of no database that can hold a registry.
    #[error("the registry URL must begin with sqlite:, postgres: or mysql:")]
    Scheme,
    /// The URL names a server and no database on it.
    #[error("the registry URL names no database (expected …/DATABASE at its end)")]
    NoDatabase,
    /// A pooler in the URL that hands out something else.
    #[error("the registry URL's pooling is neither session nor transaction")]
    Pooling,
    /// A pooler before it lends its sessions by the transaction, as far as can be told.
    #[error("a pooler before the registry lends its sessions by the transaction")]
    Pooled,
    /// A pooler before it does not know how sqlx begins a session.
    #[error("a pooler before the registry refuses: {0}")]
    Options(String),
    /// Nothing answers there, or not in time.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// The path or file of an SQLite registry is not one.
    #[error("the registry cannot be in {path}: {reason}")]
    Unusable {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no registry in that database yet.
    #[error("there is no registry at {0}")]
    NoRegistry(String),
    /// It was made by another version of this program.
    #[error("the registry is at version {found}, and this program needs {needed}")]
    Version {
        /// What the registry has.
        found: i64,
        /// What this program needs.
        needed: i64,
    },
    /// A guarded write touched another number of rows than it must.
    #[error("a guarded write touched {touched} rows and not {expected}")]
    Guard {
        /// Rows touched.
        touched: u64,
        /// Rows it must touch.
        expected: u64,
    },
    /// The database refused a statement.
    #[error("the registry database refused: {0}")]
    Database(sqlx::Error),
    /// A stored value is not of the form it must have.
    #[error("the registry holds a value that cannot be read: {0}")]
    Value(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Unreachable(error.to_string()),
            sqlx::Error::Database(ref e) if is_unreachable(e.as_ref()) => Self::Unreachable(e.to_string()),
            error => Self::Database(error),
        }
    }
}

/// Busy, locked, full or going down. The codes of PostgreSQL and SQLite are never alike; what MySQL calls a code is a
/// class of its numbers.
pub(super) fn is_unreachable(error: &dyn DatabaseError) -> bool {
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return codes::mysql(error.number()) == Class::Transient;
    }
    error
        .code()
        .is_some_and(|code| codes::postgres(&code) == Class::Transient || super::says_busy(Some(&code)))
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// Says how many rows a guarded write must have touched.
///
/// # Errors
/// When it touched another number.
pub fn expect_rows(touched: u64, expected: u64) -> Result<(), StoreError> {
    if touched == expected { Ok(()) } else { Err(StoreError::Guard { touched, expected }) }
}
