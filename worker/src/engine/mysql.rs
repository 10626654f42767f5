//! MySQL and MariaDB: a database per tenant.
//!
//! DDL commits by itself there, so a migration's history row is written first with `success = false`, as sqlx
//! does, and set to true at the end. A migration that failed at its first statement has done nothing, and its row
//! goes; one that failed later stays marked, and no later attempt runs it again.
//!
//! `GET_LOCK` wants a time limit: MariaDB answers NULL to the endless one that sqlx asks for, and locks nothing.

use std::{str::FromStr as _, time::Duration};

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection, Row as _,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow},
};
use tenantry_shared::{
    clock::{Stopwatch, millis},
    digest::hex,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    registry::Access,
    site::{Row, Site, quoted},
};

use super::{Change, IDLE, Limits, Session, failure, hint, in_time, unwritten};

const NO_SUCH_TABLE: u16 = 1146;

/// How long to wait until a statement over its limit has stopped.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A session with a MySQL or MariaDB tenant.
pub struct MySqlSession {
    connection: MySqlConnection,
    options: MySqlConnectOptions,
    /// The server's number of this connection, to stop a statement from another one.
    number: u64,
    limits: Limits,
    password: Option<String>,
    database: String,
}

impl Session for MySqlSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let password = access.url.password();
        let fail = |e: sqlx::Error| failure(&e, Engine::MySql, password.as_deref());
        let options =
            MySqlConnectOptions::from_str(access.url.expose()).map_err(fail)?.disable_statement_logging();
        let connect = async { MySqlConnection::connect_with(&options).await.map_err(fail) };
        let mut connection = in_time(limits.connect, connect).await?;
        let seconds = millis(limits.lock).div_ceil(1000).max(1);
        let settings = format!(
            "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}, wait_timeout = {}",
            IDLE.as_secs()
        );
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await.map_err(fail)?;
        let who = sqlx::query("SELECT CAST(CONNECTION_ID() AS UNSIGNED)")
            .fetch_one(&mut connection)
            .await
            .map_err(fail)?;
        let number = who.try_get(0).map_err(fail)?;
        Ok(Self { connection, options, number, limits, database: access.place.database.clone(), password })
    }

    fn site(&self, table: &str) -> Site {
        Site { engine: Engine::MySql, schema: Some(self.database.clone()), table: table.to_owned() }
    }

    async fn read(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        match sqlx::raw_sql(AssertSqlSafe(select.to_owned())).fetch_all(&mut self.connection).await {
            Ok(rows) => rows.iter().map(texts).collect::<Result<_, _>>().map(Some).map_err(|e| self.fail(&e)),
            Err(error) if number_of(&error) == Some(NO_SUCH_TABLE) => Ok(None),
            Err(error) => Err(self.fail(&error)),
        }
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        let seconds = i64::try_from(millis(self.limits.lock).div_ceil(1000).max(1)).unwrap_or(i64::MAX);
        for name in [own_lock(&self.database), sqlx_lock(&self.database)] {
            let take = sqlx::query_scalar::<_, Option<i64>>("SELECT GET_LOCK(?, ?)").bind(name).bind(seconds);
            let taken = take.fetch_one(&mut self.connection).await.map_err(|e| self.fail(&e))?;
            if taken != Some(1) {
                let busy = Failure::new(
                    Class::Transient,
                    "locked",
                    format!("somebody else is migrating this tenant, for more than {seconds} s"),
                );
                return Err(busy.with_hint("see SHOW PROCESSLIST, or wait longer with --lock-timeout"));
            }
        }
        Ok(())
    }

    async fn run(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.raw(&change.create).await?;
        // Until its first DDL statement a migration is one transaction together with its mark. The one before may
        // have gone to another database.
        self.raw(&format!("USE {}; START TRANSACTION", quoted(Engine::MySql, &self.database))).await?;
        if let Some(begin) = &change.begin {
            self.raw(begin).await.map_err(unwritten)?;
        }
        let watch = Stopwatch::start();
        if let Err(error) = self.run_script(change.script).await {
            return Err(self.undo_mark(change, error).await);
        }
        self.raw(&(change.record)(watch.elapsed(), change.begin.is_some())).await?;
        self.raw("COMMIT").await
    }

    async fn close(self) {
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl MySqlSession {
    async fn run_script(&mut self, script: &Script) -> Result<(), Failure> {
        // The server refuses an empty statement at the end, and an empty file.
        let sql = script.text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if sql.is_empty() {
            return Ok(());
        }
        let mut results = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute_many(&mut self.connection);
        let (mut statement, mut stopped) = (1, false);
        loop {
            let limit = if stopped { Some(STOP_LIMIT) } else { self.limits.statement };
            let next = match limit {
                None => results.next().await,
                Some(limit) => match tokio::time::timeout(limit, results.next()).await {
                    Ok(next) => next,
                    Err(_) if stopped => return Err(overdue(statement, self.limits.statement)),
                    Err(_) => {
                        stop(&self.options, self.number).await;
                        stopped = true;
                        continue;
                    }
                },
            };
            match next {
                None => return Ok(()),
                // It may have ended by itself at the last moment, and the server goes on with the next one.
                Some(Ok(_)) => (statement, stopped) = (statement + 1, false),
                Some(Err(_)) if stopped => return Err(overdue(statement, self.limits.statement)),
                Some(Err(error)) => {
                    let made = failure(&error, Engine::MySql, self.password.as_deref());
                    return Err(Failure { statement: Some(statement), ..made });
                }
            }
        }
    }

    /// Takes the mark away where nothing was done: rolled back with everything, or left by the DDL that failed
    /// first. Where the session is lost, the next attempt's look at the history tells which it was.
    async fn undo_mark(&mut self, change: &Change<'_>, error: Failure) -> Failure {
        if self.raw("ROLLBACK").await.is_err() {
            return error;
        }
        if error.statement == Some(1) && self.raw(&change.unmark).await.is_ok() {
            return error;
        }
        let history = self.read(&change.select).await.ok().flatten().unwrap_or_default();
        let version = Some(change.progress.version.to_string());
        if !history.iter().any(|row| row.first() == Some(&version)) {
            return error;
        }
        let hint = left_behind(error.statement.unwrap_or(1).saturating_sub(1));
        Failure { class: Class::Permanent, ..error }.with_hint(hint)
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| self.fail(&e))
    }

    fn fail(&self, error: &sqlx::Error) -> Failure {
        failure(error, Engine::MySql, self.password.as_deref())
    }
}

/// Stops the running statement of a connection; a client that only goes away leaves it running.
async fn stop(options: &MySqlConnectOptions, number: u64) {
    let kill = async {
        let mut connection = MySqlConnection::connect_with(options).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("KILL QUERY {number}"))).execute(&mut connection).await?;
        connection.close().await
    };
    if !matches!(tokio::time::timeout(STOP_LIMIT, kill).await, Ok(Ok(()))) {
        tracing::warn!(
            connection = number,
            "a statement over its time limit could not be stopped in the server"
        );
    }
}

fn overdue(statement: u32, limit: Option<Duration>) -> Failure {
    let text = format!("a statement ran for more than {:?}", limit.unwrap_or_default());
    let late = Failure::new(Class::Transient, "statement-timeout", text);
    let hint = hint(&late.code).map(str::to_owned);
    Failure { statement: Some(statement), hint, ..late }
}

/// What to do about a migration that failed after so many statements, which stay done.
fn left_behind(done: u32) -> String {
    let done = match done {
        0 => "how far it came is not known".to_owned(),
        1 => "statement 1 is done and cannot be rolled back".to_owned(),
        n => format!("statements 1 to {n} are done and cannot be rolled back"),
    };
    format!(
        "{done}: finish the rest by hand and set success to true in the history row, or undo what was done and delete the row"
    )
}

fn texts(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

fn number_of(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// At most 64 characters, which is all that `GET_LOCK` takes.
fn own_lock(database: &str) -> String {
    format!("tenantry:{}", hex(&Sha256::digest(database.as_bytes())[..16]))
}

/// The name that sqlx locks a database with (`sqlx-mysql/src/migrate.rs`).
fn sqlx_lock(database: &str) -> String {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    format!("{:x}", 0x3d32_ad9e * i64::from(CRC.checksum(database.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_are_short_enough_and_differ() {
        assert!(own_lock(&"x".repeat(500)).len() <= 64);
        assert_ne!(own_lock("a"), own_lock("b"));
        assert_eq!(sqlx_lock("appdb"), format!("{:x}", 4_402_498_167_645_207_530_i64));
    }
}
