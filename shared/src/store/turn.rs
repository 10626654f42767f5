//! Turns to write, where a database has one writer at a time: who waits here is served in order, and all write by the same
//! connection. It has the statements prepared and the pages that it wrote last, which any other would have to read again.
//!
//! Invariant: the connection stays only if what its turn did went well. However else a turn ends, the connection is dropped,
//! and with it what it began.

use sqlx::{AnyConnection, Connection as _, Transaction};
use tokio::sync::MutexGuard;

use super::StoreError;

/// The right to write, until it is dropped.
pub(crate) struct Turn<'a> {
    pub(super) place: MutexGuard<'a, Option<AnyConnection>>,
    pub(super) connection: AnyConnection,
}

impl Turn<'_> {
    /// What to write by.
    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// A transaction that has the write lock at once.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_, sqlx::Any>, StoreError> {
        Ok(self.connection.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// All went well: the next one takes the connection over.
    pub(crate) fn done(mut self) {
        *self.place = Some(self.connection);
    }
}
