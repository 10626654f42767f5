//! PostgreSQL: a database per tenant, or a schema per tenant.
//!
//! The lock is a polled `pg_try_advisory_lock`. A blocking one deadlocks with `CREATE INDEX CONCURRENTLY` of a
//! neighbour. Advisory locks belong to a database, so a schema's own key lets all schemas of a database go on at
//! once. The lock of sqlx, which is one for the database, is taken too, so that an application that calls
//! `sqlx::migrate!` when it starts is kept out: alone where the tenant is the whole database, shared by schemas.
//!
//! Behind a pooler that lends its sessions by the transaction, the same locks are each transaction's: see `lent`.

mod around;
mod begun;
mod catalog;
mod heads;
mod holders;
mod keys;
mod lent;
mod message;
mod opened;
mod rehearsal;
mod reset;
mod settings;
mod stepwise;

use std::{collections::HashSet, sync::Arc};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Row as _, ValueRef as _,
    postgres::{PgDatabaseError, PgErrorPosition, PgRow},
};
use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::{Catalog, Outside},
    site::{Row, Site},
    statement::Course,
};

pub(crate) use self::heads::PgHeads;
use self::{
    around::Outskirts,
    catalog::Looks,
    keys::{own_key, sqlx_key},
    lent::Lent,
    message::{Message, Ready},
    opened::{Opened, open},
    settings::Settings,
};
use super::{
    Ahead, Asks, Change, Doing, LOCK_POLL, Limits, Seen, Select, Session, course_of,
    doing::Lock,
    failure,
    kept::{Keeper, Key, Shelf},
    numbered, run_all, steps,
};

const UNDEFINED_TABLE: &str = "42P01";

/// An object that is in no schema on the path, and the kinds of those that extensions bring.
const NOT_FOUND: [&str; 2] = ["42883", "42704"];
const EXTENDED: [&str; 3] = ["function ", "operator ", "type "];

/// What may be the matter with one in a schema per tenant: an extension is in one schema of a database.
const ELSEWHERE: &str = "if it is an extension's: put that into a schema that the tenants share (ALTER EXTENSION … SET SCHEMA shared), and name it in their URLs: ?options=-c%20search_path%3Dshared";

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
        Self::of(open(access, limits).await?, access, limits)
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
        if self.lent.is_some() {
            return self.begin_locked().await;
        }
        let waited = Stopwatch::start();
        for (kind, key) in self.locks() {
            let take = format!("SELECT CAST(pg_try_advisory_lock{kind}({key}) AS text)");
            loop {
                let rows = self.rows(&take).await.map_err(|e| self.fail(&e))?;
                if rows.first().is_some_and(|row| row.try_get(0).is_ok_and(|taken: &str| taken == "true")) {
                    break;
                }
                self.waits_for(key);
                if waited.elapsed() >= self.limits.lock {
                    return Err(self.busy(key).await);
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
        }
        self.doing.lock(None);
        Ok(())
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

impl PostgresSession {
    fn of(opened: Opened, access: &Access, limits: Limits) -> Result<Self, Failure> {
        let Opened { connection, settings, database, schema: current, lent, pid } = opened;
        if let Some(failure) = missing(access, current.as_deref()) {
            return Err(failure);
        }
        let session = Self::expected(connection, settings, access, limits);
        Ok(Self {
            database,
            schema: current.unwrap_or_else(|| "public".into()),
            pid: pid.filter(|_| !lent),
            lent: lent.then(Lent::default),
            ..session
        })
    }

    /// A session as its tenant's URL lets expect it, before it was asked.
    fn expected(connection: PgConnection, settings: Settings, access: &Access, limits: Limits) -> Self {
        Self {
            connection,
            limits,
            password: access.url.password(),
            database: access.place.database.clone(),
            schema: access.place.schema.clone().unwrap_or_else(|| "public".into()),
            whole: access.place.schema.is_none(),
            settings,
            pid: None,
            lent: None,
            clean: true,
            there: HashSet::new(),
            ahead: None,
            ready: Ready::default(),
            looks: Looks::default(),
            outskirts: Outskirts::default(),
            served: 0,
            born: Stopwatch::start(),
            doing: Arc::default(),
        }
    }

    async fn run_change(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        match course_of(change, Engine::Postgres)? {
            Course::Whole { text } => self.run_in_transaction(change, text).await,
            Course::Steps(units) => {
                self.clean = false;
                let settings = self.settings.of_session();
                self.raw(format!("{settings}{}", change.preamble.unwrap_or_default())).await?;
                steps::run(self, change, &units).await
            }
        }
    }

    async fn run_in_transaction(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        if self.lent.is_some() {
            return self.run_lent(change, text).await;
        }
        // What a session begins with is what a migration begins with.
        let clean = std::mem::replace(&mut self.clean, false);
        let settings = if clean { String::new() } else { self.settings.of_session() };
        let there = self.there.contains(&change.select);
        let create = if there { "" } else { change.create.as_str() };
        match Message::of(change, &settings, create, &text) {
            Some(message) => self.send(change, &message).await?,
            None => self.send_in_parts(change, &settings, create, text).await?,
        }
        // A script that names it may have taken it away.
        if change.script.text.contains(&change.progress.table) {
            self.there.clear();
        } else {
            self.there.insert(change.select.clone());
        }
        Ok(())
    }

    /// The tenant's locks: of which kind, and their keys. Schemas of one database share the one that sqlx takes alone.
    fn locks(&self) -> [(&'static str, i64); 2] {
        let sqlx = if self.whole { "" } else { "_shared" };
        [("", own_key(&self.schema)), (sqlx, sqlx_key(&self.database))]
    }

    /// Tells that it asks for this lock in vain.
    fn waits_for(&self, key: i64) {
        if self.doing.now().lock != Some(Lock::Advisory(key)) {
            self.doing.lock(Some(Lock::Advisory(key)));
        }
    }

    /// Somebody else has the tenant's lock for too long.
    async fn busy(&mut self, key: i64) -> Failure {
        let limit = self.limits.lock;
        let message = format!("somebody else is migrating this tenant, for more than {limit:?}");
        let busy = Failure::new(Class::Transient, "locked", message)
            .with_hint("see pg_locks for the advisory lock, or wait longer with --lock-timeout");
        self.explained_lock(busy, key).await
    }

    async fn run_script(&mut self, script: &Script, text: String) -> Result<(), Failure> {
        let statements = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute_many(&mut self.connection);
        run_all(statements).await.map_err(|(statement, error)| {
            let line = line_of(&error, &text, 0).map(|line| script.line + line - 1);
            // The server reads the whole file before it runs any of it: only the line tells which statement it means.
            let statement = Some(statement).filter(|n| *n > 1 || line.is_none());
            numbered(Failure { statement, line, ..self.fail(&error) }, script, Engine::Postgres)
        })
    }

    /// Rows of texts. None: the table is not there.
    async fn table(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let rows = match self.rows(select).await {
            Ok(rows) => rows.iter().map(texts).collect::<Result<Vec<_>, _>>().map(Some),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error),
        };
        rows.map_err(|e| self.fail(&e))
    }

    async fn raw(&mut self, sql: String) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| self.fail(&e))
    }

    fn fail(&self, error: &sqlx::Error) -> Failure {
        let failure = failure(error, Engine::Postgres, self.password.as_deref());
        let not_found = NOT_FOUND.contains(&failure.code.as_str())
            && EXTENDED.iter().any(|kind| failure.message.starts_with(kind));
        match not_found && !self.whole && failure.hint.is_none() {
            true => failure.with_hint(ELSEWHERE),
            false => failure,
        }
    }
}

/// Each value as the server writes it, of whatever type.
fn texts(row: &PgRow) -> Result<Row, sqlx::Error> {
    let text = |at: usize| {
        let value = row.try_get_raw(at)?;
        let text = (!value.is_null()).then(|| value.as_str().map(str::to_owned));
        text.transpose().map_err(sqlx::Error::Decode)
    };
    (0..row.len()).map(text).collect()
}

/// The line within a part of what was sent, with so many characters before it.
fn line_of(error: &sqlx::Error, part: &str, before: usize) -> Option<u32> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    let Some(PgErrorPosition::Original(position)) = error.position() else { return None };
    let within = position.checked_sub(before + 1)?;
    let breaks = part.chars().take(within).filter(|c| *c == '\n').count();
    u32::try_from(breaks + 1).ok()
}

/// What is wrong where the tenant's schema is not the current one: the first one behind it would be that.
fn missing(access: &Access, current: Option<&str>) -> Option<Failure> {
    let schema = access.place.schema.as_deref().filter(|wanted| current != Some(wanted))?;
    let missing = Failure::new(Class::Permanent, "3F000", format!("schema \"{schema}\" does not exist"));
    Some(missing.with_hint(
        "create the schema, or correct the tenant: tenantry tenants set ID --schema NAME --url-stdin",
    ))
}
