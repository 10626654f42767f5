//! Faults of servers: tenants', the registry's and the queue's go away in the middle of a run. It costs attempts or time,
//! never a tenant.

use std::time::{Duration, Instant};

use redis::AsyncCommands as _;
use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tenantry_tests::{
    Fleet, Home, TenantDb, WorkerProcess,
    fleet::{Kind, create_mariadb_database, unique},
    home::finish,
    server::{self, Private, with_database},
    wait::until,
};

use crate::stage::{Gates, all_applied_once, enqueue, gated, ledger, targets, until_at_their_gates};

const FIRST: (&str, &str) = ("1_first.sql", "CREATE TABLE first (n INTEGER);");

/// So many empty schemas of one new database on a server of the test's own.
pub(crate) async fn schemas(server: &Private, count: usize) -> Fleet {
    let url = with_database(&server.url, "fleet");
    let maintenance =
        TenantDb { id: "server".into(), kind: Kind::PostgresDatabase, url: server.url.clone(), schema: None };
    maintenance.execute("CREATE DATABASE fleet").await;
    let database = TenantDb { id: "fleet".into(), url: url.clone(), ..maintenance };
    let mut fleet = Fleet::default();
    for _ in 0..count {
        let id = unique("schema");
        database.execute(&format!("CREATE SCHEMA {id}")).await;
        fleet.tenants.push(TenantDb {
            schema: Some(id.clone()),
            id,
            kind: Kind::PostgresSchema,
            url: url.clone(),
        });
    }
    fleet
}

/// A registry with these tenants and one migration.
fn with_first(home: &Home, fleet: &Fleet) {
    home.migration(FIRST.0, FIRST.1);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
}

async fn sqlite_tenants(home: &Home, count: usize) -> Fleet {
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, count, home.path()).await;
    with_first(home, &fleet);
    fleet
}

/// Promise 3.
#[tokio::test]
async fn a_tenant_server_that_crashes_costs_retries_and_not_tenants() {
    let (home, server) = (Home::new(), Private::start("postgres", ""));
    let mut fleet = schemas(&server, 4).await;
    fleet.add(Kind::Sqlite, 2, home.path()).await;
    home.migration("1_slow.sql", "CREATE TABLE slow (n INTEGER);\nINSERT INTO slow SELECT n FROM first;\n");
    for tenant in &fleet.tenants {
        tenant.execute("CREATE TABLE first (n INTEGER)").await;
    }
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    let mut lock = PgConnection::connect(&fleet.tenants[0].url).await.expect("postgres");
    for tenant in &fleet.tenants[..4] {
        let sql = format!("BEGIN; LOCK TABLE {}.first", tenant.id);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut lock).await.expect("a lock");
    }
    let _worker = home.worker(&["--concurrency", "4"]);
    enqueue(&home, &[]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'tenantry'";
    until("all run", || async { fleet.tenants[0].number(waiting).await == 4 }).await;
    server.stop("immediate");
    server.restart();
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&6.into(), &4.into()), "{run}");
    for tenant in &fleet.tenants {
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
    }
}

/// Promise 2. What it has only in memory is gone with a server that is killed, and it writes nothing by itself for ten seconds.
#[tokio::test]
async fn what_is_told_as_applied_outlives_a_killed_server_though_a_later_migration_failed() {
    let (home, server) = (Home::new(), Private::start("postgres", "-c wal_writer_delay=10s"));
    let fleet = schemas(&server, 1).await;
    home.migration("1_first.sql", "CREATE TABLE first (n INTEGER);\n");
    home.migration("2_second.sql", "CREATE TABLE second (n INTEGER);\n");
    home.migration("3_wrong.sql", "INSERT INTO nowhere VALUES (1);\n");
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    let run = home.run(&["migrate", "--all", "--yes", "--json"]).exits(100).json();
    server.stop("kill");
    server.restart();
    assert_eq!(ledger(&home).text("SELECT to_version FROM targets").await.as_deref(), Some("2"), "{run}");
    assert_eq!(fleet.tenants[0].versions().await, [1, 2], "{run}");
}

/// Promise 2. The server has hardly written the first two when it is killed.
#[tokio::test]
async fn what_a_killed_server_took_back_is_applied_again_and_told_once() {
    let (home, server) = (Home::new(), Private::start("postgres", "-c wal_writer_delay=10s"));
    let fleet = schemas(&server, 1).await;
    let tenant = &fleet.tenants[0];
    tenant.execute("CREATE TABLE held (n INTEGER)").await;
    home.migration("1_first.sql", "CREATE TABLE first (n INTEGER);\n");
    home.migration("2_second.sql", "CREATE TABLE second (n INTEGER);\n");
    home.migration("3_waits.sql", "INSERT INTO held VALUES (1);\n");
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    let mut stranger = PgConnection::connect(&tenant.url).await.expect("postgres");
    let lock = format!("BEGIN; LOCK TABLE {}.held", tenant.id);
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut stranger).await.expect("a lock");
    let _worker = home.worker(&[]);
    enqueue(&home, &[]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'tenantry'";
    until("the third one waits", || async { tenant.number(waiting).await == 1 }).await;
    server.stop("kill");
    server.restart();
    let run = home.run(&["wait", "--json"]).exits(0).json();
    let told = "SELECT group_concat(outcome || ' ' || coalesce(version, told), '; ') FROM (SELECT a.*,
        (SELECT group_concat(value ->> 'version') FROM json_each(a.steps)) AS told FROM attempts a
        WHERE number = 1 OR outcome = 'applied' ORDER BY number)";
    let told = ledger(&home).text(told).await.unwrap_or_default();
    // On a busy machine it may have written them after all.
    let again = told.strip_prefix("failed 1; applied ").unwrap_or("nothing");
    assert!("1,2,3".ends_with(again), "{told}: {run}");
    assert_eq!(tenant.versions().await, [1, 2, 3], "{run}");
}

#[tokio::test]
async fn a_server_without_free_connections_costs_time_and_neither_tenants_nor_counted_attempts() {
    let (home, server) = (Home::new(), Private::start("postgres", "-c max_connections=12"));
    let fleet = schemas(&server, 40).await;
    with_first(&home, &fleet);
    let mut strangers = Vec::new();
    while strangers.len() < 20 {
        match PgConnection::connect(&server.url).await {
            Ok(stranger) => strangers.push(stranger),
            Err(_) => break,
        }
    }
    assert!((8..20).contains(&strangers.len()), "{} strangers hold all connections", strangers.len());
    let _worker = home.worker(&["--concurrency", "16"]);
    enqueue(&home, &["--retries", "1"]);
    let refused = "SELECT count(DISTINCT tenant_id) FROM attempts WHERE code = '53300' AND class = 'transient' AND outcome = 'failed'";
    until("every tenant was refused once", || async { ledger(&home).number(refused).await >= 40 }).await;
    drop(strangers);
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&40.into(), &0.into()), "{run}");
    assert_eq!(targets(&home, "attempt > 1 AND uncounted = attempt - 1").await, 40);
}

#[tokio::test]
async fn a_syntax_error_costs_one_attempt() {
    let home = Home::new();
    let mut fleet = Fleet::default();
    fleet.add(Kind::PostgresDatabase, 1, home.path()).await;
    fleet.add(Kind::MariaDb, 1, home.path()).await;
    fleet.add(Kind::Sqlite, 1, home.path()).await;
    home.migration("1_wrong.sql", "CREATE TABEL wrong (n INTEGER);");
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    let _worker = home.worker(&[]);
    let run = home.run(&["enqueue", "--all", "--wait", "--json"]).exits(100).json();
    assert_eq!(run["counts"]["failed"], 3, "{run}");
    assert_eq!(targets(&home, "state = 'failed' AND attempt = 1 AND uncounted = 0").await, 3);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM attempts").await, 3);
}

/// Promise 2.
#[tokio::test]
async fn a_postgres_registry_that_crashes_in_the_middle_of_a_run_does_not_hurt_it() {
    let server = Private::start("postgres", "");
    let url = server.url.clone();
    a_registry_crashes(server, "immediate", &url).await;
}

#[tokio::test]
async fn a_mariadb_registry_that_is_killed_in_the_middle_of_a_run_does_not_hurt_it() {
    let server = Private::start("mariadb", "");
    create_mariadb_database(&server.url, "registry").await;
    let url = with_database(&server.url, "registry");
    a_registry_crashes(server, "kill", &url).await;
}

async fn a_registry_crashes(server: Private, how: &str, url: &str) {
    let home = Home::new().with("TENANTRY_REGISTRY_URL", url);
    let mut fleet = gated(&home, &[Kind::PostgresDatabase, Kind::MariaDb]).await;
    let mut more = Fleet::default();
    more.add(Kind::Sqlite, 20, home.path()).await;
    for tenant in &more.tenants {
        tenant.execute("CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT)").await;
    }
    more.register(&home);
    let gates = Gates::close(&fleet.tenants).await;
    let _workers = [home.worker(&["--lease", "5s"]), home.worker(&["--lease", "5s"])];
    let waiting = home.spawn(&["enqueue", "--all", "--wait", "--json", "--lock-timeout", "60s"]);
    until_at_their_gates(&fleet.tenants).await;
    server.stop(how);
    gates.open().await;
    server.restart();
    let run = finish(waiting).exits(0).json();
    assert_eq!((&run["counts"]["total"], &run["counts"]["failed"]), (&22.into(), &0.into()), "{run}");
    fleet.tenants.append(&mut more.tenants);
    all_applied_once(&home, &fleet).await;
}

#[tokio::test]
async fn a_postgres_registry_that_refuses_for_a_while_costs_retries_and_not_tenants() {
    a_registry_refuses(Home::new().with_postgres_registry().await).await;
}

#[tokio::test]
async fn a_mariadb_registry_that_refuses_for_a_while_costs_retries_and_not_tenants() {
    a_registry_refuses(Home::new().with_mariadb_registry().await).await;
}

async fn a_registry_refuses(home: Home) {
    let _fleet = sqlite_tenants(&home, 3).await;
    enqueue(&home, &["--retries", "20"]);
    ledger(&home).execute("ALTER TABLE bundle_files RENAME TO hidden").await;
    let _worker = home.worker(&[]);
    let refused = "SELECT count(*) FROM attempts WHERE code = 'registry'";
    until("every tenant was kept waiting", || async { ledger(&home).number(refused).await >= 3 }).await;
    ledger(&home).execute("ALTER TABLE hidden RENAME TO bundle_files").await;
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&3.into(), &3.into()), "{run}");
}

#[tokio::test]
async fn a_registry_that_hangs_does_not_make_a_worker_look_dead() {
    let home = Home::new().with_postgres_registry().await;
    let _ = home.run(&["registry", "init"]).exits(0);
    let worker = home.worker(&[]);
    let life = || std::fs::read_to_string(&worker.health).unwrap_or_default();
    until("a worker is there", || async { ledger(&home).number("SELECT count(*) FROM workers").await == 1 })
        .await;
    let mut registry = PgConnection::connect(&home.registry_url()).await.expect("postgres");
    sqlx::raw_sql("BEGIN; LOCK TABLE workers").execute(&mut registry).await.expect("a lock");
    for _ in 0..3 {
        let before = life();
        until("it gives another sign of life", || async { life() != before }).await;
    }
}

#[tokio::test]
async fn a_queue_that_crashes_and_forgets_everything_loses_nothing() {
    let server = Private::start("redis", "");
    let home = Home::new().with_postgres_registry().await.with("TENANTRY_QUEUE_URL", &server.url);
    let fleet = sqlite_tenants(&home, 300).await;
    let _workers = [home.worker(&["--concurrency", "2"]), home.worker(&["--concurrency", "2"])];
    enqueue(&home, &[]);
    until("a part is done", || async { targets(&home, "state = 'applied'").await >= 30 }).await;
    server.stop("kill");
    let left = targets(&home, "state IN ('pending', 'retryable')").await;
    server.restart();
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&300.into(), &0.into()), "{run}");
    assert!(left > 0, "the queue was lost when it had nothing to lose");
    for tenant in &fleet.tenants {
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
    }
}

#[tokio::test]
async fn an_enqueue_that_is_killed_leaves_a_whole_run_or_none_in_postgres() {
    an_enqueue_is_killed(Home::new().with_postgres_registry().await).await;
}

#[tokio::test]
async fn an_enqueue_that_is_killed_leaves_a_whole_run_or_none_in_mariadb() {
    an_enqueue_is_killed(Home::new().with_mariadb_registry().await).await;
}

async fn an_enqueue_is_killed(home: Home) {
    let fleet = sqlite_tenants(&home, 200).await;
    let begun = Instant::now();
    enqueue(&home, &[]);
    let (undisturbed, kills) = (begun.elapsed(), 10);
    for kill in 1..=kills {
        let mut child = home.spawn(&["enqueue", "--all", "--yes", "--overlap"]);
        // Any moment will do, as long as it is another one each time.
        std::thread::sleep(undisturbed * kill / kills);
        child.kill().expect("a kill");
        child.wait().expect("its end");
    }
    enqueue(&home, &["--overlap"]);
    let (ledger, whole) = (ledger(&home), "(SELECT count(*) FROM targets g WHERE g.run_id = r.id) = 200");
    let runs = ledger.number("SELECT count(*) FROM runs").await;
    assert!((2..=12).contains(&runs), "{runs} runs");
    assert_eq!(ledger.number(&format!("SELECT count(*) FROM runs r WHERE {whole}")).await, runs);
    assert_eq!(ledger.number("SELECT max(number) FROM runs").await, runs);
    let _workers = [home.worker(&["--concurrency", "8"]), home.worker(&["--concurrency", "8"])];
    for number in 1..=runs {
        let run = home.run(&["wait", &number.to_string(), "--json"]).exits(0).json();
        assert_eq!(run["counts"]["total"], fleet.tenants.len(), "{run}");
    }
    assert_eq!(targets(&home, "state = 'applied'").await, 200);
    assert_eq!(targets(&home, "state = 'current'").await, 200 * (runs - 1));
}

/// Promise 2.
#[tokio::test]
async fn messages_that_are_garbage_stale_or_double_do_no_harm() {
    let home = Home::new().with_postgres_registry().await.with_redis_queue();
    let _fleet = sqlite_tenants(&home, 30).await;
    enqueue(&home, &[]);
    let id: String = ledger_text(&home, "SELECT value FROM settings WHERE name = 'registry_id'").await;
    let job = ledger_text(
        &home,
        "SELECT json_build_object('run', run_id, 'tenant', tenant_id)::text FROM targets LIMIT 1",
    )
    .await;
    let stale = job.replace(|c: char| c.is_ascii_digit(), "7");
    let garbage =
        ["", "null", "{}", "[1,2]", "\u{0}\u{7f}", "{\"run\": 1}", "'; DROP TABLE targets; --", &stale, &job];
    let key = format!("{{tenantry:{id}}}:jobs");
    let client = redis::Client::open(server::redis()).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
    let begun = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..50 {
        let _: u64 = redis.rpush(&key, &garbage[..]).await.expect("pushed");
        let _: u64 = redis.lpush(&key, b"\xff\xfe".as_slice()).await.expect("pushed");
        if workers.is_empty() {
            workers.push(home.worker(&["--concurrency", "1"]));
        }
    }
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&30.into(), &0.into()), "{run}");
    assert!(begun.elapsed() < Duration::from_secs(30), "held up for {:?}", begun.elapsed());
    assert_eq!(targets(&home, "attempt = 1 AND uncounted = 0").await, 30);
    until("the rest is taken away, too", || {
        let (mut redis, key) = (redis.clone(), key.clone());
        async move { redis.llen::<_, u64>(&key).await.expect("a length") == 0 }
    })
    .await;
}

async fn ledger_text(home: &Home, sql: &str) -> String {
    let pool = Fleet::postgres_registry(home).await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&pool).await.expect("a text")
}

#[tokio::test]
async fn a_worker_that_is_paused_in_a_transaction_does_not_keep_its_locks_in_postgres() {
    let home = Home::new().with_postgres_registry().await;
    let _fleet = sqlite_tenants(&home, 1).await;
    // A success is one statement there, which ends by itself.
    home.migration("2_broken.sql", "SELECT * FROM nowhere;");
    let mut registry = PgConnection::connect(&home.registry_url()).await.expect("postgres");
    sqlx::raw_sql("BEGIN; LOCK TABLE attempts").execute(&mut registry).await.expect("a lock");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let paused = paused_with_its_outcome(&home, waits).await;
    registry.close().await.expect("an end");
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    its_transaction_is_ended(&home, idle).await;
    drop(paused);
}

#[tokio::test]
async fn a_worker_that_is_paused_in_a_transaction_does_not_keep_its_locks_in_mariadb() {
    if server::skipped_on_mysql("MySQL has no limit for a transaction that stands still") {
        return;
    }
    let home = Home::new().with_mariadb_registry().await;
    let _fleet = sqlite_tenants(&home, 1).await;
    let mut registry = MySqlConnection::connect(&home.registry_url()).await.expect("mariadb");
    sqlx::raw_sql("LOCK TABLES attempts READ").execute(&mut registry).await.expect("a lock");
    let waits = "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'INSERT INTO attempts%'";
    let paused = paused_with_its_outcome(&home, waits).await;
    registry.close().await.expect("an end");
    let idle = "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
        WHERE p.db = database() AND p.command = 'Sleep'";
    its_transaction_is_ended(&home, idle).await;
    drop(paused);
}

/// A worker that is paused while it waits with an outcome for a lock.
async fn paused_with_its_outcome(home: &Home, waits: &str) -> WorkerProcess {
    let worker = home.worker(&[]);
    enqueue(home, &[]);
    until("the outcome waits", || async { ledger(home).number(waits).await == 1 }).await;
    worker.signal("STOP");
    worker
}

async fn its_transaction_is_ended(home: &Home, idle: &str) {
    until("its transaction stands still", || async { ledger(home).number(idle).await == 1 }).await;
    until("it is ended", || async { ledger(home).number(idle).await == 0 }).await;
}
