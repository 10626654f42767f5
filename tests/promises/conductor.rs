//! The conductor: who conducts may be killed, paused and cut off, and whoever follows does nothing a second time.

use std::time::{Duration, Instant};

use tenantry_shared::clock::unix_ms;
use tenantry_tests::{
    Home, WorkerProcess,
    fleet::{Kind, create_mariadb_database},
    server::{Private, with_database},
    wait::until,
};

use crate::stage::{Gates, all_applied_once, enqueue, gated, ledger, targets, until_at_their_gates};

const BEATS: &str = "SELECT until_at FROM leases WHERE name = 'conductor'";

/// Which of two workers conducts.
async fn conducts(home: &Home, worker: &WorkerProcess) -> bool {
    let holds = format!(
        "SELECT count(*) FROM leases WHERE name = 'conductor' AND holder LIKE '%/{}/%'",
        worker.pid()
    );
    ledger(home).number(&holds).await == 1
}

async fn paused_beyond_its_term(home: Home) {
    let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let flags = ["--lease", "60s", "--concurrency", "1"];
    let paused = home.worker(&flags);
    until("it conducts", || conducts(&home, &paused)).await;
    paused.signal("STOP");
    let other = home.worker(&flags);
    until("the other one conducts", || conducts(&home, &other)).await;
    enqueue(&home, &["--canary", "1"]);
    gates.open().await;
    all_applied_once(&home, &fleet).await;
    let count = async |what: &str| ledger(&home).number(&format!("SELECT {what}")).await;
    let ended = "finished_at FROM runs WHERE state = 'succeeded'";
    let (at, events, attempts) =
        (count(ended).await, count("count(*) FROM events").await, count("count(*) FROM attempts").await);
    paused.signal("CONT");
    let alive = format!(
        "count(*) FROM workers WHERE pid = {} AND heartbeat_at > {at} AND state = 'running'",
        paused.pid()
    );
    until("the first one goes on", async || count(&alive).await == 1).await;
    let before = ledger(&home).number(BEATS).await;
    until("the conductor goes on", async || ledger(&home).number(BEATS).await > before + 1_000).await;
    assert!(conducts(&home, &other).await, "nobody took its lease");
    assert_eq!((count(ended).await, count("count(*) FROM events").await), (at, events));
    assert_eq!(count("count(*) FROM attempts").await, attempts);
    assert_eq!(targets(&home, "state = 'applied' AND attempt = 1 AND lapses = 0").await, 3);
    all_applied_once(&home, &fleet).await;
}

#[tokio::test]
async fn a_conductor_that_is_paused_beyond_its_term_does_nothing_twice_when_it_wakes_in_postgres() {
    paused_beyond_its_term(Home::new().with_postgres_registry().await).await;
}

#[tokio::test]
async fn a_conductor_that_is_paused_beyond_its_term_does_nothing_twice_when_it_wakes_in_mariadb() {
    paused_beyond_its_term(Home::new().with_mariadb_registry().await).await;
}

/// Three workers with a tenant each, and the registry is away for much longer than a lease. One of them dies meanwhile, and
/// one comes late to renew its lease.
async fn away_for_longer_than_a_lease(server: Private, how: &str, url: &str) {
    let home = Home::new().with("TENANTRY_REGISTRY_URL", url);
    let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let flags = ["--lease", "5s", "--concurrency", "1"];
    let conductor = home.worker(&flags);
    until("it conducts", || conducts(&home, &conductor)).await;
    let (late, mut dies) = (home.worker(&flags), home.worker(&flags));
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    server.stop(how);
    let stopped = Instant::now();
    dies.signal("KILL");
    assert_eq!(dies.exit_code(), None);
    until("every lease has lapsed", async || stopped.elapsed() > Duration::from_secs(11)).await;
    late.signal("STOP");
    server.restart();
    let back = unix_ms();
    until("it conducts again", async || ledger(&home).number(BEATS).await > back + 4_000).await;
    assert_eq!(targets(&home, "lapses > 0").await, 0, "the dead worker's is not known from the late one's");
    late.signal("CONT");
    until("the dead worker's target is taken back", async || targets(&home, "lapses = 1").await == 1).await;
    let held = format!("state = 'running' AND attempt = 1 AND owner LIKE '%/{}/%'", dies.pid());
    assert_eq!(targets(&home, &held).await, 0);
    assert_eq!(targets(&home, "state = 'running' AND attempt = 1 AND lapses = 0").await, 2, "the living");
    gates.open().await;
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "lapses = 0 AND attempt = 1").await, 2);
    assert_eq!(targets(&home, "lapses = 1 AND attempt = 2 AND uncounted = 1").await, 1);
}

#[tokio::test]
async fn workers_renew_their_leases_before_a_postgres_registry_that_was_away_takes_their_targets_back() {
    let server = Private::start("postgres", "");
    let url = server.url.clone();
    away_for_longer_than_a_lease(server, "immediate", &url).await;
}

#[tokio::test]
async fn workers_renew_their_leases_before_a_mariadb_registry_that_was_away_takes_their_targets_back() {
    let server = Private::start("mariadb", "");
    create_mariadb_database(&server.url, "registry").await;
    let url = with_database(&server.url, "registry");
    away_for_longer_than_a_lease(server, "kill", &url).await;
}
