//! What a rollback is to revert in each tenant: kept with the target before the first change, and never changed.
//!
//! "The last two" is not the same two after one of them was reverted. So it is decided once for a target, and for the
//! targets of its retries.

use std::collections::BTreeSet;

use super::{CANCELED, Ledger, LedgerError, bind_attempt};
use crate::{
    id::{RunId, TenantId},
    job::{Claim, Direction, Job, Step},
    store::{Row, StoreError},
    version::Version,
};

/// Codes of attempts that may have done more than they could tell.
const CUT_SHORT: [&str; 3] = ["worker-lost", "shutdown", CANCELED];

/// Codes of attempts that were not told how their last statement ended.
const UNANSWERED: [&str; 3] = ["connection", "protocol", "no-answer"];

/// How many attempts are read at once.
const PAGE: usize = 1_000;

/// What the ledger knows of what a run did to a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// What it applied, in order.
    pub applied: Vec<Version>,
    /// It may have applied more: an attempt was cut short, or its end is not known.
    pub unsure: bool,
    /// The number of a later run that applied some of it again.
    pub again: Option<i64>,
}

impl Ledger {
    /// What is to be reverted in a tenant, if that was decided: for this target, or for the one that its run retries.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn plan_of(&self, job: &Job) -> Result<Option<Vec<Version>>, LedgerError> {
        let sql = "SELECT g.plan FROM targets g JOIN runs r ON r.id = $1
            WHERE g.tenant_id = $2 AND g.plan IS NOT NULL AND g.run_id IN (r.id, r.parent_id)
            ORDER BY CASE WHEN g.run_id = r.id THEN 0 ELSE 1 END LIMIT 1";
        let row = self
            .store
            .query(sql)
            .bind(job.run.to_string())
            .bind(job.tenant.to_string())
            .fetch_optional(self.store.pool())
            .await?;
        let read = |row: Row| {
            let plan: String = row.try_get(0)?;
            serde_json::from_str(&plan).map_err(|_| StoreError::Value("targets.plan".into()).into())
        };
        row.map(read).transpose()
    }

    /// Keeps what is to be reverted. `false`: this attempt is not the target's latest any more.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn keep_plan(&self, claim: &Claim, plan: &[Version]) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET plan = $1 WHERE run_id = $2 AND tenant_id = $3 AND attempt = $4 AND state = 'running'";
        let query = self.store.query(sql).bind(serde_json::to_string(plan).unwrap_or_default());
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }

    /// What a run did to a tenant.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn traces(&self, run: RunId, tenant: TenantId) -> Result<Traces, LedgerError> {
        let mut traces = Traces::default();
        let mut failed_in = Vec::new();
        let proven = self.is_proven(run, tenant).await?;
        for attempt in self.attempts(run, tenant).await? {
            let code = attempt.code.as_deref().unwrap_or_default();
            traces.unsure |= CUT_SHORT.contains(&code);
            // The tenant is beyond it all the same, or may be.
            failed_in
                .extend(attempt.version.filter(|_| proven || UNANSWERED.contains(&code)).map(Version::from));
            let up = attempt.steps.into_iter().filter(|step| step.direction == Direction::Up);
            traces.applied.extend(up.map(|step| step.version));
        }
        traces.unsure |= failed_in.iter().any(|version| !traces.applied.contains(version));
        traces.again = self.applied_again(run, tenant, &traces.applied).await?;
        Ok(traces)
    }

    async fn is_proven(&self, run: RunId, tenant: TenantId) -> Result<bool, LedgerError> {
        let sql = "SELECT count(*) FROM targets WHERE run_id = $1 AND tenant_id = $2 AND state IN ('applied', 'current')";
        let query = self.store.query(sql).bind(run.to_string()).bind(tenant.to_string());
        Ok(query.fetch_one(self.store.pool()).await?.try_get::<i64>(0)? > 0)
    }

    /// The newest later run that applied any of these to the tenant.
    async fn applied_again(
        &self,
        run: RunId,
        tenant: TenantId,
        versions: &[Version],
    ) -> Result<Option<i64>, LedgerError> {
        let sql = "SELECT r.number, a.steps FROM attempts a JOIN runs r ON r.id = a.run_id
            WHERE a.tenant_id = $1 AND a.steps <> '[]' AND r.number > (SELECT b.number FROM runs b WHERE b.id = $2)
            ORDER BY r.number DESC";
        let rows = self
            .store
            .query(sql)
            .bind(tenant.to_string())
            .bind(run.to_string())
            .fetch_all(self.store.pool())
            .await?;
        for row in rows {
            let up = |step: &Step| step.direction == Direction::Up && versions.contains(&step.version);
            if read_steps(&row, 1)?.iter().any(up) {
                return Ok(Some(row.try_get(0)?));
            }
        }
        Ok(None)
    }

    /// The distinct migrations that a run applied to any tenant, by their names.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn applied_by(&self, run: RunId) -> Result<Vec<Version>, LedgerError> {
        let sql = format!(
            "SELECT steps, tenant_id, number FROM attempts WHERE run_id = $1 AND steps <> '[]'
                AND (tenant_id > $2 OR tenant_id = $2 AND number > $3) ORDER BY tenant_id, number LIMIT {PAGE}"
        );
        let (mut versions, mut tenant, mut number) = (BTreeSet::new(), String::new(), 0_i64);
        loop {
            let query = self.store.query(&sql).bind(run.to_string()).bind(tenant.as_str()).bind(number);
            let rows = query.fetch_all(self.store.pool()).await?;
            for row in &rows {
                let up = read_steps(row, 0)?.into_iter().filter(|step| step.direction == Direction::Up);
                versions.extend(up.map(|step| step.version));
                (tenant, number) = (row.try_get(1)?, row.try_get(2)?);
            }
            if rows.len() < PAGE {
                return Ok(versions.into_iter().collect());
            }
        }
    }
}

fn read_steps(row: &Row, at: usize) -> Result<Vec<Step>, LedgerError> {
    let text: String = row.try_get(at)?;
    serde_json::from_str(&text).map_err(|_| StoreError::Value("attempts.steps".into()).into())
}
