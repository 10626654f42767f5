//! Files, each opened once.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::{Next, record};
use crate::bundle::Migration;

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";

pub(super) async fn apply(next: &Next<'_>, migrations: &[Migration]) {
    while let Some(at) = next.one() {
        let mut connection = SqliteConnection::connect(&next.fleet.url(at)).await.expect("sqlite");
        for migration in migrations {
            let row = record(migration, |hex| format!("x'{hex}'"));
            let sql = format!("BEGIN IMMEDIATE; {HISTORY}; {} {row}; COMMIT", migration.text());
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("SQL");
        }
        connection.close().await.expect("close");
    }
}

pub(super) async fn read(next: &Next<'_>) -> usize {
    let mut found = 0;
    while let Some(at) = next.one() {
        let mut connection = SqliteConnection::connect(&next.fleet.url(at)).await.expect("sqlite");
        let read = "SELECT version, checksum FROM _sqlx_migrations";
        found += sqlx::raw_sql(read).fetch_all(&mut connection).await.expect("a history").len();
        connection.close().await.expect("close");
    }
    found
}
