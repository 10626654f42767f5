//! The tenants of a selection as a table that other statements read from, in parts as large as one statement can name.

use sqlx::Row as _;

use super::{Ledger, LedgerError, selection::clauses};
use crate::{
    registry::clause::Clause,
    run::Selection,
    store::Statement,
    wave::{Canary, Rollout},
};

/// One part of a selection.
pub(super) struct Part(Clause);

impl Part {
    /// The first parameter that is free.
    pub(super) fn next(&self) -> usize {
        self.0.next()
    }

    /// Its tenants as `t`, not more than so many of them, by their slugs.
    pub(super) fn table(&self, left: Option<u64>) -> String {
        let limit = left.map(|left| format!("LIMIT {left}")).unwrap_or_default();
        format!(
            "(SELECT t.id, t.slug, t.version, t.version_at FROM tenants t WHERE {} ORDER BY t.slug {limit}) t",
            self.0.text()
        )
    }

    pub(super) fn bind(&self, query: Statement) -> Statement {
        self.0.bind(query)
    }
}

/// The parts of a selection, in the order of the slugs.
pub(super) fn parts(selection: &Selection) -> Vec<Part> {
    clauses(selection, 1).into_iter().map(Part).collect()
}

impl Ledger {
    pub(super) async fn count_part(&self, part: &Part, left: Option<u64>) -> Result<u64, LedgerError> {
        let sql = format!("SELECT count(*) FROM {}", part.table(left));
        let row = part.bind(self.store.query(&sql)).fetch_one(self.store.pool()).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    /// How many of the selected tenants a canary takes that is chosen by labels; none for another canary.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn labeled_canary(
        &self,
        selection: &Selection,
        rollout: &Rollout,
    ) -> Result<Option<u64>, LedgerError> {
        let Some(Canary::Labels(selector)) = &rollout.canary else { return Ok(None) };
        let (mut left, mut count) = (selection.limit.map(u64::from), 0);
        for part in parts(selection) {
            let mut labels = Clause::new(part.next());
            labels.labels(selector);
            let sql = format!("SELECT count(*) FROM {} WHERE {}", part.table(left), labels.text());
            let query = labels.bind(part.bind(self.store.query(&sql)));
            let row = query.fetch_one(self.store.pool()).await?;
            count += u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
            if let Some(left) = &mut left {
                *left = left.saturating_sub(self.count_part(&part, Some(*left)).await?);
            }
        }
        Ok(Some(count))
    }
}
