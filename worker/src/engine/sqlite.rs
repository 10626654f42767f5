//! SQLite: a file per tenant.
//!
//! There is no lock to hold over several transactions. Each migration's transaction takes the write lock at its
//! beginning, and looks once more whether somebody else has applied it since the plan was made.

mod catalog;
mod heads;
mod message;
mod rehearsal;
mod script;

use std::{collections::HashMap, str::FromStr as _, sync::Arc};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::Catalog,
    site::{Row, Site},
    statement::Course,
};

pub(crate) use self::heads::FileHeads;
use super::{
    Ahead, Asks, Change, Doing, Limits, Seen, Select, Session, course_of,
    doing::Lock,
    failure, in_time, numbered,
    steps::{self, Stepwise},
    unrecorded,
};
use message::After;
use script::Deadline;

/// What may be waited for by one who reads, begins to write, and ends it. Reading and ending may be slow in themselves.
const READS: &str = "a read lock (or the disk) of";
const WRITES: &str = "the write lock of";
const ENDS: &str = "the readers (or the disk) of";

/// A session with an SQLite tenant.
pub struct SqliteSession {
    connection: SqliteConnection,
    limits: Limits,
    /// What each history was when it was last read.
    seen: HashMap<String, Option<Vec<Row>>>,
    /// Whether a migration may have left settings behind.
    stained: bool,
    /// Whether it holds what it writes to foreign keys.
    foreign_keys: bool,
    /// When SQLite is to stop a script. None: it was not told to ask yet.
    deadline: Option<Arc<Deadline>>,
    /// What will be read after the next migration, and what was read after the last one.
    ahead: Option<Ahead>,
    after: After,
    doing: Arc<Doing>,
}

impl Session for SqliteSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::from_str(access.url.expose()).map_err(|e| fail(&e))?;
        let options = options.create_if_missing(false).busy_timeout(limits.lock).disable_statement_logging();
        let options = options.foreign_keys(true);
        let connect = async { SqliteConnection::connect_with(&options).await.map_err(|e| fail(&e)) };
        let connection = in_time(limits.connect, connect).await?;
        Ok(Self {
            connection,
            limits,
            seen: HashMap::new(),
            stained: false,
            foreign_keys: true,
            deadline: None,
            ahead: None,
            after: After::default(),
            doing: Arc::default(),
        })
    }

    /// There is no lock that could be somebody else's.
    async fn begin(
        _: Option<Self>,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        let mut session = Self::connect(access, limits).await?;
        let asks = asks(&session.site(""));
        session.tell(asks.doing.clone());
        let rows = session.first_look(asks).await;
        Ok((session, rows.map(|rows| Seen { locked: true, rows })))
    }

    fn tell(&mut self, doing: Arc<Doing>) {
        doing.session(None);
        self.doing = doing;
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn site(&self, table: &str) -> Site {
        Site { engine: Engine::Sqlite, schema: None, table: table.to_owned() }
    }

    async fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let rows = self.rows(select).await?;
        self.seen.insert(select.to_owned(), rows.clone());
        Ok(rows)
    }

    async fn read_all(&mut self, selects: &[Select]) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let Some(rows) = self.after.rows_of(selects) else {
            return self.look(selects, selects.len()).await;
        };
        self.seen.extend(selects.iter().map(|select| select.sql.clone()).zip(rows.iter().cloned()));
        Ok(rows)
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn foresee(&mut self, next: Ahead) {
        self.ahead = Some(next);
    }

    async fn run(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let ahead = self.ahead.take();
        self.after = After::default();
        let course = course_of(change, Engine::Sqlite)?;
        self.settings(change).await?;
        match course {
            Course::Whole { text } => {
                self.stained |= may_set(&text);
                self.run_in_transaction(change, text, ahead).await
            }
            Course::Steps(units) => {
                self.stained = true;
                steps::run(self, change, &units).await
            }
        }
    }

    async fn rehearse(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, Failure)> {
        let ran = self.rehearse_all(changes).await;
        // Without it the file is rolled back when it is next opened.
        let _ = self.raw("ROLLBACK").await;
        ran
    }

    async fn write(&mut self, selects: &[String], statements: &[String]) -> Result<(), Failure> {
        self.raw(Self::BEGIN).await?;
        for select in selects {
            self.nobody_came_between(select).await?;
        }
        for statement in statements {
            self.raw(statement).await?;
        }
        self.raw("COMMIT").await
    }

    async fn settle(&mut self, progress: Progress, script: &Script) -> Result<Progress, Failure> {
        steps::settle(self, progress, script).await
    }

    fn is_stained(&self) -> bool {
        self.stained
    }

    async fn catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let rows = match self.after.catalog_without(histories) {
            Some(rows) => rows,
            None => self.rows(catalog::CATALOG).await?.unwrap_or_default(),
        };
        Ok(catalog::read(&rows, histories))
    }

    async fn close(self) {
        // Nothing is left to be written; an error here loses nothing.
        let _ = self.connection.close().await;
    }
}

impl SqliteSession {
    /// What it has from its beginning is not said again.
    async fn settings(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        if self.foreign_keys != change.foreign_keys {
            let hold = if change.foreign_keys { "ON" } else { "OFF" };
            self.raw(&format!("PRAGMA foreign_keys = {hold}")).await?;
            self.foreign_keys = change.foreign_keys;
        }
        if let Some(preamble) = change.preamble {
            self.stained = true;
            self.raw(preamble).await?;
        }
        Ok(())
    }

    async fn run_in_transaction(
        &mut self,
        change: &Change<'_>,
        text: String,
        ahead: Option<Ahead>,
    ) -> Result<(), Failure> {
        self.begin_change(&change.select).await?;
        let watch = Stopwatch::start();
        self.doing.whole(&change.script.text, true);
        let ran = self.run_script(&change.create, text).await;
        self.doing.statement(None);
        ran.map_err(|failure| numbered(failure, change.script, Engine::Sqlite))?;
        let record = (change.record)(watch.elapsed(), false);
        self.end_change(&record, &change.select, ahead).await.map_err(|failure| unrecorded(failure, change))
    }

    /// The plan was made of a history that was read without the write lock.
    async fn nobody_came_between(&mut self, select: &str) -> Result<(), Failure> {
        let now = self.rows(select).await?;
        self.is_as_planned(select, &now)
    }

    fn is_as_planned(&self, select: &str, now: &Option<Vec<Row>>) -> Result<(), Failure> {
        if self.seen.get(select).is_none_or(|seen| seen == now) {
            return Ok(());
        }
        Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        self.execute(sql).await.map(|_| ())
    }
}

impl Stepwise for SqliteSession {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn execute(&mut self, sql: &str) -> Result<u64, Failure> {
        self.doing.lock(lock_of(sql));
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        self.doing.lock(None);
        done.map(|done| done.rows_affected()).map_err(|e| fail(&e))
    }

    async fn statement(&mut self, text: &str) -> Result<(), Failure> {
        self.run_script("", text.to_owned()).await
    }

    async fn clear(&mut self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// What runs alone there (`VACUUM`, settings) may run again.
    async fn is_done(&mut self, _: &str) -> Result<Option<bool>, Failure> {
        Ok(Some(false))
    }

    async fn first(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.nobody_came_between(&change.select).await
    }

    async fn last(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.read(&change.select).await.map(|_| ())
    }
}

/// The lock of the file that SQL of ours has to get.
fn lock_of(sql: &str) -> Option<Lock> {
    match sql {
        SqliteSession::BEGIN => Some(Lock::File(WRITES)),
        "COMMIT" => Some(Lock::File(ENDS)),
        _ => None,
    }
}

/// Whether a script may change settings of its session.
pub(super) fn may_set(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    ["PRAGMA", "TEMP", "ATTACH"].iter().any(|word| text.contains(word))
}

fn texts(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

fn fail(error: &sqlx::Error) -> Failure {
    failure(error, Engine::Sqlite, None)
}
