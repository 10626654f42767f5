//! The contract of what ends: runs, and leases.

use std::time::Duration;

use tenantry_shared::{
    failure::Class,
    job::Next,
    run::{RunRef, RunState},
};

use super::{
    LEASE,
    bench::{Bench, failure},
};

pub(super) async fn a_run_is_closed_once_and_only_when_all_its_targets_have_ended(bench: Bench) {
    let closed = async || bench.ledger.close_runs().await.expect("closed runs").len();
    bench.enqueue().await;
    assert_eq!(closed().await, 0, "three are pending");
    let claims = bench.take(3, "a", LEASE).await;
    assert!(bench.succeed(&claims[0]).await);
    assert!(bench.record(&claims[1], failure(Class::Transient), Next::RetryIn(Duration::ZERO)).await);
    assert_eq!(closed().await, 0, "one is running, one is to be retried");
    let again = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.succeed(&again).await);
    assert_eq!(closed().await, 0, "one is running");
    assert!(bench.succeed(&claims[2]).await);
    let all = tokio::join!(closed(), closed(), closed(), closed());
    assert_eq!(all.0 + all.1 + all.2 + all.3, 1);
    let ended = "SELECT finished_at FROM runs WHERE state = 'succeeded'";
    let at = bench.sql.number(ended).await;
    assert_eq!(closed().await, 0);
    assert_eq!(bench.sql.number(ended).await, at);
}

/// Whoever worked it may have been killed before it was closed.
pub(super) async fn a_run_whose_targets_have_all_ended_is_stopped_by_nothing(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.succeed(&claim).await);
    bench.sql.execute("UPDATE runs SET deadline_at = 1").await;
    assert_eq!(bench.ledger.stop_runs().await.expect("an answer").done, []);
    bench.ledger.cancel(claim.job.run, true, "a test").await.expect("an answer");
    let run = bench.ledger.find_run(RunRef::Latest).await.expect("the run");
    assert_eq!((run.state, run.stop), (RunState::Succeeded, None));
    assert_eq!(
        bench
            .sql
            .number("SELECT count(*) FROM events WHERE kind <> 'run.enqueued' AND run_id IS NOT NULL")
            .await,
        0
    );
}

pub(super) async fn a_lease_has_one_holder_until_it_lapses_or_is_given_up(bench: Bench) {
    let hold =
        async |holder: &str, term| bench.ledger.hold_lease("x", holder, term).await.expect("an answer");
    let all = tokio::join!(hold("a", LEASE), hold("b", LEASE), hold("c", LEASE), hold("d", LEASE));
    let all = [all.0, all.1, all.2, all.3];
    assert_eq!(all.iter().filter(|held| **held).count(), 1, "{all:?}");
    let holder = ["a", "b", "c", "d"][all.iter().position(|held| *held).expect("a holder")];
    assert!(!hold("other", LEASE).await);
    assert!(hold(holder, LEASE).await, "it renews its own");
    assert!(hold(holder, Duration::ZERO).await);
    assert!(hold("other", LEASE).await, "it has lapsed");
    assert!(!hold(holder, LEASE).await);
    bench.ledger.drop_lease("x", holder).await.expect("an answer");
    assert!(!hold(holder, LEASE).await, "it was not its own to give up");
    bench.ledger.drop_lease("x", "other").await.expect("an answer");
    assert!(hold(holder, LEASE).await);
}
