//! What SQLite refuses, as an error of the drivers of the other databases.

use std::{borrow::Cow, error::Error as StdError, fmt};

use sqlx::{
    Error,
    error::{DatabaseError, ErrorKind},
};

/// As the drivers of the other databases tell it.
pub(super) fn told(error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            let message = message.unwrap_or_else(|| error.to_string());
            Error::Database(Box::new(Refusal { code: error.extended_code, message }))
        }
        // Of what it was given; to try it again is of no use.
        error => Error::Encode(Box::new(error)),
    }
}

/// What SQLite does not do.
#[derive(Debug)]
struct Refusal {
    /// The extended result code.
    code: i32,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl StdError for Refusal {}

impl DatabaseError for Refusal {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.code {
            // Of a unique index, of a primary key.
            2067 | 1555 => ErrorKind::UniqueViolation,
            _ => ErrorKind::Other,
        }
    }
}
