//! PostgreSQL: a database per tenant, or a schema per tenant.
//!
//! The lock is a polled `pg_try_advisory_lock`. A blocking one deadlocks with `CREATE INDEX CONCURRENTLY` of a
//! neighbour. Advisory locks belong to a database, so a schema's own key lets all schemas of a database go on at
//! once. The lock of sqlx, which is one for the database, is taken too, so that an application that calls
//! `sqlx::migrate!` when it starts is kept out: alone where the tenant is the whole database, shared by schemas.

mod catalog;
mod holders;
mod keys;
mod rehearsal;
mod stepwise;

use std::{str::FromStr as _, sync::Arc};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow},
};
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    plan::Progress,
    registry::Access,
    schema::{Catalog, Outside},
    site::{Row, Site, quoted},
    statement::Course,
};

use self::keys::{own_key, sqlx_key};
use super::{
    Change, Doing, IDLE, LOCK_POLL, Limits, Session, course_of, doing::Lock, failure, in_time, numbered,
    run_all, steps, unrecorded,
};

/// Outside of a transaction, since version 14.
const IDLE_MS: u128 = IDLE.as_millis();

/// How often the server looks whether its client is still there while a statement runs. Since version 14, and only
/// where its system can tell.
const CLIENT_CHECK_MS: u64 = 2_000;
const VERSION_14: u32 = 140_000;

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
    settings: String,
    /// The server's number of this session.
    pid: i32,
    doing: Arc<Doing>,
}

impl Session for PostgresSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let password = access.url.password();
        let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, password.as_deref());
        let options = PgConnectOptions::from_str(access.url.expose()).map_err(fail)?;
        let options = options.application_name("tenantry").disable_statement_logging();
        let connect = async { PgConnection::connect_with(&options).await.map_err(fail) };
        let mut connection = in_time(limits.connect, connect).await?;
        let since_14 = connection.server_version_num().is_some_and(|v| v >= VERSION_14);
        let wanted = access.place.schema.clone();
        let path = match &wanted {
            Some(schema) => path(&mut connection, schema, access.url.expose()).await.map_err(fail)?,
            None => String::new(),
        };
        let mut settings = settings(limits, &path, since_14);
        let start = format!(
            "{settings}SELECT current_database(), current_schema(), version() LIKE '%linux%', pg_backend_pid()"
        );
        let row = sqlx::raw_sql(AssertSqlSafe(start)).fetch_one(&mut connection).await.map_err(fail)?;
        let (database, current, linux): (String, Option<String>, bool) = (row.get(0), row.get(1), row.get(2));
        let (pid, doing): (i32, _) = (row.get(3), Arc::default());
        if linux && since_14 {
            settings.push_str(&format!("SET client_connection_check_interval = {CLIENT_CHECK_MS}; "));
        }
        // Where it is not there, the first schema behind it would be the current one.
        if let Some(schema) = wanted.as_ref().filter(|wanted| current.as_ref() != Some(wanted)) {
            let missing =
                Failure::new(Class::Permanent, "3F000", format!("schema \"{schema}\" does not exist"));
            return Err(missing.with_hint(
                "create the schema, or correct the tenant: tenantry tenants set ID --schema NAME --url-stdin",
            ));
        }
        let schema = current.unwrap_or_else(|| "public".into());
        let whole = wanted.is_none();
        Ok(Self { connection, limits, password, database, schema, whole, settings, pid, doing })
    }

    fn tell(&mut self, doing: Arc<Doing>) {
        doing.session(u64::try_from(self.pid).ok());
        self.doing = doing;
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn site(&self, table: &str) -> Site {
        Site { engine: Engine::Postgres, schema: Some(self.schema.clone()), table: table.to_owned() }
    }

    async fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        match sqlx::raw_sql(AssertSqlSafe(select.to_owned())).fetch_all(&mut self.connection).await {
            Ok(rows) => rows.iter().map(texts).collect::<Result<_, _>>().map(Some).map_err(|e| self.fail(&e)),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(self.fail(&error)),
        }
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        // Schemas of one database share the lock that sqlx takes alone.
        let sqlx = if self.whole { "pg_try_advisory_lock" } else { "pg_try_advisory_lock_shared" };
        let locks = [("pg_try_advisory_lock", own_key(&self.schema)), (sqlx, sqlx_key(&self.database))];
        let waited = Stopwatch::start();
        for (take, key) in locks {
            let sql = format!("SELECT {take}($1)");
            loop {
                let try_lock = sqlx::query_scalar(AssertSqlSafe(sql.clone())).bind(key);
                if try_lock.fetch_one(&mut self.connection).await.map_err(|e| self.fail(&e))? {
                    break;
                }
                if self.doing.now().lock != Some(Lock::Advisory(key)) {
                    self.doing.lock(Some(Lock::Advisory(key)));
                }
                if waited.elapsed() >= self.limits.lock {
                    let busy = Failure::new(
                        Class::Transient,
                        "locked",
                        format!(
                            "somebody else is migrating this tenant, for more than {:?}",
                            self.limits.lock
                        ),
                    );
                    let busy = busy
                        .with_hint("see pg_locks for the advisory lock, or wait longer with --lock-timeout");
                    return Err(self.explained_lock(busy, key).await);
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
        let _ = self.raw("ROLLBACK".into()).await;
        match ran {
            Err((at, failure)) => Err((at, self.explained(failure, &changes[at]).await)),
            done => done,
        }
    }

    /// The tenant's lock keeps others out meanwhile.
    async fn write(&mut self, _: &[String], statements: &[String]) -> Result<(), Failure> {
        steps::write(self, statements).await
    }

    async fn settle(&mut self, progress: Progress, script: &Script) -> Result<Progress, Failure> {
        steps::settle(self, progress, script).await
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

    async fn close(self) {
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl PostgresSession {
    async fn run_change(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        match course_of(change, Engine::Postgres)? {
            Course::Whole { text } => self.run_in_transaction(change, text).await,
            Course::Steps(units) => {
                self.raw(format!("{}{}", self.settings, change.preamble.unwrap_or_default())).await?;
                steps::run(self, change, &units).await
            }
        }
    }

    async fn run_in_transaction(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        let preamble = change.preamble.unwrap_or_default();
        self.raw(format!("{}BEGIN; {preamble}; {}", self.settings, change.create)).await?;
        let watch = Stopwatch::start();
        self.doing.whole(&change.script.text, false);
        self.run_script(change.script, text).await?;
        self.doing.statement(None);
        let record = (change.record)(watch.elapsed(), false);
        self.raw(record).await.map_err(|failure| unrecorded(failure, change))?;
        self.raw("COMMIT".into()).await
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

/// Puts a tenant's schema in front of those that the options of its URL name. Tenants share these: that is where
/// extensions can be.
async fn path(connection: &mut PgConnection, schema: &str, url: &str) -> Result<String, sqlx::Error> {
    let named: Option<String> = match url.contains("options") {
        true => {
            let named = "SELECT reset_val FROM pg_settings WHERE name = 'search_path' AND source = 'client'";
            sqlx::query_scalar(named).fetch_optional(connection).await?
        }
        false => None,
    };
    let shared = named.filter(|named| !named.trim().is_empty()).map(|named| format!(", {named}"));
    let own = quoted(Engine::Postgres, schema);
    Ok(format!("SET search_path = {own}{}; ", shared.unwrap_or_default()))
}

fn settings(limits: Limits, path: &str, since_14: bool) -> String {
    let mut text = format!(
        "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DISCARD TEMP; SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {IDLE_MS}; ",
        // Zero would be without limit there.
        millis(limits.lock).max(1),
        limits.statement.map_or(0, millis),
    );
    if since_14 {
        text.push_str(&format!("SET idle_session_timeout = {IDLE_MS}; "));
    }
    text.push_str(path);
    text
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
