//! Asking twice: a request that was made before is the same run.
//!
//! Who enqueues holds the row of the counter until the commit, on every database. So what is looked up here is still so
//! when the run is written, and the unique key only proves it.

use sqlx::{Any, Row as _, Transaction, any::AnyRow};

use super::{Enqueued, Ledger, LedgerError};
use crate::{run::RunSpec, store::StoreError};

/// Why a request is a run that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was asked for under the same key.
    Key,
}

impl Ledger {
    /// The run that has the request's key, where there is one. It only reads.
    ///
    /// # Errors
    /// [`LedgerError::KeyTaken`] when that run was asked for something else.
    pub async fn known_request(&self, spec: &RunSpec) -> Result<Option<Enqueued>, LedgerError> {
        let mut tx = self.store.pool().begin().await?;
        self.run_of_key(&mut tx, spec).await
    }

    /// Makes everybody else who enqueues wait until this transaction has ended.
    pub(super) async fn alone(&self, tx: &mut Transaction<'static, Any>) -> Result<(), LedgerError> {
        let lock = "UPDATE counters SET value = value WHERE name = 'run'";
        self.store.query(lock).execute(&mut **tx).await?;
        Ok(())
    }

    /// The run that the request is already.
    pub(super) async fn joined(
        &self,
        tx: &mut Transaction<'static, Any>,
        spec: &RunSpec,
    ) -> Result<Option<Enqueued>, LedgerError> {
        self.run_of_key(tx, spec).await
    }

    async fn run_of_key(
        &self,
        tx: &mut Transaction<'static, Any>,
        spec: &RunSpec,
    ) -> Result<Option<Enqueued>, LedgerError> {
        let Some(key) = &spec.key else { return Ok(None) };
        let sql = "SELECT r.id, r.number, (SELECT count(*) FROM targets g WHERE g.run_id = r.id AND g.wave <> 0), r.request
            FROM runs r WHERE r.idempotency_key = $1";
        let row = self.store.query(sql).bind(key.as_str()).fetch_optional(&mut **tx).await?;
        let Some(row) = row else { return Ok(None) };
        let run = read_joined(&row, Joined::Key)?;
        match row.try_get::<Option<String>, _>(3)? {
            Some(request) if request == spec.request().as_str() => Ok(Some(run)),
            _ => Err(LedgerError::KeyTaken { key: key.clone(), number: run.number }),
        }
    }
}

fn read_joined(row: &AnyRow, joined: Joined) -> Result<Enqueued, LedgerError> {
    let id: String = row.try_get(0)?;
    Ok(Enqueued {
        id: id.parse().map_err(|_| StoreError::Value("runs.id".into()))?,
        number: row.try_get(1)?,
        targets: u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0),
        joined: Some(joined),
    })
}
