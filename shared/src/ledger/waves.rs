//! Waves: the tenants of a run whose bundle has a set for the central database wait for that one. Decided from the
//! ledger alone, and guarded: a final state never changes, so whoever decides again decides the same.

use sqlx::{Row as _, any::AnyRow};

use super::{Ledger, LedgerError};
use crate::failure::Class;

/// The `id` of the central database's row, as a subquery: null where there is none.
pub(super) const CENTRAL_ID: &str = "(SELECT id FROM tenants WHERE slug = 'central' AND central = 1)";

/// Why the tenants of a run were skipped.
const CENTRAL_FAILED: &str = "central-failed";

/// A target that waits for the wave before: nobody has been told of it.
const WAITING: &str = "run_id = $1 AND wave = 1 AND state = 'pending' AND due_at IS NULL AND sent_at IS NULL";

/// What became of the tenants of a run once its central database had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The run's number.
    pub number: i64,
    /// How many tenants.
    pub tenants: u64,
    /// Whether they may begin. If not, they were skipped.
    pub opened: bool,
}

impl Ledger {
    /// Lets the tenants of a run begin once its central database is proven to be at its version, and skips them once
    /// that failed.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn begin_waves(&self) -> Result<Vec<Begun>, LedgerError> {
        let sql = format!(
            "SELECT r.id, r.number, c.state, c.fingerprint FROM runs r JOIN targets c ON c.run_id = r.id
             WHERE r.state IN ('pending', 'running') AND c.tenant_id = {CENTRAL_ID} AND c.wave = 0
                AND c.state IN ('applied', 'current', 'failed')"
        );
        let mut begun = Vec::new();
        for row in self.store.query(&sql).fetch_all(self.store.pool()).await? {
            let (run, state): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            if !self.somebody_waits(&run).await? {
                continue;
            }
            let opened = state != "failed";
            let tenants =
                if opened { self.open(&run).await? } else { self.skip(&run, row.try_get(3)?).await? };
            begun.push(Begun { number: row.try_get(1)?, tenants, opened });
        }
        Ok(begun)
    }

    /// The targets of a wave begin or are skipped in one statement, so that any one of them tells of all.
    async fn somebody_waits(&self, run: &str) -> Result<bool, LedgerError> {
        let sql =
            "SELECT CASE WHEN state = 'pending' AND due_at IS NULL AND sent_at IS NULL THEN 1 ELSE 0 END
            FROM targets WHERE run_id = $1 AND wave = 1 ORDER BY tenant_id LIMIT 1";
        let row = self.store.query(sql).bind(run.to_owned()).fetch_optional(self.store.pool());
        let waits = |row: AnyRow| row.try_get::<i64, _>(0).map(|waits| waits == 1);
        Ok(row.await?.map(waits).transpose()?.unwrap_or(false))
    }

    async fn open(&self, run: &str) -> Result<u64, LedgerError> {
        let sql = format!("UPDATE targets SET due_at = {{now}} WHERE {WAITING}");
        let done = self.store.query(&sql).bind(run.to_owned()).execute(self.store.pool()).await?;
        Ok(done.rows_affected())
    }

    /// They have the fingerprint of what the central database failed with, so that a retry of that cause takes them.
    async fn skip(&self, run: &str, fingerprint: Option<String>) -> Result<u64, LedgerError> {
        let sql = format!(
            "UPDATE targets SET state = 'skipped', finished_at = {{now}}, class = $2, code = $3, message = $4, fingerprint = $5
             WHERE {WAITING}"
        );
        let done = self
            .store
            .query(&sql)
            .bind(run.to_owned())
            .bind(Class::Permanent.as_str())
            .bind(CENTRAL_FAILED)
            .bind("not begun: the central database failed first")
            .bind(fingerprint)
            .execute(self.store.pool())
            .await?;
        Ok(done.rows_affected())
    }
}
