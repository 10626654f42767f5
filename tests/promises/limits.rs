//! The time limits: what takes too long is stopped where it runs, tried again, and leaves nothing behind.

use std::{
    future::poll_fn,
    pin::pin,
    process::Command,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tenantry_shared::{bundle::Scope, place::DatabaseUrl, registry::Access, tenant::Labels};
use tenantry_tests::{Fleet, TenantDb, fleet::Kind, home::finish, server::Private, wait::until};
use tenantry_worker::engine::{Limits, MySqlSession, PostgresSession, Session};

use crate::site::{KINDS, Site, Stranger, quick_home};

const CREATE_USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY);";

#[tokio::test]
async fn a_postgres_statement_over_its_limit_is_stopped_and_tried_again() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema], 1).await;
    site.home.migration("1_slow.sql", "CREATE TABLE slow (id INTEGER); SELECT pg_sleep(60);");
    let cause = site.fails(100, &["--statement-timeout", "1s", "--retries", "2"]);
    assert_eq!((&cause["code"], &cause["class"]), (&"57014".into(), &"transient".into()), "{cause}");
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry' AND state = 'active'";
    for tenant in &site.fleet.tenants {
        assert_eq!(site.attempts(tenant).len(), 2, "{}", tenant.id);
        assert_eq!((tenant.number(running).await, tenant.tables().await.len()), (0, 0), "{}", tenant.id);
    }
}

#[tokio::test]
async fn an_sqlite_statement_over_its_limit_is_stopped_and_tried_again() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home.migration("1_slow.sql", "CREATE TABLE slow (n INTEGER); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) INSERT INTO slow SELECT n FROM c WHERE n < 0;");
    let cause = site.fails(100, &["--statement-timeout", "1s", "--retries", "2"]);
    assert_eq!((&cause["code"], &cause["class"]), (&"9".into(), &"transient".into()), "{cause}");
    assert_eq!(cause["statement"], 2, "{cause}");
    assert_eq!((site.attempts(site.tenant()).len(), site.tenant().tables().await.len()), (2, 0));
}

#[tokio::test]
async fn the_limit_is_of_each_sqlite_statement_and_not_of_the_file() {
    const COUNT: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) SELECT max(n) FROM c;\n";
    let site = Site::new(&[Kind::Sqlite], 1).await;
    let mut connection = SqliteConnection::connect(&site.tenant().url).await.expect("sqlite");
    let begun = Instant::now();
    connection.execute(COUNT).await.expect("a count");
    // The file takes about twice the limit, a statement a small part of it.
    let statements = 2000 / begun.elapsed().as_millis().max(1);
    site.home.migration("1_long.sql", &COUNT.repeat(usize::try_from(statements).expect("a number")));
    let run = site.migrate(&["--statement-timeout", "1s", "--retries", "1"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 1, "{run}");
}

/// Promise 3.
#[tokio::test]
async fn a_tenant_whose_table_is_locked_is_tried_again_and_holds_up_nobody() {
    let site = Site::new(&KINDS, 2).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    let mut strangers = Vec::new();
    let (locked, free): (Vec<_>, Vec<_>) =
        site.fleet.tenants.chunks(2).map(|pair| (&pair[0], &pair[1])).unzip();
    for tenant in &locked {
        let hold = match tenant.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => "BEGIN; LOCK TABLE users",
            Kind::MariaDb => "START TRANSACTION; SELECT * FROM users",
            Kind::Sqlite => "BEGIN IMMEDIATE",
        };
        strangers.push(Stranger::that_runs(tenant, hold).await);
    }
    site.home.migration("2_add_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    let child = site.start(&["--lock-timeout", "300ms", "--retries", "1000"]);
    for tenant in &locked {
        let code = match tenant.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => "55P03",
            Kind::MariaDb => "1205",
            Kind::Sqlite => "5",
        };
        until("the locked tenant was tried", async || site.target(tenant).is_some_and(|t| t["code"] == code))
            .await;
    }
    for tenant in &free {
        until("the others are done", async || site.target(tenant).is_some_and(|t| t["state"] == "applied"))
            .await;
    }
    drop(strangers);
    let run = finish(child).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&8.into(), &4.into()), "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2], "{}", tenant.id);
    }
}

#[tokio::test]
async fn schemas_of_one_database_are_migrated_at_once() {
    let site = Site::new(&[Kind::PostgresSchema], 10).await;
    site.home.migration("1_slow.sql", "SELECT pg_sleep(1);");
    let run = site.migrate(&["--concurrency", "10"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 10, "{run}");
    assert!(run["duration_ms"].as_u64().is_some_and(|ms| ms < 5_000), "they waited for each other: {run}");
}

/// Promise 3.
#[tokio::test]
async fn a_server_that_stops_answering_holds_up_nobody_for_ever() {
    let server = Private::start("postgres", "");
    let tenant =
        TenantDb { id: "frozen".into(), kind: Kind::PostgresDatabase, url: server.url.clone(), schema: None };
    let site = Site::of(quick_home(), Fleet { tenants: vec![tenant] });
    let config = "[run]\nconnect-timeout = \"2s\"\nlock-timeout = \"2s\"\nretries = 1\n";
    std::fs::write(site.home.path().join("tenantry.toml"), config).expect("a configuration");
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    let stranger = Stranger::that_runs(site.tenant(), "BEGIN; LOCK TABLE _sqlx_migrations").await;
    let child = site.start(&[]);
    let waiting = "SELECT coalesce(max(pid), 0)::bigint FROM pg_locks WHERE NOT granted AND relation = '_sqlx_migrations'::regclass";
    until("we read the history", async || site.tenant().number(waiting).await > 0).await;
    let backend = site.tenant().number(waiting).await.to_string();
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &backend]).status().expect("kill").success());
    signal("-STOP");
    let ended = finish(child);
    signal("-CONT");
    drop(stranger);
    assert_eq!(ended.exits(100).json()["failures"][0]["code"], "no-answer");
    let _ = site.home.run(&["retry", "--json"]).exits(0);
}

/// How a session reaches a tenant, and its limits with so many seconds for a lock.
fn reached(site: &Site) -> (Access, impl Fn(u64) -> Limits) {
    let tenant = site.tenant();
    let url = DatabaseUrl::parse(&tenant.url, site.home.path()).expect("a URL");
    let place = url.place(tenant.schema.as_deref()).expect("a place");
    let access = Access {
        slug: tenant.id.parse().expect("a slug"),
        place,
        url,
        labels: Labels::new(),
        scope: Scope::Tenants,
    };
    let limits =
        |lock| Limits { connect: Duration::from_secs(10), lock: Duration::from_secs(lock), statement: None };
    (access, limits)
}

/// A password's key takes 4,096 rounds, and sqlx gives way after every five of them.
#[tokio::test]
async fn a_postgres_session_that_begins_gives_way_to_others_seldom() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    let (access, limits) = reached(&site);
    let (mut turns, mut connect) = (0, pin!(PostgresSession::connect(&access, limits(1))));
    let session = poll_fn(|context| {
        turns += 1;
        connect.as_mut().poll(context)
    });
    session.await.expect("a session").close().await;
    assert!(turns < 200, "{turns} turns");
}

/// Takes a tenant's lock in a session that then stands still, as that of a paused worker does, and in a second one.
async fn taken_over<S: Session>(kind: Kind) {
    let site = Site::new(&[kind], 1).await;
    let (access, limits) = reached(&site);
    let mut paused = S::connect(&access, limits(1)).await.expect("a session");
    paused.lock().await.expect("the lock");
    let mut next = S::connect(&access, limits(60)).await.expect("a session");
    next.lock().await.expect("the lock of a session that stood still");
    assert!(paused.read("SELECT '1'").await.is_err(), "the first session is still there");
}

#[tokio::test]
async fn a_session_that_stands_still_loses_the_tenants_lock() {
    tokio::join!(
        taken_over::<PostgresSession>(Kind::PostgresDatabase),
        taken_over::<PostgresSession>(Kind::PostgresSchema),
        taken_over::<MySqlSession>(Kind::MariaDb),
    );
}
