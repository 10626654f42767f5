//! Transactions by a connection of the pool.
//!
//! Invariant: what is not committed is rolled back before the connection is anybody else's.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{AnyConnection, Error, any::AnyRow};

use super::{Statement, StoreError, pool::Lent};

/// How long a rollback may take before the connection is given up.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A transaction, which is rolled back unless it is committed.
pub(crate) struct Tx(Option<Lent>);

impl Tx {
    /// Begins one by this connection.
    pub(super) async fn begin(mut lent: Lent, begin: &'static str) -> Result<Self, StoreError> {
        sqlx::raw_sql(begin).execute(&mut *lent).await?;
        Ok(Self(Some(lent)))
    }

    /// A message that begins one, and ends it: the rows that it gives.
    pub(super) async fn whole(lent: Lent, message: Statement) -> Result<Vec<AnyRow>, StoreError> {
        let mut tx = Self(Some(lent));
        let rows = message.fetch_all(&mut *tx).await?;
        if let Some(lent) = tx.0.take() {
            lent.done();
        }
        Ok(rows)
    }

    /// Makes all of it last.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let Some(mut lent) = self.0.take() else { return Ok(()) };
        sqlx::raw_sql("COMMIT").execute(&mut *lent).await?;
        lent.done();
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let (Some(lent), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(roll_back(lent));
        }
    }
}

async fn roll_back(mut lent: Lent) {
    let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *lent);
    if let Ok(Ok(_)) = tokio::time::timeout(ROLLBACK_LIMIT, rollback).await {
        lent.done();
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.0.as_mut().expect(HELD)
    }
}

const HELD: &str = "a transaction holds its connection until it ends";
