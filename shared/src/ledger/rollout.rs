//! Which wave each tenant of a new run is in: decided in the transaction that writes the run, by the database, so that
//! memory does not grow with the fleet. Tenants go by their slugs, the canary first.

use super::{Ledger, LedgerError, bounded};
use crate::{
    id::RunId,
    registry::clause::Clause,
    run::RunSpec,
    selector::Selector,
    store::{StoreError, Tx, expect_rows},
    wave::Canary,
};

/// The wave of a tenant that has none yet. The central database, whose wave this is, is written last.
pub(super) const NO_WAVE: &str = "0";

/// A target that is due from now on: a tenant that takes long a little earlier than others, and so before them.
pub(super) const DUE: &str =
    "due_at = {now} - (SELECT t.head_start FROM tenants t WHERE t.id = targets.tenant_id)";

impl Ledger {
    /// Puts the run's tenants that are tried into waves, and tells the run of them. The first wave is due, unless the central database
    /// comes first.
    pub(super) async fn assign_waves(
        &self,
        tx: &mut Tx,
        run: RunId,
        spec: &RunSpec,
        tenants: u64,
    ) -> Result<(), LedgerError> {
        let rollout = &spec.policy.rollout;
        let mut sizes = if tenants > 0 { vec![tenants] } else { Vec::new() };
        if rollout.has_waves() && tenants > 0 {
            let labelled = self.assign_labelled(tx, run, spec).await?;
            sizes = rollout.sizes(tenants, labelled);
            for (wave, size) in (1..).zip(&sizes).skip(usize::from(labelled > 0)) {
                self.assign_next(tx, run, wave, *size).await?;
            }
            if !spec.central {
                let due = format!("UPDATE targets SET {DUE} WHERE run_id = $1 AND wave = 1");
                self.store.query(&due).bind(run.to_string()).execute(&mut **tx).await?;
            }
        }
        let update = "UPDATE runs SET waves = $1, wave = $2, deadline_at = {now} + $3 WHERE id = $4";
        let update = self
            .store
            .query(update)
            .bind(serde_json::to_string(&sizes).unwrap_or_default())
            .bind(i64::from(!spec.central))
            .bind(rollout.deadline_ms.map(bounded))
            .bind(run.to_string());
        Ok(expect_rows(update.execute(&mut **tx).await?.rows_affected(), 1)?)
    }

    /// How many tenants are in the canary because of their labels. A retry may have none of them left, and all of them
    /// may be held.
    async fn assign_labelled(&self, tx: &mut Tx, run: RunId, spec: &RunSpec) -> Result<u64, LedgerError> {
        let Some(Canary::Labels(selector)) = &spec.policy.rollout.canary else { return Ok(0) };
        match self.assign_matching(tx, run, selector).await? {
            0 if spec.parent.is_none() && !spec.holds_back() => {
                Err(LedgerError::NoCanary(selector.to_string()))
            }
            count => Ok(count),
        }
    }

    async fn assign_matching(
        &self,
        tx: &mut Tx,
        run: RunId,
        selector: &Selector,
    ) -> Result<u64, LedgerError> {
        let mut clause = Clause::of_tenants(2);
        clause.labels(selector);
        let update = format!(
            "UPDATE targets SET wave = 1 WHERE run_id = $1 AND wave = {NO_WAVE} AND tenant_id IN (SELECT t.id FROM tenants t WHERE {})",
            clause.text()
        );
        let update = clause.bind(self.store.query(&update).bind(run.to_string()));
        Ok(update.execute(&mut **tx).await?.rows_affected())
    }

    /// Puts the next so many tenants into a wave.
    async fn assign_next(&self, tx: &mut Tx, run: RunId, wave: u32, size: u64) -> Result<(), LedgerError> {
        let last = format!(
            "SELECT t.slug FROM targets g JOIN tenants t ON t.id = g.tenant_id
             WHERE g.run_id = $1 AND g.wave = {NO_WAVE} ORDER BY t.slug LIMIT 1 OFFSET {}",
            size.saturating_sub(1)
        );
        let row = self.store.query(&last).bind(run.to_string()).fetch_optional(&mut **tx).await?;
        let last: String = row.ok_or(StoreError::Guard { touched: 0, expected: size })?.try_get(0)?;
        let update = format!(
            "UPDATE targets SET wave = {wave} WHERE run_id = $1 AND wave = {NO_WAVE}
                AND tenant_id IN (SELECT t.id FROM tenants t WHERE t.slug <= $2)"
        );
        let update = self.store.query(&update).bind(run.to_string()).bind(last);
        Ok(expect_rows(update.execute(&mut **tx).await?.rows_affected(), size)?)
    }
}
