//! Writing a run: the run and all its targets in one transaction. A crash before the commit leaves nothing,
//! after it everything.

use super::{Ahead, Joined, Ledger, LedgerError, caps::SERVER_OF, rollout::NO_WAVE, selection::clauses};
use crate::{
    id::RunId,
    registry::CENTRAL,
    run::{ActionKind, RunSpec, RunState},
    store::{Dialect, Tx, expect_rows},
};

/// With so many new targets, what a server knows of them is worth nothing.
const MANY: u64 = 1_000;

/// A run that was written, or was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its identity.
    pub id: RunId,
    /// The number people use.
    pub number: i64,
    /// How many tenants it has.
    pub targets: u64,
    /// Why nothing was written, where the request was a run before.
    pub joined: Option<Joined>,
}

impl Ledger {
    /// Writes a run with one target per active tenant that is selected, and one for the central database where that
    /// comes first. A request whose key has a run already is that run, and so is one that is under way; nothing is
    /// written then.
    ///
    /// # Errors
    /// When the key is of another request, when another run is under way with some of the tenants, when nobody is selected, or somebody is named who is unknown, inactive or did not fail: nothing is written then.
    pub async fn enqueue(&self, spec: &RunSpec, description: &str) -> Result<Enqueued, LedgerError> {
        self.enqueue_after(spec, description, None).await
    }

    /// The same with what a look ahead has found. Where nothing is left to be worked the run has ended.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_after(
        &self,
        spec: &RunSpec,
        description: &str,
        ahead: Option<&Ahead>,
    ) -> Result<Enqueued, LedgerError> {
        let mut tx = self.store.begin().await?;
        self.alone(&mut tx).await?;
        if let Some(run) = self.joined(&mut tx, spec).await? {
            tx.commit().await?;
            return Ok(run);
        }
        let number = self.next_number(&mut tx).await?;
        let id = RunId::new();
        self.insert_run(&mut tx, id, number, spec, description, ahead).await?;
        let current = match ahead {
            Some(ahead) => self.insert_current(&mut tx, id, number, spec, ahead).await?,
            None => 0,
        };
        let targets = match ahead {
            // All who were selected when the look began.
            Some(ahead) if current == ahead.selected => current,
            _ => current + self.insert_targets(&mut tx, id, spec, current > 0).await?,
        };
        if targets == 0 {
            return Err(LedgerError::NothingSelected);
        }
        let held = self.hold_back(&mut tx, id, number, spec).await?;
        if !spec.overlap {
            self.has_its_tenants_alone(&mut tx, id).await?;
        }
        self.assign_waves(&mut tx, id, spec, targets - held).await?;
        // Nobody is left to be tried.
        let has_ended = held + current == targets && !spec.central;
        if spec.central {
            self.insert_central(&mut tx, id, spec.policy.max_attempts).await?;
        } else if has_ended {
            let state = if held > 0 { RunState::Failed } else { RunState::Succeeded };
            self.close(&mut tx, &id.to_string(), state.as_str()).await?;
        }
        let kind = match (&spec.parent, &spec.action.kind) {
            (Some(_), _) => "run.retried",
            (None, ActionKind::Apply) => "run.enqueued",
            (None, ActionKind::Rollback { .. }) => "run.rollback",
            (None, ActionKind::Baseline) => "run.baseline",
        };
        self.event(
            &mut tx,
            kind,
            Some(id),
            &spec.requested_by,
            &format!("{targets} targets, {}", spec.selection.describe()),
        )
        .await?;
        tx.commit().await?;
        if has_ended {
            tracing::info!(run.number = number, "the run ended");
        } else if targets >= MANY {
            self.count_anew().await;
        }
        Ok(Enqueued { id, number, targets, joined: None })
    }

    /// PostgreSQL plans by what it counted last, and keeps plans until it counts again. It would do so by itself, in a minute.
    async fn count_anew(&self) {
        if self.store.dialect() != Dialect::Postgres {
            return;
        }
        let analyze =
            "BEGIN; SET LOCAL default_statistics_target = 10; ANALYZE (SKIP_LOCKED) targets; COMMIT";
        if let Err(error) = self.store.pool().script(analyze).await {
            tracing::debug!(%error, "the new targets were not counted");
        }
    }

    async fn insert_run(
        &self,
        tx: &mut Tx,
        id: RunId,
        number: i64,
        spec: &RunSpec,
        description: &str,
        ahead: Option<&Ahead>,
    ) -> Result<(), LedgerError> {
        let insert = "INSERT INTO runs (id, number, digest, target_version, description, selection, policy, state, parent_id, requested_by, reason, action, idempotency_key, request, created_at, started_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $10, $11, $12, $13, COALESCE($14, {now}), $15)";
        let began_at = ahead.map(|ahead| ahead.began_at);
        self.store
            .query(insert)
            .bind(id.to_string())
            .bind(number)
            .bind(spec.digest.as_str().to_owned())
            .bind(spec.target.to_string())
            .bind(description.to_owned())
            .bind(spec.selection.describe())
            .bind(serde_json::to_string(&spec.policy).unwrap_or_default())
            .bind(spec.parent.map(|id| id.to_string()))
            .bind(spec.requested_by.clone())
            .bind(spec.reason.clone())
            .bind(serde_json::to_string(&spec.action).unwrap_or_default())
            .bind(spec.key.clone())
            .bind(spec.request().as_str())
            .bind(began_at)
            .bind(began_at)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// All of its targets, or with `others` those that are not there yet.
    async fn insert_targets(
        &self,
        tx: &mut Tx,
        run: RunId,
        spec: &RunSpec,
        others: bool,
    ) -> Result<u64, LedgerError> {
        let RunSpec { selection, policy, .. } = spec;
        self.names_are_right(tx, selection).await?;
        // Nobody is due before the central database is done, or before it is known who goes first.
        let (columns, values) = match (policy.rollout.has_waves(), spec.central) {
            (true, _) => ("wave", NO_WAVE),
            (false, true) => ("wave", "1"),
            (false, false) => ("wave, due_at", "1, {now} - t.head_start"),
        };
        let mut inserted = 0;
        for mut clause in clauses(selection, 3) {
            if others {
                clause.and("NOT EXISTS (SELECT 1 FROM targets x WHERE x.run_id = $1 AND x.tenant_id = t.id)");
            }
            let left = selection.limit.map(|limit| u64::from(limit).saturating_sub(inserted));
            // In the order of their keys where all are taken: each index is written from one end to the other.
            let order = left.map_or("t.id".to_owned(), |left| format!("t.slug LIMIT {left}"));
            let insert = format!(
                "INSERT INTO targets (run_id, tenant_id, state, max_attempts, server_id, {columns})
                 SELECT $1, t.id, 'pending', $2, {SERVER_OF}, {values} FROM tenants t WHERE {} ORDER BY {order}",
                clause.text()
            );
            let query = self.store.query(&insert).bind(run.to_string()).bind(i64::from(policy.max_attempts));
            inserted += clause.bind(query).execute(&mut **tx).await?.rows_affected();
        }
        Ok(inserted)
    }

    async fn insert_central(&self, tx: &mut Tx, run: RunId, max_attempts: u32) -> Result<(), LedgerError> {
        let insert = format!(
            "INSERT INTO targets (run_id, tenant_id, state, max_attempts, server_id, wave, due_at)
             SELECT $1, t.id, 'pending', $2, {SERVER_OF}, 0, {{now}} FROM tenants t WHERE t.slug = $3 AND t.central = 1"
        );
        let insert =
            self.store.query(&insert).bind(run.to_string()).bind(i64::from(max_attempts)).bind(CENTRAL);
        Ok(expect_rows(insert.execute(&mut **tx).await?.rows_affected(), 1)?)
    }

    /// Notes in the audit log who did what.
    pub(super) async fn event(
        &self,
        tx: &mut Tx,
        kind: &str,
        run: Option<RunId>,
        actor: &str,
        detail: &str,
    ) -> Result<(), LedgerError> {
        let sql = "INSERT INTO events (at, kind, run_id, actor, detail) VALUES ({now}, $1, $2, $3, $4)";
        let insert = self.store.query(sql).bind(kind).bind(run.map(|id| id.to_string()));
        insert.bind(actor).bind(detail).execute(&mut **tx).await?;
        Ok(())
    }

    /// The row of the counter is locked until the commit, so numbers have no holes and no doubles.
    async fn next_number(&self, tx: &mut Tx) -> Result<i64, LedgerError> {
        self.store
            .query("UPDATE counters SET value = value + 1 WHERE name = 'run'")
            .execute(&mut **tx)
            .await?;
        Ok(self
            .store
            .query("SELECT value FROM counters WHERE name = 'run'")
            .fetch_one(&mut **tx)
            .await?
            .try_get(0)?)
    }
}
