//! The floor: the least work that gives the same result. A connection, reused where it can be, one lock, one look at the
//! history, and the migrations with their rows. It retries nothing, records nothing and checks nothing.
//!
//! As ours, it is a process from its start to its end, so that both pay alike for what every program costs.

mod mariadb;
mod postgres;
mod sqlite;

use std::{
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::Migration,
    meter::Took,
    places::{Kind, Places},
    program,
};

/// The flag that makes this program the floor.
pub const FLAG: &str = "--floor";

/// How many tenants one batched read covers.
const BATCH: usize = 50;

/// What is to be done.
#[derive(Clone, Serialize, Deserialize)]
pub struct Task {
    pub places: Places,
    /// Applied to tenants that are empty; none: histories are read.
    pub migrations: Vec<Migration>,
    pub concurrency: usize,
}

impl Task {
    /// Does it in a process of its own; gives how many rows of histories were read, too.
    pub fn run(&self) -> (Took, usize) {
        let task = serde_json::to_vec(self).expect("JSON");
        let floor = std::env::current_exe().expect("this program");
        let (took, said) = program::run(Command::new(floor).arg(FLAG), &task);
        (took, String::from_utf8_lossy(&said).trim().parse().expect("a count"))
    }
}

/// Does what the standard input says.
pub fn main() {
    let task: Task = serde_json::from_reader(std::io::stdin()).expect("a task");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let found = runtime.block_on(work(task));
    writeln!(std::io::stdout(), "{found}").expect("standard output");
}

async fn work(task: Task) -> usize {
    let slots = task.concurrency;
    let next = Arc::new(Next { task, at: AtomicUsize::new(0) });
    let slot = |_| {
        let next = next.clone();
        tokio::spawn(async move {
            match (next.task.places.kind, next.task.migrations.is_empty()) {
                (Kind::Schemas, false) => postgres::schemas(&next).await,
                (Kind::Databases, false) => postgres::databases(&next).await,
                (Kind::Mariadb, false) => mariadb::apply(&next).await,
                (Kind::Sqlite, false) => sqlite::apply(&next).await,
                (Kind::Schemas, true) => postgres::read_schemas(&next).await,
                (Kind::Databases, true) => postgres::read_databases(&next).await,
                (Kind::Mariadb, true) => mariadb::read(&next).await,
                (Kind::Sqlite, true) => sqlite::read(&next).await,
            }
        })
    };
    let found = join_all((0..slots).map(slot)).await;
    found.into_iter().map(|found| found.expect("a slot")).sum()
}

/// Tenants that are handed out one after the other.
struct Next {
    task: Task,
    at: AtomicUsize,
}

impl Next {
    fn one(&self) -> Option<usize> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        (at < self.task.places.count).then_some(at)
    }

    fn batch(&self) -> Option<std::ops::Range<usize>> {
        let at = self.at.fetch_add(BATCH, Ordering::Relaxed);
        (at < self.task.places.count).then(|| at..(at + BATCH).min(self.task.places.count))
    }
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
        format!("SELECT {at} AS tenant, version, checksum FROM {}._sqlx_migrations", Places::name(at))
    };
    at.map(one).collect::<Vec<_>>().join(" UNION ALL ")
}
