//! Why targets of a run failed or wait for another attempt, grouped by what they have in common; and which are worked
//! now. The database groups.

use super::{Ledger, LedgerError, claims::WORKED};
use crate::{
    id::RunId,
    run::TargetState,
    store::{Row, StoreError},
    summary::{Cause, Causes},
};

/// How many causes are told apart one by one; of more, the commonest.
const CAUSES: u32 = 1_000;

/// Of how many causes more than one tenant is named, and how many of each.
const NAMED_CAUSES: usize = 20;
const TENANTS_PER_CAUSE: u32 = 10;

/// Targets of one cause that wait for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retrying {
    /// Why their last attempt did not succeed.
    pub cause: Cause,
    /// When the next of them is due, in milliseconds since 1970.
    pub next_at: i64,
}

/// A target that is worked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningRow {
    /// Its tenant.
    pub tenant: String,
    /// The number of the attempt.
    pub attempt: i64,
    /// Who makes it.
    pub worker: String,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
}

impl Ledger {
    /// The causes of a run's failed targets, the commonest first.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn causes(&self, run: RunId) -> Result<Causes, LedgerError> {
        let rows = self.grouped(run, TargetState::Failed).await?;
        let list = self.named(run, TargetState::Failed, &rows).await?;
        let sql = "SELECT count(DISTINCT COALESCE(fingerprint, '')), count(CASE WHEN COALESCE(refused, 0) = 0 THEN 1 END)
            FROM targets WHERE run_id = $1 AND state = 'failed'";
        let row = self.store.query(sql).bind(run.to_string()).fetch_one(self.store.pool()).await?;
        let kinds = u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0);
        Ok(Causes { list, kinds, refused: kinds > 0 && row.try_get::<i64>(1)? == 0 })
    }

    /// Why targets of a run wait for another attempt, the commonest cause first. One that gave its claim back before it
    /// began has none.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn retrying(&self, run: RunId) -> Result<Vec<Retrying>, LedgerError> {
        let rows = self.grouped(run, TargetState::Retryable).await?;
        let causes = self.named(run, TargetState::Retryable, &rows).await?;
        let with_time = |(cause, row): (Cause, &Row)| {
            let next_at = row.try_get::<Option<i64>>(11)?.unwrap_or_default();
            Ok(Retrying { cause, next_at })
        };
        causes.into_iter().zip(&rows).map(with_time).collect()
    }

    /// Targets of a run that are worked now, the one that has been for longest first.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn running(&self, run: RunId, limit: u32) -> Result<Vec<RunningRow>, LedgerError> {
        let sql = format!(
            "SELECT t.slug, g.attempt, g.owner, g.started_at FROM targets g JOIN tenants t ON t.id = g.tenant_id
             WHERE g.run_id = $1 AND {WORKED} ORDER BY g.started_at, t.slug LIMIT {limit}"
        );
        let rows = self.store.query(&sql).bind(run.to_string()).fetch_all(self.store.pool()).await?;
        let read = |row: &Row| {
            Ok(RunningRow {
                tenant: row.try_get(0)?,
                attempt: row.try_get(1)?,
                worker: row.try_get::<Option<String>>(2)?.unwrap_or_default(),
                started_at: row.try_get::<Option<i64>>(3)?.unwrap_or_default(),
            })
        };
        rows.iter().map(read).collect()
    }

    /// One row for each cause. A job that is in a queue of its own is due since it was sent.
    async fn grouped(&self, run: RunId, state: TargetState) -> Result<Vec<Row>, LedgerError> {
        let sql = format!(
            "SELECT g.fingerprint, min(g.class), min(g.code), min(g.version), min(g.statement), min(g.line), min(g.message),
                min(g.hint), min(g.refused), count(*), min(t.slug), min(CASE WHEN g.sent_at IS NULL THEN g.due_at ELSE g.sent_at END),
                count(g.held), min(g.held)
             FROM targets g JOIN tenants t ON t.id = g.tenant_id WHERE g.run_id = $1 AND g.state = $2 AND g.wave >= -1
             GROUP BY g.fingerprint ORDER BY count(*) DESC, g.fingerprint LIMIT {CAUSES}"
        );
        let query = self.store.query(&sql).bind(run.to_string()).bind(state.as_str());
        Ok(query.fetch_all(self.store.pool()).await?)
    }

    /// The same with some of their tenants: of most causes the first one.
    async fn named(&self, run: RunId, state: TargetState, rows: &[Row]) -> Result<Vec<Cause>, LedgerError> {
        let mut causes = rows.iter().map(read_cause).collect::<Result<Vec<_>, _>>()?;
        for cause in causes.iter_mut().take(NAMED_CAUSES).filter(|cause| cause.count > 1) {
            let tenants = self.slugs(run, state, &cause.fingerprint).await?;
            // What was retried meanwhile is not there any more.
            if !tenants.is_empty() {
                cause.tenants = tenants;
            }
        }
        for cause in &mut causes {
            cause.truncated = cause.count > cause.tenants.len() as u64;
        }
        Ok(causes)
    }

    async fn slugs(
        &self,
        run: RunId,
        state: TargetState,
        fingerprint: &str,
    ) -> Result<Vec<String>, LedgerError> {
        let sql = format!(
            "SELECT t.slug FROM targets g JOIN tenants t ON t.id = g.tenant_id
             WHERE g.run_id = $1 AND g.state = $2 AND g.wave >= -1 AND g.fingerprint = $3 ORDER BY t.slug LIMIT {TENANTS_PER_CAUSE}"
        );
        let query = self.store.query(&sql).bind(run.to_string()).bind(state.as_str());
        let rows = query.bind(fingerprint.to_owned()).fetch_all(self.store.pool()).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(StoreError::from)?)
    }
}

fn read_cause(row: &Row) -> Result<Cause, LedgerError> {
    let text = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<String>>(at)?.unwrap_or_default());
    let small =
        |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>>(at)?.and_then(|n| u32::try_from(n).ok()));
    Ok(Cause {
        fingerprint: text(0)?,
        class: text(1)?,
        code: text(2)?,
        version: row.try_get(3)?,
        statement: small(4)?,
        line: small(5)?,
        message: text(6)?,
        hint: row.try_get(7)?,
        refused: row.try_get::<Option<i64>>(8)? == Some(1),
        count: u64::try_from(row.try_get::<i64>(9)?).unwrap_or(0),
        held: u64::try_from(row.try_get::<i64>(12)?).unwrap_or(0),
        failed_in: row.try_get(13)?,
        tenants: vec![row.try_get(10)?],
        truncated: false,
    })
}
