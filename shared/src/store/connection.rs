//! A connection to the registry, wherever that is.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Error, Executor as _, any::AnyConnectOptions};

use super::{
    Dialect, Statement,
    execute::{Done, Want},
    file::File,
    prepare, settings,
};

/// How a registry is connected to.
pub(super) enum Address {
    Server(Box<AnyConnectOptions>, Dialect),
    /// By what SQLite opens.
    File(String),
}

/// A connection.
pub(crate) enum Connection {
    Server(Box<AnyConnection>),
    File(Box<File>),
}

impl Address {
    /// Opens one that is ready for use.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        match self {
            Self::Server(options, dialect) => {
                let mut connection = AnyConnection::connect_with(options).await?;
                prepare(&mut connection, *dialect).await?;
                Ok(Connection::Server(Box::new(connection)))
            }
            Self::File(name) => {
                let mut file = File::open(name)?;
                file.script(&settings(Dialect::Sqlite)).await?;
                Ok(Connection::File(Box::new(file)))
            }
        }
    }
}

impl Connection {
    /// Runs one statement.
    pub(super) async fn run(&mut self, statement: Statement, want: Want) -> Result<Done, Error> {
        match self {
            Self::Server(connection) => statement.run_by(connection, want).await,
            Self::File(file) => file.run(&statement, want).await,
        }
    }

    /// Runs statements of ours without values.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), Error> {
        match self {
            Self::Server(connection) => {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map(|_| ())
            }
            Self::File(file) => file.script(text).await,
        }
    }

    /// Whether its server is there. A file is.
    pub(super) async fn is_there(&mut self) -> bool {
        match self {
            Self::Server(connection) => connection.ping().await.is_ok(),
            Self::File(_) => true,
        }
    }

    /// Ends it. The last one to leave a file writes its log back, which waits for the disk.
    pub(super) async fn close(self) {
        // What it wrote is committed.
        match self {
            Self::Server(connection) => drop(connection.close().await),
            Self::File(file) => drop(tokio::task::spawn_blocking(move || drop(file)).await),
        }
    }
}
