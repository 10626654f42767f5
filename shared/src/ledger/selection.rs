//! Who a selection is: the conditions that choose its tenants, its parts as tables that other statements read from, and whether
//! those that it names are right.

use super::{Ledger, LedgerError};
use crate::{
    id::{RunId, TenantId},
    registry::clause::Clause,
    run::{Pick, Selection},
    store::{Statement, StoreError, Tx, parameters},
    tenant::Slug,
    wave::{Canary, Rollout},
};

/// How many names one statement carries: well below every database's limit of parameters.
const NAMES_PER_STATEMENT: usize = 500;

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
        Ok(u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0))
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
            count += u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0);
            if let Some(left) = &mut left {
                *left = left.saturating_sub(self.count_part(&part, Some(*left)).await?);
            }
        }
        Ok(Some(count))
    }

    /// A page of the tenants that a selection would choose now, in the order of their slugs, behind `after`. The
    /// selection's own limit is the caller's to keep.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn selected_page(
        &self,
        selection: &Selection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(TenantId, String)>, LedgerError> {
        let mut page = Vec::new();
        for mut clause in clauses(selection, 1) {
            if let Some(after) = after {
                clause.compare("t.slug >", after);
            }
            let sql = format!(
                "SELECT t.id, t.slug FROM tenants t WHERE {} ORDER BY t.slug LIMIT {}",
                clause.text(),
                limit - page.len()
            );
            let rows = clause.bind(self.store.query(&sql)).fetch_all(self.store.pool()).await?;
            for row in rows {
                let id: String = row.try_get(0)?;
                let id = id.parse().map_err(|_| StoreError::Value("tenants.id".into()))?;
                page.push((id, row.try_get(1)?));
            }
            if page.len() == limit {
                break;
            }
        }
        Ok(page)
    }

    /// How many tenants a selection would choose now.
    ///
    /// # Errors
    /// As [`Self::enqueue`], but for an empty selection.
    pub async fn count_selected(&self, selection: &Selection) -> Result<u64, LedgerError> {
        let mut tx = self.store.begin_reading().await?;
        self.names_are_right(&mut tx, selection).await?;
        let mut count = 0;
        for clause in clauses(selection, 1) {
            let sql = format!("SELECT count(*) FROM tenants t WHERE {}", clause.text());
            let row = clause.bind(self.store.query(&sql)).fetch_one(&mut *tx).await?;
            count += u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0);
        }
        tx.commit().await?;
        Ok(count.min(selection.limit.map_or(u64::MAX, u64::from)))
    }

    pub(super) async fn names_are_right(
        &self,
        tx: &mut Tx,
        selection: &Selection,
    ) -> Result<(), LedgerError> {
        self.known(tx, &selection.exclude).await?;
        match &selection.pick {
            Pick::Tenants(slugs) => self.named_tenants_are_active(tx, slugs).await,
            Pick::FailedIn { run, tenants, .. } => self.named_tenants_failed(tx, *run, tenants).await,
            Pick::All | Pick::Labels(_) => Ok(()),
        }
    }

    /// The status of each of these tenants; none for one that is not there.
    async fn statuses(
        &self,
        tx: &mut Tx,
        slugs: &[Slug],
    ) -> Result<Vec<(String, Option<String>)>, LedgerError> {
        let mut found = Vec::with_capacity(slugs.len());
        for chunk in slugs.chunks(NAMES_PER_STATEMENT) {
            let sql = format!(
                "SELECT slug, status FROM tenants WHERE central = 0 AND slug IN ({})",
                parameters(1, chunk.len())
            );
            let query = self.store.query(&sql).bind_all(chunk.iter().map(Slug::as_str));
            let rows = query.fetch_all(&mut **tx).await?;
            let known: std::collections::HashMap<String, String> = rows
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?;
            found.extend(chunk.iter().map(|slug| (slug.to_string(), known.get(slug.as_str()).cloned())));
        }
        Ok(found)
    }

    /// The same for tenants that must be there.
    async fn known(&self, tx: &mut Tx, slugs: &[Slug]) -> Result<Vec<(String, String)>, LedgerError> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.statuses(tx, slugs).await?.into_iter().partition(|(_, status)| status.is_some());
        none_of(unknown.iter().map(|(slug, _)| format!("'{slug}'")).collect(), LedgerError::UnknownTenants)?;
        Ok(known.into_iter().map(|(slug, status)| (slug, status.unwrap_or_default())).collect())
    }

    async fn named_tenants_are_active(&self, tx: &mut Tx, slugs: &[Slug]) -> Result<(), LedgerError> {
        let inactive = self.known(tx, slugs).await?.into_iter().filter(|(_, status)| status != "active");
        none_of(
            inactive.map(|(slug, status)| format!("'{slug}' ({status})")).collect(),
            LedgerError::Inactive,
        )
    }

    async fn named_tenants_failed(&self, tx: &mut Tx, run: RunId, slugs: &[Slug]) -> Result<(), LedgerError> {
        self.known(tx, slugs).await?;
        let mut innocent = Vec::new();
        for slug in slugs {
            let sql = "SELECT count(*) FROM targets f JOIN tenants t ON t.id = f.tenant_id WHERE f.run_id = $1 AND t.slug = $2 AND f.state IN ('failed', 'skipped')";
            let row = self
                .store
                .query(sql)
                .bind(run.to_string())
                .bind(slug.to_string())
                .fetch_one(&mut **tx)
                .await?;
            if row.try_get::<i64>(0)? == 0 {
                innocent.push(format!("'{slug}'"));
            }
        }
        none_of(innocent, LedgerError::NotFailed)
    }
}

/// The conditions of a selection: one clause for every so many names, or a single one where no names are given.
pub(super) fn clauses(selection: &Selection, first: usize) -> Vec<Clause> {
    let mut names: Vec<String> = match &selection.pick {
        Pick::Tenants(slugs) | Pick::FailedIn { tenants: slugs, .. } => {
            slugs.iter().map(ToString::to_string).collect()
        }
        Pick::All | Pick::Labels(_) => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    let exclude: Vec<String> = selection.exclude.iter().map(ToString::to_string).collect();
    let clause = |names: &[String]| {
        let mut clause = Clause::of_tenants(first);
        clause.compare("t.status =", "active");
        clause.one_of("t.slug", true, names);
        clause.one_of("t.slug", false, &exclude);
        match &selection.pick {
            Pick::Labels(selector) => clause.labels(selector),
            Pick::FailedIn { run, fingerprint, .. } => {
                clause.failed_in(&run.to_string(), fingerprint.as_deref())
            }
            Pick::All | Pick::Tenants(_) => {}
        }
        clause
    };
    let unnamed = names.is_empty() && !matches!(selection.pick, Pick::Tenants(_));
    if unnamed { vec![clause(&[])] } else { names.chunks(NAMES_PER_STATEMENT).map(clause).collect() }
}

fn none_of(names: Vec<String>, error: impl FnOnce(String) -> LedgerError) -> Result<(), LedgerError> {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return Ok(());
    }
    let more = names.len().saturating_sub(SHOWN);
    let list = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    Err(error(if more > 0 { format!("{list} and {more} more") } else { list }))
}
