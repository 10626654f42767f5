//! An SQLite registry that is open. Its statements run in whichever thread asks for them: most take less time than to tell
//! another thread of them and to be told of the end. What may take longer, as it writes, is done while other threads take
//! over what else this one has to do. What waits for another process does so without a thread.

use std::{str::FromStr as _, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{CachedStatement, Connection, OpenFlags, types::ValueRef};
use sqlx::{Error, sqlite::SqliteConnectOptions};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    SQLITE_BUSY_TIMEOUT_MS, Statement, Value,
    execute::{Done, Want},
    is_busy,
    refusal::told,
    row::{Cell, Row},
};
use crate::clock::Stopwatch;

/// How many statements stay prepared.
const PREPARED: usize = 128;

/// How long to wait before what somebody else holds is tried again: longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// What was read has changed since: to wait for it is of no use.
const BUSY_SNAPSHOT: i32 = 517;

/// An open file.
#[derive(Debug)]
pub(crate) struct File(Connection);

impl File {
    /// Opens a file that is there.
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let connection = open_sqlite(name).map_err(told)?;
        connection.busy_timeout(Duration::ZERO).map_err(told)?; // see `patiently`
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Ok(Self(connection))
    }

    /// Runs statements of ours without values.
    pub(super) async fn script(&mut self, text: &str) -> Result<(), Error> {
        self.patiently(|connection| at_length(|| connection.execute_batch(text))).await
    }

    /// The same at once, which ends what nobody else can be in the way of.
    pub(super) fn at_once(&mut self, text: &str) -> Result<(), Error> {
        self.0.execute_batch(text).map_err(told)
    }

    /// Runs one statement.
    pub(super) async fn run(&mut self, statement: &Statement, want: Want) -> Result<Done, Error> {
        match want {
            Want::Nothing => self.patiently(|file| at_length(|| run(file, statement, want))).await,
            Want::One | Want::All => self.patiently(|file| run(file, statement, want)).await,
        }
    }

    /// As often as somebody else is in the way.
    async fn patiently<T>(
        &mut self,
        mut work: impl FnMut(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, Error> {
        // Who asks for one thing after the other lets others go on in between.
        tokio::task::coop::consume_budget().await;
        let (waits, mut pause) = (Stopwatch::start(), FIRST_PAUSE);
        loop {
            match work(&self.0) {
                Err(error)
                    if is_held(&error)
                        && waits.elapsed() < Duration::from_millis(SQLITE_BUSY_TIMEOUT_MS.into()) => {}
                done => return done.map_err(told),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Does what may take a while in a thread of the runtime. In one of its own there is nobody who waits for it.
fn at_length<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn run(connection: &Connection, statement: &Statement, want: Want) -> Result<Done, rusqlite::Error> {
    let mut prepared = connection.prepare_cached(&statement.text)?;
    let done = run_prepared(connection, &mut prepared, statement, want);
    if !statement.is_kept() {
        prepared.discard();
    }
    done
}

fn run_prepared(
    connection: &Connection,
    prepared: &mut CachedStatement<'_>,
    statement: &Statement,
    want: Want,
) -> Result<Done, rusqlite::Error> {
    for at in 1..=prepared.parameter_count() {
        match prepared.parameter_name(at).and_then(|name| statement.value(name)) {
            Some(Value::Number(number)) => prepared.raw_bind_parameter(at, number)?,
            Some(Value::Text(text)) => prepared.raw_bind_parameter(at, text)?,
            None => return Err(rusqlite::Error::InvalidParameterCount(at, statement.values.len())),
        }
    }
    let (columns, mut all) = (prepared.column_count(), Vec::new());
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        if want != Want::Nothing {
            all.push(Row::new((0..columns).map(|at| row.get_ref(at).map(cell)).collect::<Result<_, _>>()?));
        }
        if want == Want::One {
            break;
        }
    }
    drop(rows);
    Ok(Done { changed: connection.changes(), rows: all })
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Number(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Other,
        },
        ValueRef::Real(_) | ValueRef::Blob(_) => Cell::Other,
    }
}

/// What SQLite opens for a URL, with what that says of how. Whether the file may be made is not for it to say: it is not.
///
/// # Errors
/// When it is no URL of a file.
pub fn sqlite_name(url: &str) -> Result<String, Error> {
    let options = SqliteConnectOptions::from_str(url)?;
    let (path, query) =
        (options.get_filename().to_string_lossy(), url.split_once('?').map_or("", |(_, query)| query));
    let says: Vec<&str> = query.split('&').filter(|says| !says.is_empty() && *says != "mode=rwc").collect();
    if says.is_empty() {
        return Ok(path.into_owned());
    }
    Ok(format!("file:{}?{}", utf8_percent_encode(&path, NON_ALPHANUMERIC), says.join("&")))
}

/// Opens a file that is there, by what [`sqlite_name`] gives.
///
/// # Errors
/// What SQLite says, without the name, which whoever asks for it knows.
pub fn open_sqlite(name: &str) -> Result<Connection, rusqlite::Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(name, flags).map_err(|error| match error {
        rusqlite::Error::SqliteFailure(error, Some(message)) => {
            let bare = message.strip_suffix(&format!(": {name}")).unwrap_or(&message).to_owned();
            rusqlite::Error::SqliteFailure(error, Some(bare))
        }
        error => error,
    })
}

/// Whether somebody else holds what it needs, and may give it up.
fn is_held(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(error, _) = error else { return false };
    is_busy(error.extended_code) && error.extended_code != BUSY_SNAPSHOT
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use sqlx::error::DatabaseError;

    use super::*;
    use crate::store::{Dialect, Store, StoreError};

    const SET: &str = "INSERT INTO settings (name, value) VALUES ('a', 'b')";

    struct Somebody(Connection);

    /// A registry, and who else has it open.
    async fn registry() -> (tempfile::TempDir, Store, Somebody) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("registry.db");
        let store = Store::init(&format!("sqlite:{}", file.display())).await.unwrap();
        (directory, store, Somebody(Connection::open(file).unwrap()))
    }

    #[tokio::test]
    async fn who_writes_while_another_process_does_waits_for_its_end() {
        let (_directory, store, Somebody(other)) = registry().await;
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writes = store.query(SET).execute(store.pool());
        let mut writes = std::pin::pin!(writes);
        assert!(writes.as_mut().now_or_never().is_none(), "it did not wait");
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(writes.await.unwrap().rows_affected(), 1);
    }

    #[tokio::test]
    async fn who_stops_waiting_for_another_process_leaves_nothing_behind() {
        let (_directory, store, Somebody(other)) = registry().await;
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(store.begin().now_or_never().is_none(), "it did not wait");
        other.execute_batch("COMMIT").unwrap();
        store.begin().await.unwrap().commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_value_is_found_by_its_number_wherever_it_stands() {
        let (_directory, store, _) = registry().await;
        let sql = "SELECT $2, $1, $2, $3, 1.5";
        let row =
            store.query(sql).bind(7).bind("seven").bind(None::<i64>).fetch_one(store.pool()).await.unwrap();
        assert_eq!(row.try_get::<String>(0).unwrap(), "seven");
        assert_eq!(row.try_get::<i64>(1).unwrap(), 7);
        assert_eq!(row.try_get::<Option<String>>(2).unwrap(), Some("seven".into()));
        assert_eq!(row.try_get::<Option<i64>>(3).unwrap(), None);
        row.try_get::<i64>(0).unwrap_err();
        row.try_get::<i64>(3).unwrap_err();
        row.try_get::<i64>(4).unwrap_err();
        row.try_get::<i64>(5).unwrap_err();
        let too_few = store.query(sql).bind(7).fetch_one(store.pool()).await.unwrap_err();
        assert!(!StoreError::from(too_few).is_temporary());
    }

    #[tokio::test]
    async fn a_key_that_is_there_is_no_error_and_anything_else_is_told_as_sqlite_tells_it() {
        let (_directory, store, _) = registry().await;
        assert!(store.query(SET).insert(store.pool()).await.unwrap());
        assert!(!store.query(SET).insert(store.pool()).await.unwrap());
        let twice = store.query(SET).execute(store.pool()).await.unwrap_err();
        assert!(twice.as_database_error().is_some_and(DatabaseError::is_unique_violation), "{twice}");
        let no_table = store.query("SELECT 1 FROM no_table").fetch_all(store.pool()).await.unwrap_err();
        assert_eq!(no_table.to_string(), "error returned from database: (code: 1) no such table: no_table");
    }

    #[tokio::test]
    async fn what_cannot_be_opened_is_told_with_its_name_once() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().display().to_string();
        let error = Store::open(&format!("sqlite:{name}")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the registry cannot be in {name}: unable to open database file")
        );
    }

    #[tokio::test]
    async fn a_value_that_is_something_else_is_not_told() {
        let (_directory, store, _) = registry().await;
        let row = store.query("SELECT 'secret'").fetch_one(store.pool()).await.unwrap();
        let error = row.try_get::<i64>(0).unwrap_err().to_string();
        assert_eq!(error, "error occurred while decoding column 0: a text is no i64");
    }

    #[test]
    fn a_statement_with_many_values_is_not_kept() {
        let statement = |count: i64| Statement::new(Dialect::Sqlite, "SELECT $1").bind_all(0..count);
        assert!(statement(1).is_kept());
        assert!(!statement(100).is_kept());
    }
}
