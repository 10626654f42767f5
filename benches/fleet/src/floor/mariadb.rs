//! Databases of one MariaDB server, over one connection for each slot.

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use super::{Next, record, union};
use crate::places::Places;

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";

pub(super) async fn apply(next: &Next) -> usize {
    let mut connection = connect(next).await;
    while let Some(at) = next.one() {
        let name = Places::name(at);
        let look = "SELECT version, checksum FROM _sqlx_migrations";
        run(&mut connection, format!("USE {name}; SELECT GET_LOCK('{name}', 10); {HISTORY}; {look}")).await;
        for migration in &next.task.migrations {
            let row = record(migration, |hex| format!("x'{hex}'"));
            run(&mut connection, format!("{} {row}", migration.text())).await;
        }
        run(&mut connection, "SELECT RELEASE_ALL_LOCKS()".into()).await;
    }
    0
}

pub(super) async fn read(next: &Next) -> usize {
    let mut connection = connect(next).await;
    let mut found = 0;
    while let Some(batch) = next.batch() {
        let read = sqlx::raw_sql(AssertSqlSafe(union(batch))).fetch_all(&mut connection).await;
        found += read.expect("histories").len();
    }
    found
}

async fn connect(next: &Next) -> MySqlConnection {
    MySqlConnection::connect(&next.task.places.at_server("mysql")).await.expect("mariadb")
}

async fn run(connection: &mut MySqlConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("SQL");
}
