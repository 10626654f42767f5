//! Statements one by one on MySQL and MariaDB, each within its time limit.

use std::time::Duration;

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, mysql::MySqlConnectOptions};
use tenantry_shared::{
    failure::{Class, Failure},
    place::Engine,
    statement::{Object, Trace, trace},
};

use super::MySqlSession;
use crate::engine::{Session as _, failure, hint, steps::Stepwise};

/// How long to wait until a statement over its limit has stopped.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A statement was stopped from outside.
const INTERRUPTED: &str = "1317";

impl Stepwise for MySqlSession {
    const BEGIN: &'static str = "START TRANSACTION";

    async fn execute(&mut self, sql: &str) -> Result<u64, Failure> {
        let done = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
        done.map(|done| done.rows_affected()).map_err(|e| self.fail(&e))
    }

    async fn statement(&mut self, text: &str) -> Result<(), Failure> {
        self.ran(text.to_owned(), 0, |_| {}).await.1.map_or(Ok(()), Err)
    }

    async fn clear(&mut self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn is_done(&mut self, statement: &str) -> Result<Option<bool>, Failure> {
        let (object, made) = match trace(statement) {
            None => return Ok(None),
            Some(Trace::Harmless) => return Ok(Some(false)),
            Some(Trace::Made(object)) => (object, true),
            Some(Trace::Gone(object)) => (object, false),
        };
        let found = self.read(&self.look_for(&object)).await?.is_some_and(|rows| !rows.is_empty());
        Ok(Some(found == made))
    }
}

impl MySqlSession {
    /// Runs a message whose first results, so many, are of SQL of ours, and whose others are of statements of a migration, each
    /// within the time limit of those. Says before each how many have come; gives how many did, and the failure behind them.
    pub(super) async fn ran(
        &mut self,
        message: String,
        ours: usize,
        come: impl Fn(usize),
    ) -> (usize, Option<Failure>) {
        let mut results = sqlx::raw_sql(AssertSqlSafe(message)).execute_many(&mut self.connection);
        let (mut stopped, mut late, mut count) = (false, false, 0);
        come(0);
        loop {
            let own = if count < ours { None } else { self.limits.statement };
            let limit = if stopped { Some(STOP_LIMIT) } else { own };
            let next = match limit {
                None => results.next().await,
                Some(limit) => match tokio::time::timeout(limit, results.next()).await {
                    Ok(next) => next,
                    Err(_) if stopped => return (count, Some(unstoppable(self.limits.statement))),
                    Err(_) => {
                        stop(&self.options, self.number.unwrap_or_default()).await;
                        (stopped, late) = (true, true);
                        continue;
                    }
                },
            };
            match next {
                None => return (count, None),
                // It may have ended by itself at the last moment, and the stop have met the one behind it.
                Some(Ok(_)) => stopped = false,
                Some(Err(error)) => {
                    let failure = failure(&error, Engine::MySql, self.password.as_deref());
                    let is_late = stopped || (late && failure.code == INTERRUPTED);
                    return (count, Some(if is_late { overdue(self.limits.statement) } else { failure }));
                }
            }
            count += 1;
            come(count);
        }
    }

    /// A row where the object is there.
    pub(super) fn look_for(&self, object: &Object) -> String {
        let (view, path, column, name) = match object {
            Object::Table(path) => ("TABLES", path, "TABLE_NAME", None),
            Object::Column(path, name) => ("COLUMNS", path, "TABLE_NAME", Some(("COLUMN_NAME", name))),
            Object::Index(path, name) => ("STATISTICS", path, "TABLE_NAME", Some(("INDEX_NAME", name))),
            Object::Constraint(path, name) => {
                ("TABLE_CONSTRAINTS", path, "TABLE_NAME", Some(("CONSTRAINT_NAME", name)))
            }
            Object::Routine(path) => ("ROUTINES", path, "ROUTINE_NAME", None),
            Object::Trigger(path) => ("TRIGGERS", path, "TRIGGER_NAME", None),
            Object::Event(path) => ("EVENTS", path, "EVENT_NAME", None),
        };
        let schema = match view {
            "ROUTINES" => "ROUTINE_SCHEMA",
            // By its own schema the server goes through all databases.
            "TRIGGERS" => "EVENT_OBJECT_SCHEMA",
            "EVENTS" => "EVENT_SCHEMA",
            _ => "TABLE_SCHEMA",
        };
        let site = self.site("");
        let (last, database) = match path.as_slice() {
            [database, last] => (last.as_str(), site.text(database)),
            path => (path.last().map_or("", String::as_str), "DATABASE()".to_owned()),
        };
        let mut sql = format!(
            "SELECT '1' FROM information_schema.{view} WHERE {schema} = {database} AND {column} = {}",
            site.text(last)
        );
        if let Some((column, name)) = name {
            sql.push_str(&format!(" AND {column} = {}", site.text(name)));
        }
        sql
    }
}

/// Stops what runs in a session that is given up without being closed: an attempt that was stopped from outside.
#[derive(Default)]
pub(super) struct Stopper {
    session: Option<(MySqlConnectOptions, u64)>,
}

impl Stopper {
    /// It has this number.
    pub(super) fn arm(&mut self, options: MySqlConnectOptions, number: u64) {
        self.session = Some((options, number));
    }

    /// The session is closed in good order.
    pub(super) fn disarm(&mut self) {
        self.session = None;
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some((options, number)), Ok(runtime)) = (self.session.take(), runtime) {
            runtime.spawn(async move { stop(&options, number).await });
        }
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
        tracing::warn!(connection = number, "a statement could not be stopped in the server");
    }
}

fn overdue(limit: Option<Duration>) -> Failure {
    let text = format!("a statement ran for more than {:?}", limit.unwrap_or_default());
    let late = Failure::new(Class::Transient, "statement-timeout", text);
    let hint = hint(&late.code).map(str::to_owned);
    Failure { hint, ..late }
}

/// It may be running still: how it ends will not be known.
fn unstoppable(limit: Option<Duration>) -> Failure {
    Failure { code: "no-answer".into(), ..overdue(limit) }
}
