//! Worker processes: who is there, and whether it is alive.

use std::{fmt, time::Duration};

use super::{Ledger, LedgerError, ms};
use crate::store::{Row, StoreError};

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Takes targets.
    Running,
    /// Takes no more, and finishes what it has.
    Draining,
    /// Gone.
    Stopped,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        })
    }
}

/// A worker that gave a sign of life lately.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WorkerRow {
    /// Its name, unique per start.
    pub worker: String,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: i64,
    /// Its program's version.
    pub version: String,
    /// Tenants at once.
    pub slots: i64,
    /// Where it is in its life.
    pub state: String,
    /// Slots that are taken: it may hold more targets, which wait for one, or whose outcomes are being written.
    pub busy: i64,
}

impl Ledger {
    /// Notes a sign of life of a worker, which is written down the first time.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn beat(
        &self,
        id: &str,
        host: &str,
        slots: usize,
        state: WorkerState,
    ) -> Result<(), LedgerError> {
        let beat =
            self.store.query("UPDATE workers SET heartbeat_at = {now}, state = $1 WHERE id = $2 {hint}");
        let done = beat.bind(state.to_string()).bind(id).execute(self.store.pool()).await?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        let sql = "INSERT INTO workers (id, host, pid, program, slots, state, started_at, heartbeat_at)
            VALUES ($1, $2, $3, $4, $5, $6, {now}, {now})";
        self.store
            .query(sql)
            .bind(id.to_owned())
            .bind(host.to_owned())
            .bind(i64::from(std::process::id()))
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(i64::try_from(slots).unwrap_or(i64::MAX))
            .bind(state.to_string())
            .insert(self.store.pool())
            .await?;
        Ok(())
    }

    /// Forgets workers that have given no sign of life for so long.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn forget_workers(&self, silent: Duration) -> Result<u64, LedgerError> {
        let sql = "DELETE FROM workers WHERE heartbeat_at < {now} - $1";
        let done = self.store.query(sql).bind(ms(silent)).execute(self.store.pool()).await?;
        Ok(done.rows_affected())
    }

    /// Workers that gave a sign of life within so long and have not stopped.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn live_workers(&self, within: Duration) -> Result<Vec<WorkerRow>, LedgerError> {
        let sql = "SELECT w.id, w.host, w.pid, w.program, w.slots, w.state,
                (SELECT count(*) FROM targets g WHERE g.owner = w.id AND g.state = 'running' AND g.due_at IS NOT NULL)
            FROM workers w WHERE w.state <> 'stopped' AND w.heartbeat_at >= {now} - $1 ORDER BY w.host, w.started_at";
        let rows = self.store.query(sql).bind(ms(within)).fetch_all(self.store.pool()).await?;
        let read = |row: &Row| -> Result<WorkerRow, sqlx::Error> {
            let slots = row.try_get(4)?;
            Ok(WorkerRow {
                worker: row.try_get(0)?,
                host: row.try_get(1)?,
                pid: row.try_get(2)?,
                version: row.try_get(3)?,
                slots,
                state: row.try_get(5)?,
                busy: slots.min(row.try_get(6)?),
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>().map_err(StoreError::from)?)
    }
}
