//! Caps and limits of servers with real workers on real servers: how many sessions there are is counted by the
//! migrations themselves, inside of the server.

use serde_json::Value;
use tenantry_tests::{
    Fleet, Home, TenantDb, WorkerProcess,
    fleet::{Kind, create_mariadb_database, unique},
    server::{self, Private, with_database},
    wait::until,
};

use crate::{
    outages::schemas,
    stage::{Gates, all_applied_once, enqueue, gated, ledger, targets, waits_at_its_gate},
};

/// Notes how many run this at the same moment, and takes long enough for others to come.
const CANARY: &str = "SELECT pg_advisory_xact_lock_shared(4711);
    INSERT INTO public.seen SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND granted;
    SELECT pg_sleep(0.3);
    CREATE TABLE canary (n INTEGER);\n";

/// A PostgreSQL with so many tenants whose migration is the canary.
async fn canaries(home: &Home, options: &str, count: usize) -> (Private, Fleet) {
    let server = Private::start("postgres", options);
    let fleet = schemas(&server, count).await;
    at(&fleet).execute("CREATE TABLE public.seen (n BIGINT)").await;
    home.migration("1_canary.sql", CANARY);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
    (server, fleet)
}

/// The database that all tenants of this fleet are schemas of.
fn at(fleet: &Fleet) -> TenantDb {
    TenantDb { schema: None, kind: Kind::PostgresDatabase, ..fleet.tenants[0].clone() }
}

async fn most_at_once(fleet: &Fleet) -> i64 {
    at(fleet).number("SELECT max(n) FROM public.seen").await
}

fn address(url: &str) -> String {
    let (_, rest) = url.rsplit_once('@').expect("a user");
    rest.split_once('/').expect("a database").0.to_owned()
}

fn servers(home: &Home) -> Vec<Value> {
    let list = home.run(&["servers", "--json"]).exits(0).json();
    list["servers"].as_array().expect("a list").clone()
}

fn server_of(home: &Home, url: &str) -> Value {
    let found = servers(home).into_iter().find(|server| server["address"] == address(url).as_str());
    found.expect("the server")
}

pub(crate) fn set_cap(home: &Home, url: &str, cap: &str) {
    let _ = home.run(&["servers", "set", &address(url), "--cap", cap]).exits(0);
}

fn workers<const N: usize>(home: &Home, args: &[&str]) -> [WorkerProcess; N] {
    std::array::from_fn(|_| home.worker(args))
}

#[tokio::test]
async fn a_cap_holds_over_three_workers_at_any_moment() {
    a_cap_holds(Home::new().with_postgres_registry().await).await;
}

#[tokio::test]
async fn a_cap_holds_over_three_workers_with_an_sqlite_registry() {
    a_cap_holds(Home::new()).await;
}

#[tokio::test]
async fn a_cap_holds_over_three_workers_with_a_mariadb_registry() {
    a_cap_holds(Home::new().with_mariadb_registry().await).await;
}

#[tokio::test]
async fn a_cap_holds_over_three_workers_with_redis() {
    a_cap_holds(Home::new().with_postgres_registry().await.with_redis_queue()).await;
}

async fn a_cap_holds(home: Home) {
    let (server, fleet) = canaries(&home, "", 24).await;
    set_cap(&home, &server.url, "3");
    let _workers: [_; 3] = workers(&home, &["--concurrency", "4"]);
    enqueue(&home, &[]);
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&24.into(), &0.into()), "{run}");
    let most = most_at_once(&fleet).await;
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn the_slot_of_a_killed_worker_comes_back_with_its_lease() {
    let home = Home::new().with_postgres_registry().await;
    let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::PostgresDatabase]).await;
    let gates = Gates::close(&fleet.tenants).await;
    set_cap(&home, &server::postgres(), "1");
    let first = home.worker(&["--lease", "2s"]);
    enqueue(&home, &[]);
    until("one is in the middle", || async {
        waits_at_its_gate(&fleet.tenants[0]).await || waits_at_its_gate(&fleet.tenants[1]).await
    })
    .await;
    assert_eq!(server_of(&home, &server::postgres())["running"], 1);
    first.signal("KILL");
    let _second = home.worker(&["--lease", "2s"]);
    until("the other worker has the slot", || async {
        targets(&home, "state = 'running'").await == 1
            && ledger(&home).number("SELECT count(DISTINCT owner) FROM targets WHERE owner IS NOT NULL").await
                == 2
    })
    .await;
    gates.open().await;
    all_applied_once(&home, &fleet).await;
}

/// Promise 3.
#[tokio::test]
async fn a_full_server_holds_up_no_tenant_of_another_one() {
    let home = Home::new().with_postgres_registry().await;
    let mut fleet = gated(&home, &[Kind::PostgresDatabase; 6]).await;
    let mut others = Fleet::default();
    others.add(Kind::MariaDb, 2, home.path()).await;
    others.add(Kind::Sqlite, 2, home.path()).await;
    for tenant in &others.tenants {
        let tables =
            "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT)";
        tenant.execute(tables).await;
    }
    let gates = Gates::close(&fleet.tenants).await;
    others.register(&home);
    set_cap(&home, &server::postgres(), "2");
    let _workers: [_; 2] = workers(&home, &["--concurrency", "4"]);
    enqueue(&home, &[]);
    until("all others are done", || async { targets(&home, "state = 'applied'").await == 4 }).await;
    assert_eq!(server_of(&home, &server::postgres())["running"], 2);
    gates.open().await;
    fleet.tenants.append(&mut others.tenants);
    all_applied_once(&home, &fleet).await;
}

#[tokio::test]
async fn a_postgres_with_few_connections_costs_few_attempts_and_no_counted_one() {
    let home = Home::new().with_postgres_registry().await;
    let (server, fleet) = canaries(&home, "-c max_connections=12", 60).await;
    all_come_through(&home, &server, 60).await;
    assert!(most_at_once(&fleet).await <= 12);
}

#[tokio::test]
async fn a_mariadb_with_few_connections_costs_few_attempts_and_no_counted_one() {
    let home = Home::new().with_postgres_registry().await;
    let server = Private::start("mariadb", "--max-connections=12");
    let mut fleet = Fleet::default();
    for _ in 0..60 {
        let (id, kind) = (unique("maria"), Kind::MariaDb);
        create_mariadb_database(&server.url, &id).await;
        fleet.tenants.push(TenantDb { url: with_database(&server.url, &id), schema: None, id, kind });
    }
    home.migration("1_slow.sql", "CREATE TABLE slow (n INTEGER);\nDO SLEEP(0.1);\n");
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    all_come_through(&home, &server, 60).await;
}

/// One attempt may count, so that a refusal that does would fail its tenant.
async fn all_come_through(home: &Home, server: &Private, tenants: u64) {
    let _workers: [_; 4] = workers(home, &["--concurrency", "8"]);
    enqueue(home, &["--retries", "1"]);
    let limited = || async { server_of(home, &server.url)["limit"].as_i64().is_some_and(|limit| limit < 32) };
    until("the server is limited", limited).await;
    let doctor = home.run(&["doctor", "--json"]).json();
    let checks = doctor["checks"].as_array().expect("checks").iter();
    let told = checks
        .clone()
        .any(|c| c["check"] == "servers" && c["detail"].as_str().unwrap_or("").contains("limited to"));
    assert!(told, "{doctor}");
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], tenants, "{run}");
    let attempts = ledger(home).number("SELECT count(*) FROM attempts").await;
    assert!(attempts > 60 && attempts < 120, "{attempts} attempts for {tenants} tenants");
    // What would take minutes by itself.
    ledger(home).execute("UPDATE servers SET limit_now = limit_top - 1 WHERE limit_now < limit_top").await;
    until("the limit is off again", || async { server_of(home, &server.url)["limit"].is_null() }).await;
}

#[tokio::test]
async fn the_caps_of_the_configuration_hold_where_nobody_has_set_one() {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite]).await;
    let (postgres, mariadb) = (address(&server::postgres()), address(&server::mariadb()));
    let config = format!("[run]\nper-server = 8\n[servers.'{mariadb}']\ncap = 4\n");
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
    enqueue(&home, &[]);
    let caps = || servers(&home).iter().map(|s| (s["engine"].clone(), s["cap"].clone())).collect::<Vec<_>>();
    let cap = |engine: &str| caps().into_iter().find(|(e, _)| e == engine).expect("it").1;
    assert_eq!((cap("postgres"), cap("mysql"), cap("sqlite")), (8.into(), 4.into(), Value::Null));
    set_cap(&home, &server::postgres(), "2");
    enqueue(&home, &[]);
    assert_eq!(cap("postgres"), 2);
    let text = home.run(&["servers"]).exits(0).stdout;
    assert!(text.contains("  4, configured") && !text.contains("2, configured"), "{text}");
    let _ = home.run(&["servers", "set", &postgres, "--no-cap"]).exits(0);
    assert_eq!(cap("postgres"), 8);
    let config = "[servers.'nowhere:1']\ncap = 4\n";
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
    assert!(home.run(&["doctor"]).exits(0).stdout.contains("no tenant is on nowhere:1"));
    std::fs::write(home.path().join("tenantry.toml"), "").expect("a file");
    enqueue(&home, &[]);
    assert_eq!((cap("postgres"), cap("mysql")), (Value::Null, Value::Null));
    let noted = "SELECT count(*) FROM events WHERE kind = 'server.cap'";
    assert_eq!(ledger(&home).number(noted).await, 2);
    let _worker = home.worker(&[]);
    until("all runs have ended", || async { targets(&home, "due_at IS NOT NULL").await == 0 }).await;
    all_applied_once(&home, &fleet).await;
}

#[tokio::test]
async fn a_cap_that_is_none_is_refused_and_nothing_is_changed() {
    let home = Home::new();
    let _fleet = gated(&home, &[Kind::PostgresDatabase, Kind::Sqlite]).await;
    set_cap(&home, &server::postgres(), "5");
    let (before, postgres) = (servers(&home), address(&server::postgres()));
    let directory = before.iter().find(|s| s["engine"] == "sqlite").expect("it")["address"].to_string();
    let directory = directory.trim_matches('"');
    for words in [
        &[&postgres, "--cap", "0"][..],
        &[&postgres, "--cap", "-1"],
        &[&postgres, "--cap", "many"],
        &[&postgres, "--cap", "5000000000"],
        &[&postgres, "--cap", "1", "--no-cap"],
        &[&postgres],
        &["nowhere:1", "--cap", "1"],
        &["99", "--cap", "1"],
        &[directory, "--cap", "1"],
    ] {
        let said = home.run(&[&["servers", "set"], words].concat()).exits(2);
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{words:?}");
    }
    for config in [
        "[run]\nper-server = 0",
        "[servers.'h:1']\ncap = 0",
        "[servers.'h:1']\ncap = -3",
        "[servers.'h:1']\nlimit = 3",
    ] {
        std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
        let _ = home.run(&["enqueue", "--all", "--yes"]).exits(78);
    }
    std::fs::remove_file(home.path().join("tenantry.toml")).expect("gone");
    assert_eq!(servers(&home), before);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM runs").await, 0);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM events WHERE kind = 'server.cap'").await, 1);
    let id = before.iter().find(|s| s["engine"] == "postgres").expect("it")["id"].to_string();
    let said = home.run(&["servers", "set", &id, "--no-cap", "--json"]).exits(0).json();
    assert_eq!(
        (&said["server"]["cap"], &said["server"]["address"]),
        (&Value::Null, &postgres.as_str().into())
    );
    assert!(home.run(&["servers"]).exits(0).stdout.contains(&postgres));
}

#[tokio::test]
async fn a_tenant_that_moves_counts_for_its_new_server() {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite]).await;
    enqueue(&home, &[]);
    let (moved, url) = (&fleet.tenants[0].id, &fleet.tenants[1].url);
    let of = |url: String| server_of(&home, &url)["id"].as_i64().expect("a number");
    let (old, new) = (of(server::postgres()), of(server::mariadb()));
    assert_eq!(targets(&home, &format!("server_id = {old}")).await, 1);
    let _ = home.run_with_input(&["tenants", "set", moved, "--url-stdin"], url).exits(0);
    assert_eq!(targets(&home, &format!("server_id = {old}")).await, 0);
    assert_eq!(targets(&home, &format!("server_id = {new}")).await, 2);
    let lite = &fleet.tenants[2];
    let _ = home.run_with_input(&["tenants", "set", moved, "--url-stdin"], &lite.url).exits(0);
    assert_eq!(targets(&home, "server_id = 0").await, 2);
}
