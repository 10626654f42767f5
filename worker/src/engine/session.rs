//! What an engine can do: a session with one tenant's database, and what it is asked and told.

use std::{sync::Arc, time::Duration};

use tenantry_shared::{
    failure::Failure,
    format::{Script, found::Guard},
    plan::Progress,
    registry::Access,
    schema::{Catalog, Outside},
    site::{Row, Site},
};

use super::{
    Doing, Limits,
    kept::{Keeper, Key, Shelf},
};

/// One migration in one direction, with all that is written of it in the tenant.
pub struct Change<'a> {
    /// What to run.
    pub script: &'a Script,
    /// Settings of the session that it begins with.
    pub preamble: Option<&'a str>,
    /// Whether SQLite holds it to foreign keys, unless it says otherwise itself.
    pub foreign_keys: bool,
    /// Makes the history table.
    pub create: String,
    /// Reads the history.
    pub select: String,
    /// Marks it as begun, where it does not run in one transaction with its record. None: the tool knows no mark.
    pub begin: Option<String>,
    /// The mark with a number of ours, or, where it is there (true), what gives it another number. None: its tool leaves
    /// no room for one.
    pub counted: Option<Counted<'a>>,
    /// Takes the mark away again: nothing was done.
    pub unmark: String,
    /// Its record once it has run: after how long, and whether it was marked.
    pub record: Box<dyn Fn(Duration, bool) -> String + Send + Sync + 'a>,
    /// What its progress is kept under, and how far it has come.
    pub progress: Progress,
    /// Whether that is from an earlier attempt.
    pub resumed: bool,
    /// Whether another change follows at once in the same session. Its record may be written together with that one's
    /// first then: until it is, the mark stands, and tells all. Or its commit need not wait for the disk.
    pub more: bool,
}

/// See [`Change::counted`].
pub type Counted<'a> = Box<dyn Fn(i64, bool) -> String + Send + Sync + 'a>;

/// A selection of rows of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// The table that it is of, as SQL names it. None: what it is of is always there.
    pub table: Option<String>,
    /// It.
    pub sql: String,
    /// What must be there for it to have a row at all, where that takes an engine less to look up than to find none.
    pub guard: Option<Guard>,
}

impl Select {
    /// One of what is always there.
    #[must_use]
    pub fn always(sql: String) -> Self {
        Self { table: None, sql, guard: None }
    }

    /// One of this table.
    #[must_use]
    pub fn of(site: &Site, sql: String) -> Self {
        let guard = Guard { tables: vec![site.table.clone()], schema: None };
        Self { table: Some(site.table()), sql, guard: Some(guard) }
    }
}

/// What an attempt asks at its beginning.
#[derive(Debug, Default)]
pub struct Asks {
    /// What tells whether there is anything to do.
    pub needed: Vec<Select>,
    /// What is wanted beside, where the tenant's lock was to be had at once: it is worth no message of its own.
    pub wanted: Vec<Select>,
    /// Who is told meanwhile what the session does.
    pub doing: Arc<Doing>,
}

/// The answers.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether this session has the tenant's lock, and had it before all of this was read.
    pub locked: bool,
    /// The rows of what is needed, and of what is wanted if it is locked. None: the table is not there.
    pub rows: Vec<Option<Vec<Row>>>,
}

/// What will be read after a migration.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    /// These, all together.
    pub selects: Vec<Select>,
    /// The catalog and what is outside, without these history tables.
    pub catalog: Option<Vec<String>>,
    /// Whether the session will be left to the next tenant, if all of that is as it should be: it may be freed at once.
    pub left: bool,
    /// Whether nobody but this session changes the tenant in this attempt: no program does.
    pub alone: bool,
}

/// One connection to one tenant's database.
pub trait Session: Send + Sized + 'static {
    /// Connects, and sets the limits.
    fn connect(access: &Access, limits: Limits) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Connects, or takes this session over that was kept, tries the tenant's lock without waiting for it, and reads: all of
    /// it in as few messages as the engine can. Changes nothing. What reading fails with leaves a session to ask why.
    fn begin(
        kept: Option<Self>,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> impl Future<Output = Result<(Self, Result<Seen, Failure>), Failure>> + Send {
        async move {
            if let Some(kept) = kept {
                kept.close().await;
            }
            let mut session = Self::connect(access, limits).await?;
            let Asks { needed, doing, .. } = asks(&session.site(""));
            session.tell(doing);
            let read = session.read_all(&needed).await;
            Ok((session, read.map(|rows| Seen { locked: false, rows })))
        }
    }

    /// Tells from now on what it does to whoever watches this.
    fn tell(&mut self, doing: Arc<Doing>);

    /// Where it tells what it does.
    fn doing(&self) -> &Doing;

    /// Where a history table of this name is in the tenant.
    fn site(&self, table: &str) -> Site;

    /// Reads rows of texts, and changes nothing. None: the table is not there.
    fn read(&mut self, select: &str) -> impl Future<Output = Result<Option<Vec<Row>>, Failure>> + Send;

    /// The same of several selections, in as few messages as the engine can.
    fn read_all(
        &mut self,
        selects: &[Select],
    ) -> impl Future<Output = Result<Vec<Option<Vec<Row>>>, Failure>> + Send {
        async move {
            let mut all = Vec::with_capacity(selects.len());
            for select in selects {
                all.push(self.read(&select.sql).await?);
            }
            Ok(all)
        }
    }

    /// Takes the tenant's lock, which this session holds until it is closed; where it is lent, until the next transaction of
    /// it ends.
    fn lock(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Refuses what cannot be done in a session that is lent, before anything is done in it. None: a program that migrates.
    ///
    /// # Errors
    /// The refusal.
    fn admits(&self, change: Option<&Change<'_>>) -> Result<(), Failure> {
        let _ = change;
        Ok(())
    }

    /// What will be read once the next migration has run: an engine that can reads it in the same message, after the commit,
    /// and gives that when it is asked for.
    fn foresee(&mut self, next: Ahead) {
        let _ = next;
    }

    /// Runs one migration and writes its record. After an error the session is of no more use.
    fn run(&mut self, change: &Change<'_>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs migrations that one transaction can hold, each with its record, in one transaction, and rolls it back. On an
    /// error, which of them it was. After it the session is of no more use.
    fn rehearse(
        &mut self,
        changes: &[Change<'_>],
    ) -> impl Future<Output = Result<(), (usize, Failure)>> + Send;

    /// Writes SQL of ours in one transaction, where the engine has one for it. What these selections were last read as
    /// must still hold.
    fn write(
        &mut self,
        selects: &[String],
        statements: &[String],
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Finds out how a statement ended that was begun and nobody knows of, where the database can tell.
    fn settle(
        &mut self,
        progress: Progress,
        script: &Script,
    ) -> impl Future<Output = Result<Progress, Failure>> + Send;

    /// Finds out how far a migration came whose mark has a tally: which of the statements up to `looked` are done behind
    /// those that are known to be. Changes nothing.
    fn retrace(
        &mut self,
        progress: Progress,
        looked: u32,
        script: &Script,
    ) -> impl Future<Output = Result<Progress, Failure>> + Send {
        let _ = (looked, script);
        async { Ok(progress) }
    }

    /// Whether it is a pooler's, and ours for one transaction at a time.
    fn is_lent(&self) -> bool {
        false
    }

    /// Whether a migration has left settings in the session that only a new one is free of.
    fn is_stained(&self) -> bool;

    /// How long from now on it may take until all that was committed outlives a crash of the server, and of any program.
    fn durable_after(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until it does. False: the server is gone, and may have taken the last changes with it.
    fn make_durable(&mut self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Reads the tenant's schema, without these history tables, and changes nothing.
    fn catalog(&mut self, histories: &[&str]) -> impl Future<Output = Result<Catalog, Failure>> + Send;

    /// Lists what is outside of all tenants and may be a migration's doing, and changes nothing. A schema with one of
    /// these history tables is a tenant's. Empty where a tenant is a whole database, or a file: roles and other databases
    /// of the server are everybody's.
    fn outsiders(&mut self, histories: &[&str]) -> impl Future<Output = Result<Outside, Failure>> + Send {
        let _ = histories;
        async { Ok(Outside::default()) }
    }

    /// What sessions have in common that can take each other's tenants over. None: one is never kept.
    fn key(access: &Access, limits: Limits) -> Option<Key> {
        let _ = (access, limits);
        None
    }

    /// Where sessions like this are kept. None: nowhere.
    fn shelf(keeper: &Keeper) -> Option<&Shelf<Self>> {
        let _ = keeper;
        None
    }

    /// Frees the session of all that an attempt has left in it, the lock first of all. None: that is not certain, and it is
    /// closed.
    fn reset(self) -> impl Future<Output = Option<Self>> + Send {
        async {
            self.close().await;
            None
        }
    }

    /// Ends the session, and the lock with it.
    fn close(self) -> impl Future<Output = ()> + Send;
}
