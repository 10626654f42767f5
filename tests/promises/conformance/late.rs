//! The contract of claims that come home late.

use std::sync::Arc;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tenantry_tests::{Home, wait::until};
use tokio::sync::Semaphore;

use super::{
    LEASE,
    bench::{Bench, handler},
};

/// A claim that comes home while its consumer drains belongs to others, not to the end of what still runs. A lock on
/// the table holds it up, which only PostgreSQL lets others see.
async fn a_late_claim_is_given_back(bench: Bench) {
    bench.enqueue().await;
    bench.sql.execute("UPDATE targets SET due_at = 9000000000000 WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 't01')").await;
    let (gate, own) = (Arc::new(Semaphore::new(0)), bench.clone());
    let passing = gate.clone();
    let work = handler(move |claim| {
        let (bench, gate) = (own.clone(), passing.clone());
        async move {
            gate.acquire().await.expect("open").forget();
            assert!(bench.succeed(&claim).await);
        }
    });
    let served = bench.serve("a", 2, LEASE, work);
    until("the first one runs", || async { bench.targets("state = 'running'").await == 1 }).await;
    let mut registry = PgConnection::connect(&bench.sql.url).await.expect("postgres");
    // With Redis it counts as sent already, so that no conductor comes first.
    let ready = if bench.queue.kind() == "ledger" { "due_at = 0" } else { "sent_at = 1" };
    let lock = format!(
        "BEGIN; LOCK TABLE targets IN EXCLUSIVE MODE; UPDATE targets SET {ready} WHERE state = 'pending'"
    );
    registry.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.expect("a lock");
    bench.queue.send(&[bench.job("t01").await]).await.expect("sent");
    // The server cuts a long statement's end off. A conductor that looks for what is due beside Redis is no claim.
    let claim = if bench.queue.kind() == "ledger" {
        "query LIKE '%FROM targets  WHERE due_at%' AND query NOT LIKE '%lapses >= 2%'"
    } else {
        "(query LIKE '%SET state = ''running''%' OR query LIKE '%IN (VALUES%')"
    };
    let blocked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
            AND query LIKE 'WITH ready%' AND {claim}"
    );
    until("a claim waits for the lock", || async { bench.sql.number(&blocked).await == 1 }).await;
    served.stop.send_replace(true);
    registry.execute(sqlx::raw_sql("COMMIT")).await.expect("a commit");
    until("the late claim is given back", || async {
        bench.targets("state = 'retryable' AND attempt = 1 AND uncounted = 1 AND lapses = 0").await == 1
    })
    .await;
    assert_eq!(bench.targets("state = 'running'").await, 1, "the other one still runs");
    gate.add_permits(1);
    served.drain().await;
    assert_eq!(bench.targets("state = 'applied'").await, 1);
}

#[tokio::test]
async fn a_claim_that_comes_home_during_a_drain_is_given_back_at_once_to_the_ledger() {
    a_late_claim_is_given_back(Bench::new(Home::new().with_postgres_registry().await, false, 2).await).await;
}

#[tokio::test]
async fn a_claim_that_comes_home_during_a_drain_is_given_back_at_once_with_redis() {
    a_late_claim_is_given_back(Bench::new(Home::new().with_postgres_registry().await, true, 2).await).await;
}
