//! Claims: the right to work a target, given in one step by the database's clock.

use std::time::Duration;

use sqlx::any::AnyRow;

use super::{
    Ledger, LedgerError, bind_attempt, ms, number, read_job,
    stops::HELD,
    suspects::{IN_COMPANY, TRUSTED},
};
use crate::{
    job::{Claim, Job},
    store::{Dialect, Value, expect_rows, pairs},
};

/// What a changed target gives: its job, and what else a claim is made of.
const COLUMNS: &str = "run_id, tenant_id, attempt, attempt - uncounted, max_attempts, lapses";

/// `$1` is the owner, `$2` the lease.
pub(super) const CLAIMED: &str = "state = 'running', attempt = attempt + 1, owner = $1, due_at = {now} + $2, sent_at = NULL, started_at = {now}, sighting = NULL";

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
        let values = vec![owner.into(), ms(lease).into()];
        read_claims(&self.change(&due(limit as u64), CLAIMED, values).await?)
    }

    /// Claims those of the jobs that may be worked now. A duplicate, stale or finished job gives nothing.
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
                AND state IN ('pending', 'retryable') AND (sent_at IS NOT NULL OR due_at <= {{now}}) AND {TRUSTED} AND run_id NOT IN {HELD}",
            pairs(3, jobs.len())
        );
        let mut values = vec![owner.into(), ms(lease).into()];
        values.extend(jobs.iter().flat_map(ids));
        read_claims(&self.change(&ready, CLAIMED, values).await?)
    }

    /// Changes the targets that `ready` selects, each for one caller alone, and gives them as they are then. What is
    /// locked is skipped, so that two who want the same targets in another order do not wait for each other.
    pub(super) async fn change(
        &self,
        ready: &str,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Vec<AnyRow>, LedgerError> {
        if self.store.dialect() == Dialect::MySql {
            return self.change_locked(ready, set, values).await;
        }
        // Materialized, because a plan may run a subquery anew for every row of `targets`, and a LIMIT in it is none then.
        let sql = format!(
            "WITH ready AS MATERIALIZED (SELECT run_id, tenant_id {ready} {{skip_locked}})
             UPDATE targets SET {set} WHERE (run_id, tenant_id) IN (SELECT run_id, tenant_id FROM ready) RETURNING {COLUMNS}"
        );
        Ok(self.store.query(&sql).bind_all(values).fetch_all(self.store.pool()).await?)
    }

    /// The same in a transaction, on a database whose `UPDATE` gives nothing back.
    async fn change_locked(
        &self,
        ready: &str,
        set: &str,
        mut values: Vec<Value>,
    ) -> Result<Vec<AnyRow>, LedgerError> {
        let mut tx = self.store.begin().await?;
        let select = self.store.query(&format!("SELECT run_id, tenant_id {ready} {{skip_locked}}"));
        let locked = select.bind_all(values.clone()).fetch_all(&mut *tx).await?;
        if locked.is_empty() {
            tx.rollback().await?;
            return Ok(locked);
        }
        let these = format!("(run_id, tenant_id) IN ({{rows}} {})", pairs(values.len() + 1, locked.len()));
        for row in &locked {
            values.extend(ids(&read_job(row)?));
        }
        let update = self.store.query(&format!("UPDATE targets SET {set} WHERE {these}"));
        let done = update.bind_all(values.clone()).execute(&mut *tx).await?;
        expect_rows(done.rows_affected(), locked.len() as u64)?;
        let select = self.store.query(&format!("SELECT {COLUMNS} FROM targets WHERE {these}"));
        let changed = select.bind_all(values).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(changed)
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

/// Up to so many targets that are due, the longest due first, of runs that are neither paused nor stopped. Suspects are
/// not among them.
pub(super) fn due(limit: u64) -> String {
    format!(
        "FROM targets {{by_due}} WHERE due_at <= {{now}} AND state IN ('pending', 'retryable') AND {TRUSTED} AND run_id NOT IN {HELD}
         ORDER BY due_at LIMIT {limit}"
    )
}

fn ids(job: &Job) -> [Value; 2] {
    [job.run.to_string().into(), job.tenant.to_string().into()]
}

pub(super) fn read_claims(rows: &[AnyRow]) -> Result<Vec<Claim>, LedgerError> {
    let claim = |row: &AnyRow| {
        let (attempt, counted, max_attempts) = (number(row, 2)?, number(row, 3)?, number(row, 4)?);
        let alone = number(row, 5)? >= IN_COMPANY;
        Ok(Claim { job: read_job(row)?, attempt, counted, max_attempts, alone })
    };
    rows.iter().map(claim).collect()
}
