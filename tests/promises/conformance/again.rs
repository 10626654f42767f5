//! The contract of targets that are given again, and of those that are not.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tenantry_shared::{failure::Class, job::Next, ledger::WorkerState, run::TargetState};
use tenantry_tests::wait::until;

use super::{
    LEASE,
    bench::{Bench, failure, handler},
};

pub(super) async fn a_retry_is_not_given_before_it_is_due_and_holds_no_slot(bench: Bench) {
    bench.enqueue().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let due = Arc::new(AtomicI64::new(0));
    let (noted, told, own) = (order.clone(), due.clone(), bench.clone());
    let served = bench.serve(
        "a",
        1,
        LEASE,
        handler(move |claim| {
            let (bench, noted, told) = (own.clone(), noted.clone(), told.clone());
            async move {
                let first = {
                    let mut order = noted.lock().expect("no panic");
                    order.push(claim.job.tenant);
                    order.len() == 1
                };
                if first {
                    let next = Next::RetryIn(Duration::from_secs(1));
                    assert!(bench.record(&claim, failure(Class::Transient), next).await);
                    // The only slot is taken until this ends, so nobody has claimed it again.
                    let sql = "SELECT due_at FROM targets WHERE attempt = 1 AND state = 'retryable'";
                    told.store(bench.sql.number(sql).await, Ordering::SeqCst);
                } else {
                    assert!(bench.succeed(&claim).await);
                }
            }
        }),
    );
    until("both have ended", || async { bench.targets("state = 'applied'").await == 2 }).await;
    served.drain().await;
    let begun = bench.sql.number("SELECT started_at FROM targets WHERE attempt = 2").await;
    let due = due.load(Ordering::SeqCst);
    assert!(due > 0 && begun >= due, "begun at {begun}, due at {due}");
    let order = order.lock().expect("no panic");
    assert!(order.len() == 3 && order[0] == order[2] && order[0] != order[1], "{order:?}");
}

pub(super) async fn a_permanent_failure_is_not_given_again(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.record(&claim, failure(Class::Permanent), Next::End(TargetState::Failed)).await);
    bench.queue.send(&[claim.job]).await.expect("sent");
    assert_eq!(bench.take(5, "b", LEASE).await, []);
    assert_eq!(bench.ledger.claim_jobs(&[claim.job], "b", LEASE).await.expect("an answer"), []);
    assert_eq!(bench.ledger.rescue(i64::MAX).await.expect("a rescue"), 0);
    assert_eq!(bench.targets("state = 'failed' AND attempt = 1 AND due_at IS NULL").await, 1);
}

pub(super) async fn a_job_that_is_sent_again_and_again_is_claimed_once(bench: Bench) {
    bench.enqueue().await;
    bench.conduct().await;
    let job = bench.job("t00").await;
    bench.queue.send(&[job; 5]).await.expect("sent");
    let claims = bench.take(10, "a", LEASE).await;
    assert_eq!((claims.len(), claims[0].job, claims[0].attempt), (1, job, 1));
    bench.queue.send(&[job; 5]).await.expect("sent");
    assert_eq!(bench.take(10, "b", LEASE).await, []);
    assert!(bench.succeed(&claims[0]).await);
    bench.queue.send(&[job; 5]).await.expect("sent");
    assert_eq!(bench.take(10, "b", LEASE).await, []);
    assert_eq!(bench.targets("state = 'applied' AND attempt = 1 AND owner = 'a'").await, 1);
}

pub(super) async fn a_handler_that_panics_does_not_stop_its_consumer(bench: Bench) {
    bench.enqueue().await;
    let (panicked, own) = (Arc::new(Mutex::new(false)), bench.clone());
    let served = bench.serve(
        "a",
        1,
        Duration::from_millis(500),
        handler(move |claim| {
            let (bench, first) =
                (own.clone(), !std::mem::replace(&mut *panicked.lock().expect("no panic"), true));
            async move {
                assert!(!first, "this panic is part of the test");
                assert!(bench.succeed(&claim).await);
            }
        }),
    );
    until("all have ended", || async { bench.targets("state = 'applied'").await == 5 }).await;
    served.drain().await;
    assert_eq!(bench.targets("lapses = 1 AND attempt = 2 AND uncounted = 1").await, 1);
    assert_eq!(bench.targets("lapses = 0 AND attempt = 1").await, 4);
}

pub(super) async fn a_claim_that_is_given_back_does_not_count(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.ledger.release(&claim).await.expect("an answer"));
    assert!(!bench.ledger.release(&claim).await.expect("an answer"));
    let again = bench.take(1, "b", LEASE).await.remove(0);
    assert_eq!((again.attempt, again.counted), (2, 1));
    assert_eq!(bench.targets("lapses = 0").await, 1);
}

pub(super) async fn who_is_claimed_ahead_keeps_no_slot_busy(bench: Bench) {
    bench.enqueue().await;
    bench.ledger.beat("a", "here", 2, WorkerState::Running).await.expect("a sign of life");
    for (claims, busy) in [(1, 1), (2, 2)] {
        assert_eq!(bench.take(claims, "a", LEASE).await.len(), claims);
        let live = bench.ledger.live_workers(LEASE).await.expect("workers");
        let of_a = live.iter().find(|worker| worker.worker == "a").expect("a worker");
        assert_eq!((of_a.slots, of_a.busy), (2, busy));
    }
}
