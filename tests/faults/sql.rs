//! A connection for SQL of this suite's own: every value is read as a text.

use sqlx::{
    AssertSqlSafe, Connection as _, Error, Executor as _, MySqlConnection, PgConnection, Row,
    SqliteConnection, sqlite::SqliteConnectOptions,
};

/// A connection to any of the databases.
pub(crate) enum Eye {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Eye {
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        Ok(match url.split(':').next() {
            Some("postgres") => Self::Postgres(PgConnection::connect(url).await?),
            Some("mysql") => Self::MariaDb(MySqlConnection::connect(url).await?),
            _ => {
                let options: SqliteConnectOptions = url.parse()?;
                let options = options.busy_timeout(std::time::Duration::from_secs(20));
                Self::Sqlite(SqliteConnection::connect_with(&options).await?)
            }
        })
    }

    /// Every row of a query, each value as a text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => query.fetch_all(connection).await?.iter().map(texts).collect(),
            Self::MariaDb(connection) => query.fetch_all(connection).await?.iter().map(texts).collect(),
            Self::Sqlite(connection) => query.fetch_all(connection).await?.iter().map(texts).collect(),
        }
    }

    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => connection.execute(query).await.map(|_| ()),
            Self::MariaDb(connection) => connection.execute(query).await.map(|_| ()),
            Self::Sqlite(connection) => connection.execute(query).await.map(|_| ()),
        }
    }
}

/// Nothing is an empty text.
fn texts<'r, R: Row>(row: &'r R) -> Result<Vec<String>, Error>
where
    usize: sqlx::ColumnIndex<R>,
    Option<String>: sqlx::Decode<'r, R::Database>,
{
    (0..row.len()).map(|at| Ok(row.try_get_unchecked::<Option<String>, _>(at)?.unwrap_or_default())).collect()
}
