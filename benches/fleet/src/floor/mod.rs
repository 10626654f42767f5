//! The floor: the least work that gives the same result. A connection, reused where it can be, one lock, one look at the
//! history, and the migrations with their rows. It retries nothing, records nothing and checks nothing.

mod mariadb;
mod postgres;
mod sqlite;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, SqliteConnection};

use crate::{
    bundle::Migration,
    fleet::{Fleet, Kind},
};

/// How many tenants one batched read covers.
const BATCH: usize = 50;

/// Tenants that are handed out one after the other.
struct Next<'a> {
    fleet: &'a Fleet,
    at: AtomicUsize,
}

impl Next<'_> {
    fn one(&self) -> Option<usize> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        (at < self.fleet.count).then_some(at)
    }

    fn batch(&self) -> Option<std::ops::Range<usize>> {
        let at = self.at.fetch_add(BATCH, Ordering::Relaxed);
        (at < self.fleet.count).then(|| at..(at + BATCH).min(self.fleet.count))
    }
}

/// Applies all migrations to all tenants of an empty fleet.
pub async fn apply(fleet: &Fleet, migrations: &[Migration], concurrency: usize) -> Duration {
    let watch = Instant::now();
    let next = Next { fleet, at: AtomicUsize::new(0) };
    match fleet.kind {
        Kind::Schemas => drop(join_all((0..concurrency).map(|_| postgres::schemas(&next, migrations))).await),
        Kind::Databases => {
            drop(join_all((0..concurrency).map(|_| postgres::databases(&next, migrations))).await)
        }
        Kind::Mariadb => drop(join_all((0..concurrency).map(|_| mariadb::apply(&next, migrations))).await),
        Kind::Sqlite => drop(join_all((0..concurrency).map(|_| sqlite::apply(&next, migrations))).await),
    }
    watch.elapsed()
}

/// Reads the histories of all tenants; gives how many migrations are applied, all together.
pub async fn read(fleet: &Fleet, concurrency: usize) -> (Duration, usize) {
    let watch = Instant::now();
    let next = Next { fleet, at: AtomicUsize::new(0) };
    let found: Vec<usize> = match fleet.kind {
        Kind::Schemas => join_all((0..concurrency).map(|_| postgres::read_schemas(&next))).await,
        Kind::Databases => join_all((0..concurrency).map(|_| postgres::read_databases(&next))).await,
        Kind::Mariadb => join_all((0..concurrency).map(|_| mariadb::read(&next))).await,
        Kind::Sqlite => join_all((0..concurrency).map(|_| sqlite::read(&next))).await,
    };
    (watch.elapsed(), found.iter().sum())
}

/// Counts the rows of all tenants' histories in a table, other than the floor's own too.
pub async fn count(fleet: &Fleet, table: &str) -> usize {
    use futures::StreamExt as _;
    let one = |at: usize| async move {
        let place = if fleet.kind == Kind::Schemas { format!("{}.", Fleet::name(at)) } else { String::new() };
        let select = AssertSqlSafe(format!("SELECT * FROM {place}{table}"));
        let read = sqlx::raw_sql(select);
        let rows = match fleet.kind {
            Kind::Schemas | Kind::Databases => {
                let mut tenant = crate::fleet::postgres(&fleet.url(at)).await;
                read.fetch_all(&mut tenant).await.map(|rows| rows.len())
            }
            Kind::Mariadb => {
                let mut tenant = MySqlConnection::connect(&fleet.url(at)).await.expect("mariadb");
                read.fetch_all(&mut tenant).await.map(|rows| rows.len())
            }
            Kind::Sqlite => {
                let mut tenant = SqliteConnection::connect(&fleet.url(at)).await.expect("sqlite");
                read.fetch_all(&mut tenant).await.map(|rows| rows.len())
            }
        };
        rows.unwrap_or_else(|error| panic!("{table} of tenant {at}: {error}"))
    };
    futures::stream::iter(0..fleet.count)
        .map(one)
        .buffer_unordered(8)
        .fold(0, |sum, rows| async move { sum + rows })
        .await
}

/// A row of the history, as SQL; `hex` makes a binary value of hexadecimal digits.
fn record(migration: &Migration, hex: impl Fn(&str) -> String) -> String {
    format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ({}, '{}', TRUE, {}, 1)",
        migration.version,
        migration.name,
        hex(&migration.checksum())
    )
}

/// One look at many histories.
fn union(at: std::ops::Range<usize>) -> String {
    let one = |at: usize| {
        format!("SELECT {at} AS tenant, version, checksum FROM {}._sqlx_migrations", Fleet::name(at))
    };
    at.map(one).collect::<Vec<_>>().join(" UNION ALL ")
}
