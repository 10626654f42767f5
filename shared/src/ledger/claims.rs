//! Claims: the right to work a target, given in one statement by the database's clock.

use std::time::Duration;

use sqlx::any::AnyRow;

use super::{Ledger, LedgerError, bind_attempt, ms, number, read_job};
use crate::job::{Claim, Job};

/// Claims what `ready` selects: `$1` is the owner, `$2` the lease. Materialized, because a plan may run a subquery
/// anew for every row of `targets`, and a LIMIT in it is none then. Skipping what is locked, two claims of the same
/// targets in another order do not wait for each other.
fn claim(ready: &str) -> String {
    format!(
        "WITH ready AS MATERIALIZED ({ready} {{skip_locked}})
         UPDATE targets SET state = 'running', attempt = attempt + 1, owner = $1, due_at = {{now}} + $2, sent_at = NULL, started_at = {{now}}
         WHERE (run_id, tenant_id) IN (SELECT run_id, tenant_id FROM ready)
         RETURNING run_id, tenant_id, attempt, attempt - uncounted, max_attempts"
    )
}

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
        let sql = claim(&format!(
            "SELECT run_id, tenant_id FROM targets WHERE due_at <= {{now}} AND state IN ('pending', 'retryable')
             ORDER BY due_at LIMIT {limit}"
        ));
        let query = sqlx::query(self.store.sql(&sql)).bind(owner.to_owned()).bind(ms(lease));
        read_claims(&query.fetch_all(self.store.pool()).await?)
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
        let pairs: Vec<String> =
            (0..jobs.len()).map(|at| format!("(${},${})", at * 2 + 3, at * 2 + 4)).collect();
        let sql = claim(&format!(
            "SELECT run_id, tenant_id FROM targets WHERE (run_id, tenant_id) IN (VALUES {})
                AND state IN ('pending', 'retryable') AND (sent_at IS NOT NULL OR due_at <= {{now}})",
            pairs.join(",")
        ));
        let query = sqlx::query(self.store.sql(&sql)).bind(owner.to_owned()).bind(ms(lease));
        let query = jobs
            .iter()
            .fold(query, |query, job| query.bind(job.run.to_string()).bind(job.tenant.to_string()));
        read_claims(&query.fetch_all(self.store.pool()).await?)
    }

    /// Renews a claim's lease. `false`: it is not ours any more, stop the work.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET due_at = {now} + $1 WHERE run_id = $2 AND tenant_id = $3 AND attempt = $4 AND state = 'running'";
        let query = sqlx::query(self.store.sql(sql)).bind(ms(lease));
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a claim back that was never begun: the attempt does not count.
    ///
    /// # Errors
    /// When the registry cannot be reached; the lease's end gives it back then.
    pub async fn release(&self, claim: &Claim) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET state = 'retryable', uncounted = uncounted + 1, due_at = {now}
            WHERE run_id = $1 AND tenant_id = $2 AND attempt = $3 AND state = 'running'";
        let query = sqlx::query(self.store.sql(sql));
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }
}

fn read_claims(rows: &[AnyRow]) -> Result<Vec<Claim>, LedgerError> {
    let claim = |row: &AnyRow| {
        let (attempt, counted, max_attempts) = (number(row, 2)?, number(row, 3)?, number(row, 4)?);
        Ok(Claim { job: read_job(row)?, attempt, counted, max_attempts })
    };
    rows.iter().map(claim).collect()
}
