//! MySQL and MariaDB: a database per tenant.
//!
//! DDL commits by itself there, so every migration goes statement by statement. Where its mark and the traces of its statements
//! tell how far it came (see `marked`) they are its record; else it has one (see `steps`). Where a format marks a migration as
//! begun, the mark comes first, as its own tool does it.

mod ahead;
mod ask;
mod catalog;
mod heads;
mod holders;
mod left;
mod locks;
mod maria;
mod marked;
mod opened;
mod parts;
mod shown;
mod stepwise;
mod there;
mod traces;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, mysql::MySqlConnectOptions};
use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::Catalog,
    site::{Row, Site},
    statement::{Course, Unit, leaves_settings},
};

pub(crate) use self::heads::MyHeads;
use self::{ahead::Ready, ask::texts, left::Left, stepwise::Stopper, there::There};
use super::{
    Ahead, Asks, Change, Doing, Limits, Seen, Select, Session, course_of, failure,
    kept::{Keeper, Key, Shelf},
    steps, whole_of,
};

const NO_SUCH_TABLE: &str = "1146";

/// A table may not be read.
const DENIED: &str = "1142";

/// A session with a MySQL or MariaDB tenant.
pub struct MySqlSession {
    connection: MySqlConnection,
    options: MySqlConnectOptions,
    /// Makes its settings, which it does not have yet.
    settings: String,
    /// The server's number of this connection, to stop a statement from another one. None: it is not known yet.
    number: Option<u64>,
    /// Stops what runs in it when the session is given up.
    stopper: Stopper,
    limits: Limits,
    password: Option<String>,
    database: String,
    is_maria: bool,
    /// Whether every trigger is shown to its account.
    sees_triggers: bool,
    /// Whether a migration may have left settings behind.
    stained: bool,
    /// What made the history that is known to be there.
    made: Option<String>,
    /// The record of a migration that has run, to be written with the next one's first, or by [`Self::finish`]. Its mark
    /// tells all of it until then.
    unended: Option<String>,
    /// What will be asked once the next migration has run.
    ahead: Option<Ahead>,
    /// The answers to that, until somebody asks or something else is done.
    ready: Option<Ready>,
    /// The tables that are there. None: nobody knows.
    there: Option<There>,
    /// What of its tenant may be left in it.
    left: Left,
    born: Stopwatch,
    doing: Arc<Doing>,
}

impl Session for MySqlSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let mut session = Self::opened(access, limits).await?;
        session.introduced("NULL", &[]).await?;
        Ok(session)
    }

    /// Both locks, if they are to be had at once, and what is needed.
    async fn begin(
        kept: Option<Self>,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        if let Some(kept) = kept {
            let mut session = kept.taken_over(access);
            // Whatever was amiss with it meanwhile, a new one shows what is the tenant's fault.
            match session.begun_with(asks).await {
                Ok(seen) => return Ok((session, Ok(seen))),
                Err(_) => session.close().await,
            }
        }
        let mut session = Self::opened(access, limits).await?;
        let seen = session.begun_with(asks).await;
        Ok((session, seen))
    }

    async fn read_all(&mut self, selects: &[Select]) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        if let Some(rows) = self.ready_for(selects) {
            return Ok(rows);
        }
        self.locked_again().await?;
        self.finish().await?;
        let mut all = Vec::with_capacity(selects.len());
        while all.len() < selects.len() {
            let rest: Vec<&str> = selects[all.len()..].iter().map(|select| select.sql.as_str()).collect();
            all.extend(self.answers(&rest).await?);
        }
        Ok(all)
    }

    fn tell(&mut self, doing: Arc<Doing>) {
        doing.session(self.number);
        self.doing = doing;
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn site(&self, table: &str) -> Site {
        Site { engine: Engine::MySql, schema: Some(self.database.clone()), table: table.to_owned() }
    }

    async fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        self.finish().await?;
        Ok(self.answers(&[select]).await?.pop().flatten())
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        self.take_locks().await
    }

    fn foresee(&mut self, next: Ahead) {
        self.ahead = Some(next);
    }

    async fn run(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let Course::Steps(units) = course_of(change, Engine::MySql)? else {
            let whole = "this script has no statements of its own";
            return Err(Failure::new(Class::Permanent, "script", whole));
        };
        self.raw(change.preamble.unwrap_or_default()).await?;
        self.stained |= change.preamble.is_some()
            || units.iter().any(|unit| leaves_settings(&unit.statements, Engine::MySql));
        self.ready = None;
        self.left.by(change, &units);
        let ran = match self.begun(change, &units).await {
            Some(ran) => ran,
            None => self.stepped(change, &units).await,
        };
        self.ahead = None;
        match ran {
            Err(failure) => Err(self.explained(failure, change).await),
            done => done,
        }
    }

    async fn rehearse(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, Failure)> {
        // Whatever is written here, nothing can roll it back.
        match changes.first().map(|change| whole_of(change, Engine::MySql)) {
            Some(Err(failure)) => Err((0, failure)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// The tenant's lock keeps others out meanwhile.
    async fn write(&mut self, _: &[String], statements: &[String]) -> Result<(), Failure> {
        self.finish().await?;
        self.ready = None;
        self.left.written();
        steps::write(self, statements).await
    }

    async fn settle(&mut self, progress: Progress, script: &Script) -> Result<Progress, Failure> {
        steps::settle(self, progress, script).await
    }

    async fn retrace(
        &mut self,
        progress: Progress,
        looked: u32,
        script: &Script,
    ) -> Result<Progress, Failure> {
        self.retraced(progress, looked, script).await
    }

    fn is_stained(&self) -> bool {
        self.stained
    }

    async fn catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        self.read_catalog(histories).await
    }

    fn key(access: &Access, limits: Limits) -> Option<Key> {
        Some(Self::key_of(access, limits))
    }

    fn shelf(keeper: &Keeper) -> Option<&Shelf<Self>> {
        Some(&keeper.mysql)
    }

    async fn reset(mut self) -> Option<Self> {
        if self.is_freed().await {
            self.stopper.disarm();
            return Some(self);
        }
        self.close().await;
        None
    }

    async fn close(mut self) {
        let limits = self.limits;
        let _ = limits.answered(self.finish()).await;
        self.stopper.disarm();
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl MySqlSession {
    /// A session that only asks: it can be given up at any time, and nothing of it has to be stopped then.
    pub(super) async fn connect_beside(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let mut session = Self::connect(access, limits).await?;
        session.stopper.disarm();
        Ok(session)
    }

    async fn begun_with(&mut self, asks: &(dyn Fn(&Site) -> Asks + Sync)) -> Result<Seen, Failure> {
        let Asks { needed, wanted, doing } = asks(&self.site(""));
        self.tell(doing);
        self.seen_at_once(needed, wanted).await
    }

    /// Runs a migration by its mark alone. None: it needs a record of its own, or has one.
    async fn begun(&mut self, change: &Change<'_>, units: &[Unit]) -> Option<Result<(), Failure>> {
        if change.resumed { None } else { marked::run(self, change, units).await }
    }

    async fn stepped(&mut self, change: &Change<'_>, units: &[Unit]) -> Result<(), Failure> {
        self.finish().await?;
        self.runs(units);
        steps::run(self, change, units).await
    }

    /// These statements change which tables are there.
    fn runs(&mut self, units: &[Unit]) {
        if let Some(there) = &mut self.there {
            there.ran(units);
        }
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        if sql.is_empty() {
            return Ok(());
        }
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| self.fail(&e))
    }

    fn fail(&self, error: &sqlx::Error) -> Failure {
        failure(error, Engine::MySql, self.password.as_deref())
    }
}
