//! An SQLite file that is open, and what is done in it. All of this waits, for locks and for the disk: it is called in
//! threads that are there for it (`thread`), and as much as possible in one call, as each costs two switches of threads
//! unless the thread is the attempt's own.

use std::{sync::Arc, time::Duration};

use rusqlite::{Batch, Connection, Statement, config::DbConfig, fallible_iterator::FallibleIterator as _};
use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    site::Row,
    store::{open_sqlite, sqlite_name},
};

use super::{
    after::After,
    awaited::Disk,
    catalog::CATALOG,
    deadline::Deadline,
    failed,
    failure::{fail, is_no_table},
    seen::AllSeen,
};
use crate::engine::{Ahead, Asks, Doing, Limits, Select, doing::Lock};

/// What may be waited for by one who reads, begins to write, and ends it. Reading and ending may be slow in themselves.
const READS: &str = "a read lock (or the disk) of";
const WRITES: &str = "the write lock of";
const ENDS: &str = "the readers (or the disk) of";

/// Begins a transaction that has the write lock.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// What is needed to open a file.
pub(super) struct Opening {
    name: String,
    pub(super) limits: Limits,
    pub(super) deadline: Arc<Deadline>,
}

impl Opening {
    /// Of the file that a URL names.
    pub(super) fn of(url: &str, limits: Limits) -> Result<Self, Failure> {
        let name = sqlite_name(url).map_err(|error| failed(&error))?;
        Ok(Self { name, limits, deadline: Arc::default() })
    }
}

/// An open file.
pub(super) struct File {
    pub(super) connection: Connection,
    limits: Limits,
    pub(super) disk: Disk,
    pub(super) seen: AllSeen,
    pub(super) deadline: Arc<Deadline>,
    pub(super) doing: Arc<Doing>,
}

impl File {
    /// Opens a file that is there.
    pub(super) fn open(opening: &Opening) -> Result<Self, Failure> {
        let Opening { name, limits, deadline } = opening;
        let connection = open_sqlite(name).map_err(|error| fail(&error))?;
        let (limits, deadline) = (*limits, deadline.clone());
        let (disk, seen, doing) = Default::default();
        let file = Self { connection, limits, disk, seen, deadline, doing };
        file.set().map_err(|error| fail(&error))?;
        Ok(file)
    }

    /// A file of a test.
    #[cfg(test)]
    pub(super) fn at(path: &std::path::Path) -> Self {
        let second = Duration::from_secs(1);
        let limits = Limits { connect: second, lock: second, statement: None };
        let opening = Opening::of(&format!("sqlite:{}", path.display()), limits).expect("a URL");
        opening.deadline.begins(1);
        Self::open(&opening).expect("a file")
    }

    fn set(&self) -> Result<(), rusqlite::Error> {
        self.connection.busy_timeout(self.limits.lock.min(LONGEST_WAIT))?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        self.deadline.watches(&self.connection)
    }

    /// Reads rows of texts. None: the table is not there.
    pub(super) fn rows(&self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let mut rows = Vec::new();
        let read = self.each(select, |statement| {
            rows = texts(statement)?;
            Ok(())
        });
        match read {
            Ok(()) => Ok(Some(rows)),
            Err(failure) if is_no_table(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The same, and it is what was seen of this history from now on.
    pub(super) fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        self.doing.lock(Some(Lock::File(READS)));
        // Before the rows: what is written in between is noticed then.
        let rows = self.ask_version().and_then(|()| self.rows(select));
        self.doing.lock(None);
        let rows = rows?;
        self.seen.is(select, rows.clone());
        Ok(rows)
    }

    /// What an attempt asks at its beginning. Where all that is needed is there, what is wanted of no table is left out.
    pub(super) fn first_look(&mut self, asks: Asks) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let needed = asks.needed.len();
        self.look(&[asks.needed, asks.wanted].concat(), needed)
    }

    /// Reads all of them at one moment.
    pub(super) fn look(
        &mut self,
        selects: &[Select],
        needed: usize,
    ) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let rows = self.at_one_moment(|file| file.look_at(selects, needed))?;
        self.seen_are(selects, &rows);
        Ok(rows)
    }

    fn look_at(&self, selects: &[Select], needed: usize) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let mut rows = vec![None; selects.len()];
        let (of_tables, others): (Vec<usize>, _) =
            (0..selects.len()).partition(|&at| selects[at].table.is_some());
        for at in of_tables {
            rows[at] = self.rows(&selects[at].sql)?;
        }
        let of_needed = |&at: &usize| selects[at].table.is_none() || rows[at].is_some();
        let enough = (0..needed).all(|at| of_needed(&at));
        for at in others.into_iter().filter(|&at| at < needed || !enough) {
            rows[at] = self.rows(&selects[at].sql)?;
        }
        Ok(rows)
    }

    /// In one transaction that reads.
    pub(super) fn at_one_moment<T>(
        &mut self,
        look: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.doing.lock(Some(Lock::File(READS)));
        let alone = self.connection.is_autocommit();
        let begun = if alone { self.run("BEGIN") } else { Ok(()) };
        let looked = begun.and_then(|()| self.ask_version()).and_then(|()| look(self));
        if alone {
            // It has changed nothing: how it ends does not matter.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.doing.lock(None);
        looked
    }

    /// Runs SQL of ours; gives how many rows its last statement changed.
    pub(super) fn execute(&self, sql: &str) -> Result<u64, Failure> {
        self.doing.lock(lock_of(sql));
        let done = self.run(sql);
        self.doing.lock(None);
        done.map(|()| self.connection.changes())
    }

    /// Writes SQL of ours in one transaction. What these selections were last read as must still hold.
    pub(super) fn write(&mut self, selects: &[String], statements: &[String]) -> Result<(), Failure> {
        self.execute(BEGIN)?;
        for select in selects {
            self.nobody_came_between(select)?;
        }
        for statement in statements {
            self.execute(statement)?;
        }
        self.execute("COMMIT").map(|_| ())
    }

    /// Runs a migration in a transaction with the write lock, which it leaves open; gives how long the script took.
    pub(super) fn begin_change(
        &mut self,
        select: &str,
        create: &str,
        text: &str,
        script: &str,
    ) -> Result<Duration, Failure> {
        self.execute(BEGIN)?;
        self.nobody_came_between(select)?;
        let watch = Stopwatch::start();
        self.doing.whole(script, true);
        let made = self.seen.made(create, select);
        let ran = self.run_script(if made { "" } else { create }, text);
        self.doing.statement(None);
        ran?;
        self.seen.is_made(create);
        Ok(watch.elapsed())
    }

    /// Writes the record of a migration and ends its transaction. What the history is by then is what was seen of it. Nobody
    /// else can write before the commit, and what was read right before it is what it makes last.
    pub(super) fn end_change(
        &mut self,
        record: &str,
        select: &str,
        ahead: Option<Ahead>,
    ) -> Result<After, Failure> {
        self.doing.lock(Some(Lock::File(ENDS)));
        let ended = self.recorded(record, select, ahead);
        self.doing.lock(None);
        ended
    }

    /// What is read ahead is the last of this file, which is closed then. What of it cannot be read is read anew when it is
    /// asked for.
    fn recorded(&mut self, record: &str, select: &str, ahead: Option<Ahead>) -> Result<After, Failure> {
        self.run(record)?;
        let Some(ahead) = ahead else {
            let rows = self.rows(select)?;
            self.commit()?;
            self.seen.is(select, rows);
            return Ok(After::default());
        };
        let after = self.look_ahead(ahead);
        // An error of the disk may have ended the transaction.
        let after = if self.connection.is_autocommit() { Ok(after?) } else { after };
        self.commit()?;
        Ok(after.unwrap_or_default())
    }

    fn look_ahead(&self, ahead: Ahead) -> Result<After, Failure> {
        let rows = self.look_at(&ahead.selects, ahead.selects.len())?;
        let catalog = ahead.catalog.as_ref().map(|_| self.rows(CATALOG)).transpose()?;
        Ok(After::new(ahead, rows, catalog.flatten()))
    }

    /// Runs SQL to its end.
    pub(super) fn run(&self, sql: &str) -> Result<(), Failure> {
        self.each(sql, to_its_end)
    }

    /// One statement after the other, as long as anybody waits for it.
    pub(super) fn each(
        &self,
        sql: &str,
        mut each: impl FnMut(&mut Statement<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), Failure> {
        let mut batch = Batch::new(&self.connection, sql);
        while let Some(mut statement) = batch.next().map_err(|error| fail(&error))? {
            self.deadline.goes_on()?;
            each(&mut statement).map_err(|error| fail(&error))?;
        }
        Ok(())
    }

    /// How long a statement may take.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.limits.statement
    }
}

/// SQLite counts milliseconds in 31 bits.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

pub(super) fn to_its_end(statement: &mut Statement<'_>) -> Result<(), rusqlite::Error> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

fn texts(statement: &mut Statement<'_>) -> Result<Vec<Row>, rusqlite::Error> {
    let columns = statement.column_count();
    let (mut rows, mut all) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        all.push((0..columns).map(|at| row.get(at)).collect::<Result<Row, _>>()?);
    }
    Ok(all)
}

/// The lock of the file that SQL of ours has to get.
fn lock_of(sql: &str) -> Option<Lock> {
    match sql {
        BEGIN => Some(Lock::File(WRITES)),
        "COMMIT" => Some(Lock::File(ENDS)),
        _ => None,
    }
}
