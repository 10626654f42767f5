//! Looking ahead: tenants are found up to date before there is a run, and written as that together with it. So a fleet that has
//! nothing to do costs one row for each tenant, written once.
//!
//! What was read is worth something only while nobody has changed anything since. So a look begins only where no run goes on, and
//! what it found is left out where another run was written before this one. A tenant is taken for current only if the registry
//! knew so before the look and nobody has said otherwise since: one that was moved, or mended, is not.

use super::{
    Ledger, LedgerError,
    caps::{CAPPED, SERVER_OF},
    selection::clauses,
};
use crate::{
    id::{RunId, TenantId},
    registry::{Registry, Sealed, clause::Clause},
    run::{ActionKind, RunSpec},
    store::{Tx, list},
};

/// So many tenants one statement names.
const AT_ONCE: usize = 5_000;

/// What was found out before a run is written.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The number of the newest run when it was begun.
    run: i64,
    /// When that was, by the registry's clock.
    pub(super) began_at: i64,
    /// How many tenants were selected then.
    pub(super) selected: u64,
    /// Who was found to be at the run's version.
    pub found: Vec<TenantId>,
}

impl Ledger {
    /// Begins to look ahead at so many selected tenants. None where a run of this kind is not written so, where another run goes on, or where the registry does
    /// not take half of a sample for current.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn look_ahead(&self, spec: &RunSpec, selected: u64) -> Result<Option<Ahead>, LedgerError> {
        let Some(clause) = clause_of(spec) else { return Ok(None) };
        let sql = "SELECT value, {now} FROM counters WHERE name = 'run'
            AND NOT EXISTS (SELECT 1 FROM runs WHERE state IN ('pending', 'running'))";
        let Some(row) = self.store.query(sql).fetch_optional(self.store.pool()).await? else {
            return Ok(None);
        };
        let (run, began_at) = (row.try_get(0)?, row.try_get(1)?);
        let of = format!("SELECT t.id FROM tenants t WHERE {}", clause.text());
        let seem_current = self.seem_current(&of, |sample| clause.bind(sample), &spec.target).await?;
        Ok(seem_current.then(|| Ahead { run, began_at, selected, found: Vec::new() }))
    }

    /// Up to so many of the tenants that the registry takes for current, from the newest on, or of those before this one. Those of
    /// servers with a cap are not among them: a claim is the permit of a connection there.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn ahead_page(
        &self,
        registry: &Registry,
        spec: &RunSpec,
        before: Option<TenantId>,
        limit: usize,
        labels: bool,
    ) -> Result<Vec<Sealed>, LedgerError> {
        let Some(mut clause) = clause_of(spec) else { return Ok(Vec::new()) };
        clause.compare("t.version =", &spec.target.to_string());
        if let Some(before) = before {
            clause.compare("t.id <", &before.to_string());
        }
        clause.and(&format!("t.server_id NOT IN {CAPPED} AND t.id NOT IN (SELECT h.tenant_id FROM held h)"));
        Ok(registry.sealed_where(&clause, limit, labels).await?)
    }

    /// Writes the targets of those that were found current, if the run is the next one since; gives how many.
    pub(super) async fn insert_current(
        &self,
        tx: &mut Tx,
        run: RunId,
        number: i64,
        spec: &RunSpec,
        ahead: &Ahead,
    ) -> Result<u64, LedgerError> {
        let Some(clause) = clause_of(spec).filter(|_| number == ahead.run + 1) else { return Ok(0) };
        let mut found: Vec<String> = ahead.found.iter().map(ToString::to_string).collect();
        found.sort_unstable();
        let mut written = 0;
        for ids in found.chunks(AT_ONCE) {
            let some = self.insert_some(tx, run, spec, ahead, &clause, ids).await?;
            self.note_seen(tx, (some < ids.len() as u64).then_some(run), ids).await?;
            written += some;
        }
        Ok(written)
    }

    async fn insert_some(
        &self,
        tx: &mut Tx,
        run: RunId,
        spec: &RunSpec,
        ahead: &Ahead,
        clause: &Clause,
        ids: &[String],
    ) -> Result<u64, LedgerError> {
        let first = clause.next();
        let sql = format!(
            "INSERT INTO targets (run_id, tenant_id, state, max_attempts, server_id, wave, started_at, finished_at, from_version, to_version)
             SELECT ${first}, t.id, 'current', ${}, {SERVER_OF}, 1, {{now}}, {{now}}, t.version, t.version FROM tenants t
             WHERE {} AND t.version = ${} AND t.version_at <= ${} AND t.id IN ({}) ORDER BY t.id",
            first + 1,
            clause.text(),
            first + 2,
            first + 3,
            list(self.store.dialect(), first + 4, ids.len())
        );
        let insert = clause.bind(self.store.query(&sql)).bind(run.to_string());
        let insert = insert.bind(i64::from(spec.policy.max_attempts)).bind(spec.target.to_string());
        let insert = insert.bind(ahead.began_at).bind_list(ids);
        Ok(insert.execute(&mut **tx).await?.rows_affected())
    }

    /// They were seen at their version just now: all of them, or those that a run has.
    async fn note_seen(&self, tx: &mut Tx, of: Option<RunId>, ids: &[String]) -> Result<(), LedgerError> {
        let has = if of.is_some() {
            "EXISTS (SELECT 1 FROM targets g WHERE g.run_id = $1 AND g.tenant_id = tenants.id) AND"
        } else {
            ""
        };
        let list = list(self.store.dialect(), 1 + usize::from(of.is_some()), ids.len());
        let sql = format!("UPDATE tenants SET version_at = {{now}} WHERE {has} id IN ({list})");
        let note = self.store.query(&sql).bind_all(of.map(|run| run.to_string())).bind_list(ids);
        note.execute(&mut **tx).await?;
        Ok(())
    }
}

/// The tenants of a run that is written with what was found before. None: it has waves or a central database, goes back, takes
/// only so many or those that failed, or may run beside another one.
fn clause_of(spec: &RunSpec) -> Option<Clause> {
    let RunSpec { selection, policy, .. } = spec;
    let plain = matches!(spec.action.kind, ActionKind::Apply)
        && !spec.central
        && !spec.overlap
        && !policy.rollout.has_waves()
        && spec.parent.is_none()
        && selection.limit.is_none();
    let mut clauses = clauses(selection, 1);
    (plain && clauses.len() == 1).then(|| clauses.remove(0))
}
