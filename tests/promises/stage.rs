//! What the tests of faults share: a fleet whose migration stands still in the middle until the test lets it go on, and
//! the ledger seen with SQL of the test's own.

use std::os::unix::fs::PermissionsExt as _;

use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection, SqliteConnection};
use tenantry_tests::{Fleet, Home, Ran, TenantDb, WorkerProcess, fleet::Kind, wait::until};

/// A migration that counts how often it was applied, and then waits at the gate.
pub(crate) const COUNTED: (&str, &str) =
    ("20260301000000_count.sql", "UPDATE counter SET n = n + 1;\nUPDATE gate SET n = n + 1;\n");
pub(crate) const VERSION: i64 = 20_260_301_000_000;

/// One tenant of each kind.
pub(crate) const ALL_KINDS: [Kind; 4] =
    [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];

/// Runs a test with each of the four set-ups.
macro_rules! with_every_set_up {
    ($($test:ident),+ $(,)?) => {
        mod with_an_sqlite_registry {
            $(#[tokio::test]
            async fn $test() { super::$test(::tenantry_tests::Home::new()).await; })+
        }
        mod with_a_postgres_ledger {
            $(#[tokio::test]
            async fn $test() { super::$test(::tenantry_tests::Home::new().with_postgres_registry().await).await; })+
        }
        mod with_a_mariadb_ledger {
            $(#[tokio::test]
            async fn $test() { super::$test(::tenantry_tests::Home::new().with_mariadb_registry().await).await; })+
        }
        mod with_postgres_and_redis {
            $(#[tokio::test]
            async fn $test() { super::$test(::tenantry_tests::Home::new().with_postgres_registry().await.with_redis_queue()).await; })+
        }
    };
}
pub(crate) use with_every_set_up;

const TABLES: &str = "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT); INSERT INTO gate VALUES (0);";

/// SQLite has no lock to wait for inside of a transaction: there, the gate is a count that takes longer than any test.
const SQLITE_GATE: &str = "CREATE TABLE pace (rows INTEGER); INSERT INTO pace VALUES (1); CREATE TABLE sink (n INTEGER);
    CREATE TRIGGER slow AFTER UPDATE ON gate BEGIN
        INSERT INTO sink SELECT count(*) FROM (
            WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < (SELECT rows FROM pace)) SELECT n FROM c);
    END;";

/// A home for each kind of registry, with the fleet that is made in it.
pub(crate) async fn on_each_registry(make: impl AsyncFn(&Home) -> Fleet) -> Vec<(Home, Fleet)> {
    let mut scenes = Vec::new();
    for home in Home::on_each_registry().await {
        let fleet = make(&home).await;
        scenes.push((home, fleet));
    }
    scenes
}

/// A registry with tenants of these kinds, each with its counter and its gate, which are open.
pub(crate) async fn gated(home: &Home, kinds: &[Kind]) -> Fleet {
    let mut fleet = Fleet::default();
    for kind in kinds {
        fleet.add(*kind, 1, home.path()).await;
    }
    for tenant in &fleet.tenants {
        tenant.execute(TABLES).await;
        if tenant.kind == Kind::Sqlite {
            tenant.execute(SQLITE_GATE).await;
        }
    }
    home.migration(COUNTED.0, COUNTED.1);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
    fleet
}

/// A registry with so many SQLite tenants, each of which this shell script migrates; `$1` is its name.
pub(crate) async fn scripted(home: &Home, tenants: usize, script: &str) -> Fleet {
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, tenants, home.path()).await;
    let path = home.path().join("migrate.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a script that runs");
    let config = "format = \"none\"\n[command]\ndirectory = \".\"\nrun = [\"./migrate.sh\", \"{tenant}\"]\n";
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a configuration");
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
    fleet
}

/// The closed gates of some tenants.
pub(crate) struct Gates {
    postgres: Vec<PgConnection>,
    mariadb: Vec<MySqlConnection>,
    sqlite: Vec<TenantDb>,
}

impl Gates {
    pub(crate) async fn close<'a>(tenants: impl IntoIterator<Item = &'a TenantDb>) -> Self {
        let mut gates = Self { postgres: vec![], mariadb: vec![], sqlite: vec![] };
        for tenant in tenants {
            match tenant.kind {
                Kind::PostgresDatabase | Kind::PostgresSchema => {
                    let mut connection = PgConnection::connect(&tenant.url).await.expect("postgres");
                    let schema = tenant.schema.as_deref().unwrap_or("public");
                    let lock = format!("BEGIN; SELECT n FROM {schema}.gate FOR UPDATE");
                    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.expect("a lock");
                    gates.postgres.push(connection);
                }
                Kind::MariaDb => {
                    let mut connection = MySqlConnection::connect(&tenant.url).await.expect("mariadb");
                    let lock = "START TRANSACTION; SELECT n FROM gate FOR UPDATE";
                    connection.execute(sqlx::raw_sql(lock)).await.expect("a lock");
                    gates.mariadb.push(connection);
                }
                Kind::Sqlite => {
                    tenant.execute("UPDATE pace SET rows = 1000000000000").await;
                    gates.sqlite.push(tenant.clone());
                }
            }
        }
        gates
    }

    /// Opens them. Nothing can open that of an SQLite tenant but the end of the process that counts.
    pub(crate) async fn open(self) {
        for connection in self.postgres {
            connection.close().await.expect("an end");
        }
        for connection in self.mariadb {
            connection.close().await.expect("an end");
        }
        for tenant in self.sqlite {
            tenant.execute("PRAGMA busy_timeout = 30000; UPDATE pace SET rows = 1").await;
        }
    }
}

/// Whether the tenant's migration is in the middle now: begun, and waiting at the gate.
pub(crate) async fn waits_at_its_gate(tenant: &TenantDb) -> bool {
    match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND application_name = 'tenantry' AND query LIKE '%UPDATE counter%'";
            tenant.number(waiting).await > 0
        }
        Kind::MariaDb => {
            let waiting = "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'UPDATE gate%'";
            tenant.number(waiting).await > 0
        }
        Kind::Sqlite => {
            let mut connection = SqliteConnection::connect(&tenant.url).await.expect("sqlite");
            let lock = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
            connection.execute(sqlx::raw_sql(lock)).await.is_err()
        }
    }
}

pub(crate) async fn until_at_their_gates(tenants: &[TenantDb]) {
    for tenant in tenants {
        until("the migration waits at the gate", || waits_at_its_gate(tenant)).await;
    }
}

pub(crate) async fn until_logged(worker: &WorkerProcess, words: &[&str]) {
    let what = format!("the worker logs {words:?}");
    until(&what, || async { words.iter().any(|word| worker.log().contains(word)) }).await;
}

/// The registry's database, for SQL of the test's own.
pub(crate) fn ledger(home: &Home) -> TenantDb {
    TenantDb::registry(&home.registry_url())
}

/// How many targets there are of this kind.
pub(crate) async fn targets(home: &Home, condition: &str) -> i64 {
    ledger(home).number(&format!("SELECT count(*) FROM targets WHERE {condition}")).await
}

/// Waits for the newest run, which all its targets must have ended well: once applied, one history row, no attempt counted
/// that the tenant is not to blame for.
pub(crate) async fn all_applied_once(home: &Home, fleet: &Fleet) {
    let run = home.run(&["wait", "--json"]).exits(0).json();
    let total = fleet.tenants.len();
    assert_eq!((&run["counts"]["total"], &run["counts"]["failed"]), (&total.into(), &0.into()), "{run}");
    let well = run["counts"]["applied"].as_u64().zip(run["counts"]["current"].as_u64());
    assert_eq!(well.map(|(applied, current)| applied + current), Some(total as u64), "{run}");
    for tenant in &fleet.tenants {
        assert_eq!(tenant.number("SELECT n FROM counter").await, 1, "{}", tenant.id);
        assert_eq!(tenant.versions().await, [VERSION], "{}", tenant.id);
    }
    let unfinished = "state NOT IN ('applied', 'current') OR finished_at IS NULL OR due_at IS NOT NULL";
    assert_eq!(targets(home, unfinished).await, 0);
}

/// Starts a run of the whole fleet.
pub(crate) fn enqueue(home: &Home, more: &[&str]) -> Ran {
    let words: Vec<&str> =
        ["enqueue", "--all", "--yes", "--lock-timeout", "60s"].iter().chain(more).copied().collect();
    home.run(&words).exits(0)
}
