//! The engines: one session with one tenant's database. The only room that connects to tenants.
//!
//! A session is one connection of its own, never a pooled one: the tenant's lock lives in it and must go with
//! it. One that an attempt has left in order may be freed of all that and serve the next tenant: see `kept`. A PostgreSQL
//! tenant may be behind a pooler of somebody else's that lends its sessions by the transaction; then the lock is each
//! transaction's, and what needs a session is refused. What each engine can promise:
//!
//! | | PostgreSQL | MySQL, MariaDB | SQLite |
//! |---|---|---|---|
//! | tenant lock | advisory lock of (database, schema), polled | `GET_LOCK` of the database | the write lock of each migration's transaction |
//! | one migration with its history row | one transaction | each statement with the record of it, DDL alone | one transaction |
//! | interrupted half-way | nothing happened | goes on at the first statement that is not done | nothing happened |
//!
//! A migration that cannot run in one transaction goes statement by statement on every engine: see `steps`.

pub(crate) mod command;
mod doing;
mod failure;
pub(crate) mod heads;
mod holder;
pub mod kept;
mod limits;
mod mysql;
mod postgres;
mod rehearsal;
mod session;
mod sqlite;
mod steps;
mod waiting;

use std::time::Duration;

use futures::{StreamExt as _, stream::BoxStream};
use tenantry_shared::{
    bundle::{Bundle, Chain, Taken},
    failure::{Class, Failure},
    place::Engine,
    plan::Applied,
    registry::Access,
    site::{Row, Site},
    statement::{Course, course},
};

pub use doing::{Doing, Now};
use failure::{OWN_HISTORY, failure, hint, numbered, unreadable, unrecorded, unwritten};
pub use limits::Limits;
use limits::in_time;
pub(crate) use mysql::MyHeads;
pub use mysql::MySqlSession;
pub(crate) use postgres::PgHeads;
pub use postgres::PostgresSession;
pub(crate) use rehearsal::first_bar;
pub use session::{Ahead, Asks, Change, Counted, Seen, Select, Session};
pub use sqlite::SqliteSession;
pub(crate) use sqlite::{FileHeads, in_own_thread, works_files};
pub(crate) use steps::{PROGRESS_TABLE, TRACELESS, cleared, settled, written_down};
pub use waiting::{Wait, waited_for};

/// A worker that is paused between two statements does not hold its tenant's locks for longer than this: the server
/// ends the session then.
const IDLE: Duration = Duration::from_secs(15);

/// How often a tenant's lock that somebody else holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The selections of the histories of the chains that a database takes.
#[must_use]
pub fn selects(site: &Site, taken: &[Taken<'_>]) -> Vec<Select> {
    let of = |chain: &Chain| {
        let site = Site { table: chain.table.clone(), ..site.clone() };
        Select::of(&site, chain.rules.select(&site))
    };
    taken.iter().map(|taken| of(taken.chain)).collect()
}

/// Reads the histories of the chains that a database takes, and changes nothing. A database without a history table
/// has an empty history.
///
/// # Errors
/// What the reading fails with.
pub async fn histories(
    session: &mut impl Session,
    taken: &[Taken<'_>],
) -> Result<Vec<Vec<Applied>>, Failure> {
    let rows = session.read_all(&selects(&session.site(""), taken)).await?;
    Ok(read_as(taken, &rows))
}

/// What the answers to [`selects`] say was applied.
#[must_use]
pub fn read_as(taken: &[Taken<'_>], rows: &[Option<Vec<Row>>]) -> Vec<Vec<Applied>> {
    let read = |(taken, rows): (&Taken<'_>, &Option<Vec<Row>>)| {
        taken.chain.history(rows.as_deref().unwrap_or_default())
    };
    taken.iter().zip(rows).map(read).collect()
}

/// What a look at a tenant tells.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// How many migrations are in its histories.
    pub applied: usize,
    /// Whether a pooler before it lends its sessions by the transaction.
    pub lent: bool,
}

/// Connects to a tenant, counts the migrations in its histories of this bundle, and changes nothing.
///
/// # Errors
/// What an attempt would fail with at that point.
pub async fn probe(access: &Access, limits: Limits, bundle: Option<&Bundle>) -> Result<Probe, Failure> {
    async fn count<S: Session>(
        access: &Access,
        limits: Limits,
        bundle: Option<&Bundle>,
    ) -> Result<Probe, Failure> {
        let mut session = S::connect(access, limits).await?;
        let taken = bundle.map(|bundle| bundle.taken_by(access.scope, &access.labels));
        let found = histories(&mut session, &taken.unwrap_or_default()).await;
        let lent = session.is_lent();
        session.close().await;
        found.map(|histories| Probe { applied: histories.iter().map(Vec::len).sum(), lent })
    }
    match access.place.engine {
        Engine::Postgres => count::<PostgresSession>(access, limits, bundle).await,
        Engine::MySql => count::<MySqlSession>(access, limits, bundle).await,
        Engine::Sqlite => count::<SqliteSession>(access, limits, bundle).await,
    }
}

/// How a change is to run. One that was begun statement by statement goes on so.
fn course_of(change: &Change<'_>, engine: Engine) -> Result<Course, Failure> {
    let script = change.script;
    course(&script.text, engine, script.marked || change.resumed).map_err(|e| unreadable(&e, script))
}

/// The text of a change that is to run in one transaction with others.
fn whole_of(change: &Change<'_>, engine: Engine) -> Result<String, Failure> {
    match course_of(change, engine)? {
        Course::Whole { text } => Ok(text),
        Course::Steps(_) => {
            Err(Failure::new(Class::Permanent, "script", "no transaction can hold this script"))
        }
    }
}

/// Runs the statements of a file; the database itself tells where one ends. On an error, which statement it was,
/// counted from 1.
async fn run_all<T>(mut results: BoxStream<'_, Result<T, sqlx::Error>>) -> Result<(), (u32, sqlx::Error)> {
    let mut statement = 1;
    while let Some(result) = results.next().await {
        result.map_err(|error| (statement, error))?;
        statement += 1;
    }
    Ok(())
}
