//! Files, each opened once.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::{Next, record};

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";

pub(super) async fn apply(next: &Next) -> usize {
    while let Some(at) = next.one() {
        let mut connection = SqliteConnection::connect(&next.task.places.url(at)).await.expect("sqlite");
        let look = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
        sqlx::raw_sql(look).execute(&mut connection).await.expect("a look");
        for migration in &next.task.migrations {
            let row = record(migration, |hex| format!("x'{hex}'"));
            let sql = format!("BEGIN IMMEDIATE; {HISTORY}; {} {row}; COMMIT", migration.text());
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("SQL");
        }
        connection.close().await.expect("close");
    }
    0
}

pub(super) async fn read(next: &Next) -> usize {
    let mut found = 0;
    while let Some(at) = next.one() {
        let mut connection = SqliteConnection::connect(&next.task.places.url(at)).await.expect("sqlite");
        let read = "SELECT version, checksum FROM _sqlx_migrations";
        found += sqlx::raw_sql(read).fetch_all(&mut connection).await.expect("a history").len();
        connection.close().await.expect("close");
    }
    found
}
