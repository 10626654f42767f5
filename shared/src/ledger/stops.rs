//! Stopping and pausing runs. Once the reason is written, nothing of the run is claimed any more; all that follows can
//! be done again by anybody. Nothing is undone.

use sqlx::Row as _;

use super::{Ledger, LedgerError, Swept};
use crate::{
    failure::Class,
    id::RunId,
    run::{Policy, Stop},
    store::StoreError,
};

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

/// Something of the run is left to be begun. Without that there is nothing to halt.
const LEFT: &str = "EXISTS (SELECT 1 FROM targets o WHERE o.run_id = runs.id AND o.state IN ('pending', 'retryable') AND o.wave > 0)";

/// None of the run's tenants came to its version.
const NONE_SUCCEEDED: &str = "NOT EXISTS (SELECT 1 FROM targets s WHERE s.run_id = runs.id AND s.state IN ('applied', 'current') AND s.wave > 0)";

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

/// An open run as its gates see it.
struct Judged {
    number: i64,
    wave: u64,
    size: u64,
    policy: Policy,
    /// Whether any of its tenants came to its version.
    succeeded: bool,
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

    /// Stops a run that has failed too often, where something of it is left to be begun.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn check_gates(&self, run: RunId) -> Result<Option<Stopped>, LedgerError> {
        self.judge(&run.to_string()).await
    }

    pub(super) async fn judge(&self, run: &str) -> Result<Option<Stopped>, LedgerError> {
        let Some(judged) = self.judged(run).await? else { return Ok(None) };
        let (reason, still) = match self.too_many(run, &judged).await? {
            None => (self.one_cause(run, &judged).await?, format!("{LEFT} AND {NONE_SUCCEEDED}")),
            reason => (reason, LEFT.to_owned()),
        };
        let Some(reason) = reason else { return Ok(None) };
        let stop = Stop { code: HALTED.into(), reason };
        let stopped = self.stop(run, &stop, &still, NOBODY).await?;
        Ok(stopped.then_some(Stopped { number: judged.number, stop }))
    }

    /// A run that goes on, and has tenants left that were not begun or wait for another attempt.
    async fn judged(&self, run: &str) -> Result<Option<Judged>, LedgerError> {
        let sql = "SELECT r.number, r.wave, r.waves, r.policy, CASE WHEN EXISTS (SELECT 1 FROM targets s
                WHERE s.run_id = r.id AND s.state IN ('applied', 'current') AND s.wave > 0) THEN 1 ELSE 0 END FROM runs r
            WHERE r.id = $1 AND r.state IN ('pending', 'running') AND r.stop_code IS NULL
                AND EXISTS (SELECT 1 FROM targets o WHERE o.run_id = r.id AND o.state IN ('pending', 'retryable') AND o.wave > 0)";
        let Some(row) = self.store.query(sql).bind(run).fetch_optional(self.store.pool()).await? else {
            return Ok(None);
        };
        let damaged = |what: &str| StoreError::Value(format!("runs.{what}"));
        let waves: Vec<u64> =
            serde_json::from_str(&row.try_get::<String, _>(2)?).map_err(|_| damaged("waves"))?;
        let wave = usize::try_from(row.try_get::<i64, _>(1)?).map_err(|_| damaged("wave"))?;
        let size = wave.checked_sub(1).and_then(|at| waves.get(at)).copied().unwrap_or(0);
        let policy = serde_json::from_str(&row.try_get::<String, _>(3)?).map_err(|_| damaged("policy"))?;
        let succeeded = row.try_get::<i64, _>(4)? == 1;
        Ok(Some(Judged { number: row.try_get(0)?, wave: wave as u64, size, policy, succeeded }))
    }

    /// More tenants of the open wave failed than may.
    async fn too_many(&self, run: &str, judged: &Judged) -> Result<Option<String>, LedgerError> {
        let rollout = &judged.policy.rollout;
        let Some(may) = rollout.may_fail(judged.size).filter(|_| judged.wave > 0) else { return Ok(None) };
        let sql = "SELECT count(*) FROM targets WHERE run_id = $1 AND state = 'failed' AND wave = $2";
        let count = self.store.query(sql).bind(run).bind(i64::try_from(judged.wave).unwrap_or(i64::MAX));
        let row = count.fetch_one(self.store.pool()).await?;
        let failed = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        let place = if rollout.has_waves() { format!(" of wave {}", judged.wave) } else { String::new() };
        let reason = || format!("more than {may} of {} tenants{place} failed (--max-failures)", judged.size);
        Ok((failed > may).then(reason))
    }

    /// So many failed for good with one cause, and none succeeded.
    async fn one_cause(&self, run: &str, judged: &Judged) -> Result<Option<String>, LedgerError> {
        let limit = judged.policy.rollout.same_cause;
        if limit == 0 || judged.succeeded {
            return Ok(None);
        }
        let sql = format!(
            "SELECT fingerprint, count(*) FROM targets
             WHERE run_id = $1 AND state = 'failed' AND class = '{}' AND wave > 0
             GROUP BY fingerprint HAVING count(*) >= {limit} ORDER BY count(*) DESC LIMIT 1",
            Class::Permanent.as_str()
        );
        let Some(row) = self.store.query(&sql).bind(run).fetch_optional(self.store.pool()).await? else {
            return Ok(None);
        };
        let (cause, failed) =
            (row.try_get::<Option<String>, _>(0)?.unwrap_or_default(), row.try_get::<i64, _>(1)?);
        Ok(Some(format!(
            "the first {failed} tenants failed for one cause, {cause}, and none succeeded (--halt-same-cause)"
        )))
    }

    /// Stops a run: what is not begun is ended, and so is the run where nothing of it is running. One of which all has
    /// ended is closed as it is. Doing it again changes nothing, but `force` may be asked for later.
    /// `force`: the attempts that run are stopped, too.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn cancel(&self, run: RunId, force: bool, actor: &str) -> Result<(), LedgerError> {
        let run = run.to_string();
        let stop = Stop { code: CANCELED.into(), reason: format!("canceled by {actor}") };
        self.stop(&run, &stop, OPEN, actor).await?;
        if force {
            let sql = "UPDATE runs SET stop_force = 1 WHERE id = $1 AND state IN ('pending', 'running') AND stop_code IS NOT NULL AND stop_force = 0";
            self.noted(sql, &run, "run.forced", actor, "what runs is stopped").await?;
        }
        self.end_stopped().await?;
        self.close_runs().await.map(|_| ())
    }

    /// Nothing of the run is claimed from now on. `false`: it is paused already, or has ended.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn pause(&self, run: RunId, actor: &str) -> Result<bool, LedgerError> {
        let sql = "UPDATE runs SET paused_at = {now}
            WHERE id = $1 AND state IN ('pending', 'running') AND stop_code IS NULL AND paused_at IS NULL";
        self.noted(sql, &run.to_string(), "run.paused", actor, "").await
    }

    /// The run goes on. `false`: it is not paused.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn resume(&self, run: RunId, actor: &str) -> Result<bool, LedgerError> {
        let run = run.to_string();
        let sql = "UPDATE runs SET paused_at = NULL WHERE id = $1 AND paused_at IS NOT NULL";
        let resumed = self.noted(sql, &run, "run.resumed", actor, "").await?;
        // A queue's jobs that came meanwhile were thrown away.
        let sql = "UPDATE targets SET sent_at = NULL, due_at = {now}
            WHERE run_id = $1 AND state IN ('pending', 'retryable') AND sent_at IS NOT NULL";
        self.store.query(sql).bind(run).execute(self.store.pool()).await?;
        Ok(resumed)
    }

    /// The runs whose attempts are to be stopped.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn forced_runs(&self) -> Result<Vec<RunId>, LedgerError> {
        let sql = "SELECT id FROM runs WHERE state IN ('pending', 'running') AND stop_force = 1";
        let rows = self.store.query(sql).fetch_all(self.store.pool()).await?;
        let id = |row: &sqlx::any::AnyRow| {
            row.try_get::<String, _>(0)?.parse().map_err(|_| StoreError::Value("runs.id".into()).into())
        };
        rows.iter().map(id).collect()
    }

    /// Ends what was not begun of the runs that were stopped, and what waits for another attempt.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn end_stopped(&self) -> Result<(), LedgerError> {
        let sql = "SELECT id, stop_code, stop_reason FROM runs WHERE state IN ('pending', 'running') AND stop_code IS NOT NULL";
        for row in self.store.query(sql).fetch_all(self.store.pool()).await? {
            let (run, code): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let stop = Stop { code, reason: row.try_get::<Option<String>, _>(2)?.unwrap_or_default() };
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

    /// A change of a run with its note in the audit log. `false`: there was nothing to change.
    async fn noted(
        &self,
        sql: &str,
        run: &str,
        kind: &str,
        actor: &str,
        detail: &str,
    ) -> Result<bool, LedgerError> {
        let mut tx = self.store.begin().await?;
        if self.store.query(sql).bind(run).execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let id = run.parse().map_err(|_| StoreError::Value("runs.id".into()))?;
        self.event(&mut tx, kind, Some(id), actor, detail).await?;
        tx.commit().await?;
        Ok(true)
    }
}
