//! A PostgreSQL session between two tenants of one database.
//!
//! It is freed by parts of what `DISCARD ALL` does, so that the queries that were prepared for our own looks stay, with
//! the plans they have cost; and all else that is left in it is asked for afterwards. A session of which anything is
//! not as it should be is closed.

use std::time::Duration;

use tenantry_shared::registry::Access;

use super::PostgresSession;
use crate::engine::{Limits, kept::Key};

/// A session is closed after so many tenants: what its server keeps for it grows with what it has seen.
const MOST_TENANTS: u32 = 200;

/// And after so long: what was set for its role or its database since is in force in new sessions only.
const LONGEST: Duration = Duration::from_secs(180);

/// All of it ends with the message, which is a transaction, but for the locks: those are gone at once.
const FREE: &str =
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; ";

impl PostgresSession {
    pub(super) fn key_of(access: &Access, limits: Limits) -> Option<Key> {
        access.place.schema.as_ref()?;
        Some(Key(limits, access.url.expose().to_owned()))
    }

    /// Whether nothing of a tenant is left in the session.
    pub(super) async fn is_freed(&mut self) -> bool {
        let old = self.served >= MOST_TENANTS || self.born.elapsed() >= LONGEST;
        if old || self.lent.is_some() || self.whole {
            return false;
        }
        self.ready = super::Ready::default();
        self.ahead = None;
        self.there.clear();
        self.clean = false;
        // A transaction that an earlier message has begun has begun before this one came.
        let ask = format!(
            "{FREE}{}SELECT CAST(pg_advisory_unlock_all() AS text), CAST(now() = statement_timestamp() AS text),
                CAST(ARRAY(SELECT name FROM pg_prepared_statement()) AS text), CAST(session_user = current_user AS text)",
            self.settings.of_idle(),
        );
        let Ok(rows) = self.rows(&ask).await else { return false };
        let row = rows.last().and_then(|row| super::texts(row).ok()).unwrap_or_default();
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        [text(1), text(3)] == [Some("true"); 2] && text(2).is_some_and(|names| self.looks.are(names))
    }
}
