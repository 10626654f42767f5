//! Transactions by a connection of the pool.
//!
//! Invariant: what is not committed is rolled back before the connection is anybody else's.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::Error;

use super::{Connection, StoreError, pool::Lent};

/// How long a rollback may take before the connection is given up.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A transaction, which is rolled back unless it is committed.
pub(crate) struct Tx(Option<Lent>);

impl Tx {
    /// Begins one by this connection.
    pub(super) async fn begin(mut lent: Lent, begin: &'static str) -> Result<Self, StoreError> {
        lent.script(begin).await?;
        Ok(Self(Some(lent)))
    }

    /// Makes all of it last.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let Some(mut lent) = self.0.take() else { return Ok(()) };
        lent.script("COMMIT").await?;
        lent.done();
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut lent) = self.0.take() else { return };
        if let Connection::File(file) = &mut *lent {
            if file.at_once(ROLLBACK).is_ok() {
                lent.done();
            }
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(roll_back(lent));
        }
    }
}

const ROLLBACK: &str = "ROLLBACK";

async fn roll_back(mut lent: Lent) {
    if let Ok(Ok(())) = tokio::time::timeout(ROLLBACK_LIMIT, lent.script(ROLLBACK)).await {
        lent.done();
    }
}

impl Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        self.0.as_mut().expect(HELD)
    }
}

const HELD: &str = "a transaction holds its connection until it ends";
