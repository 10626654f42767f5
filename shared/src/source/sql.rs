//! Rows of a query in somebody's database. It is only read: inside of a read-only transaction, or from a file that is
//! opened to read.
//!
//! The query is sent as it is, without parameters, so that PostgreSQL and MySQL answer in text, whatever the types are.

use std::{str::FromStr as _, time::Duration};

use futures::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Column as _, ColumnIndex, ConnectOptions, Connection, Database, Decode, Either, Executor,
    TypeInfo as _,
    mysql::{MySqlConnectOptions, MySqlDatabaseError},
    postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use super::{Trouble, address::Address, row::Row};
use crate::{codes, failure::Class, place::Engine, pooling::for_driver};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Hands out each row of a query. Its number says where it stands.
pub(super) async fn rows(address: &Address, query: &str, each: impl FnMut(Row)) -> Result<(), Trouble> {
    let url = address.expose();
    let done = match address.engine() {
        Engine::Postgres => match PgConnectOptions::from_str(&for_driver(url)) {
            // Poolers do not know the precision of floats that sqlx asks for.
            Ok(options) => read(options.extra_float_digits(None), "BEGIN READ ONLY", query, each).await,
            Err(error) => Err(error),
        },
        Engine::MySql => match MySqlConnectOptions::from_str(url) {
            Ok(options) => read(options, "START TRANSACTION READ ONLY", query, each).await,
            Err(error) => Err(error),
        },
        Engine::Sqlite => match SqliteConnectOptions::from_str(url) {
            Ok(options) => read(options.read_only(true), "BEGIN", query, each).await,
            Err(error) => Err(error),
        },
    };
    done.map_err(|error| trouble(&error, address))
}

async fn read<O, D>(
    options: O,
    begin: &'static str,
    query: &str,
    mut each: impl FnMut(Row),
) -> Result<(), sqlx::Error>
where
    O: ConnectOptions,
    O::Connection: Connection<Database = D> + Sized,
    D: Database,
    for<'c> &'c mut O::Connection: Executor<'c, Database = D>,
    for<'r> String: Decode<'r, D>,
    usize: ColumnIndex<D::Row>,
{
    let options = options.disable_statement_logging();
    let late = |_| sqlx::Error::PoolTimedOut;
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await.map_err(late)??;
    (&mut connection).execute(sqlx::raw_sql(begin)).await?;
    let mut results = (&mut connection).fetch_many(sqlx::raw_sql(AssertSqlSafe(query.to_owned())));
    let mut number = 0_u64;
    while let Some(result) = results.try_next().await? {
        if let Either::Right(row) = result {
            number += 1;
            each(text_row(&row, format!("row {number}")));
        }
    }
    drop(results);
    connection.close().await
}

/// A row as text. What is no text, such as a binary key, counts as empty: the mapping says so if it is needed.
fn text_row<R>(row: &R, at: String) -> Row
where
    R: sqlx::Row,
    for<'r> String: Decode<'r, R::Database>,
    usize: ColumnIndex<R>,
{
    let mut made = Row::new(at);
    for column in row.columns() {
        let value = row.try_get_unchecked::<Option<String>, _>(column.ordinal()).ok().flatten();
        let value = match (column.type_info().name(), value.as_deref()) {
            ("BOOL", Some("t")) => Some("true".to_owned()),
            ("BOOL", Some("f")) => Some("false".to_owned()),
            _ => value,
        };
        made.push(column.name(), value);
    }
    made
}

fn trouble(error: &sqlx::Error, address: &Address) -> Trouble {
    let (away, words) = match error {
        sqlx::Error::Database(e) => {
            let code = e.code().unwrap_or_default();
            let class = match (address.engine(), e.try_downcast_ref::<MySqlDatabaseError>()) {
                (Engine::MySql, Some(e)) => codes::mysql(e.number()),
                (Engine::Sqlite, _) => codes::sqlite(code.parse().unwrap_or(1)),
                _ => codes::postgres(&code),
            };
            (class == Class::Transient, e.message().to_owned())
        }
        sqlx::Error::PoolTimedOut => (true, format!("no connection within {CONNECT_TIMEOUT:?}")),
        sqlx::Error::Io(e) => (true, e.to_string()),
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => (true, error.to_string()),
        error => (false, error.to_string()),
    };
    let words = address.redacted(&words);
    if away { Trouble::Away(words) } else { Trouble::Wrong(words) }
}
