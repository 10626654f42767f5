//! A PostgreSQL session between two tenants of one database.
//!
//! It is freed by parts of what `DISCARD ALL` does, so that the queries that were prepared for our own looks stay, with
//! the plans they have cost; and all else that is left in it is asked for afterwards. A session of which anything is
//! not as it should be is closed.
//!
//! Where it is known that a tenant's last message is the last one, this is its end: behind the commit and all that is read
//! under the tenant's lock.

use std::time::Duration;

use tenantry_shared::{registry::Access, site::Row};

use super::PostgresSession;
use crate::engine::{Limits, kept::Key};

/// A session is closed after so many tenants: what its server keeps for it grows with what it has seen.
const MOST_TENANTS: u32 = 200;

/// And after so long: what was set for its role or its database since is in force in new sessions only.
const LONGEST: Duration = Duration::from_secs(180);

/// All of it ends with the message, which is a transaction, but for the locks: those are gone at once.
const FREE: &str =
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; ";

/// What tells what is left is prepared as this.
const LEFT: &str = "tenantry_left";

// A transaction that an earlier message has begun has begun before this one came.
const PREPARE: &str = "PREPARE tenantry_left AS SELECT CAST(pg_advisory_unlock_all() AS text), CAST(now() = statement_timestamp() AS text),
    CAST(ARRAY(SELECT name FROM pg_prepared_statement()) AS text), CAST(session_user = current_user AS text); ";

impl PostgresSession {
    pub(super) fn key_of(access: &Access, limits: Limits) -> Option<Key> {
        access.place.schema.as_ref()?;
        Some(Key(limits, access.url.expose().to_owned()))
    }

    /// Whether nothing of a tenant is left in the session.
    pub(super) async fn is_freed(&mut self) -> bool {
        if !self.can_be_left() {
            return false;
        }
        let freed = std::mem::take(&mut self.ready).freed;
        self.ahead = None;
        self.there.clear();
        self.clean = false;
        if freed {
            return true;
        }
        match self.rows(&self.freeing()).await {
            Ok(rows) => {
                rows.last().and_then(|row| super::texts(row).ok()).is_some_and(|row| self.is_free(&row))
            }
            Err(_) => false,
        }
    }

    /// Whether the session is one that others can take over.
    pub(super) fn can_be_left(&self) -> bool {
        let old = self.served >= MOST_TENANTS || self.born.elapsed() >= LONGEST;
        !old && self.lent.is_none() && !self.whole
    }

    /// The statements that free the session; the last one tells in one row what is left in it.
    pub(super) fn freeing(&self) -> String {
        let prepare = if self.looks.has(LEFT) { "" } else { PREPARE };
        format!("{FREE}{}{prepare}EXECUTE {LEFT}", self.settings.of_idle())
    }

    /// Whether that row tells of nothing that is not ours.
    pub(super) fn is_free(&mut self, row: &Row) -> bool {
        self.looks.add(LEFT);
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        [text(1), text(3)] == [Some("true"); 2] && text(2).is_some_and(|names| self.looks.are(names))
    }
}
