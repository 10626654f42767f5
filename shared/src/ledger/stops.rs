//! Stopping and pausing runs. Once the reason is written, nothing of the run is claimed any more; all that follows can
//! be done again by anybody. Nothing is undone.

mod asked;
mod gates;

use super::{Ledger, LedgerError, Swept};
use crate::{failure::Class, run::Stop, store::StoreError};

/// The runs of which nothing may be claimed now, as a subquery: those that are paused, stopped, or being surveyed.
pub(super) const HELD: &str = "(SELECT h.id FROM runs h WHERE h.state IN ('pending', 'running')
    AND (h.paused_at IS NOT NULL OR h.stop_code IS NOT NULL OR h.survey_until > {now}))";

/// Of some run something may be claimed now, as a condition.
pub(super) const SOME_GO_ON: &str = "EXISTS (SELECT 1 FROM runs w WHERE w.state IN ('pending', 'running')
    AND w.paused_at IS NULL AND w.stop_code IS NULL AND (w.survey_until IS NULL OR w.survey_until <= {now}))";

/// Something of the run has not ended. Without that it only waits to be closed.
const OPEN: &str = "EXISTS (SELECT 1 FROM targets o WHERE o.run_id = runs.id AND o.state IN ('pending', 'running', 'retryable'))";

/// One of a run's targets that have not ended and meet a condition, as a value: null where there is none. State by state and
/// not as `EXISTS`: PostgreSQL would read all that has not ended, and that five times a second.
pub(super) fn unfinished(run: &str, condition: &str) -> String {
    let one = |state| {
        format!(
            "(SELECT 1 FROM targets o WHERE o.run_id = {run} AND o.state = '{state}' AND {condition} ORDER BY o.wave LIMIT 1)"
        )
    };
    format!("COALESCE({}, {}, {})", one("pending"), one("running"), one("retryable"))
}

/// A gate stopped it.
const HALTED: &str = "halted";

/// An operator stopped it. The code, too, of an attempt that was stopped with it.
pub const CANCELED: &str = "canceled";

/// Its time was over.
const DEADLINE: &str = "deadline";

/// Who stops a run that nobody has stopped.
const NOBODY: &str = "tenantry";

/// A run that was stopped just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its number.
    pub number: i64,
    /// Why.
    pub stop: Stop,
}

impl Ledger {
    /// Stops the runs that failed too often, and those whose time is over.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn stop_runs(&self) -> Result<Swept<Stopped>, LedgerError> {
        let sql = "SELECT r.id, r.number, CASE WHEN r.deadline_at <= {now} THEN 1 ELSE 0 END FROM runs r
            WHERE r.state IN ('pending', 'running') AND r.stop_code IS NULL AND (r.deadline_at <= {now}
                OR EXISTS (SELECT 1 FROM targets f WHERE f.run_id = r.id AND f.state = 'failed'))";
        let mut stopped = Swept::default();
        for row in self.store.query(sql).fetch_all(self.store.pool()).await? {
            let (run, number, late): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if late == 1 {
                let stop = Stop { code: DEADLINE.into(), reason: "its deadline has passed".into() };
                let done = self.stop(&run, &stop, OPEN, NOBODY).await;
                stopped.add(number, done.map(|done| done.then_some(Stopped { number, stop })))?;
            } else {
                stopped.add(number, self.judge(&run).await)?;
            }
        }
        Ok(stopped)
    }

    /// Ends what was not begun of the runs that were stopped, and what waits for another attempt.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn end_stopped(&self) -> Result<(), LedgerError> {
        let sql = "SELECT id, stop_code, stop_reason FROM runs WHERE state IN ('pending', 'running') AND stop_code IS NOT NULL";
        for row in self.store.query(sql).fetch_all(self.store.pool()).await? {
            let (run, code): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let stop = Stop { code, reason: row.try_get::<Option<String>>(2)?.unwrap_or_default() };
            self.end_rest(&run, &stop).await?;
        }
        Ok(())
    }

    /// What has a failure was begun, and has it for good. The order of the assignments matters where one sees those
    /// before it.
    async fn end_rest(&self, run: &str, stop: &Stop) -> Result<(), LedgerError> {
        let cause = if stop.code == HALTED { self.only_cause(run).await? } else { None };
        let sql = "UPDATE targets SET state = CASE WHEN code IS NULL THEN 'skipped' ELSE 'failed' END,
                finished_at = {now}, due_at = NULL, sent_at = NULL, class = COALESCE(class, $1),
                message = COALESCE(message, $2), fingerprint = COALESCE(fingerprint, $3), code = COALESCE(code, $4)
            WHERE run_id = $5 AND state IN ('pending', 'retryable')";
        let end = self.store.query(sql).bind(Class::Permanent.as_str());
        let end = end.bind(format!("not begun: {}", stop.reason)).bind(cause).bind(stop.code.as_str());
        end.bind(run).execute(self.store.pool()).await?;
        Ok(())
    }

    /// What all failed targets of a run failed with, if that is one cause: a retry of it takes those, too, that were not
    /// begun because of it.
    async fn only_cause(&self, run: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT CASE WHEN min(fingerprint) = max(fingerprint) THEN min(fingerprint) END FROM targets WHERE run_id = $1 AND state = 'failed' AND held IS NULL";
        Ok(self.store.query(sql).bind(run).fetch_one(self.store.pool()).await?.try_get(0)?)
    }

    /// Stops a run if `still` is so when that is written: whoever stops it may have been paused since it looked. `false`: it
    /// is not so any more, or the run was stopped before, or has ended.
    async fn stop(&self, run: &str, stop: &Stop, still: &str, actor: &str) -> Result<bool, LedgerError> {
        let mut tx = self.store.begin().await?;
        // By a statement of its own: one that waits for a lock may look at what was before.
        let lock = "UPDATE runs SET stop_code = NULL WHERE id = $1 AND state IN ('pending', 'running') AND stop_code IS NULL";
        if self.store.query(lock).bind(run).execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let sql = format!(
            "UPDATE runs SET stop_code = $1, stop_reason = $2, soak_until = NULL WHERE id = $3 AND {still}"
        );
        let update = self.store.query(&sql).bind(stop.code.as_str()).bind(stop.reason.as_str()).bind(run);
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let id = run.parse().map_err(|_| StoreError::Value("runs.id".into()))?;
        self.event(&mut tx, &format!("run.{}", stop.code), Some(id), actor, &stop.reason).await?;
        tx.commit().await?;
        Ok(true)
    }
}
