//! What an operator asks for: a run that is canceled, paused or resumed.

use super::{CANCELED, OPEN};
use crate::{
    id::RunId,
    ledger::{Ledger, LedgerError},
    run::Stop,
    store::{Row, StoreError},
};

impl Ledger {
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
        let id = |row: &Row| {
            row.try_get::<String>(0)?.parse().map_err(|_| StoreError::Value("runs.id".into()).into())
        };
        rows.iter().map(id).collect()
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
