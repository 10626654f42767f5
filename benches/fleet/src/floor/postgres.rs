//! Schemas over one connection for each slot, and databases over one connection for each tenant.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{Next, record, union};
use crate::{
    fleet::{pg, postgres},
    places::Places,
};

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";

pub(super) async fn schemas(next: &Next) -> usize {
    let mut connection = postgres(&next.task.places.url(0)).await;
    while let Some(at) = next.one() {
        tenant(&mut connection, next, Some(&Places::name(at)), at).await;
    }
    0
}

pub(super) async fn databases(next: &Next) -> usize {
    while let Some(at) = next.one() {
        let mut connection = postgres(&next.task.places.url(at)).await;
        tenant(&mut connection, next, None, at).await;
        connection.close().await.expect("close");
    }
    0
}

async fn tenant(connection: &mut PgConnection, next: &Next, schema: Option<&str>, key: usize) {
    let path = schema.map(|schema| format!("SET search_path = {schema}; ")).unwrap_or_default();
    pg(connection, &format!("{path}SELECT pg_advisory_lock({key}); SELECT to_regclass('_sqlx_migrations')"))
        .await;
    for migration in &next.task.migrations {
        let row = record(migration, |hex| format!("'\\x{hex}'"));
        pg(connection, &format!("BEGIN; {HISTORY}; {} {row}; COMMIT", migration.text())).await;
    }
    if schema.is_some() {
        pg(connection, "SELECT pg_advisory_unlock_all()").await;
    }
}

pub(super) async fn read_schemas(next: &Next) -> usize {
    let mut connection = postgres(&next.task.places.url(0)).await;
    let mut found = 0;
    while let Some(batch) = next.batch() {
        let read = sqlx::raw_sql(AssertSqlSafe(union(batch))).fetch_all(&mut connection).await;
        found += read.expect("histories").len();
    }
    found
}

pub(super) async fn read_databases(next: &Next) -> usize {
    let mut found = 0;
    while let Some(at) = next.one() {
        let mut connection = postgres(&next.task.places.url(at)).await;
        let read = "SELECT version, checksum FROM _sqlx_migrations";
        found += sqlx::raw_sql(read).fetch_all(&mut connection).await.expect("a history").len();
        connection.close().await.expect("close");
    }
    found
}
