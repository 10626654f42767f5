//! Outcomes whose texts no database was made for: whatever a tenant's server or a program says, the outcome is written.

use tenantry_shared::{
    failure::{Class, Failure},
    job::{Next, Outcome, Verdict},
    run::TargetState,
    schema::{Catalog, Fingerprint},
};

use super::{
    ENDED, LEASE,
    bench::{Bench, success},
};

/// What no text of PostgreSQL can hold, and what has four bytes.
const ODD: &str = "no\0thing 🦀";

fn failure(message: &str) -> Verdict {
    Verdict::Failed(Failure::new(Class::Permanent, ODD, message).with_hint(ODD).in_migration(1))
}

pub(super) async fn an_outcome_is_written_whatever_its_texts_hold(bench: Bench) {
    bench.enqueue().await;
    let long = format!("{ODD}{}", "🦀".repeat(25_000));
    let endless = "x".repeat(20_000_000);
    for (claim, message) in bench.take(3, "a", LEASE).await.iter().zip([ODD, &long, &endless]) {
        // What is remembered of a tenant that failed holds the same texts.
        let outcome =
            Outcome { verdict: failure(message), bytes: Some(bench.spec.digest.clone()), ..success() };
        let written = bench.recorder.record(claim, &outcome, Next::End(TargetState::Failed)).await;
        assert!(written.expect("an answer"));
    }
    assert_eq!(bench.targets("state = 'failed' AND message LIKE '%🦀%' AND hint LIKE '%🦀'").await, 2);
    assert_eq!(bench.targets("state = 'failed' AND message LIKE 'xxx%'").await, 1);
    assert_eq!(bench.sql.number("SELECT count(*) FROM attempts WHERE code LIKE 'no%🦀'").await, 3);
    assert_eq!(bench.sql.number("SELECT count(*) FROM held WHERE code LIKE 'no%🦀'").await, 3);
    assert_eq!(bench.ledger.close_runs().await.expect("closed runs").len(), 1);
}

pub(super) async fn what_a_program_said_does_not_cost_the_outcome(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    let outcome = Outcome { output: Some(ODD.repeat(1_000)), ..success() };
    assert!(bench.recorder.record(&claim, &outcome, ENDED).await.expect("an answer"));
    assert_eq!(bench.sql.number("SELECT count(*) FROM attempts WHERE output LIKE '%🦀'").await, 1);
}

pub(super) async fn a_schema_that_cannot_be_kept_does_not_cost_the_outcome(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    bench.sql.execute("ALTER TABLE catalogs RENAME TO elsewhere").await;
    let fingerprint = Fingerprint { catalog: Some(Catalog::default()), appeared: Vec::new() };
    let outcome = Outcome { fingerprint, ..success() };
    assert!(bench.recorder.record(&claim, &outcome, ENDED).await.expect("an answer"));
    assert_eq!(bench.targets("state = 'applied'").await, 1);
}
