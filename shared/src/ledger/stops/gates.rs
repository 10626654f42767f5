//! The gates that stop a run in which too much fails.

use super::{HALTED, NOBODY, Stopped};
use crate::{
    failure::Class,
    id::RunId,
    ledger::{Ledger, LedgerError},
    run::{Policy, Stop},
    store::StoreError,
};

/// Something of the run is left to be begun. Without that there is nothing to halt.
const LEFT: &str = "EXISTS (SELECT 1 FROM targets o WHERE o.run_id = runs.id AND o.state IN ('pending', 'retryable') AND o.wave > 0)";

/// None of the run's tenants came to its version.
const NONE_SUCCEEDED: &str = "NOT EXISTS (SELECT 1 FROM targets s WHERE s.run_id = runs.id AND s.state IN ('applied', 'current') AND s.wave > 0)";

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
    /// Stops a run that has failed too often, where something of it is left to be begun.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn check_gates(&self, run: RunId) -> Result<Option<Stopped>, LedgerError> {
        self.judge(&run.to_string()).await
    }

    pub(in crate::ledger) async fn judge(&self, run: &str) -> Result<Option<Stopped>, LedgerError> {
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
            serde_json::from_str(&row.try_get::<String>(2)?).map_err(|_| damaged("waves"))?;
        let wave = usize::try_from(row.try_get::<i64>(1)?).map_err(|_| damaged("wave"))?;
        let size = wave.checked_sub(1).and_then(|at| waves.get(at)).copied().unwrap_or(0);
        let policy = serde_json::from_str(&row.try_get::<String>(3)?).map_err(|_| damaged("policy"))?;
        let succeeded = row.try_get::<i64>(4)? == 1;
        Ok(Some(Judged { number: row.try_get(0)?, wave: wave as u64, size, policy, succeeded }))
    }

    /// More tenants of the open wave failed than may.
    async fn too_many(&self, run: &str, judged: &Judged) -> Result<Option<String>, LedgerError> {
        let rollout = &judged.policy.rollout;
        let Some(may) = rollout.may_fail(judged.size).filter(|_| judged.wave > 0) else { return Ok(None) };
        let sql = "SELECT count(*) FROM targets WHERE run_id = $1 AND state = 'failed' AND wave = $2";
        let count = self.store.query(sql).bind(run).bind(i64::try_from(judged.wave).unwrap_or(i64::MAX));
        let row = count.fetch_one(self.store.pool()).await?;
        let failed = u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0);
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
        let (cause, failed) = (row.try_get::<Option<String>>(0)?.unwrap_or_default(), row.try_get::<i64>(1)?);
        Ok(Some(format!(
            "the first {failed} tenants failed for one cause, {cause}, and none succeeded (--halt-same-cause)"
        )))
    }
}
