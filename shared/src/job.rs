//! What travels: a job in the queue, and the claim that the ledger gives for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    codes::is_server_full,
    digest::Digest,
    failure::{Class, Failure},
    id::{RunId, TenantId},
    retry,
    run::{Policy, TargetState},
    schema::Fingerprint,
    version::Version,
};

/// So often an attempt that a full server refused is not counted. After that it is: a server may be full for ever.
const MAX_SPARED: u32 = 20;

/// The queue's message to work one target. Ids only: nothing in it can go stale, and nothing is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The run.
    pub run: RunId,
    /// The tenant.
    pub tenant: TenantId,
}

/// The right to work one target, until its lease lapses or a later attempt begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The target.
    pub job: Job,
    /// The number of this attempt, counted from 1. It is the fence: a result is written only while this
    /// attempt is the target's latest.
    pub attempt: u32,
    /// How many attempts count against `max_attempts`, this one included.
    pub counted: u32,
    /// How many may count.
    pub max_attempts: u32,
    /// Whether its worker works nothing else meanwhile, because earlier attempts lost theirs.
    pub alone: bool,
}

impl Claim {
    /// How many attempts before this one do not count.
    #[must_use]
    pub fn spared(&self) -> u32 {
        self.attempt.saturating_sub(self.counted)
    }
}

/// Which way a migration went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It was applied.
    #[default]
    Up,
    /// It was reverted.
    Down,
    /// Only its history row was written.
    Record,
}

impl Direction {
    /// What was done, in a word.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Up => "applied",
            Self::Down => "reverted",
            Self::Record => "recorded",
        }
    }
}

/// A migration that an attempt applied, reverted or recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which way it went.
    #[serde(default)]
    pub direction: Direction,
    /// Its version.
    pub version: Version,
    /// Its file.
    pub file: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The history was read after the last change, and is at the run's version.
    Proven,
    /// It did not get there.
    Failed(Failure),
}

/// All that is recorded of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// The newest version before it, where the history was read.
    pub from: Option<Version>,
    /// The newest version after it, where the history was read.
    pub to: Option<Version>,
    /// What the tenant is known by from now on, if it was proven; none leaves that as it is.
    pub version: Option<Version>,
    /// What it applied, in order. Not empty for some failures too: a later migration failed.
    pub steps: Vec<Step>,
    /// How long it took.
    pub duration: Duration,
    /// The end of what a program said that migrated in place of our engine.
    pub output: Option<String>,
    /// What the tenant's schema was afterwards, where it was read.
    pub fingerprint: Fingerprint,
    /// The bytes of the migration that it failed in, where they ran.
    pub bytes: Option<Digest>,
}

/// What becomes of a target after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It ends in this state.
    End(TargetState),
    /// It is tried again after this delay, and the attempt counts.
    RetryIn(Duration),
    /// It is tried again after this delay, and the attempt does not count.
    SparedIn(Duration),
    /// It is tried again at once, and the attempt does not count.
    Again,
}

/// Decides what becomes of a target: `chance`, from 0 to 1, is the jitter of a retry.
#[must_use]
pub fn next(claim: &Claim, outcome: &Outcome, policy: &Policy, chance: f64) -> Next {
    match &outcome.verdict {
        Verdict::Proven if outcome.steps.is_empty() => Next::End(TargetState::Current),
        Verdict::Proven => Next::End(TargetState::Applied),
        Verdict::Failed(failure) => match failure.class {
            Class::Interrupted => Next::Again,
            Class::Transient if is_server_full(failure) && claim.spared() < MAX_SPARED => {
                Next::SparedIn(delay(claim.spared() + 1, policy, chance))
            }
            Class::Transient if claim.counted < claim.max_attempts => {
                Next::RetryIn(delay(claim.counted, policy, chance))
            }
            Class::Transient | Class::Permanent => Next::End(TargetState::Failed),
        },
    }
}

fn delay(attempt: u32, policy: &Policy, chance: f64) -> Duration {
    let (base, cap) = (policy.backoff_base_ms, policy.backoff_cap_ms);
    retry::delay(attempt, Duration::from_millis(base), Duration::from_millis(cap), chance)
}

/// What [`head_start`] gives at the most.
pub const MOST_HEAD_START: Duration = Duration::from_millis(1_500);

/// How much earlier than others a tenant is due in its next run whose last change took so long: who takes longest begins
/// first, so that nobody waits for it at the end. It is seconds at the most, however long it took, and not the time itself:
/// a run overtakes an earlier one by that.
#[must_use]
pub fn head_start(took: Duration) -> Duration {
    // To the millisecond up to half a second, and coarser behind that.
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis([1, 100, 10_000].map(|step_ms| (took_ms / step_ms).min(500)).iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(counted: u32, max_attempts: u32) -> Claim {
        let job = Job { run: RunId::new(), tenant: TenantId::new() };
        Claim { job, attempt: counted + 2, counted, max_attempts, alone: false }
    }

    fn outcome(verdict: Verdict, steps: Vec<Step>) -> Outcome {
        Outcome {
            verdict,
            from: None,
            to: None,
            version: None,
            steps,
            duration: Duration::ZERO,
            output: None,
            fingerprint: Fingerprint::default(),
            bytes: None,
        }
    }

    fn failed(class: Class) -> Verdict {
        Verdict::Failed(Failure::new(class, "x", "y"))
    }

    fn after(class: Class, counted: u32) -> Next {
        next(&claim(counted, 3), &outcome(failed(class), vec![]), &Policy::default(), 1.0)
    }

    fn after_failure(failure: Failure, counted: u32, spared: u32) -> Next {
        let claim = Claim { attempt: counted + spared, ..claim(counted, 3) };
        next(&claim, &outcome(Verdict::Failed(failure), vec![]), &Policy::default(), 1.0)
    }

    #[test]
    fn a_transient_failure_is_retried_until_its_attempts_are_used_up() {
        assert_eq!(after(Class::Transient, 1), Next::RetryIn(Duration::from_secs(1)));
        assert_eq!(after(Class::Transient, 2), Next::RetryIn(Duration::from_secs(2)));
        assert_eq!(after(Class::Transient, 3), Next::End(TargetState::Failed));
    }

    #[test]
    fn an_attempt_that_a_full_server_refused_is_not_counted_so_many_times() {
        let full = || Failure::new(Class::Transient, "53300", "sorry, too many clients already");
        assert_eq!(after_failure(full(), 3, 0), Next::SparedIn(Duration::from_secs(1)));
        assert_eq!(after_failure(full(), 1, 19), Next::SparedIn(Duration::from_mins(1)));
        assert_eq!(after_failure(full(), 1, 20), Next::RetryIn(Duration::from_secs(1)));
        assert_eq!(after_failure(full(), 3, 20), Next::End(TargetState::Failed));
        assert_eq!(after_failure(full().in_migration(7), 3, 0), Next::End(TargetState::Failed));
    }

    #[test]
    fn who_takes_longer_begins_earlier_and_nobody_by_more_than_moments() {
        let of = |ms| head_start(Duration::from_millis(ms)).as_millis();
        assert_eq!([0, 40, 300, 3_000, 300_000].map(of), [0, 40, 303, 530, 1_030]);
        assert_eq!(head_start(Duration::MAX), MOST_HEAD_START);
    }

    #[test]
    fn a_permanent_failure_ends_at_once_and_an_interruption_never() {
        assert_eq!(after(Class::Permanent, 1), Next::End(TargetState::Failed));
        assert_eq!(after(Class::Interrupted, 3), Next::Again);
    }

    proptest! {
        /// Promise 4. What a running target may become: proven only by a proof, tried again only while attempts are left.
        #[test]
        fn an_attempt_leads_only_to_where_a_running_target_may_go(
            counted in 1_u32..10, max_attempts in 1_u32..10, chance in 0.0_f64..=1.0, changed: bool,
            class in prop::sample::select(vec![None, Some(Class::Transient), Some(Class::Permanent), Some(Class::Interrupted)]),
        ) {
            let step = Step { direction: Direction::Up, version: 1.into(), file: "f".into(), duration_ms: 1 };
            let steps = if changed { vec![step] } else { vec![] };
            let outcome = outcome(class.map_or(Verdict::Proven, failed), steps);
            let policy = Policy::default();
            match next(&claim(counted, max_attempts), &outcome, &policy, chance) {
                Next::End(TargetState::Applied) => prop_assert!(class.is_none() && changed),
                Next::End(TargetState::Current) => prop_assert!(class.is_none() && !changed),
                Next::End(TargetState::Failed) => prop_assert!(
                    class == Some(Class::Permanent) || class == Some(Class::Transient) && counted >= max_attempts
                ),
                Next::End(state) => prop_assert!(false, "{} is no end of an attempt", state),
                Next::RetryIn(delay) => {
                    prop_assert!(class == Some(Class::Transient) && counted < max_attempts);
                    prop_assert!(delay <= Duration::from_millis(policy.backoff_cap_ms));
                }
                Next::SparedIn(_) => prop_assert!(false, "no server was full"),
                Next::Again => prop_assert_eq!(class, Some(Class::Interrupted)),
            }
        }
    }
}
