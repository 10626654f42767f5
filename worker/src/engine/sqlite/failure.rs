//! What SQLite says as a [`Failure`]. Pure.

use rusqlite::Error;
use tenantry_shared::{
    codes,
    failure::{Class, Failure},
};

use crate::engine::hint;

/// Turns an error into a failure.
pub(super) fn fail(error: &Error) -> Failure {
    match error {
        Error::SqliteFailure(error, message) => {
            let message = message.clone().unwrap_or_else(|| error.to_string());
            of_code(error.extended_code, message)
        }
        error => Failure::new(Class::Permanent, "driver", error.to_string()),
    }
}

/// SQLite has no code of its own for it.
pub(super) fn is_no_table(failure: &Failure) -> bool {
    failure.code == "1" && failure.message.starts_with("no such table")
}

fn of_code(code: i32, message: String) -> Failure {
    let failure = Failure::new(codes::sqlite(code), code.to_string(), message);
    match hint(&failure.code) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
