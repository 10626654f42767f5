//! Long work: a migration may take many times the lease of its worker, and a worker that dies in the middle of one is
//! followed within a lease. Nothing here expires but a lease that nobody renews.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, SqliteConnection};
use tenantry_shared::clock::unix_ms;
use tenantry_tests::{Home, wait::until};

use crate::stage::{
    ALL_KINDS, Gates, all_applied_once, enqueue, gated, ledger, scripted, targets, until_at_their_gates,
    with_every_set_up,
};

/// How long a long migration takes: six leases.
const LONG: Duration = Duration::from_secs(12);
const LEASE: [&str; 2] = ["--lease", "2s"];

with_every_set_up! {
    a_migration_of_many_leases_runs_once_in_every_engine,
    the_tenant_of_a_killed_worker_begins_again_within_its_lease_and_a_little,
}

/// What makes an SQLite tenant's statement take so long here, more or less: who else is busy now may not be later.
async fn rows_for(duration: Duration) -> u64 {
    let mut memory = SqliteConnection::connect("sqlite::memory:").await.expect("sqlite");
    let (count, begun) = (2_000_000_u64, Instant::now());
    let sql = format!(
        "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c)"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut memory).await.expect("a count");
    let took_us = u64::try_from(begun.elapsed().as_micros()).expect("a number").max(1);
    count * u64::try_from(duration.as_micros()).expect("a number") / took_us
}

/// Promise 2.
async fn a_migration_of_many_leases_runs_once_in_every_engine(home: Home) {
    let fleet = gated(&home, &ALL_KINDS).await;
    let (in_sqlite, others) = fleet.tenants.split_last().expect("tenants");
    let rows = rows_for(LONG * 2).await;
    in_sqlite.execute(&format!("UPDATE pace SET rows = {rows}")).await;
    let gates = Gates::close(others).await;
    let _workers = [home.worker(&LEASE), home.worker(&LEASE)];
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    let long = i64::try_from(LONG.as_millis()).expect("a number");
    // A renewal says until when: so long it was renewed, or worked by the one attempt.
    let renewed = format!(
        "attempt = 1 AND lapses = 0 AND (due_at - started_at > {long} OR finished_at - started_at > {long} / 3)"
    );
    until("they have run for many leases", async || targets(&home, &renewed).await == 4).await;
    gates.open().await;
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "state = 'applied' AND attempt = 1 AND lapses = 0").await, 4);
    assert_eq!(targets(&home, &format!("finished_at - started_at > {long} / 3")).await, 4);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM attempts").await, 4);
}

#[tokio::test]
async fn a_program_of_many_leases_runs_once() {
    let home = Home::new();
    let _fleet = scripted(&home, 2, "echo $1 >> begun; sleep 12; echo $1 >> done").await;
    let _workers = [home.worker(&LEASE), home.worker(&LEASE)];
    let _ = home.run(&["enqueue", "--all", "--yes", "--wait"]).exits(0);
    for file in ["begun", "done"] {
        let lines = std::fs::read_to_string(home.path().join(file)).expect("a file");
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }
    assert_eq!(targets(&home, "state = 'applied' AND attempt = 1 AND lapses = 0").await, 2);
}

/// The killed one conducts, too, which is the slowest case.
async fn the_tenant_of_a_killed_worker_begins_again_within_its_lease_and_a_little(home: Home) {
    let fleet = gated(&home, &ALL_KINDS[..3]).await;
    let gates = Gates::close(&fleet.tenants).await;
    let flags = ["--lease", "2s", "--concurrency", "3"];
    let mut killed = home.worker(&flags);
    enqueue(&home, &[]);
    until_at_their_gates(&fleet.tenants).await;
    let _worker = home.worker(&flags);
    let workers = "SELECT count(*) FROM workers";
    until("another worker is there", async || ledger(&home).number(workers).await == 2).await;
    let at = unix_ms();
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    until("the other one has begun", async || targets(&home, "state = 'running' AND attempt = 2").await == 3)
        .await;
    let last = ledger(&home).number("SELECT max(started_at) FROM targets").await;
    assert!(last - at <= 5_000, "begun again after {} ms", last - at);
    gates.open().await;
    all_applied_once(&home, &fleet).await;
    assert_eq!(targets(&home, "attempt = 2 AND uncounted = 1 AND lapses = 1").await, 3);
}
