//! A home and tenants in its registry, migrated in one process: what tests of engines begin with.

use std::process::Child;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, SqliteConnection};
use tenantry_tests::{Fleet, Home, Ran, TenantDb, fleet::Kind};

/// Every kind of tenant.
pub(crate) const KINDS: [Kind; 4] =
    [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];

/// A home, and the fleet of its registry.
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) fleet: Fleet,
}

impl Site {
    /// So many empty tenants of each of these kinds.
    pub(crate) async fn new(kinds: &[Kind], of_each: usize) -> Self {
        let home = quick_home();
        let mut fleet = Fleet::default();
        for kind in kinds {
            fleet.add(*kind, of_each, home.path()).await;
        }
        Self::of(home, fleet)
    }

    /// These tenants, in a registry of this home.
    pub(crate) fn of(home: Home, fleet: Fleet) -> Self {
        let _ = home.run(&["registry", "init"]).exits(0);
        fleet.register(&home);
        Self { home, fleet }
    }

    /// One tenant.
    pub(crate) fn tenant(&self) -> &TenantDb {
        &self.fleet.tenants[0]
    }

    /// Migrates all tenants; the run's document is on standard output.
    pub(crate) fn migrate(&self, flags: &[&str]) -> Ran {
        self.home.run(&words(flags))
    }

    /// The same, not waited for.
    pub(crate) fn start(&self, flags: &[&str]) -> Child {
        self.home.spawn(&words(flags))
    }

    /// Migrates all tenants where the one cause of failure is expected, and gives that cause.
    pub(crate) fn fails(&self, exit: i32, flags: &[&str]) -> Value {
        let run = self.migrate(flags).exits(exit).json();
        assert_eq!(run["failures"].as_array().map(Vec::len), Some(1), "{run}");
        run["failures"][0].clone()
    }

    /// The ledger's row of a tenant in the latest run, if there is a run.
    pub(crate) fn target(&self, tenant: &TenantDb) -> Option<Value> {
        let status = self.home.run(&["status", "latest", "-t", &tenant.id, "--json"]);
        let document: Value = serde_json::from_str(&status.stdout).ok()?;
        Some(document["tenants"][0].clone())
    }

    /// The attempts at a tenant in the latest run.
    pub(crate) fn attempts(&self, tenant: &TenantDb) -> Vec<Value> {
        let logs = self.home.run(&["logs", "latest", "-t", &tenant.id, "--json"]).exits(0).json();
        logs["attempts"].as_array().expect("attempts").clone()
    }
}

/// One for each kind of registry.
pub(crate) async fn quick_homes() -> [Home; 3] {
    [quick_home(), quick_home().with_postgres_registry().await, quick_home().with_mariadb_registry().await]
}

/// A home in which a retry does not wait long.
pub(crate) fn quick_home() -> Home {
    let home = Home::new();
    let config = "[run]\nbackoff-base = \"50ms\"\nbackoff-cap = \"200ms\"\n";
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a configuration");
    home
}

fn words<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    ["migrate", "--all", "--retry-failed", "--json"].iter().chain(flags).copied().collect()
}

/// Somebody else's connection to a tenant. What it holds is let go when it is dropped.
pub(crate) enum Stranger {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Stranger {
    /// Connects, and runs this SQL.
    pub(crate) async fn that_runs(tenant: &TenantDb, sql: &str) -> Self {
        let mut stranger = match tenant.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => {
                Self::Postgres(PgConnection::connect(&tenant.url).await.expect("postgres"))
            }
            Kind::MariaDb => Self::MariaDb(MySqlConnection::connect(&tenant.url).await.expect("mariadb")),
            Kind::Sqlite => Self::Sqlite(SqliteConnection::connect(&tenant.url).await.expect("sqlite")),
        };
        if let Some(schema) = &tenant.schema {
            stranger.runs(&format!("SET search_path = {schema}")).await;
        }
        stranger.runs(sql).await;
        stranger
    }

    /// Runs more.
    pub(crate) async fn runs(&mut self, sql: &str) {
        let raw = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match self {
            Self::Postgres(connection) => connection.execute(raw).await.map(|_| ()),
            Self::MariaDb(connection) => connection.execute(raw).await.map(|_| ()),
            Self::Sqlite(connection) => connection.execute(raw).await.map(|_| ()),
        };
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

/// A server's URL with another account in it.
pub(crate) fn with_account(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("an account");
    format!("{scheme}://{user}:{password}@{place}")
}
