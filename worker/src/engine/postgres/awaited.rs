//! One wait for the disk for all migrations of a tenant. What the last one commits survives a crash of the server only together
//! with all before it, so those commit without a wait. Where the last one does not come, they are waited for by themselves,
//! before anybody is told that they were applied.

use std::time::Duration;

use tenantry_shared::failure::Class;

use super::PostgresSession;
use crate::engine::Change;

/// A record that means nothing: a transaction that writes none commits without a wait.
const WAIT: &str = "SELECT pg_logical_emit_message(true, 'tenantry', '')";

/// What a commit did not wait for is written after three times the server's `wal_writer_delay`, which is ten seconds at the most
/// (<https://www.postgresql.org/docs/current/wal-async-commit.html>).
pub(super) const WRITTEN_AFTER: Duration = Duration::from_secs(31);

/// How long a server that has failed a migration is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// The beginning of a migration's transaction.
pub(super) fn begin(change: &Change<'_>) -> &'static str {
    if change.more { "BEGIN; SET LOCAL synchronous_commit = off; " } else { "BEGIN; " }
}

impl PostgresSession {
    /// Waits for what was committed without a wait. False: the server is gone. One that answers and refuses keeps what it has.
    pub(super) async fn await_disk(&mut self) -> bool {
        let waited = tokio::time::timeout(WAIT_LIMIT, self.look(WAIT)).await;
        let is_lost =
            waited.map_or(true, |said| said.is_err_and(|failure| failure.class == Class::Transient));
        self.unawaited &= is_lost;
        !is_lost
    }
}
