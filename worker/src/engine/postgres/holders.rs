//! Who holds what a session of ours waits for, on PostgreSQL. A session that has waited in vain asks at once afterwards;
//! during a long wait another session asks.

use std::time::Duration;

use tenantry_shared::{failure::Failure, place::Engine};

use super::PostgresSession;
use crate::engine::{
    Change, Now, Session as _, Wait,
    doing::Lock,
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
            self.end("ROLLBACK").await.ok()?;
            self.holders_of_tables(&statement).await
        };
        let holders = tokio::time::timeout(ANSWER_LIMIT, ask).await.ok().flatten();
        held(failure, "held by", &holders.unwrap_or_default())
    }

    /// A failure to take the tenant's lock, with who holds this one.
    pub(super) async fn explained_lock(&mut self, failure: Failure, key: i64) -> Failure {
        let holders = tokio::time::timeout(ANSWER_LIMIT, self.holders_of_lock(key)).await;
        held(failure, "held by", &holders.ok().and_then(Result::ok).unwrap_or_default())
    }

    /// What the session of this pid waits for; none is known where it asks for a lock only now and then.
    pub(in crate::engine) async fn waited_for(
        &mut self,
        pid: Option<u64>,
        now: &Now,
    ) -> Result<Option<Wait>, Failure> {
        if let Some(Lock::Advisory(key)) = now.lock {
            let holders = self.holders_of_lock(key).await?;
            return Ok(Some(Wait::held("the tenant's lock", "held by", &holders, None)));
        }
        let Some(pid) = pid else { return Ok(None) };
        let rows = self.read(&blockers(pid)).await?.unwrap_or_default();
        let Some(first) = rows.first() else { return Ok(None) };
        let table = first.get(6).cloned().flatten();
        let what = table.as_ref().map_or("a lock".into(), |table| format!("a lock on {table}"));
        let mut holders: Vec<Holder> = Vec::new();
        for holder in rows.iter().filter_map(|row| Holder::read(row, Engine::Postgres)) {
            if !holders.iter().any(|known| known.id == holder.id) {
                holders.push(holder);
            }
        }
        let says = if holders.is_empty() { "" } else { "held by" };
        let prepared = "a lock held by a prepared transaction (see pg_prepared_xacts)";
        let what = if holders.is_empty() { prepared } else { what.as_str() };
        Ok(Some(Wait::held(what, says, &holders, table)))
    }

    async fn holders_of_lock(&mut self, key: i64) -> Result<Vec<Holder>, Failure> {
        let select = format!(
            "SELECT {SESSION} FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
                AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND (CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint) = {key} ORDER BY a.backend_start"
        );
        let rows = self.read(&select).await?.unwrap_or_default();
        Ok(rows.iter().filter_map(|row| Holder::read(row, Engine::Postgres)).collect())
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

/// Those whom the session of this pid waits for, and the table whose lock it is: nobody where it does not wait. Only then is
/// the server made to look through its locks.
fn blockers(pid: u64) -> String {
    format!(
        "SELECT {SESSION}, (SELECT CAST(c.relname AS text) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
            WHERE l.pid = me.pid AND NOT l.granted LIMIT 1)
         FROM pg_stat_activity me
            CROSS JOIN LATERAL unnest(CASE WHEN me.wait_event_type = 'Lock' THEN pg_blocking_pids(me.pid) END) AS b (pid)
            LEFT JOIN pg_stat_activity a ON a.pid = b.pid
         WHERE me.pid = {pid} AND me.wait_event_type = 'Lock' ORDER BY a.xact_start"
    )
}
