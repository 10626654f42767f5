//! The SQL door to the registry database: one pool, one dialect, one text of SQL for all of them.
//!
//! Statements are written with `$1`, `RETURNING` and `ON CONFLICT`, which PostgreSQL and SQLite share, and
//! with these words in braces:
//!
//! | word | stands for |
//! |---|---|
//! | `{now}` | milliseconds since 1970 by the database's own clock, so that all workers agree |
//! | `{skip_locked}` | `FOR UPDATE SKIP LOCKED` where the database has row locks |
//!
//! Times and durations are `BIGINT` milliseconds, JSON is `TEXT`. A statement that changes rows says how many
//! it must touch: see [`expect_rows`].

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{Migration, MigrationType, Migrator},
};

mod error;

pub use error::{StoreError, expect_rows};

/// The table that keeps which of our own migrations the registry has.
const OWN_HISTORY: &str = "_tenantry_migrations";

/// How long to wait for a connection from the pool, or for the first one at all.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

const SQLITE_BUSY_TIMEOUT_MS: u32 = 30_000;

/// Which database holds the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A file; the default.
    Sqlite,
    /// A server.
    Postgres,
}

/// A registry database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
}

impl Store {
    /// Opens a registry that exists and has the version this program needs.
    ///
    /// # Errors
    /// When it cannot be reached, is not there, or has another version.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let dialect = dialect_of(url)?;
        if let Some(path) = sqlite_path(url).filter(|path| !path.exists()) {
            return Err(StoreError::NoRegistry(path.display().to_string()));
        }
        let store = Self::connect(url, dialect).await?;
        let found = store.version().await?;
        let needed = newest(dialect);
        match found {
            None => Err(StoreError::NoRegistry("that database".into())),
            Some(found) if found == needed => Ok(store),
            Some(found) => Err(StoreError::Version { found, needed }),
        }
    }

    /// Makes a registry, or brings one up to this program's version. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub async fn init(url: &str) -> Result<Self, StoreError> {
        let dialect = dialect_of(url)?;
        if let Some(parent) = sqlite_path(url).as_deref().and_then(|path| path.parent()) {
            let unusable = |e: std::io::Error| StoreError::Unusable {
                path: parent.display().to_string(),
                reason: e.to_string(),
            };
            private_directory(parent).map_err(unusable)?;
        }
        // A connection of its own: sqlx leaves its advisory lock behind when a migration fails, and it goes with the connection.
        let mut connection = connect_once(&creating(url, dialect), dialect).await?;
        if dialect == Dialect::Sqlite {
            // A table that is made anew is dropped in between.
            sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut connection).await?;
        }
        let mut migrator = Migrator::with_migrations(own_migrations(dialect));
        migrator.dangerous_set_table_name(OWN_HISTORY);
        migrator
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|e| StoreError::Database(sqlx::Error::Migrate(Box::new(e))))?;
        connection.close().await?;
        Self::connect(url, dialect).await
    }

    async fn connect(url: &str, dialect: Dialect) -> Result<Self, StoreError> {
        // The pool would try for its whole time limit and then say only that the time is over.
        connect_once(url, dialect).await?.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(if dialect == Dialect::Sqlite { 4 } else { 8 })
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(prepare(connection, dialect)))
            .connect_lazy_with(options(url)?);
        Ok(Self { pool, dialect })
    }

    async fn version(&self) -> Result<Option<i64>, StoreError> {
        let table = match self.dialect {
            Dialect::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = $1",
            Dialect::Postgres => "SELECT count(*) FROM pg_class WHERE oid = to_regclass($1)",
        };
        if sqlx::query_scalar::<_, i64>(table).bind(OWN_HISTORY).fetch_one(&self.pool).await? == 0 {
            return Ok(None);
        }
        Ok(sqlx::query_scalar(self.sql("SELECT max(version) FROM _tenantry_migrations"))
            .fetch_one(&self.pool)
            .await?)
    }

    /// The pool, for one statement.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A transaction that is going to write. On SQLite it takes the write lock at once: one that reads first
    /// and writes later fails where another has written in between.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, StoreError> {
        let begin = if self.dialect == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// A statement in this database's dialect. `text` is ours and never holds a value.
    pub(crate) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let (now, skip_locked) = match self.dialect {
            Dialect::Sqlite => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", ""),
            Dialect::Postgres => {
                ("(extract(epoch from clock_timestamp()) * 1000)::bigint", "FOR UPDATE SKIP LOCKED")
            }
        };
        AssertSqlSafe(text.replace("{now}", now).replace("{skip_locked}", skip_locked))
    }

    /// Milliseconds since 1970 by the database's clock.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(self.sql("SELECT {now}")).fetch_one(&self.pool).await?)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// One connection, ready for use, or what is in the way of it.
async fn connect_once(url: &str, dialect: Dialect) -> Result<AnyConnection, StoreError> {
    let options = options(url)?;
    let connect = async {
        let mut connection = AnyConnection::connect_with(&options).await?;
        prepare(&mut connection, dialect).await?;
        Ok(connection)
    };
    let late = |_| StoreError::Unreachable(format!("no answer within {ACQUIRE_TIMEOUT:?}"));
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connect).await.map_err(late)? {
        Err(sqlx::Error::Database(e)) if dialect == Dialect::Sqlite && !is_busy(e.code().as_deref()) => {
            let path = sqlite_path(url).unwrap_or_default().display().to_string();
            Err(StoreError::Unusable { path, reason: e.message().to_owned() })
        }
        result => Ok(result?),
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    sqlx::any::install_default_drivers();
    AnyConnectOptions::from_str(url).map_err(|_| StoreError::Scheme)
}

async fn prepare(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        let pragmas = format!(
            "PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON"
        );
        connection.execute(sqlx::raw_sql(AssertSqlSafe(pragmas))).await?;
    }
    Ok(())
}

/// Whether an SQLite result code, extended or not, says that somebody else holds a lock. SQLSTATEs are longer.
fn is_busy(code: Option<&str>) -> bool {
    let code = code.filter(|code| code.len() < 5).and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

/// The parameters `$first`, `$first+1`, … for a list of so many values.
pub(crate) fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(",")
}

/// Which database a registry URL is of.
///
/// # Errors
/// [`StoreError::Scheme`] for any other.
pub fn dialect_of(url: &str) -> Result<Dialect, StoreError> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Dialect::Sqlite),
        Some("postgres" | "postgresql") => Ok(Dialect::Postgres),
        _ => Err(StoreError::Scheme),
    }
}

/// The file of an SQLite registry URL.
#[must_use]
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(PathBuf::from(rest.split('?').next().unwrap_or(rest)))
}

fn creating(url: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
        _ => url.to_owned(),
    }
}

/// Makes a directory that only its owner can look into, where there is none.
fn private_directory(path: &std::path::Path) -> std::io::Result<()> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn own_migrations(dialect: Dialect) -> Vec<Migration> {
    macro_rules! files {
        ($dialect:literal) => {
            [
                (
                    1,
                    "registry",
                    include_str!(concat!("../../migrations/registry/", $dialect, "/0001_registry.sql")),
                ),
                (
                    2,
                    "versions",
                    include_str!(concat!("../../migrations/registry/", $dialect, "/0002_versions.sql")),
                ),
            ]
        };
    }
    let files: [(i64, &'static str, &'static str); 2] = match dialect {
        Dialect::Sqlite => files!("sqlite"),
        Dialect::Postgres => files!("postgres"),
    };
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    files.into_iter().map(migration).collect()
}

fn newest(dialect: Dialect) -> i64 {
    own_migrations(dialect).iter().map(|m| m.version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use ::sqlx::Row as _;

    use super::*;

    #[test]
    fn a_registry_is_sqlite_or_postgres() {
        assert_eq!(dialect_of("sqlite:a.db").unwrap(), Dialect::Sqlite);
        assert_eq!(dialect_of("postgresql://h/d").unwrap(), Dialect::Postgres);
        assert!(dialect_of("mysql://h/d").is_err());
    }

    #[tokio::test]
    async fn a_registry_of_the_first_version_is_brought_up_with_all_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let mut connection = connect_once(&creating(&url, Dialect::Sqlite), Dialect::Sqlite).await.unwrap();
        let first = own_migrations(Dialect::Sqlite).remove(0);
        let mut migrator = Migrator::with_migrations(vec![first]);
        migrator.dangerous_set_table_name(OWN_HISTORY);
        migrator.run_direct(None, &mut connection, false).await.unwrap();
        let rows = "INSERT INTO servers VALUES (1, 'sqlite', '/d');
            INSERT INTO tenants VALUES ('t', 'acme', 'active', 1, 'd', NULL, 'sealed', 20261121103012, 5, 1);
            INSERT INTO bundles VALUES ('b', 1);
            INSERT INTO runs VALUES ('r', 1, 'b', 3, 'd', 'all', '{}', 'failed', NULL, 'me', NULL, 1, 1, 1);
            INSERT INTO targets (run_id, tenant_id, state, max_attempts, from_version, to_version, version) VALUES ('r', 't', 'failed', 1, 1, 2, 3);
            INSERT INTO attempts VALUES ('r', 't', 1, 'w', 1, 2, 'failed', '[]', NULL, NULL, NULL, NULL, 3, NULL, NULL);";
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();

        let store = Store::init(&url).await.unwrap();
        let kept = "SELECT t.version, r.target_version, g.from_version, g.to_version, g.version, a.version
            FROM attempts a JOIN targets g USING (run_id, tenant_id) JOIN runs r ON r.id = g.run_id JOIN tenants t ON t.id = g.tenant_id";
        let row = sqlx::query(kept).fetch_one(store.pool()).await.unwrap();
        let text = |at: usize| row.try_get::<String, _>(at).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(text), ["20261121103012", "3", "1", "2", "3", "3"]);
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(store.pool()).await.unwrap();
        assert!(broken.is_empty());
    }

    #[test]
    fn a_list_of_parameters_is_numbered_from_its_first() {
        assert_eq!(parameters(3, 3), "$3,$4,$5");
    }
}
