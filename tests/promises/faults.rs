//! Faults of workers: killed, paused, told to stop. Whatever happens and whenever, a run ends, and nothing is applied
//! twice.

use sqlx::{Connection as _, Executor as _, PgConnection};
use tenantry_tests::{Home, fleet::Kind, server::Private, wait::until};

use crate::site::Stranger;
use crate::stage::{
    ALL_KINDS, COUNTED, Gates, all_applied_once, enqueue, gated, ledger, targets, until_at_their_gates,
    until_logged, with_every_set_up,
};

const FLAGS: [&str; 4] = ["--lease", "5s", "--concurrency", "4"];

with_every_set_up! {
    the_migrations_of_a_killed_worker_are_applied_once_by_another,
    a_drain_finishes_what_runs_and_leaves_the_rest_to_others,
    who_was_claimed_ahead_of_slow_tenants_is_worked_by_another_worker,
    a_second_sigterm_stops_at_once_and_the_attempt_does_not_count,
    a_paused_worker_that_wakes_up_changes_nothing,
}

/// Promise 2.
async fn the_migrations_of_a_killed_worker_are_applied_once_by_another(home: Home) {
    let fleet = gated(&home, &ALL_KINDS).await;
    let gates = Gates::close(&fleet.tenants).await;
    let mut killed = home.worker(&FLAGS);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    gates.open().await;
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "lapses >= 1 AND attempt - uncounted = 1").await, 4);
}

async fn a_drain_finishes_what_runs_and_leaves_the_rest_to_others(home: Home) {
    let fleet = gated(&home, &[Kind::PostgresDatabase; 5]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let mut drained = home.worker(&["--lease", "5s", "--concurrency", "2"]);
    enqueue(&home, &[]);
    until("both slots are taken", || async { targets(&home, "state = 'running'").await == 2 }).await;
    drained.signal("TERM");
    until_logged(&drained, &["draining"]).await;
    gates.open().await;
    assert_eq!(drained.exit_code(), Some(0));
    assert_eq!(targets(&home, "state = 'applied' AND attempt = 1").await, 2);
    let untouched = "state IN ('pending', 'retryable') AND attempt - uncounted = 0 AND lapses = 0";
    assert_eq!(targets(&home, untouched).await, 3);
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "attempt - uncounted = 1 AND lapses = 0").await, 5);
}

/// Promise 3. Those of the first run are quick, so its worker claims ahead in the second one.
async fn who_was_claimed_ahead_of_slow_tenants_is_worked_by_another_worker(home: Home) {
    let kinds = [[Kind::Sqlite; 4], [Kind::PostgresDatabase; 4]].concat();
    let fleet = gated(&home, &kinds).await;
    let (quick, slow) = fleet.tenants.split_at(4);
    let gates = Gates::close(slow).await;
    let _first = home.worker(&["--concurrency", "2"]);
    let names = quick.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>().join(",");
    let _ = home.run(&["enqueue", "--tenant", &names, "--yes", "--wait"]).exits(0);
    enqueue(&home, &[]);
    until("both slots are taken", || async { targets(&home, "state = 'running'").await >= 2 }).await;
    let _second = home.worker(&["--concurrency", "2"]);
    until_at_their_gates(slow).await;
    gates.open().await;
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "attempt - uncounted > 1 OR lapses > 0").await, 0);
}

async fn a_second_sigterm_stops_at_once_and_the_attempt_does_not_count(home: Home) {
    stopped_at_once(home, "TERM", 143).await;
}

#[tokio::test]
async fn a_second_ctrl_c_stops_at_once_and_the_attempt_does_not_count() {
    stopped_at_once(Home::new(), "INT", 130).await;
}

async fn stopped_at_once(home: Home, signal: &str, code: i32) {
    let fleet = gated(&home, &ALL_KINDS).await;
    let gates = Gates::close(&fleet.tenants).await;
    let mut stopped = home.worker(&FLAGS);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    stopped.signal(signal);
    until_logged(&stopped, &["draining"]).await;
    stopped.signal(signal);
    assert_eq!(stopped.exit_code(), Some(code));
    let given_back =
        "state = 'retryable' AND attempt = 1 AND uncounted = 1 AND lapses = 0 AND code = 'shutdown'";
    assert_eq!(targets(&home, given_back).await, 4);
    gates.open().await;
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "lapses = 0 AND attempt - uncounted = 1").await, 4);
}

/// Promise 2. It is paused while it reads the history, before it holds the tenant's lock; when it wakes up it believes that there
/// is work to do.
async fn a_paused_worker_that_wakes_up_changes_nothing(home: Home) {
    let fleet = gated(&home, &[Kind::PostgresDatabase]).await;
    let tenant = &fleet.tenants[0];
    tenant
        .execute("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
            success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)")
        .await;
    let mut history = PgConnection::connect(&tenant.url).await.expect("postgres");
    history.execute(sqlx::raw_sql("BEGIN; LOCK TABLE _sqlx_migrations")).await.expect("a lock");
    let paused = home.worker(&FLAGS);
    enqueue(&home, &[]);
    let reads = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'tenantry'";
    until("it reads the history", || async { tenant.number(reads).await == 1 }).await;
    paused.signal("STOP");
    history.close().await.expect("an end");
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    let (rows, last) = (
        "SELECT count(*) FROM attempts",
        "SELECT finished_at FROM targets WHERE state = 'applied' AND lapses >= 1",
    );
    let before = (ledger(&home).number(rows).await, ledger(&home).number(last).await);
    paused.signal("CONT");
    until_logged(&paused, &["this result is dropped", "the lease was lost"]).await;
    all_applied_once(&home, &fleet).await;
    assert_eq!((ledger(&home).number(rows).await, ledger(&home).number(last).await), before);
}

/// Promise 2.
#[tokio::test]
async fn a_worker_that_is_paused_in_the_middle_of_a_migration_cannot_finish_it_later() {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::PostgresDatabase]).await;
    let tenant = &fleet.tenants[0];
    let gates = Gates::close(&fleet.tenants).await;
    let paused = home.worker(&FLAGS);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    paused.signal("STOP");
    // What a server does to a client that it hears nothing of: the tenant's lock goes with the session.
    tenant.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry'").await;
    gates.open().await;
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    paused.signal("CONT");
    until_logged(&paused, &["this result is dropped", "the lease was lost"]).await;
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "state = 'applied' AND lapses >= 1 AND code IS NULL").await, 1);
}

#[tokio::test]
async fn a_mariadb_migration_goes_on_at_the_statement_that_its_killed_worker_had_not_done() {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::MariaDb; 3]).await;
    let ddl = format!("CREATE TABLE made (n INTEGER);\n{}", COUNTED.1);
    home.migration(COUNTED.0, &ddl);
    let gates = Gates::close(&fleet.tenants[..1]).await;
    let killed = home.worker(&FLAGS);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants[..1]).await;
    until("the others are done", || async { targets(&home, "state = 'applied'").await == 2 }).await;
    killed.signal("KILL");
    gates.open().await;
    let _worker = home.worker(&FLAGS);
    let _ = home.run(&["wait"]).exits(0);
    all_applied_once(&home, &fleet).await;
}

/// Kills the worker while this statement runs in the server, lets go of what it waits for, and sees the run through.
async fn killed_in_ddl(ddl: &str, waits: &str, gate: Option<&str>) {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::MariaDb]).await;
    let tenant = &fleet.tenants[0];
    home.migration(COUNTED.0, &format!("{ddl}\n{}", COUNTED.1));
    let stranger = match gate {
        Some(sql) => Some(Stranger::that_runs(tenant, sql).await),
        None => None,
    };
    let mut killed = home.worker(&FLAGS);
    enqueue(&home, &[]);
    let waits = format!(
        "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE '{waits}'"
    );
    until("the statement runs", async || tenant.number(&waits).await == 1).await;
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    drop(stranger);
    let _worker = home.worker(&FLAGS);
    all_applied_once(&home, &fleet).await;
    let made = "SELECT count(*) FROM information_schema.columns WHERE table_schema = database() AND column_name = 'made'";
    assert_eq!(tenant.number(made).await, 1);
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_statement_that_ended_after_its_worker_was_killed_is_not_run_again() {
    killed_in_ddl(
        "CREATE TABLE slow AS WITH RECURSIVE numbers AS (SELECT 1 AS made UNION ALL SELECT made + 1 FROM numbers WHERE made < 8) SELECT made, SLEEP(0.5) AS s FROM numbers;",
        "CREATE TABLE slow%",
        None,
    )
    .await;
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_statement_that_did_not_end_is_run_by_the_next_worker() {
    let gate = "START TRANSACTION; SELECT count(*) FROM counter";
    killed_in_ddl("ALTER TABLE counter ADD COLUMN made INTEGER;", "ALTER TABLE counter%", Some(gate)).await;
}

#[tokio::test]
async fn the_last_worker_closes_the_run_that_it_drains() {
    let home = Home::new();
    let fleet = gated(&home, &[Kind::PostgresDatabase]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let mut drained = home.worker(&FLAGS);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    drained.signal("TERM");
    until_logged(&drained, &["draining"]).await;
    gates.open().await;
    assert_eq!(drained.exit_code(), Some(0));
    assert_eq!(ledger(&home).number("SELECT count(*) FROM runs WHERE state = 'succeeded'").await, 1);
    all_applied_once(&home, &fleet).await;
}

#[tokio::test]
async fn a_second_signal_stops_a_worker_whose_registry_is_gone() {
    let registry = Private::start("postgres", "");
    let home = Home::new().with("TENANTRY_REGISTRY_URL", &registry.url);
    let fleet = gated(&home, &[Kind::PostgresDatabase]).await;
    let _gates = Gates::close(&fleet.tenants).await;
    let mut stopped = home.worker(&["--lease", "60s", "--concurrency", "1"]);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    registry.stop("immediate");
    stopped.signal("TERM");
    until_logged(&stopped, &["draining"]).await;
    stopped.signal("TERM");
    assert_eq!(stopped.exit_code(), Some(143));
}

#[tokio::test]
async fn a_lease_of_nothing_does_not_lapse_while_its_worker_is_well() {
    let home = Home::new();
    let fleet = gated(&home, &ALL_KINDS).await;
    let _worker = home.worker(&["--lease", "0s"]);
    enqueue(&home, &[]);
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "lapses = 0 AND attempt = 1").await, 4);
}
