//! The tenant's locks in a session of our own.

use sqlx::Row as _;
use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
};

use super::{
    PostgresSession,
    keys::{own_key, sqlx_key},
};
use crate::engine::{LOCK_POLL, doing::Lock};

impl PostgresSession {
    /// Takes them, one behind the other, in the order in which all of us do.
    pub(super) async fn lock_all(&mut self) -> Result<(), Failure> {
        let waited = Stopwatch::start();
        for (kind, key) in self.locks() {
            let take = format!("SELECT CAST(pg_try_advisory_lock{kind}({key}) AS text)");
            loop {
                let rows = self.rows(&take).await.map_err(|e| self.fail(&e))?;
                if rows.first().is_some_and(|row| row.try_get(0).is_ok_and(|taken: &str| taken == "true")) {
                    break;
                }
                self.waits_for(key);
                if waited.elapsed() >= self.limits.lock {
                    return Err(self.busy(key).await);
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
        }
        self.doing.lock(None);
        Ok(())
    }

    /// The tenant's locks: of which kind, and their keys. Schemas of one database share the one that sqlx takes alone.
    pub(super) fn locks(&self) -> [(&'static str, i64); 2] {
        let sqlx = if self.whole { "" } else { "_shared" };
        [("", own_key(&self.schema)), (sqlx, sqlx_key(&self.database))]
    }

    /// Tells that it asks for this lock in vain.
    pub(super) fn waits_for(&self, key: i64) {
        if self.doing.now().lock != Some(Lock::Advisory(key)) {
            self.doing.lock(Some(Lock::Advisory(key)));
        }
    }

    /// Somebody else has the tenant's lock for too long.
    pub(super) async fn busy(&mut self, key: i64) -> Failure {
        let limit = self.limits.lock;
        let message = format!("somebody else is migrating this tenant, for more than {limit:?}");
        let busy = Failure::new(Class::Transient, "locked", message)
            .with_hint("see pg_locks for the advisory lock, or wait longer with --lock-timeout");
        self.explained_lock(busy, key).await
    }
}
