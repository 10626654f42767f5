//! Who can run a statement: one connection, or whichever of the pool is free. What is executed writes; what is fetched only
//! reads there, but on a server.

use sqlx::{AnyConnection, Error};

use super::{Connection, Pool, Row, Statement};

/// What is wanted of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// What it does.
    Nothing,
    /// Its first row.
    One,
    /// All its rows.
    All,
}

/// What a statement has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) changed: u64,
    pub(super) rows: Vec<Row>,
}

impl Done {
    /// How many rows it has changed.
    pub(crate) fn rows_affected(&self) -> u64 {
        self.changed
    }
}

/// Who can run a statement.
pub(crate) trait Executor {
    fn run(self, statement: Statement, want: Want) -> impl Future<Output = Result<Done, Error>> + Send;
}

impl Executor for &mut Connection {
    async fn run(self, statement: Statement, want: Want) -> Result<Done, Error> {
        Connection::run(self, statement, want).await
    }
}

impl Executor for &mut AnyConnection {
    async fn run(self, statement: Statement, want: Want) -> Result<Done, Error> {
        statement.run_by(self, want).await
    }
}

impl Executor for &Pool {
    async fn run(self, statement: Statement, want: Want) -> Result<Done, Error> {
        let mut lent = match want {
            Want::Nothing => self.writing().await?,
            Want::One | Want::All => self.reading().await?,
        };
        let result = lent.run(statement, want).await;
        self.settle(lent, result)
    }
}
