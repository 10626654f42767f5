//! The conductor: who conducts may be killed, paused and cut off, and whoever follows does nothing a second time.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tenantry_shared::clock::unix_ms;
use tenantry_tests::{
    Home, WorkerProcess,
    fleet::{Kind, create_mariadb_database},
    server::{Private, with_database},
    wait::until,
};

use crate::stage::{Gates, all_applied_once, enqueue, gated, ledger, targets, until_at_their_gates};

const BEATS: &str = "SELECT COALESCE(max(until_at), 0) FROM leases WHERE name = 'conductor'";

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

/// It is paused between the two statements that open a wave; its successor opens that wave and the next, and ends the run.
#[tokio::test]
async fn a_conductor_that_is_paused_while_it_opens_a_wave_changes_nothing_when_it_wakes() {
    let home = Home::new().with_postgres_registry().await;
    let fleet = gated(&home, &[Kind::PostgresSchema; 4]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let flags = ["--lease", "60s", "--concurrency", "1"];
    let paused = home.worker(&flags);
    until("it conducts", || conducts(&home, &paused)).await;
    enqueue(&home, &["--canary", "1", "--waves", "50%"]);
    until("the canary runs", async || targets(&home, "state = 'running' AND wave = 1").await == 1).await;
    let mut registry = PgConnection::connect(&home.registry_url()).await.expect("postgres");
    let lock = "BEGIN; SELECT 1 FROM targets WHERE wave = 2 FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut registry).await.expect("a lock");
    gates.open().await;
    let opening = async || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE targets SET due_at%wave%'";
        ledger(&home).number(waits).await
    };
    until("it opens the wave", async || opening().await == 1).await;
    paused.signal("STOP");
    let other = home.worker(&flags);
    until("the other one opens it, too", async || opening().await == 2).await;
    assert!(conducts(&home, &other).await);
    registry.close().await.expect("an end");
    all_applied_once(&home, &fleet).await;
    let all = "SELECT concat_ws(' ', r.number, r.state, r.wave, r.finished_at, (SELECT count(*) FROM attempts), (SELECT count(*) FROM events),
        (SELECT string_agg(g.tenant_id || g.state || g.attempt || g.lapses || g.finished_at, ' ' ORDER BY g.tenant_id) FROM targets g)) FROM runs r";
    let before = ledger(&home).text(all).await;
    let beat = format!("SELECT heartbeat_at FROM workers WHERE pid = {}", paused.pid());
    for life in ["it wakes", "it has ended its beat"] {
        let silent = ledger(&home).number(&beat).await;
        paused.signal("CONT");
        until(life, async || ledger(&home).number(&beat).await > silent).await;
    }
    assert_eq!(ledger(&home).text(all).await, before);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM runs WHERE wave = 3").await, 1);
}

/// What a newer version has written, say. Its conductor can do nothing for that run, and does all for the others.
#[tokio::test]
async fn a_run_that_cannot_be_read_harms_no_other_and_is_told_of_once() {
    let home = Home::new().with_postgres_registry().await.with_redis_queue();
    let fleet = gated(&home, &[Kind::Sqlite; 6]).await;
    let [a, b, c, d, e, f] = fleet.tenants.iter().map(|t| t.id.as_str()).collect::<Vec<_>>()[..] else {
        panic!("six tenants")
    };
    let enqueue = |tenants: &[&str], more: &[&str]| {
        let named = tenants.iter().flat_map(|tenant| ["-t", tenant]);
        let words: Vec<&str> =
            ["enqueue", "--yes"].into_iter().chain(named).chain(more.iter().copied()).collect();
        home.run(&words).exits(0)
    };
    let _ = enqueue(&[a, b], &["--canary", "1"]);
    let failed = "UPDATE targets SET state = 'failed', class = 'permanent', due_at = NULL WHERE wave = 1; UPDATE runs SET policy = '{\"max_attempts\":\"many\"}'";
    ledger(&home).execute(failed).await;
    let workers = [home.worker(&[]), home.worker(&[])];
    let _ = enqueue(&[c, d, e, f], &["--canary", "1", "--waves", "50%"]);
    let run = home.run(&["wait", "--json", "--timeout", "60s"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 4, "{run}");
    let logs = workers.map(|worker| worker.log());
    let told = |log: &String| log.lines().filter(|line| line.contains("run 1: ")).count();
    let told = logs.each_ref().map(told);
    assert!(told.iter().all(|count| *count <= 2) && told != [0, 0], "once for each of two steps: {logs:#?}");
}

/// It may be a newer version's, of which another worker is.
#[tokio::test]
async fn a_worker_that_cannot_read_a_run_leaves_its_tenants_to_be_tried_again() {
    let home = Home::new();
    let _fleet = gated(&home, &[Kind::Sqlite; 2]).await;
    enqueue(&home, &[]);
    ledger(&home).execute(r#"UPDATE runs SET action = '{"kind":"vacuum"}'"#).await;
    let _worker = home.worker(&[]);
    until("both were tried", async || targets(&home, "attempt > 0 AND state <> 'running'").await == 2).await;
    assert_eq!(targets(&home, "state = 'failed'").await, 0);
    assert_eq!(targets(&home, "message LIKE '%runs.action%' AND hint LIKE '%newer%'").await, 2);
    ledger(&home).execute(r#"UPDATE runs SET action = '{"kind":"apply"}'"#).await;
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
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
