//! SQLite: a file per tenant.
//!
//! There is no lock to hold over several transactions. Each migration's transaction takes the write lock at its
//! beginning, and looks once more whether somebody else has applied it since the plan was made.

mod after;
mod awaited;
mod catalog;
mod deadline;
mod failure;
mod file;
mod heads;
mod own;
mod rehearsal;
mod script;
mod seen;
mod thread;

use std::sync::Arc;

use tenantry_shared::{
    failure::Failure,
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::Catalog,
    site::{Row, Site},
    statement::Course,
};

use self::{
    after::After,
    file::{File, Opening},
    thread::Place,
};
pub(crate) use self::{
    heads::FileHeads,
    own::{in_own_thread, works_files},
};
use super::{
    Ahead, Asks, Change, Doing, Limits, Seen, Select, Session, course_of, in_time, numbered,
    steps::{self, Stepwise},
    unrecorded,
};

/// A session with an SQLite tenant.
pub struct SqliteSession {
    opening: Arc<Opening>,
    place: Place,
    /// How often it was called so far.
    calls: u64,
    /// Whether a migration may have left settings behind.
    stained: bool,
    /// Whether it holds what it writes to foreign keys.
    foreign_keys: bool,
    /// What will be read after the next migration, and what was read after the last one.
    ahead: Option<Ahead>,
    after: After,
    doing: Arc<Doing>,
}

impl Session for SqliteSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let mut session = Self::at(access.url.expose(), limits)?;
        in_time(limits.connect, session.with(|_| ())).await?;
        Ok(session)
    }

    /// There is no lock that could be somebody else's.
    async fn begin(
        _: Option<Self>,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        let mut session = Self::at(access.url.expose(), limits)?;
        let asks = asks(&session.site(""));
        session.tell(asks.doing.clone());
        let rows = session.with(|file| file.first_look(asks)).await?;
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
        let select = select.to_owned();
        self.with(move |file| file.read(&select)).await?
    }

    async fn read_all(&mut self, selects: &[Select]) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let (read, selects) = (self.after.rows_of(selects), selects.to_vec());
        let Some(rows) = read else {
            return self.with(move |file| file.look(&selects, selects.len())).await?;
        };
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
                Box::pin(steps::run(self, change, &units)).await
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
        let (selects, statements) = (selects.to_vec(), statements.to_vec());
        self.with(move |file| file.write(&selects, &statements)).await?
    }

    async fn settle(&mut self, progress: Progress, script: &Script) -> Result<Progress, Failure> {
        Box::pin(steps::settle(self, progress, script)).await
    }

    fn is_stained(&self) -> bool {
        self.stained
    }

    async fn catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let rows = match self.after.catalog_without(histories) {
            Some(rows) => rows,
            None => self.rows(catalog::CATALOG).await?.unwrap_or_default(),
        };
        Ok(catalog::read(rows, histories))
    }

    async fn close(self) {
        self.leave().await;
    }
}

impl SqliteSession {
    /// Opened when it is needed.
    fn at(url: &str, limits: Limits) -> Result<Self, Failure> {
        Ok(Self {
            opening: Arc::new(Opening::of(url, limits)?),
            place: Place::default(),
            calls: 0,
            stained: false,
            foreign_keys: true,
            ahead: None,
            after: After::default(),
            doing: Arc::default(),
        })
    }

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
        let (select, create, script) =
            (change.select.clone(), change.create.clone(), change.script.text.clone());
        let waits = !change.more;
        let begin = move |file: &mut File| {
            file.wait(waits)?;
            file.begin_change(&select, &create, &text, &script)
        };
        let ran = self.with(begin).await?;
        let took = ran.map_err(|failure| numbered(failure, change.script, Engine::Sqlite))?;
        let (record, select) = ((change.record)(took, false), change.select.clone());
        let last = ahead.is_some();
        let end = move |file: &mut File| file.end_change(&record, &select, ahead);
        let ended = if last { self.at_last_with(end).await? } else { self.with(end).await? };
        self.after = ended.map_err(|failure| unrecorded(failure, change))?;
        Ok(())
    }

    /// The plan was made of a history that was read without the write lock.
    async fn nobody_came_between(&mut self, select: &str) -> Result<(), Failure> {
        let select = select.to_owned();
        self.with(move |file| file.nobody_came_between(&select)).await?
    }

    async fn rows(&mut self, select: &'static str) -> Result<Option<Vec<Row>>, Failure> {
        self.with(move |file| file.read(select)).await?
    }

    async fn run_script(&mut self, text: String) -> Result<(), Failure> {
        self.with(move |file| file.run_script("", &text)).await?
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        self.execute(sql).await.map(|_| ())
    }
}

impl Stepwise for SqliteSession {
    const BEGIN: &'static str = file::BEGIN;

    async fn execute(&mut self, sql: &str) -> Result<u64, Failure> {
        let sql = sql.to_owned();
        self.with(move |file| file.execute(&sql)).await?
    }

    async fn statement(&mut self, text: &str) -> Result<(), Failure> {
        self.run_script(text.to_owned()).await
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

/// Whether a script may change settings of its session.
pub(super) fn may_set(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    ["PRAGMA", "TEMP", "ATTACH"].iter().any(|word| text.contains(word))
}

/// What the driver says that reads URLs.
fn failed(error: &sqlx::Error) -> Failure {
    super::failure(error, Engine::Sqlite, None)
}
