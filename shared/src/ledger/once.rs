//! Asking twice: a request that was made before is the same run, and no tenant is in two runs at once unless that is
//! asked for.
//!
//! Who enqueues holds the row of the counter until the commit, on every database. So what is looked up here is still so
//! when the run is written, and the unique key only proves it.

use super::{Enqueued, Ledger, LedgerError, selection::clauses};
use crate::{
    id::RunId,
    run::RunSpec,
    store::{Row, StoreError, Tx},
};

/// States of targets that a run has not ended with.
const UNFINISHED: &str = "('pending', 'running', 'retryable')";

/// How many tenants a run has: the central database is none.
const TENANTS: &str = "(SELECT count(*) FROM targets g WHERE g.run_id = r.id AND g.wave <> 0)";

/// Why a request is a run that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was asked for under the same key.
    Key,
    /// The same is under way.
    UnderWay {
        /// How many tenants are selected now that it does not have.
        absent: u64,
    },
}

impl Ledger {
    /// The run that has the request's key, where there is one. It only reads.
    ///
    /// # Errors
    /// [`LedgerError::KeyTaken`] when that run was asked for something else.
    pub async fn known_request(&self, spec: &RunSpec) -> Result<Option<Enqueued>, LedgerError> {
        if spec.key.is_none() {
            return Ok(None);
        }
        let mut tx = self.store.begin_reading().await?;
        let known = self.run_of_key(&mut tx, spec).await?;
        tx.commit().await?;
        Ok(known)
    }

    /// Makes everybody else who enqueues wait until this transaction has ended.
    pub(super) async fn alone(&self, tx: &mut Tx) -> Result<(), LedgerError> {
        let lock = "UPDATE counters SET value = value WHERE name = 'run'";
        self.store.query(lock).execute(&mut **tx).await?;
        Ok(())
    }

    /// The run that the request is already.
    pub(super) async fn joined(&self, tx: &mut Tx, spec: &RunSpec) -> Result<Option<Enqueued>, LedgerError> {
        match self.run_of_key(tx, spec).await? {
            None if !spec.overlap => self.under_way(tx, spec).await,
            joined => Ok(joined),
        }
    }

    /// The run that was asked for the same and goes on. It takes the request's key, if it has none, so that the key is
    /// good when it has ended. One that is being stopped is not to be joined.
    async fn under_way(&self, tx: &mut Tx, spec: &RunSpec) -> Result<Option<Enqueued>, LedgerError> {
        let sql = format!(
            "SELECT r.id, r.number, {TENANTS} FROM runs r
             WHERE r.state IN ('pending', 'running') AND r.stop_code IS NULL AND r.request = $1
                AND EXISTS (SELECT 1 FROM targets o WHERE o.run_id = r.id AND o.state IN {UNFINISHED})
             ORDER BY r.number DESC LIMIT 1"
        );
        let find = self.store.query(&sql).bind(spec.request().as_str());
        let Some(row) = find.fetch_optional(&mut **tx).await? else { return Ok(None) };
        let run = read_joined(&row, Joined::Key)?;
        let sql = "UPDATE runs SET idempotency_key = $1 WHERE id = $2 AND idempotency_key IS NULL";
        let name = self.store.query(sql).bind(spec.key.clone()).bind(run.id.to_string());
        name.execute(&mut **tx).await?;
        let absent = self.absent(tx, spec, run.id).await?;
        Ok(Some(Enqueued { joined: Some(Joined::UnderWay { absent }), ..run }))
    }

    /// How many tenants are selected now that a run does not have. With a limit, which they are is not the question.
    async fn absent(&self, tx: &mut Tx, spec: &RunSpec, run: RunId) -> Result<u64, LedgerError> {
        let mut absent = 0;
        for clause in clauses(&spec.selection, 2) {
            let sql = format!(
                "SELECT count(*) FROM tenants t WHERE {}
                    AND NOT EXISTS (SELECT 1 FROM targets x WHERE x.run_id = $1 AND x.tenant_id = t.id)",
                clause.text()
            );
            let count = clause.bind(self.store.query(&sql).bind(run.to_string()));
            absent += count.fetch_one(&mut **tx).await?.try_get::<i64>(0)?;
        }
        Ok(if spec.selection.limit.is_some() { 0 } else { u64::try_from(absent).unwrap_or(0) })
    }

    /// Makes sure that no other run has tenants of this new one that it has not ended with.
    pub(super) async fn has_its_tenants_alone(&self, tx: &mut Tx, run: RunId) -> Result<(), LedgerError> {
        let others = "SELECT count(*) FROM runs r WHERE r.state IN ('pending', 'running') AND r.id <> $1";
        let others = self.store.query(others).bind(run.to_string()).fetch_one(&mut **tx).await?;
        if others.try_get::<i64>(0)? == 0 {
            return Ok(()); // without a look at each of its tenants
        }
        let sql = format!(
            "SELECT r.number, count(*) FROM runs r
             JOIN targets o ON o.run_id = r.id AND o.state IN {UNFINISHED}
             JOIN targets n ON n.run_id = $1 AND n.tenant_id = o.tenant_id AND n.state = 'pending'
             WHERE r.state IN ('pending', 'running') AND r.id <> $1 GROUP BY r.number ORDER BY r.number DESC"
        );
        let rows = self.store.query(&sql).bind(run.to_string()).fetch_all(&mut **tx).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (number, tenants) = (row.try_get(0)?, row.try_get(1)?);
        Err(LedgerError::UnderWay { number, tenants, others: rows.len() - 1 })
    }

    async fn run_of_key(&self, tx: &mut Tx, spec: &RunSpec) -> Result<Option<Enqueued>, LedgerError> {
        let Some(key) = &spec.key else { return Ok(None) };
        let sql =
            format!("SELECT r.id, r.number, {TENANTS}, r.request FROM runs r WHERE r.idempotency_key = $1");
        let row = self.store.query(&sql).bind(key.as_str()).fetch_optional(&mut **tx).await?;
        let Some(row) = row else { return Ok(None) };
        let run = read_joined(&row, Joined::Key)?;
        match row.try_get::<Option<String>>(3)? {
            Some(request) if request == spec.request().as_str() => Ok(Some(run)),
            _ => Err(LedgerError::KeyTaken { key: key.clone(), number: run.number }),
        }
    }
}

fn read_joined(row: &Row, joined: Joined) -> Result<Enqueued, LedgerError> {
    let id: String = row.try_get(0)?;
    Ok(Enqueued {
        id: id.parse().map_err(|_| StoreError::Value("runs.id".into()))?,
        number: row.try_get(1)?,
        targets: u64::try_from(row.try_get::<i64>(2)?).unwrap_or(0),
        joined: Some(joined),
    })
}
