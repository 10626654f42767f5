//! What the server answers: rows of texts, or why not.

use sqlx::{
    AssertSqlSafe, Row as _, ValueRef as _,
    postgres::{PgDatabaseError, PgErrorPosition, PgRow},
};
use tenantry_shared::{failure::Failure, place::Engine, site::Row};

use super::{PostgresSession, UNDEFINED_TABLE};
use crate::engine::failure;

/// An object that is in no schema on the path, and the kinds of those that extensions bring.
const NOT_FOUND: [&str; 2] = ["42883", "42704"];
const EXTENDED: [&str; 3] = ["function ", "operator ", "type "];

/// What may be the matter with one in a schema per tenant: an extension is in one schema of a database.
const ELSEWHERE: &str = "if it is an extension's: put that into a schema that the tenants share (ALTER EXTENSION … SET SCHEMA shared), and name it in their URLs: ?options=-c%20search_path%3Dshared";

impl PostgresSession {
    /// Rows of texts. None: the table is not there.
    pub(super) async fn table(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let rows = match self.rows(select).await {
            Ok(rows) => rows.iter().map(texts).collect::<Result<Vec<_>, _>>().map(Some),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error),
        };
        rows.map_err(|e| self.fail(&e))
    }

    pub(super) async fn raw(&mut self, sql: String) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| self.fail(&e))
    }

    pub(super) fn fail(&self, error: &sqlx::Error) -> Failure {
        let failure = failure(error, Engine::Postgres, self.password.as_deref());
        let not_found = NOT_FOUND.contains(&failure.code.as_str())
            && EXTENDED.iter().any(|kind| failure.message.starts_with(kind));
        match not_found && !self.whole && failure.hint.is_none() {
            true => failure.with_hint(ELSEWHERE),
            false => failure,
        }
    }
}

/// Each value as the server writes it, of whatever type.
pub(super) fn texts(row: &PgRow) -> Result<Row, sqlx::Error> {
    let text = |at: usize| {
        let value = row.try_get_raw(at)?;
        let text = (!value.is_null()).then(|| value.as_str().map(str::to_owned));
        text.transpose().map_err(sqlx::Error::Decode)
    };
    (0..row.len()).map(text).collect()
}

/// The line within a part of what was sent, with so many characters before it.
pub(super) fn line_of(error: &sqlx::Error, part: &str, before: usize) -> Option<u32> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    let Some(PgErrorPosition::Original(position)) = error.position() else { return None };
    let within = position.checked_sub(before + 1)?;
    let breaks = part.chars().take(within).filter(|c| *c == '\n').count();
    u32::try_from(breaks + 1).ok()
}
