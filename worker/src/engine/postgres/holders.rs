//! Who holds what a session of ours waited for in vain, on PostgreSQL. It is asked at once afterwards: during the wait
//! the session cannot ask, and a second connection for every migration would be too many.

use std::time::Duration;

use tenantry_shared::{failure::Failure, place::Engine};

use super::PostgresSession;
use crate::engine::{
    Change, Session as _,
    holder::{Holder, failed_statement, held, is_named},
};

/// `lock_timeout` has passed.
const LOCK_TIMEOUT: &str = "55P03";

/// An answer that takes longer is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Statements that wait for nobody who only reads.
const BESIDE_READERS: [&str; 8] =
    ["create", "insert", "update", "delete", "merge", "select", "with", "comment"];

/// A session in the columns of [`Holder::read`], and how long its transaction lasts already.
const SESSION: &str = "CAST(a.pid AS text), COALESCE(NULLIF(a.application_name, ''), a.backend_type), CAST(a.usename AS text), a.state,
    CAST(CAST(GREATEST(extract(epoch FROM clock_timestamp() - CASE WHEN a.state = 'active' THEN a.query_start ELSE a.state_change END), 0) AS bigint) AS text),
    a.query";

impl PostgresSession {
    /// A failure of a migration, with who holds the table that it did not get. What the migration did is rolled back.
    pub(super) async fn explained(&mut self, failure: Failure, change: &Change<'_>) -> Failure {
        if failure.code != LOCK_TIMEOUT {
            return failure;
        }
        let statement = failed_statement(change, &failure, Engine::Postgres);
        let ask = async {
            self.raw("ROLLBACK".into()).await.ok()?;
            self.holders_of_tables(&statement).await
        };
        let holders = tokio::time::timeout(ANSWER_LIMIT, ask).await.ok().flatten();
        held(failure, "held by", &holders.unwrap_or_default())
    }

    /// A failure to take the tenant's lock, with who holds this one.
    pub(super) async fn explained_lock(&mut self, failure: Failure, key: i64) -> Failure {
        let select = format!(
            "SELECT {SESSION} FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
                AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND (CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint) = {key} ORDER BY a.backend_start"
        );
        let rows = tokio::time::timeout(ANSWER_LIMIT, self.read(&select)).await;
        let rows = rows.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let holders: Vec<Holder> =
            rows.iter().filter_map(|row| Holder::read(row, Engine::Postgres)).collect();
        held(failure, "held by", &holders)
    }

    /// Those with a lock on a table that the statement names, the strongest lock first, then the oldest transaction.
    async fn holders_of_tables(&mut self, statement: &str) -> Option<Vec<Holder>> {
        let first = statement.split_whitespace().next().unwrap_or_default().to_lowercase();
        let concurrently = statement.to_lowercase().contains("concurrently");
        let readers = concurrently || !BESIDE_READERS.contains(&first.as_str());
        let select = format!(
            "SELECT {SESSION}, c.relname, n.nspname, l.mode FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
                AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
             ORDER BY array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
                'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock', 'AccessShareLock'], l.mode), a.xact_start"
        );
        let mut holders: Vec<Holder> = Vec::new();
        for row in self.read(&select).await.ok()?? {
            let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            let (table, schema, mode) = (text(6), text(7), text(8));
            let ours = self.whole || schema == self.schema || is_named(statement, schema, Engine::Postgres);
            let blocks = readers || mode != "AccessShareLock";
            if !(ours && blocks && is_named(statement, table, Engine::Postgres)) {
                continue;
            }
            let holder = Holder::read(&row, Engine::Postgres)?;
            if !holders.iter().any(|known| known.id == holder.id) {
                holders.push(holder);
            }
        }
        Some(holders)
    }
}
