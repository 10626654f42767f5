//! SQLite: a file per tenant.
//!
//! There is no lock to hold over several transactions. Each migration's transaction takes the write lock at its
//! beginning, and looks once more whether somebody else has applied it since the plan was made.

use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::SqliteConnectOptions,
};
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
    format::{Migration, sqlx::HISTORY_TABLE},
    place::Engine,
    plan::Applied,
    registry::Access,
};

use super::{Limits, Session, failure, in_time, nanos, run_all};

/// How many of SQLite's instructions run between two looks at the clock.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

/// A session with an SQLite tenant.
pub struct SqliteSession {
    connection: SqliteConnection,
    limits: Limits,
    history_exists: bool,
}

impl Session for SqliteSession {
    async fn connect(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::from_str(access.url.expose()).map_err(|e| fail(&e))?;
        let options = options.create_if_missing(false).busy_timeout(limits.lock).disable_statement_logging();
        let connect = async { SqliteConnection::connect_with(&options).await.map_err(|e| fail(&e)) };
        let connection = in_time(limits.connect, connect).await?;
        Ok(Self { connection, limits, history_exists: false })
    }

    async fn history(&mut self) -> Result<Vec<Applied>, Failure> {
        let exists = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1",
        )
        .bind(HISTORY_TABLE);
        self.history_exists = exists.fetch_one(&mut self.connection).await.map_err(|e| fail(&e))? > 0;
        if !self.history_exists {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT version, checksum, success FROM {HISTORY_TABLE}");
        let rows =
            sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.map_err(|e| fail(&e))?;
        let row = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Applied { version: row.try_get(0)?, checksum: row.try_get(1)?, success: row.try_get(2)? })
        };
        rows.iter().map(row).collect::<Result<_, sqlx::Error>>().map_err(|e| fail(&e))
    }

    async fn lock(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&mut self, migration: &Migration) -> Result<(), Failure> {
        self.raw("BEGIN IMMEDIATE").await?;
        self.create_history().await?;
        self.still_pending(migration).await?;
        if migration.transactional {
            let watch = Stopwatch::start();
            self.run(migration).await?;
            // The file may have ended our transaction. Where it has not, this is refused and changes nothing.
            let _ = self.raw("BEGIN").await;
            self.insert_row(migration, true, watch.elapsed()).await?;
            self.raw("COMMIT").await
        } else {
            self.insert_row(migration, false, Duration::ZERO).await?;
            self.raw("COMMIT").await?;
            self.apply_outside(migration).await
        }
    }

    async fn close(self) {
        // Nothing is left to be written; an error here loses nothing.
        let _ = self.connection.close().await;
    }
}

impl SqliteSession {
    async fn apply_outside(&mut self, migration: &Migration) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        if let Err(error) = self.run(migration).await {
            if error.statement == Some(1) {
                let unmark = format!(
                    "DELETE FROM {HISTORY_TABLE} WHERE version = {} AND success = FALSE",
                    migration.version
                );
                self.raw(&unmark).await?;
                return Err(error);
            }
            let hint = "the statements before it are done: finish the rest by hand and set success to true in the history row, or undo them and delete it";
            return Err(Failure { class: Class::Permanent, ..error }.with_hint(hint));
        }
        let done = format!(
            "UPDATE {HISTORY_TABLE} SET success = TRUE, execution_time = {} WHERE version = {}",
            nanos(watch.elapsed()),
            migration.version
        );
        self.raw(&done).await
    }

    async fn still_pending(&mut self, migration: &Migration) -> Result<(), Failure> {
        let sql = format!("SELECT count(*) FROM {HISTORY_TABLE} WHERE version = $1");
        let found = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).bind(migration.version);
        if found.fetch_one(&mut self.connection).await.map_err(|e| fail(&e))? == 0 {
            return Ok(());
        }
        Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
    }

    async fn run(&mut self, migration: &Migration) -> Result<(), Failure> {
        // When the running statement began, in milliseconds of this watch.
        let (watch, begun) = (Stopwatch::start(), Arc::new(AtomicU64::new(0)));
        if let Some(limit) = self.limits.statement {
            let (limit, begun) = (millis(limit), begun.clone());
            let mut handle = self.connection.lock_handle().await.map_err(|e| fail(&e))?;
            handle.set_progress_handler(INSTRUCTIONS_PER_LOOK, move || {
                watch.elapsed_ms() < begun.load(Ordering::Relaxed).saturating_add(limit)
            });
        }
        let statements = sqlx::raw_sql(AssertSqlSafe(migration.up.clone()))
            .execute_many(&mut self.connection)
            .inspect(|_| begun.store(watch.elapsed_ms(), Ordering::Relaxed));
        let result = run_all(statements.boxed())
            .await
            .map_err(|(statement, error)| Failure { statement: Some(statement), ..fail(&error) });
        if self.limits.statement.is_some() {
            self.connection.lock_handle().await.map_err(|e| fail(&e))?.remove_progress_handler();
        }
        result
    }

    async fn create_history(&mut self) -> Result<(), Failure> {
        if self.history_exists {
            return Ok(());
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {HISTORY_TABLE} (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
                installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL,
                execution_time BIGINT NOT NULL)"
        );
        self.raw(&create).await
    }

    async fn insert_row(
        &mut self,
        migration: &Migration,
        success: bool,
        took: Duration,
    ) -> Result<(), Failure> {
        let insert = format!(
            "INSERT INTO {HISTORY_TABLE} (version, description, success, checksum, execution_time) VALUES ($1, $2, $3, $4, $5)"
        );
        let insert = sqlx::query(AssertSqlSafe(insert))
            .bind(migration.version)
            .bind(migration.description.clone())
            .bind(success)
            .bind(migration.checksum.clone())
            .bind(nanos(took));
        insert.execute(&mut self.connection).await.map(|_| ()).map_err(|e| fail(&e))
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|e| fail(&e))
    }
}

fn fail(error: &sqlx::Error) -> Failure {
    failure(error, Engine::Sqlite, None)
}
