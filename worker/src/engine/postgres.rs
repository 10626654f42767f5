//! PostgreSQL: a database per tenant, or a schema per tenant.
//!
//! The lock is a polled `pg_try_advisory_lock`. A blocking one deadlocks with `CREATE INDEX CONCURRENTLY` of a
//! neighbour. Advisory locks belong to a database, so a schema's own key lets all schemas of a database go on at
//! once. The lock of sqlx, which is one for the database, is taken too, so that an application that calls
//! `sqlx::migrate!` when it starts is kept out: alone where the tenant is the whole database, shared by schemas.
//!
//! Behind a pooler that lends its sessions by the transaction, the same locks are each transaction's: see `lent`.

mod answers;
mod around;
mod awaited;
mod begun;
mod catalog;
mod heads;
mod holders;
mod keys;
mod lent;
mod locks;
mod message;
mod opened;
mod rehearsal;
mod reset;
mod run;
mod settings;
mod stepwise;
mod there;

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::{Catalog, Outside},
    site::{Row, Site},
};

pub(crate) use self::heads::PgHeads;
use self::{
    answers::{line_of, texts},
    around::Outskirts,
    awaited::WRITTEN_AFTER,
    catalog::Looks,
    lent::Lent,
    message::Ready,
    opened::open,
    settings::Settings,
};
use super::{
    Ahead, Asks, Change, Doing, Limits, Seen, Select, Session,
    kept::{Keeper, Key, Shelf},
    steps,
};

const UNDEFINED_TABLE: &str = "42P01";

/// A session with a PostgreSQL tenant.
pub struct PostgresSession {
    connection: PgConnection,
    limits: Limits,
    password: Option<String>,
    database: String,
    schema: String,
    /// Whether the tenant is the whole database.
    whole: bool,
    /// What every migration begins with: no setting of the one before is left.
    settings: Settings,
    /// The server's number of this session. None: it is lent, and no transaction is open.
    pid: Option<u64>,
    /// Where a pooler lends its sessions by the transaction.
    lent: Option<Lent>,
    /// Whether nothing has run since the settings were made.
    clean: bool,
    /// Whether a commit has not waited for the disk, and none since has.
    unawaited: bool,
    /// The histories of which it is known that their table is there.
    there: HashSet<String>,
    /// What will be read after the next migration.
    ahead: Option<Ahead>,
    ready: Ready,
    looks: Looks,
    outskirts: Outskirts,
    /// How many tenants it has served before this one, and since when.
    served: u32,
    born: Stopwatch,
    doing: Arc<Doing>,
}

impl Session for PostgresSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        open(access, limits).await?.session(access, limits)
    }

    async fn begin(
        kept: Option<Self>,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        if let Some(kept) = kept {
            // Whatever was amiss with it meanwhile, a new one shows what is the tenant's fault.
            if let Ok((session, Ok(seen))) = kept.take_over(access, limits, asks).await {
                return Ok((session, Ok(seen)));
            }
        }
        Self::begin_new(access, limits, asks).await
    }

    fn tell(&mut self, doing: Arc<Doing>) {
        doing.session(self.pid);
        self.doing = doing;
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn site(&self, table: &str) -> Site {
        Site { engine: Engine::Postgres, schema: Some(self.schema.clone()), table: table.to_owned() }
    }

    async fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let rows = self.table(select).await?;
        if let Some(lent) = &mut self.lent {
            lent.saw(select, rows.clone());
        }
        Ok(rows)
    }

    async fn read_all(&mut self, selects: &[Select]) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        if let Some(answers) = self.ready.read.take().filter(|answers| answers.selects == selects) {
            return Ok(answers.rows);
        }
        if self.lent.is_none()
            && selects.len() > 1
            && let Some(all) = self.read_together(selects).await?
        {
            return Ok(all);
        }
        let mut all = Vec::with_capacity(selects.len());
        for select in selects {
            all.push(self.read(&select.sql).await?);
        }
        Ok(all)
    }

    fn foresee(&mut self, next: Ahead) {
        self.ahead = Some(next).filter(|_| self.lent.is_none());
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        self.ready.freed = false;
        if self.lent.is_some() {
            return self.begin_locked().await;
        }
        self.lock_all().await
    }

    async fn run(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.ready = Ready::default();
        let ran = self.run_change(change).await;
        self.ahead = None;
        match ran {
            Err(failure) => Err(self.explained(failure, change).await),
            done => done,
        }
    }

    async fn rehearse(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, Failure)> {
        let ran = self.rehearse_all(changes).await;
        // When this does not arrive, the server rolls back by itself.
        let _ = self.end("ROLLBACK").await;
        match ran {
            Err((at, failure)) => Err((at, self.explained(failure, &changes[at]).await)),
            done => done,
        }
    }

    /// The tenant's lock keeps others out meanwhile.
    async fn write(&mut self, selects: &[String], statements: &[String]) -> Result<(), Failure> {
        self.ready = Ready::default();
        match self.lent {
            Some(_) => self.write_lent(selects, statements).await,
            None => steps::write(self, statements).await,
        }
    }

    async fn settle(&mut self, progress: Progress, script: &Script) -> Result<Progress, Failure> {
        match self.lent {
            Some(_) => Err(lent::unsettled()),
            None => steps::settle(self, progress, script).await,
        }
    }

    fn admits(&self, change: Option<&Change<'_>>) -> Result<(), Failure> {
        self.lent.as_ref().and_then(|_| lent::refusal(change)).map_or(Ok(()), Err)
    }

    fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Every migration begins with all settings reset.
    fn is_stained(&self) -> bool {
        false
    }

    fn durable_after(&self) -> Duration {
        if self.unawaited { WRITTEN_AFTER } else { Duration::ZERO }
    }

    async fn make_durable(&mut self) -> bool {
        !self.unawaited || self.await_disk().await
    }

    async fn catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        self.read_catalog(histories).await
    }

    async fn outsiders(&mut self, histories: &[&str]) -> Result<Outside, Failure> {
        self.read_outsiders(histories).await
    }

    fn key(access: &Access, limits: Limits) -> Option<Key> {
        Self::key_of(access, limits)
    }

    fn shelf(keeper: &Keeper) -> Option<&Shelf<Self>> {
        Some(&keeper.postgres)
    }

    async fn reset(mut self) -> Option<Self> {
        if self.is_freed().await {
            return Some(self);
        }
        self.close().await;
        None
    }

    async fn close(mut self) {
        if self.is_open() {
            // A pooler keeps the session then, and need not begin another one.
            let _ = self.end("ROLLBACK").await;
        }
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}
