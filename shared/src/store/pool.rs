//! The connections of one process to the registry. Whoever has none at hand waits a moment for one that works before another
//! one is opened: to open one takes longer than most statements do. The one used last is used next: it has the statements
//! prepared, and the pages at hand.
//!
//! SQLite has one writer at a time and lets those sleep who come too early, longer each time. So all of this process write by
//! one connection there, in turns.
//!
//! Invariant: a connection comes back only by [`Lent::done`], after what went well or was refused. However else its use ends,
//! it is closed, and with it what it began.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::Error;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::{
    ACQUIRE_TIMEOUT, Connection, Dialect, SQLITE_BUSY_TIMEOUT_MS, connection::Address, error::is_unreachable,
};
use crate::clock::Stopwatch;

/// How long one that works is waited for before another one is opened.
const PATIENCE: Duration = Duration::from_millis(5);

/// One that was not used for so long is asked whether its server is still there.
const TRUSTED: Duration = Duration::from_secs(1);

/// One that nobody needed for so long is closed.
const NEEDED: Duration = Duration::from_mins(1);

/// How long to wait before a server that refuses is tried again: longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The connections.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Parts>);

struct Parts {
    address: Address,
    dialect: Dialect,
    /// How many to read by.
    most: usize,
    /// How many more may be opened.
    room: Arc<Semaphore>,
    /// One permit, or more, for each that is idle.
    free: Semaphore,
    idle: Mutex<Vec<Idle>>,
    /// What is written by, where that is one.
    writer: Arc<tokio::sync::Mutex<Option<Line>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool") // its address has a password
    }
}

/// A connection, and the room that it takes. The one that all write by takes none.
struct Line {
    connection: Connection,
    _room: Option<OwnedSemaphorePermit>,
}

struct Idle {
    line: Line,
    since: Stopwatch,
}

/// A connection that somebody uses.
pub(crate) struct Lent {
    line: Line,
    home: Home,
}

enum Home {
    Pool(Pool),
    /// Nobody else writes until this is dropped.
    Turn(OwnedMutexGuard<Option<Line>>),
}

impl Pool {
    /// Up to so many connections, of which this is the first.
    pub(super) fn new(address: Address, dialect: Dialect, most: usize, first: Connection) -> Self {
        let pool = Self(Arc::new(Parts {
            address,
            dialect,
            most,
            room: Arc::new(Semaphore::new(most)),
            free: Semaphore::new(0),
            idle: Mutex::default(),
            writer: Arc::default(),
        }));
        if let Ok(room) = pool.0.room.clone().try_acquire_owned() {
            pool.put(Line { connection: first, _room: Some(room) });
        }
        pool
    }

    /// One to read by; on a server, to write by, too.
    pub(crate) async fn reading(&self) -> Result<Lent, Error> {
        Ok(Lent { line: self.line().await?, home: Home::Pool(self.clone()) })
    }

    /// One to write by. On SQLite nobody else of this process writes until it is done with.
    pub(crate) async fn writing(&self) -> Result<Lent, Error> {
        if self.0.dialect != Dialect::Sqlite {
            return self.reading().await;
        }
        let limit = Duration::from_millis(SQLITE_BUSY_TIMEOUT_MS.into());
        let turn = tokio::time::timeout(limit, self.0.writer.clone().lock_owned()).await;
        let mut turn = turn.map_err(|_| Error::PoolTimedOut)?;
        let line = match turn.take() {
            Some(line) => line,
            None => self.to_write_by().await?,
        };
        Ok(Lent { line, home: Home::Turn(turn) })
    }

    /// Writes the log of an SQLite file back, as far as nobody is in the way.
    pub(super) async fn write_back(&self) -> Result<(), Error> {
        self.script("PRAGMA wal_checkpoint(PASSIVE)").await
    }

    /// Runs statements of ours without values.
    pub(crate) async fn script(&self, text: &'static str) -> Result<(), Error> {
        let mut lent = self.writing().await?;
        let done = lent.script(text).await;
        self.settle(lent, done)
    }

    /// Closes all that nobody uses; the others are closed when they come back.
    pub(super) async fn close(&self) {
        self.0.free.close();
        self.0.room.close();
        let writer = self.0.writer.lock().await.take();
        let idle: Vec<Idle> = self.idle().drain(..).collect();
        for line in idle.into_iter().map(|idle| idle.line).chain(writer) {
            line.connection.close().await;
        }
    }

    /// Another one is opened meanwhile, to read by.
    async fn to_write_by(&self) -> Result<Line, Error> {
        let line = Line { _room: None, ..self.line().await? };
        if self.0.room.available_permits() == self.0.most {
            let pool = self.clone();
            tokio::spawn(async move { pool.open_another().await });
        }
        Ok(line)
    }

    async fn line(&self) -> Result<Line, Error> {
        let found = tokio::time::timeout(ACQUIRE_TIMEOUT, self.find()).await;
        found.unwrap_or(Err(Error::PoolTimedOut))
    }

    async fn find(&self) -> Result<Line, Error> {
        loop {
            let Idle { mut line, since } = tokio::select! {
                biased;
                idle = self.next_idle() => idle?,
                opened = self.open_another() => {
                    opened?;
                    continue;
                }
            };
            if since.elapsed() < TRUSTED || line.connection.is_there().await {
                return Ok(line);
            }
            self.idle().clear(); // the server was away
        }
    }

    async fn next_idle(&self) -> Result<Idle, Error> {
        loop {
            self.0.free.acquire().await.map_err(|_| Error::PoolClosed)?.forget();
            if let Some(idle) = self.idle().pop() {
                return Ok(idle);
            }
        }
    }

    /// Who waited for it may have got another one meanwhile: it is for whoever comes next then.
    async fn open_another(&self) -> Result<(), Error> {
        if self.0.room.available_permits() < self.0.most {
            tokio::time::sleep(PATIENCE).await;
        }
        let room = self.0.room.clone().acquire_owned().await.map_err(|_| Error::PoolClosed)?;
        let pool = self.clone();
        let opening = tokio::spawn(async move {
            let opened = tokio::time::timeout(ACQUIRE_TIMEOUT, pool.open(room)).await;
            pool.put(opened.map_err(|_| Error::PoolTimedOut)??);
            Ok(())
        });
        opening.await.map_err(|_| Error::WorkerCrashed)?
    }

    /// Tries again while a server is about to start, or full.
    async fn open(&self, room: OwnedSemaphorePermit) -> Result<Line, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.0.address.connect().await {
                Ok(connection) => return Ok(Line { connection, _room: Some(room) }),
                Err(error) if may_pass(&error) => tracing::debug!(%error, "the registry is tried again"),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn put(&self, line: Line) {
        if self.0.free.is_closed() {
            return;
        }
        let mut idle = self.idle();
        idle.push(Idle { line, since: Stopwatch::start() });
        if idle.first().is_some_and(|first| first.since.elapsed() >= NEEDED) {
            idle.remove(0);
        }
        self.0.free.add_permits(1);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection back that is as good as before.
    pub(super) fn settle<T>(&self, lent: Lent, result: Result<T, Error>) -> Result<T, Error> {
        if self.is_good_after(&result) {
            lent.done();
        }
        result
    }

    /// Whether a connection is as good as before after this.
    fn is_good_after<T>(&self, result: &Result<T, Error>) -> bool {
        match result {
            Ok(_) | Err(Error::RowNotFound | Error::ColumnDecode { .. }) => true,
            Err(Error::Database(_)) if self.0.dialect == Dialect::Sqlite => true,
            // A server that ends a session says so first.
            Err(Error::Database(error)) => !is_unreachable(error.as_ref()),
            Err(_) => false,
        }
    }
}

/// Whether a server that cannot be connected to may be there in a moment.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Error::Database(error) => is_unreachable(error.as_ref()),
        _ => false,
    }
}

impl Lent {
    /// All went well: the next one may have it.
    pub(crate) fn done(self) {
        match self.home {
            Home::Pool(pool) => pool.put(self.line),
            Home::Turn(mut turn) => *turn = Some(self.line),
        }
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.line.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.line.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Statement, Store};

    async fn registry() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let store = Store::init(&url).await.unwrap();
        (directory, store)
    }

    impl Pool {
        fn opened(&self) -> usize {
            self.0.most - self.0.room.available_permits()
        }

        async fn settings(&self) -> i64 {
            let count = Statement::new(self.0.dialect, "SELECT count(*) FROM settings");
            count.fetch_one(self).await.unwrap().try_get(0).unwrap()
        }
    }

    const SET: &str = "INSERT INTO settings (name, value) VALUES ('a', 'b')";

    #[tokio::test]
    async fn one_connection_serves_all_who_come_one_after_the_other() {
        let (_directory, store) = registry().await;
        for _ in 0..100 {
            store.now_ms().await.unwrap();
        }
        assert_eq!(store.pool().opened(), 1);
    }

    #[tokio::test]
    async fn another_connection_is_opened_when_the_only_one_is_held_on_to() {
        let (_directory, store) = registry().await;
        let held = store.begin_reading().await.unwrap();
        store.now_ms().await.unwrap();
        assert_eq!(store.pool().opened(), 2);
        held.commit().await.unwrap();
    }

    #[tokio::test]
    async fn who_writes_a_file_waits_for_its_turn_and_does_not_fail() {
        let (_directory, store) = registry().await;
        let tx = store.begin().await.unwrap();
        let others = futures::future::join_all((0..8).map(|at| {
            let sql = format!("INSERT INTO settings (name, value) VALUES ('n{at}', 'v')");
            let store = store.clone();
            tokio::spawn(async move { store.query(&sql).execute(store.pool()).await.unwrap() })
        }));
        assert_eq!(store.pool().settings().await, 0);
        tx.commit().await.unwrap();
        others.await;
        assert_eq!(store.pool().settings().await, 8);
    }

    #[tokio::test]
    async fn what_was_not_committed_is_undone_before_the_next_one_writes() {
        let (_directory, store) = registry().await;
        let mut tx = store.begin().await.unwrap();
        store.query(SET).execute(&mut *tx).await.unwrap();
        drop(tx);
        store.begin().await.unwrap().commit().await.unwrap();
        assert_eq!(store.pool().settings().await, 0);
    }

    #[tokio::test]
    async fn a_long_log_is_a_short_one_with_what_is_written_after_it_was_written_back() {
        let (directory, store) = registry().await;
        let much = "INSERT INTO settings (name, value) VALUES ('much', hex(randomblob(1500000)))";
        store.query(much).execute(store.pool()).await.unwrap();
        let length =
            || std::fs::metadata(directory.path().join("registry.db-wal")).map_or(0, |log| log.len());
        let long = length();
        store.write_back().await;
        store.query(SET).execute(store.pool()).await.unwrap();
        assert!(length() < long, "still {long} bytes");
        assert_eq!(store.pool().settings().await, 2);
    }

    #[tokio::test]
    async fn a_transaction_of_which_one_statement_is_refused_leaves_nothing_and_is_in_nobody_s_way() {
        let (_directory, store) = registry().await;
        let mut tx = store.begin_by(store.writing().await.unwrap()).await.unwrap();
        store.query(SET).execute(&mut *tx).await.unwrap();
        let refused = store.query("INSERT INTO settings (name, value) VALUES ('c', NULL)");
        refused.execute(&mut *tx).await.err().unwrap();
        drop(tx);
        assert_eq!(store.pool().settings().await, 0);
        let mut tx = store.begin_by(store.writing().await.unwrap()).await.unwrap();
        store.query(SET).execute(&mut *tx).await.unwrap();
        let update = store.query("UPDATE settings SET value = 'c' WHERE name = 'a' RETURNING value");
        assert_eq!(update.fetch_all(&mut *tx).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        assert_eq!(store.pool().settings().await, 1);
    }

    #[tokio::test]
    async fn a_statement_that_is_refused_costs_no_connection() {
        let (_directory, store) = registry().await;
        store.query("SELECT no_column FROM settings").fetch_one(store.pool()).await.err().unwrap();
        assert_eq!(store.pool().0.free.available_permits(), 1);
    }
}
