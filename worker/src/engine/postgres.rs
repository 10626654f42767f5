//! PostgreSQL: a database per tenant, or a schema per tenant.
//!
//! The lock is a polled `pg_try_advisory_lock`. A blocking one deadlocks with `CREATE INDEX CONCURRENTLY` of a
//! neighbour. Advisory locks belong to a database, so a schema's own key lets all schemas of a database go on at
//! once. Where the tenant is the whole database, the lock of sqlx is taken too, so that an application that
//! calls `sqlx::migrate!` when it starts is kept out.

mod keys;

use std::str::FromStr as _;

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow},
};
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    registry::Access,
    site::{Row, Site, quoted},
};

use self::keys::{own_key, sqlx_key};
use super::{Change, IDLE, LOCK_POLL, Limits, Session, failure, in_time, run_all, unwritten};

/// Outside of a transaction, since version 14.
const IDLE_MS: u128 = IDLE.as_millis();

/// How often the server looks whether its client is still there while a statement runs. Since version 14, and only
/// where its system can tell.
const CLIENT_CHECK_MS: u64 = 2_000;
const VERSION_14: u32 = 140_000;

const UNDEFINED_TABLE: &str = "42P01";
const SYNTAX_ERROR: &str = "42601";

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
        let mut settings = settings(limits, access.place.schema.as_deref(), since_14);
        let start =
            format!("{settings}SELECT current_database(), current_schema(), version() LIKE '%linux%'");
        let row = sqlx::raw_sql(AssertSqlSafe(start)).fetch_one(&mut connection).await.map_err(fail)?;
        let (database, current, linux): (String, Option<String>, bool) = (row.get(0), row.get(1), row.get(2));
        if linux && since_14 {
            settings.push_str(&format!("SET client_connection_check_interval = {CLIENT_CHECK_MS}; "));
        }
        let wanted = access.place.schema.clone();
        if let (Some(schema), None) = (&wanted, &current) {
            let missing =
                Failure::new(Class::Permanent, "3F000", format!("schema \"{schema}\" does not exist"));
            return Err(missing.with_hint(
                "create the schema, or correct the tenant: tenantry tenants set ID --schema NAME --url-stdin",
            ));
        }
        let schema = current.unwrap_or_else(|| "public".into());
        Ok(Self { connection, limits, password, database, schema, whole: wanted.is_none(), settings })
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
        let mut keys = vec![own_key(&self.schema)];
        keys.extend(self.whole.then(|| sqlx_key(&self.database)));
        let waited = Stopwatch::start();
        for key in keys {
            loop {
                let try_lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key);
                if try_lock.fetch_one(&mut self.connection).await.map_err(|e| self.fail(&e))? {
                    break;
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
                    return Err(busy.with_hint(
                        "see pg_locks for the advisory lock, or wait longer with --lock-timeout",
                    ));
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
        }
        Ok(())
    }

    async fn run(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        if change.script.marked {
            self.run_outside(change).await
        } else {
            self.run_in_transaction(change).await
        }
    }

    async fn close(self) {
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl PostgresSession {
    async fn run_in_transaction(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.raw(format!("{}BEGIN; {}; {}", self.settings, preamble(change), change.create)).await?;
        let watch = Stopwatch::start();
        self.run_script(change.script).await?;
        self.raw((change.record)(watch.elapsed(), false)).await.map_err(unwritten)?;
        self.raw("COMMIT".into()).await
    }

    /// What cannot run in a transaction is marked as begun first, and as done afterwards: whoever finds it begun
    /// only does not run it again.
    async fn run_outside(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.raw(format!("{}{}; {}", self.settings, change.create, preamble(change))).await?;
        let before = self.invalid_indexes().await?;
        if let Some(begin) = &change.begin {
            self.raw(begin.clone()).await.map_err(unwritten)?;
        }
        let watch = Stopwatch::start();
        if let Err(error) = self.run_script(change.script).await {
            return Err(self.undo_mark(change, &before, error).await);
        }
        self.raw((change.record)(watch.elapsed(), change.begin.is_some())).await
    }

    /// The server runs a message of several statements as one transaction, and a single statement wholly or not
    /// at all, but for an index that it leaves invalid. So an error that the server itself reported means that
    /// nothing was done, unless there is an invalid index that was not there before.
    async fn undo_mark(&mut self, change: &Change<'_>, before: &[String], error: Failure) -> Failure {
        let Ok(invalid) = self.invalid_indexes().await else { return error };
        if let Some(left) = invalid.iter().find(|index| !before.contains(index)) {
            let hint = format!(
                "it left the invalid index {left}: drop it, and then the history row that has success = false"
            );
            return Failure { class: Class::Permanent, ..error }.with_hint(hint);
        }
        // A mark that stays is the truth about a session that was lost: nobody knows how far it came.
        let _ = self.raw(change.unmark.clone()).await;
        error
    }

    /// The indexes of the tenant that are there and not usable.
    async fn invalid_indexes(&mut self) -> Result<Vec<String>, Failure> {
        let invalid = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND (n.nspname = $1 OR $2)";
        let invalid =
            sqlx::query_scalar(invalid).persistent(false).bind(self.schema.clone()).bind(self.whole);
        invalid.fetch_all(&mut self.connection).await.map_err(|e| self.fail(&e))
    }

    async fn run_script(&mut self, script: &Script) -> Result<(), Failure> {
        let statements = sqlx::raw_sql(AssertSqlSafe(script.text.clone())).execute_many(&mut self.connection);
        run_all(statements).await.map_err(|(statement, error)| {
            let (line, error) = (line_of(&error, script), self.fail(&error));
            // The server reads the whole file before it runs any of it: only the line tells which statement it means.
            let statement =
                Some(statement).filter(|n| *n > 1 || line.is_none() || error.code != SYNTAX_ERROR);
            Failure { statement, line, ..error }
        })
    }

    async fn raw(&mut self, sql: String) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| self.fail(&e))
    }

    fn fail(&self, error: &sqlx::Error) -> Failure {
        failure(error, Engine::Postgres, self.password.as_deref())
    }
}

fn settings(limits: Limits, schema: Option<&str>, since_14: bool) -> String {
    let mut text = format!(
        "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {IDLE_MS}; ",
        // Zero would be without limit there.
        millis(limits.lock).max(1),
        limits.statement.map_or(0, millis),
    );
    if since_14 {
        text.push_str(&format!("SET idle_session_timeout = {IDLE_MS}; "));
    }
    if let Some(schema) = schema {
        text.push_str(&format!("SET search_path = {}; ", quoted(Engine::Postgres, schema)));
    }
    text
}

fn preamble<'a>(change: &Change<'a>) -> &'a str {
    change.preamble.unwrap_or_default()
}

fn texts(row: &PgRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

fn line_of(error: &sqlx::Error, script: &Script) -> Option<u32> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    let Some(PgErrorPosition::Original(position)) = error.position() else { return None };
    let breaks = script.text.chars().take(position.saturating_sub(1)).filter(|c| *c == '\n').count();
    u32::try_from(breaks).ok().map(|breaks| script.line + breaks)
}
