//! PostgreSQL: a database per tenant, or a schema per tenant.
//!
//! The lock is a polled `pg_try_advisory_lock`. A blocking one deadlocks with `CREATE INDEX CONCURRENTLY` of a
//! neighbour. Advisory locks belong to a database, so a schema's own key lets all schemas of a database go on at
//! once. The lock of sqlx, which is one for the database, is taken too, so that an application that calls
//! `sqlx::migrate!` when it starts is kept out: alone where the tenant is the whole database, shared by schemas.
//!
//! Behind a pooler that lends its sessions by the transaction, the same locks are each transaction's: see `lent`.

mod catalog;
mod holders;
mod keys;
mod lent;
mod opened;
mod rehearsal;
mod settings;
mod stepwise;

use std::sync::Arc;

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Row as _,
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

use self::{
    keys::{own_key, sqlx_key},
    lent::Lent,
    opened::{Opened, open},
    settings::Settings,
};
use super::{
    Change, Doing, LOCK_POLL, Limits, Session, course_of, doing::Lock, failure, numbered, run_all, steps,
    unrecorded,
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
    doing: Arc<Doing>,
}

impl Session for PostgresSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let Opened { connection, settings, database, schema: current, lent, pid } =
            open(access, limits).await?;
        let wanted = &access.place.schema;
        // Where it is not there, the first schema behind it would be the current one.
        if let Some(schema) = wanted.as_ref().filter(|wanted| current.as_ref() != Some(wanted)) {
            let missing =
                Failure::new(Class::Permanent, "3F000", format!("schema \"{schema}\" does not exist"));
            return Err(missing.with_hint(
                "create the schema, or correct the tenant: tenantry tenants set ID --schema NAME --url-stdin",
            ));
        }
        Ok(Self {
            connection,
            limits,
            password: access.url.password(),
            database,
            schema: current.unwrap_or_else(|| "public".into()),
            whole: wanted.is_none(),
            settings,
            pid: pid.filter(|_| !lent),
            lent: lent.then(Lent::default),
            doing: Arc::default(),
        })
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
        match self.run_change(change).await {
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
    async fn run_change(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        match course_of(change, Engine::Postgres)? {
            Course::Whole { text } => self.run_in_transaction(change, text).await,
            Course::Steps(units) => {
                let settings = self.settings.of_session();
                self.raw(format!("{settings}{}", change.preamble.unwrap_or_default())).await?;
                steps::run(self, change, &units).await
            }
        }
    }

    async fn run_in_transaction(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        self.begin(change).await?;
        let watch = Stopwatch::start();
        self.doing.whole(&change.script.text, false);
        self.run_script(change.script, text).await?;
        self.doing.statement(None);
        let record = (change.record)(watch.elapsed(), false);
        self.raw(record).await.map_err(|failure| unrecorded(failure, change))?;
        if self.lent.is_some() {
            self.read(&change.select).await?;
        }
        self.end("COMMIT").await
    }

    async fn begin(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let preamble = change.preamble.unwrap_or_default();
        let before = match self.lent {
            None => format!("{}BEGIN; ", self.settings.of_session()),
            Some(_) => {
                self.begin_locked().await?;
                self.nobody_came_between(&change.select).await?;
                String::new()
            }
        };
        self.raw(format!("{before}{preamble}; {}", change.create)).await
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
            let line = line_of(&error, &text).map(|line| script.line + line - 1);
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

fn texts(row: &PgRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

/// The line within what was sent.
fn line_of(error: &sqlx::Error, sent: &str) -> Option<u32> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    let Some(PgErrorPosition::Original(position)) = error.position() else { return None };
    let breaks = sent.chars().take(position.saturating_sub(1)).filter(|c| *c == '\n').count();
    u32::try_from(breaks + 1).ok()
}
