//! Waves: each opens when those before it are done and the gate is passed. Decided from the ledger alone, each step by
//! one guarded statement: a final state never changes, so whoever decides again decides the same.

use super::{Ledger, LedgerError, Swept, bounded, rollout::DUE, stops::unfinished};
use crate::{
    failure::Class,
    run::Policy,
    store::{Row, StoreError},
};

/// The `id` of the central database's row, as a subquery: null where there is none.
pub(super) const CENTRAL_ID: &str = "(SELECT id FROM tenants WHERE slug = 'central' AND central = 1)";

/// Why the tenants of a run were skipped.
const CENTRAL_FAILED: &str = "central-failed";

/// A target that waits for the waves before: nobody has been told of it.
const WAITING: &str = "state = 'pending' AND due_at IS NULL AND sent_at IS NULL";

/// Runs that may have a wave to open: all that was let in has ended.
fn ready() -> String {
    format!(
        "SELECT r.id, r.number, r.wave, r.waves, r.policy, r.soak_until, {{now}} FROM runs r
            WHERE r.state IN ('pending', 'running') AND r.stop_code IS NULL AND r.paused_at IS NULL AND {} IS NULL",
        unfinished("r.id", "o.wave <= r.wave")
    )
}

/// What became of the next wave of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The run's number.
    pub number: i64,
    /// The wave.
    pub wave: u64,
    /// How many tenants.
    pub tenants: u64,
    /// Whether they may begin. If not, they were skipped: the central database failed.
    pub opened: bool,
}

/// A run whose open waves have ended.
struct Ready {
    id: String,
    number: i64,
    wave: u64,
    waves: Vec<u64>,
    policy: Policy,
    soak_until: Option<i64>,
    now: i64,
}

impl Ledger {
    /// Opens the next wave of each run whose waves before are done and went well, after its soak. Stops a run whose gate
    /// fails, and skips the tenants of one whose central database failed.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn begin_waves(&self) -> Result<Swept<Begun>, LedgerError> {
        let mut begun = Swept::default();
        for row in self.store.query(&ready()).fetch_all(self.store.pool()).await? {
            begun.add(row.try_get(1)?, self.begin_next(&row).await)?;
        }
        Ok(begun)
    }

    async fn begin_next(&self, row: &Row) -> Result<Option<Begun>, LedgerError> {
        let run = &read_ready(row)?;
        if run.wave >= run.waves.len() as u64 {
            return Ok(None);
        }
        let next = run.wave + 1;
        let told = |tenants, opened| Begun { number: run.number, wave: next, tenants, opened };
        if run.wave == 0 {
            if let Some(fingerprint) = self.central_failure(&run.id).await? {
                let tenants = self.skip(&run.id, &fingerprint).await?;
                return Ok(Some(told(tenants, false)));
            }
        } else if self.judge(&run.id).await?.is_some() || self.soaks(run).await? {
            return Ok(None);
        }
        let tenants = self.open(&run.id, next).await?;
        Ok(Some(told(tenants, true)))
    }

    /// The fingerprint that the central database of a run failed with.
    async fn central_failure(&self, run: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT COALESCE(fingerprint, '') FROM targets WHERE run_id = $1 AND wave = 0 AND state = 'failed'";
        let row = self.store.query(sql).bind(run).fetch_optional(self.store.pool()).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Whether the wave is still watched before the next one opens. It begins to be when somebody first looks.
    async fn soaks(&self, run: &Ready) -> Result<bool, LedgerError> {
        match (run.policy.rollout.soak_ms, run.soak_until) {
            (0, _) => Ok(false),
            (_, Some(until)) => Ok(until > run.now),
            (soak, None) => {
                let sql = "UPDATE runs SET soak_until = {now} + $1 WHERE id = $2 AND wave = $3 AND soak_until IS NULL";
                let begin = self.store.query(sql).bind(bounded(soak));
                let begin = begin.bind(run.id.as_str()).bind(signed(run.wave));
                begin.execute(self.store.pool()).await?;
                Ok(true)
            }
        }
    }

    /// The targets first: after a crash in between, the run is found ready once more.
    async fn open(&self, run: &str, wave: u64) -> Result<u64, LedgerError> {
        let sql = format!("UPDATE targets SET {DUE} WHERE run_id = $1 AND wave = $2 AND {WAITING}");
        let open = self.store.query(&sql).bind(run).bind(signed(wave));
        let tenants = open.execute(self.store.pool()).await?.rows_affected();
        let sql = "UPDATE runs SET wave = $1, soak_until = NULL WHERE id = $2 AND wave = $3";
        let update = self.store.query(sql).bind(signed(wave)).bind(run).bind(signed(wave - 1));
        update.execute(self.store.pool()).await?;
        Ok(tenants)
    }

    /// They have the fingerprint of what the central database failed with, so that a retry of that cause takes them.
    async fn skip(&self, run: &str, fingerprint: &str) -> Result<u64, LedgerError> {
        let sql = format!(
            "UPDATE targets SET state = 'skipped', finished_at = {{now}}, class = $2, code = $3, message = $4, fingerprint = $5
             WHERE run_id = $1 AND wave > 0 AND {WAITING}"
        );
        let done = self
            .store
            .query(&sql)
            .bind(run)
            .bind(Class::Permanent.as_str())
            .bind(CENTRAL_FAILED)
            .bind("not begun: the central database failed first")
            .bind(fingerprint)
            .execute(self.store.pool())
            .await?;
        Ok(done.rows_affected())
    }
}

fn read_ready(row: &Row) -> Result<Ready, LedgerError> {
    let damaged = |what: &str| StoreError::Value(format!("runs.{what}"));
    Ok(Ready {
        id: row.try_get(0)?,
        number: row.try_get(1)?,
        wave: u64::try_from(row.try_get::<i64>(2)?).map_err(|_| damaged("wave"))?,
        waves: serde_json::from_str(&row.try_get::<String>(3)?).map_err(|_| damaged("waves"))?,
        policy: serde_json::from_str(&row.try_get::<String>(4)?).map_err(|_| damaged("policy"))?,
        soak_until: row.try_get(5)?,
        now: row.try_get(6)?,
    })
}

fn signed(wave: u64) -> i64 {
    i64::try_from(wave).unwrap_or(i64::MAX)
}
