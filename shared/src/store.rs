//! The SQL door to the registry database: one pool, one dialect, one text of SQL for all of them.
//!
//! Statements are written in what SQLite, PostgreSQL, MySQL 8 and MariaDB 10.6 share: without `RETURNING` (but for the
//! claim of targets, which has a second form) and `ON CONFLICT` (see `Statement::insert`), with `$1` for the first value,
//! and with these words in braces:
//!
//! | word | stands for |
//! |---|---|
//! | `{now}` | milliseconds since 1970 by the database's own clock, so that all workers agree |
//! | `{skip_locked}` | `FOR UPDATE SKIP LOCKED` where the database has row locks |
//! | `{by_due}`, `{by_server}` | behind `targets`: go through them by `due_at`, of all or of one server, where the database has to be told |
//! | `{by_lapses}` | the same, by `lapses` |
//! | `{rows}` | before a list of pairs in `IN (…)`, where the database wants a word there |
//! | `{array}` | before values in parentheses: a JSON array of them |
//! | `{hint}` | at the end of a `WHERE`: what is written is worth no wait for the disk, where one can be left out |
//! | `{opaque}` | behind the value of a `LIMIT`: SQLite plans a statement anew for each value of one that it sees |
//!
//! Times and durations are `BIGINT` milliseconds, JSON is text. What a statement gives is a `BIGINT` or a text:
//! nothing else is read of every database (no `BOOLEAN`, no `DECIMAL`, so no `sum()`). A statement that changes
//! rows says how many it must touch, which are those it found: see [`expect_rows`].

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, any::AnyConnectOptions};

use crate::{clock::Stopwatch, pooling::for_driver};

mod connection;
mod dialect;
mod error;
mod execute;
mod file;
mod lines;
mod pool;
mod pooler;
mod refusal;
mod row;
mod schema;
mod statement;
mod transaction;

pub use dialect::{Dialect, dialect_of, sqlite_path};
pub use error::{StoreError, expect_rows};
pub use file::{open_sqlite, sqlite_name};

use connection::Address;
pub(crate) use connection::Connection;
pub(crate) use pool::{Lent, Pool};
pub(crate) use row::Row;
pub(crate) use statement::{Statement, Value, list, pairs, parameters};
pub(crate) use transaction::Tx;

/// How long to wait for a connection from the pool, or for the first one at all.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// A transaction of ours that stands still for so long is ended by the server: its process was paused, and others wait for
/// its locks.
const IDLE_TRANSACTION_S: u32 = 15;

const SQLITE_BUSY_TIMEOUT_MS: u32 = 30_000;

/// So many pages of an SQLite registry are in its log before they are written back, which waits for the disk twice: a run of a
/// thousand tenants writes a part of that. A longer log would be read for longer by each process that opens it.
const SQLITE_LOG_PAGES: u32 = 4_000;

/// With so many it is written back before a run is written: each process that opens the file reads its log first.
const SQLITE_LONG_LOG_PAGES: u32 = 500;

/// How long to wait before a new SQLite file is tried again that others open, too.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What a page takes in the log: itself, and what is told of it.
const SQLITE_LOG_PAGE_BYTES: u32 = 4_096 + 24;

/// A registry database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    dialect: Dialect,
    /// Where an SQLite file has its log.
    log: Option<PathBuf>,
}

impl Store {
    /// Opens a registry that exists and has the version this program needs.
    ///
    /// # Errors
    /// When it cannot be reached, is not there, or has another version.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let dialect = dialect_of(url)?;
        if let Some(path) = sqlite_path(url).filter(|path| !path.exists()) {
            return Err(StoreError::NoRegistry(path.display().to_string()));
        }
        let store = Self::connect(url, dialect).await?;
        let found = schema::version(dialect, &store.pool).await?;
        let needed = schema::newest(dialect);
        match found {
            None => Err(StoreError::NoRegistry("that database".into())),
            Some(found) if found == needed => Ok(store),
            Some(found) => Err(StoreError::Version { found, needed }),
        }
    }

    /// Makes a registry, or brings one up to this program's version. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub async fn init(url: &str) -> Result<Self, StoreError> {
        let dialect = dialect_of(url)?;
        if let Some(parent) = sqlite_path(url).as_deref().and_then(|path| path.parent()) {
            let unusable = |e: std::io::Error| StoreError::Unusable {
                path: parent.display().to_string(),
                reason: e.to_string(),
            };
            private_directory(parent).map_err(unusable)?;
        }
        // A connection of its own: its locks go with it, whatever fails.
        let creating = creating(url, dialect);
        let mut connection = in_time(url, dialect, driven(&creating, dialect)).await?;
        schema::migrate(&mut connection, dialect).await?;
        connection.close().await?;
        Self::connect(url, dialect).await
    }

    async fn connect(url: &str, dialect: Dialect) -> Result<Self, StoreError> {
        // The pool would try for its whole time limit and then say only that the time is over.
        let (address, most) = match dialect {
            Dialect::Sqlite => (Address::File(sqlite_name(url)?), 4),
            Dialect::Postgres | Dialect::MySql => (Address::Server(Box::new(options(url)?), dialect), 8),
        };
        let first = in_time(url, dialect, async {
            match &address {
                Address::File(_) => Ok(address.connect().await?),
                Address::Server(..) => Ok(Connection::Server(Box::new(driven(url, dialect).await?))),
            }
        })
        .await?;
        let pool = Pool::new(address, dialect, most, first);
        let log = sqlite_path(url).map(|path| format!("{}-wal", path.display()).into());
        Ok(Self { pool, dialect, log })
    }

    /// The pool, for one statement.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A transaction that is going to write. On SQLite it takes the write lock at once: one that reads first
    /// and writes later fails where another has written in between.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        self.begin_by(self.pool.writing().await?).await
    }

    /// The same by a connection to write by.
    pub(crate) async fn begin_by(&self, writing: Lent) -> Result<Tx, StoreError> {
        let begin = if self.dialect == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Tx::begin(writing, begin).await
    }

    /// A transaction that only reads, and takes no lock to write.
    pub(crate) async fn begin_reading(&self) -> Result<Tx, StoreError> {
        Tx::begin(self.pool.reading().await?, "BEGIN").await
    }

    /// A connection to write by without a transaction.
    pub(crate) async fn writing(&self) -> Result<Lent, StoreError> {
        Ok(self.pool.writing().await?)
    }

    /// A statement in this database's dialect. `text` is ours and never holds a value.
    pub(crate) fn query(&self, text: &str) -> Statement {
        Statement::new(self.dialect, text)
    }

    /// Milliseconds since 1970 by the database's clock.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        Ok(self.query("SELECT {now}").fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Leaves the connections open until the process ends, where that saves its end from waiting: the last one to leave an
    /// SQLite file would write all of its log back, and wait for the disk. The next one to open it reads the log instead.
    pub fn keep_open(&self) {
        if self.dialect == Dialect::Sqlite {
            std::mem::forget(self.clone());
        }
    }

    /// Writes back what the log of an SQLite file holds, where that is much: for whoever is about to write, as the log begins anew
    /// only with what is written when all of it is in the file. Elsewhere nothing is to be done.
    pub async fn write_back(&self) {
        let Some(path) = &self.log else { return };
        let pages = std::fs::metadata(path).map_or(0, |log| log.len() / u64::from(SQLITE_LOG_PAGE_BYTES));
        if pages <= SQLITE_LONG_LOG_PAGES.into() {
            return;
        }
        if let Err(error) = self.pool.write_back().await {
            tracing::debug!(%error, "the registry's log was not written back");
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// One connection of the driver's, ready for use.
async fn driven(url: &str, dialect: Dialect) -> Result<AnyConnection, StoreError> {
    let mut connection = pooler::connect(url, dialect).await?;
    prepare(&mut connection, dialect).await?;
    Ok(connection)
}

/// The first connection, or what is in the way of it.
async fn in_time<T>(
    url: &str,
    dialect: Dialect,
    connect: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| StoreError::Unreachable(format!("no answer within {ACQUIRE_TIMEOUT:?}"));
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connect).await.map_err(late)? {
        Err(StoreError::Database(sqlx::Error::Database(e))) if dialect == Dialect::Sqlite => {
            let path = sqlite_path(url).unwrap_or_default().display().to_string();
            Err(StoreError::Unusable { path, reason: e.message().to_owned() })
        }
        result => result,
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(&for_driver(url)).map_err(|_| StoreError::Scheme)?;
    let unnamed = options.database_url.path().trim_matches('/').is_empty();
    if unnamed && dialect_of(url)? == Dialect::MySql {
        return Err(StoreError::NoDatabase);
    }
    Ok(options)
}

/// What a connection is set to.
fn settings(dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint={SQLITE_LOG_PAGES}; PRAGMA journal_size_limit={}",
            SQLITE_LONG_LOG_PAGES * SQLITE_LOG_PAGE_BYTES
        ),
        // What PostgreSQL takes for costly here ends after a few rows: to compile it takes longer than all of its work.
        Dialect::Postgres => {
            format!("SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'; SET jit = off")
        }
        // Without locks on the gaps between rows, which make deadlocks. What does not fit is an error, whatever the server's mode.
        // MySQL cannot end a transaction that stands still, MariaDB can, and MySQL reads what is for it alone as a comment.
        Dialect::MySql => format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'
             /*M! , idle_transaction_timeout = {IDLE_TRANSACTION_S} */"
        ),
    }
}

async fn prepare(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), sqlx::Error> {
    let mut settings = settings(dialect);
    if dialect == Dialect::Sqlite {
        settings.insert_str(0, &format!("PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}; "));
    }
    let began = Stopwatch::start();
    loop {
        match connection.execute(sqlx::raw_sql(AssertSqlSafe(settings.clone()))).await {
            // To have a log, a new SQLite file must be nobody else's for a moment, and whoever is not alone is refused at once.
            Err(sqlx::Error::Database(e))
                if says_busy(e.code().as_deref()) && began.elapsed() < ACQUIRE_TIMEOUT =>
            {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done.map(|_| ()),
        }
    }
}

/// Whether an SQLite result code, extended or not, says that somebody else holds a lock. SQLSTATEs are longer.
fn says_busy(code: Option<&str>) -> bool {
    code.filter(|code| code.len() < 5).and_then(|code| code.parse().ok()).is_some_and(is_busy)
}

/// The same of the code itself.
fn is_busy(code: i32) -> bool {
    matches!(code & 0xff, 5 | 6)
}

fn creating(url: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
        _ => url.to_owned(),
    }
}

/// Makes a directory that only its owner can look into, where there is none.
fn private_directory(path: &std::path::Path) -> std::io::Result<()> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
