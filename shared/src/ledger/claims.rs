//! Claims: the right to work a target, given in one step by the database's clock.

use std::{fmt::Display, time::Duration};

use super::{
    Ledger, LedgerError, bind_attempt,
    caps::CAPPED,
    ms, number, read_job,
    stops::{HELD, SOME_GO_ON},
    suspects::{IN_COMPANY, TRUSTED},
};
use crate::{
    job::{Claim, Job},
    store::{Connection, Dialect, Row, Value, expect_rows, pairs},
};

/// What a changed target gives: its job, and what else a claim is made of.
const COLUMNS: &str = "run_id, tenant_id, attempt, attempt - uncounted, max_attempts, lapses, due_at";

/// `$1` is the owner, `$2` the lease.
pub(super) const CLAIMED: &str = "state = 'running', attempt = attempt + 1, owner = $1, due_at = {now} + $2, sent_at = NULL, started_at = {now}, sighting = NULL";

/// A target that is worked. With all columns of an index on what a run has in that state, or SQLite goes through all of the run.
pub(super) const WORKED: &str = "state = 'running' AND wave >= -1";

impl Ledger {
    /// Claims up to `limit` targets that are due: the ledger itself is the queue.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn claim_due(
        &self,
        limit: usize,
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Claim>, LedgerError> {
        let values = [owner.into(), ms(lease).into()];
        read_claims(&self.change_due(limit as u64, true, CLAIMED, &values).await?)
    }

    /// Claims those of the jobs that may be worked now. A duplicate, stale or finished job gives nothing, and one on a
    /// server that has got a cap is due again at once: see [`Self::claim_capped`].
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn claim_jobs(
        &self,
        jobs: &[Job],
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Claim>, LedgerError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let ready = format!(
            "FROM targets WHERE (run_id, tenant_id) IN ({{rows}} {})
                AND {AT_REST} AND (sent_at IS NOT NULL OR due_at <= {{now}}) AND {TRUSTED} AND run_id NOT IN {HELD}
                AND server_id NOT IN {CAPPED} AND {}",
            pairs(3, jobs.len()),
            free()
        );
        let mut values = vec![owner.into(), ms(lease).into()];
        values.extend(jobs.iter().flat_map(ids));
        let claims = read_claims(&self.change(&ready, CLAIMED, values).await?)?;
        if claims.len() < jobs.len() {
            self.put_back(jobs).await?;
        }
        Ok(claims)
    }

    /// Makes those of the jobs due again that are of capped servers, and those whose tenant another target is worked of:
    /// they are sent again when there is room, and not only when they are taken for lost.
    async fn put_back(&self, jobs: &[Job]) -> Result<(), LedgerError> {
        let capped = format!(
            "UPDATE targets SET sent_at = NULL, due_at = {{now}} WHERE (run_id, tenant_id) IN ({{rows}} {})
                AND {AT_REST} AND sent_at IS NOT NULL AND server_id IN {CAPPED}",
            pairs(1, jobs.len())
        );
        let back = self.store.query(&capped).bind_all(jobs.iter().flat_map(ids));
        if back.execute(self.store.pool()).await?.rows_affected() > 0 {
            self.sight.set(true);
        }
        let waiting = format!(
            "FROM targets WHERE (run_id, tenant_id) IN ({{rows}} {})
                AND {AT_REST} AND sent_at IS NOT NULL AND NOT {}",
            pairs(1, jobs.len()),
            free()
        );
        let values = jobs.iter().flat_map(ids).collect();
        self.change(&waiting, "sent_at = NULL, due_at = {now}", values).await.map(|_| ())
    }

    /// Changes the targets that `ready` selects, each for one caller alone, and gives them as they are then. What is
    /// locked is skipped, so that two who want the same targets in another order do not wait for each other.
    pub(super) async fn change(
        &self,
        ready: &str,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, LedgerError> {
        if self.store.dialect() == Dialect::MySql {
            let mut tx = self.store.begin().await?;
            let rows = self.change_in(&mut tx, ready, set, values).await?;
            tx.commit().await?;
            return Ok(rows);
        }
        let mut lent = self.store.writing().await?;
        let rows = self.change_in(&mut lent, ready, set, values).await?;
        lent.done();
        Ok(rows)
    }

    /// The same in somebody's transaction, which it must be on a database whose `UPDATE` gives nothing back.
    pub(super) async fn change_in(
        &self,
        connection: &mut Connection,
        ready: &str,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, LedgerError> {
        if self.store.dialect() == Dialect::MySql {
            return self.change_locked(connection, ready, set, values).await;
        }
        // Materialized, because a plan may run a subquery anew for every row of `targets`, and a LIMIT in it is none then.
        let sql = format!(
            "WITH ready AS MATERIALIZED (SELECT run_id, tenant_id {ready} {{skip_locked}})
             UPDATE targets SET {set} WHERE (run_id, tenant_id) IN (SELECT run_id, tenant_id FROM ready) RETURNING {COLUMNS}"
        );
        Ok(self.store.query(&sql).bind_all(values).fetch_all(connection).await?)
    }

    async fn change_locked(
        &self,
        connection: &mut Connection,
        ready: &str,
        set: &str,
        mut values: Vec<Value>,
    ) -> Result<Vec<Row>, LedgerError> {
        let select = self.store.query(&format!("SELECT run_id, tenant_id {ready} {{skip_locked}}"));
        let locked = select.bind_all(values.clone()).fetch_all(&mut *connection).await?;
        if locked.is_empty() {
            return Ok(locked);
        }
        let these = format!("(run_id, tenant_id) IN ({{rows}} {})", pairs(values.len() + 1, locked.len()));
        for row in &locked {
            values.extend(ids(&read_job(row)?));
        }
        let update = self.store.query(&format!("UPDATE targets SET {set} WHERE {these}"));
        let done = update.bind_all(values.clone()).execute(&mut *connection).await?;
        expect_rows(done.rows_affected(), locked.len() as u64)?;
        let select = self.store.query(&format!("SELECT {COLUMNS} FROM targets WHERE {these}"));
        Ok(select.bind_all(values).fetch_all(connection).await?)
    }

    /// Renews a claim's lease. `false`: it is not ours any more, stop the work.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET due_at = {now} + $1 WHERE run_id = $2 AND tenant_id = $3 AND attempt = $4 AND state = 'running'";
        let query = self.store.query(sql).bind(ms(lease));
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a claim back that was never begun: the attempt does not count.
    ///
    /// # Errors
    /// When the registry cannot be reached; the lease's end gives it back then.
    pub async fn release(&self, claim: &Claim) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET state = 'retryable', uncounted = uncounted + 1, due_at = {now}, sighting = NULL
            WHERE run_id = $1 AND tenant_id = $2 AND attempt = $3 AND state = 'running'";
        let query = self.store.query(sql);
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }
}

/// A target that may be claimed when it is due. Of one that waits or has ended, `due_at` tells that already: so no index on
/// the state is of use, and PostgreSQL would take one all the same, and sort all that is due for the few that are claimed.
const AT_REST: &str = "COALESCE(state, '') IN ('pending', 'retryable')";

/// Targets that are due, the longest due first, of runs that are neither paused nor stopped, if `condition` holds. Suspects
/// are not among them. How many is the value with the number `limit`: a statement for each would be prepared by itself.
pub(super) fn due(condition: &str, limit: usize) -> String {
    // Null while every run is held, all of whose targets would be gone through else. MySQL looks up the bound behind it, and
    // SQLite the first one.
    let gate = format!("due_at <= (SELECT CASE WHEN {SOME_GO_ON} THEN {{now}} END)");
    format!(
        "FROM targets {{by_due}} WHERE {gate} AND due_at <= (SELECT {{now}}) AND {AT_REST} AND {TRUSTED} AND run_id NOT IN {HELD} AND {condition} AND {} ORDER BY due_at LIMIT ${limit}{{opaque}}",
        free()
    )
}

/// Up to so many of one server, the suspects among them.
pub(super) fn due_on(dialect: Dialect, server: impl Display, condition: &str, limit: u64) -> String {
    let there = match dialect {
        // As rows, and in their order: told that the server is one, it would go through what is due on all of them.
        Dialect::Postgres => format!(
            "due_at IS NOT NULL AND (server_id, due_at) >= ({server}, 0) AND (server_id, due_at) <= ({server}, (SELECT {{now}}))"
        ),
        Dialect::Sqlite | Dialect::MySql => {
            format!("server_id = {server} AND due_at <= (SELECT {{now}})")
        }
    };
    format!(
        "FROM targets {{by_server}} WHERE {there} AND state IN ('pending', 'retryable') AND run_id NOT IN {HELD} AND {condition} AND {} ORDER BY server_id, due_at LIMIT {limit}",
        free()
    )
}

/// Whether nobody works the target's tenant, and no older run is about to: of two attempts at once, the tenant's own
/// lock would make one wait in vain.
pub(super) fn free() -> String {
    format!(
        "(NOT EXISTS (SELECT 1 FROM targets o WHERE o.tenant_id = targets.tenant_id AND o.state IN ('pending', 'running', 'retryable')
            AND (o.state = 'running' OR o.run_id < targets.run_id AND o.run_id NOT IN {HELD} AND (o.sent_at IS NOT NULL OR o.due_at <= {{now}}))))"
    )
}

fn ids(job: &Job) -> [Value; 2] {
    [job.run.to_string().into(), job.tenant.to_string().into()]
}

pub(super) fn read_claims(rows: &[Row]) -> Result<Vec<Claim>, LedgerError> {
    let claim = |row: &Row| {
        let (attempt, counted, max_attempts) = (number(row, 2)?, number(row, 3)?, number(row, 4)?);
        let alone = number(row, 5)? >= IN_COMPANY;
        Ok(Claim { job: read_job(row)?, attempt, counted, max_attempts, alone })
    };
    rows.iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn what_is_worked_is_found_in_sqlite_without_going_through_the_whole_run() {
        let directory = tempfile::tempdir().unwrap();
        let store =
            Store::init(&format!("sqlite:{}", directory.path().join("r.db").display())).await.unwrap();
        let sql = format!("EXPLAIN QUERY PLAN SELECT tenant_id FROM targets WHERE run_id = $1 AND {WORKED}");
        let row = store.query(&sql).bind("a run").fetch_one(store.pool()).await.unwrap();
        let plan: String = row.try_get(3).unwrap();
        assert!(plan.contains("targets_state (run_id=? AND state=?"), "{plan}");
    }
}
