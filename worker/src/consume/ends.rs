//! How an attempt's outcome comes to the ledger, and what is told of it.

use std::time::Duration;

use tenantry_shared::{
    clock,
    job::{Claim, Next, Outcome, Verdict, next},
    retry,
    run::{Policy, TargetState},
    version::Version,
};

use super::House;

/// How long an outcome is tried to be recorded while the registry is away. The lease is not renewed meanwhile, so
/// the target is taken back then, and its history tells the next attempt what was done.
const RECORD_TRIES: u32 = 8;
const RECORD_BACKOFF_BASE: Duration = Duration::from_millis(200);
const RECORD_BACKOFF_CAP: Duration = Duration::from_secs(10);

/// Records it, whatever happens, and finds out whether it ends its run.
pub(super) async fn record(house: &House, claim: &Claim, outcome: &Outcome, policy: &Policy) {
    let next = next(claim, outcome, policy, clock::chance());
    for attempt in 1..=RECORD_TRIES {
        match house.recorder.record(claim, outcome, next).await {
            Ok(true) => {
                report(claim, outcome, next);
                return Box::pin(check_gates(house, claim, next)).await;
            }
            Ok(false) => {
                tracing::info!(run.id = %claim.job.run, tenant.id = %claim.job.tenant, attempt = claim.attempt, "a later attempt exists, this result is dropped");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, run.id = %claim.job.run, tenant.id = %claim.job.tenant, "an outcome could not be recorded, trying again");
                tokio::time::sleep(retry::delay(
                    attempt,
                    RECORD_BACKOFF_BASE,
                    RECORD_BACKOFF_CAP,
                    clock::chance(),
                ))
                .await;
            }
        }
    }
}

/// A failure may be the one too many: the next tenant must not wait for the conductor to find out. It will if this does
/// not.
async fn check_gates(house: &House, claim: &Claim, next: Next) {
    if next != Next::End(TargetState::Failed) {
        return;
    }
    match house.ledger.check_gates(claim.job.run).await {
        Ok(None) => {}
        Ok(Some(stopped)) => {
            let (code, reason) = (&stopped.stop.code, &stopped.stop.reason);
            tracing::warn!(run.number = stopped.number, code, reason, "the run is stopped");
        }
        Err(error) => tracing::debug!(%error, "the gates were not checked after a failure"),
    }
}

fn report(claim: &Claim, outcome: &Outcome, next: Next) {
    let (run, tenant, attempt) = (claim.job.run, claim.job.tenant, claim.attempt);
    let duration_ms = clock::millis(outcome.duration);
    match (&outcome.verdict, next) {
        (Verdict::Proven, _) => {
            tracing::info!(run.id = %run, tenant.id = %tenant, attempt, duration_ms, applied = outcome.steps.len(), "the tenant is at the run's version");
        }
        (Verdict::Failed(failure), Next::End(TargetState::Failed)) => {
            tracing::error!(run.id = %run, tenant.id = %tenant, attempt, duration_ms, code = %failure.code, migration = failure.version.as_ref().map(Version::as_str), error = %failure.message, "the tenant failed");
        }
        (Verdict::Failed(failure), _) => {
            tracing::warn!(run.id = %run, tenant.id = %tenant, attempt, duration_ms, code = %failure.code, migration = failure.version.as_ref().map(Version::as_str), error = %failure.message, "the tenant will be tried again");
        }
    }
}
