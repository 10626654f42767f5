//! Outcomes that are written together, and what is made of how long they took.

use std::time::Duration;

use tenantry_shared::{
    job::{Claim, Direction, Outcome, Step},
    ledger::Recorder,
};

use super::{
    ENDED, LEASE,
    bench::{Bench, success},
};

/// What is told of each outcome, in the order of the claims. None: the registry has refused it.
async fn record_all(recorder: &Recorder, claims: &[Claim], outcome: &Outcome) -> Vec<Option<bool>> {
    let record = |claim: &Claim| {
        let (recorder, claim, outcome) = (recorder.clone(), claim.clone(), outcome.clone());
        tokio::spawn(async move { recorder.record(&claim, &outcome, ENDED).await.ok() })
    };
    let mut told = Vec::new();
    for recording in claims.iter().map(record).collect::<Vec<_>>() {
        told.push(recording.await.expect("no panic"));
    }
    told
}

fn changed(took: Duration) -> Outcome {
    let step =
        Step { direction: Direction::Up, version: 1.into(), file: "1_first.sql".into(), duration_ms: 1 };
    Outcome { steps: vec![step], duration: took, output: Some("done".into()), ..success() }
}

pub(super) async fn each_of_many_outcomes_is_answered_for_by_itself(bench: Bench) {
    bench.enqueue().await;
    let mut claims = bench.take(60, "a", LEASE).await;
    for claim in claims.iter_mut().take(3) {
        let was = claim.clone();
        claim.attempt += 1;
        assert!(bench.recorder.record(&was, &success(), ENDED).await.expect("an answer"));
    }
    claims[3].attempt += 7;
    let told = record_all(&bench.recorder, &claims, &changed(Duration::from_secs(2))).await;
    let expected: Vec<_> = (0..60).map(|at| Some(at > 3)).collect();
    assert_eq!(told, expected);
    assert_eq!(bench.targets("state = 'applied' AND due_at IS NULL AND finished_at IS NOT NULL").await, 59);
    assert_eq!(bench.targets("state = 'running'").await, 1);
    let count = async |what: &str| bench.sql.number(&format!("SELECT count(*) FROM {what}")).await;
    let attempt = "number = 1 AND outcome = 'applied' AND worker = 'a test'";
    assert_eq!(count(&format!("attempts WHERE {attempt}")).await, 59);
    let told =
        "output = 'done' AND steps LIKE '%1_first.sql%' AND finished_at - started_at BETWEEN 1999 AND 2001";
    assert_eq!(count(&format!("attempts WHERE {attempt} AND {told}")).await, 56);
    assert_eq!(count("tenants WHERE version = '1' AND version_at > 0").await, 59);
    assert_eq!(count("tenants WHERE head_start > 0").await, 56);
}

pub(super) async fn an_outcome_that_the_registry_refuses_costs_those_beside_it_nothing(bench: Bench) {
    bench.enqueue().await;
    let claims = bench.take(20, "a", LEASE).await;
    let (run, tenant) = (claims[11].job.run, claims[11].job.tenant);
    let there = format!(
        "INSERT INTO attempts (run_id, tenant_id, number, worker, started_at, finished_at, outcome, steps)
         VALUES ('{run}', '{tenant}', 1, 'another', 1, 1, 'applied', '[]')"
    );
    bench.sql.execute(&there).await;
    let told = record_all(&bench.recorder, &claims, &success()).await;
    let expected: Vec<_> = (0..20).map(|at| (at != 11).then_some(true)).collect();
    assert_eq!(told, expected);
    assert_eq!(bench.targets("state = 'applied'").await, 19);
    assert_eq!(bench.targets("state = 'running'").await, 1);
}

pub(super) async fn two_who_record_the_same_at_once_do_not_wait_in_a_circle(bench: Bench) {
    let other = bench.elsewhere();
    for _ in 0..3 {
        bench.enqueue().await;
        let mut forward = Vec::new();
        while forward.len() < 90 {
            forward.extend(bench.take(90, "a", LEASE).await);
        }
        let backward: Vec<Claim> = forward.iter().rev().cloned().collect();
        let outcome = success();
        let (a, mut b) = tokio::join!(
            record_all(&bench.recorder, &forward, &outcome),
            record_all(&other.recorder, &backward, &outcome)
        );
        b.reverse();
        let once = |(a, b): (&Option<bool>, &Option<bool>)| a.zip(*b).is_some_and(|(a, b)| a != b);
        assert!(a.iter().zip(&b).all(once), "{a:?} {b:?}");
    }
    assert_eq!(bench.targets("state = 'applied'").await, 270);
}

pub(super) async fn the_tenant_that_took_longest_last_time_is_begun_first(bench: Bench) {
    bench.enqueue().await;
    let claims = bench.take(20, "a", LEASE).await;
    let slowest = claims[13].job.tenant;
    for claim in &claims {
        let took = Duration::from_millis(if claim.job.tenant == slowest { 90_000 } else { 20 });
        assert!(bench.recorder.record(claim, &changed(took), ENDED).await.expect("an answer"));
    }
    bench.enqueue().await;
    let first = bench.take(2, "a", LEASE).await;
    assert!(first.iter().any(|claim| claim.job.tenant == slowest), "{first:?}");
}
