//! The contract of targets that have lost workers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tenantry_shared::{failure::Class, job::Next, run::RunState};
use tenantry_tests::wait::until;

use super::{
    LEASE, SHORT_LEASE,
    bench::{Bench, failure, handler},
};

pub(super) async fn a_target_that_lost_two_workers_is_claimed_only_as_a_suspect(bench: Bench) {
    bench.enqueue_some(1).await;
    let suspect = bench.take_and_lose().await.job;
    assert_eq!(bench.take_and_lose().await.job, suspect);
    bench.enqueue().await;
    assert_eq!(bench.ledger.claim_jobs(&[suspect], "a", LEASE).await.expect("an answer"), []);
    let others = bench.take(10, "a", LEASE).await;
    assert_eq!(
        (others.len(), others.iter().any(|claim| claim.job == suspect)),
        (1, false),
        "its own target of the newer run waits for it"
    );
    let seen = bench.ledger.suspects("b").await.expect("an answer");
    assert!(seen.waited.is_some() && !seen.held, "{seen:?}");
    let claim = bench.suspect("b", LEASE).await.expect("a claim");
    assert_eq!((claim.job, claim.attempt, claim.counted), (suspect, 3, 1));
    assert_eq!(bench.suspect("c", LEASE).await, None);
    let held = async |owner: &str| bench.ledger.suspects(owner).await.expect("an answer");
    assert_eq!((held("b").await.held, held("c").await.held), (true, false));
    assert_eq!(held("b").await.waited, None);
    assert!(bench.succeed(&claim).await);
    assert_eq!(bench.targets("state = 'applied' AND lapses = 2 AND attempt - uncounted = 1").await, 1);
}

pub(super) async fn a_suspect_of_a_paused_run_is_not_claimed(bench: Bench) {
    bench.enqueue().await;
    let run = bench.take_and_lose().await.job.run;
    bench.take_and_lose().await;
    assert!(bench.ledger.pause(run, "a test").await.expect("an answer"));
    assert_eq!(bench.suspect("a", LEASE).await, None);
    assert_eq!(bench.ledger.suspects("a").await.expect("an answer").waited, None);
    assert!(bench.ledger.resume(run, "a test").await.expect("an answer"));
    assert!(bench.suspect("a", LEASE).await.is_some());
}

pub(super) async fn a_target_that_loses_three_workers_alone_is_failed(bench: Bench) {
    bench.enqueue().await;
    for attempt in 1..=2 {
        assert_eq!(bench.take_and_lose().await.attempt, attempt);
    }
    for attempt in 3..=5 {
        assert_eq!(bench.targets("state = 'failed'").await, 0, "before attempt {attempt}");
        let claim = bench.suspect("lost", SHORT_LEASE).await.expect("a claim");
        assert_eq!((claim.attempt, claim.alone), (attempt, true));
        assert!(bench.ledger.note_begun(&claim, &7.into()).await.expect("an answer"));
        bench.until_rescued().await;
        assert!(!bench.ledger.note_begun(&claim, &8.into()).await.expect("an answer"));
    }
    assert_eq!(bench.suspect("b", LEASE).await, None);
    assert_eq!(bench.take(1, "b", LEASE).await, []);
    let blamed = "state = 'failed' AND class = 'permanent' AND code = 'worker-lost' AND message LIKE '%died 3 times%alone' AND version = '7'";
    assert_eq!(bench.targets(blamed).await, 1);
    let closed = bench.ledger.close_runs().await.expect("closed runs");
    assert_eq!(closed.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Failed]);
}

/// Others come back again and again until the suspect has ended, so that neither consumer is ever idle by itself.
pub(super) async fn a_busy_consumer_makes_room_for_a_suspect_and_works_it_alone_while_another_goes_on(
    bench: Bench,
) {
    bench.enqueue().await;
    bench
        .sql
        .execute(
            "UPDATE targets SET lapses = 2 WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 't04')",
        )
        .await;
    let suspect = bench.job("t04").await;
    let beside = Arc::new(Mutex::new(Vec::new()));
    let consumer = |owner: &'static str| {
        let (own, beside) = (bench.clone(), beside.clone());
        let work = handler(move |claim| {
            let (bench, beside) = (own.clone(), beside.clone());
            async move {
                let ended = async || bench.targets("state = 'applied'").await > 0;
                if claim.job == suspect {
                    let attempts = "SELECT count(*) FROM attempts";
                    let begun = bench.sql.number(attempts).await;
                    until("the other one goes on", async || bench.sql.number(attempts).await > begun + 5)
                        .await;
                    let held = bench.targets(&format!("state = 'running' AND owner = '{owner}'")).await;
                    beside.lock().expect("no panic").push(held);
                    assert!(bench.succeed(&claim).await);
                } else if ended().await {
                    assert!(bench.succeed(&claim).await);
                } else {
                    let again = Next::RetryIn(Duration::ZERO);
                    assert!(bench.record(&claim, failure(Class::Transient), again).await);
                }
            }
        });
        bench.serve(owner, 2, LEASE, work)
    };
    let (a, b) = (consumer("a"), consumer("b"));
    until("all have ended", || async { bench.targets("state = 'applied'").await == 5 }).await;
    a.drain().await;
    b.drain().await;
    assert_eq!(*beside.lock().expect("no panic"), [1], "what its consumer held while it ran");
}
