//! The fold of a run's targets: counts, causes, exit code. Pure.

use serde::Serialize;

use crate::{
    exit::Exit,
    run::{RunState, TargetState},
};

/// How many tenants are in each state, and where the central database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Not worked on yet.
    pub pending: u64,
    /// Held by a worker.
    pub running: u64,
    /// Waiting for their next attempt.
    pub retryable: u64,
    /// Migrated, and proven so.
    pub applied: u64,
    /// Found at the version, and proven so.
    pub current: u64,
    /// Ended without being at the version.
    pub failed: u64,
    /// Never begun, because the central database failed or the run was stopped.
    pub skipped: u64,
    /// Of `applied` and `current`: how many needed more than one attempt.
    pub retried: u64,
    /// Of `failed`: how many were not tried, because they had failed with the same before.
    pub held: u64,
    /// The state of the central database, in a run that begins with it. It is not counted.
    #[serde(skip)]
    pub central: Option<TargetState>,
}

impl Counts {
    /// Adds so many targets in a state.
    pub fn add(&mut self, state: TargetState, count: u64) {
        self.total += count;
        *match state {
            TargetState::Pending => &mut self.pending,
            TargetState::Running => &mut self.running,
            TargetState::Retryable => &mut self.retryable,
            TargetState::Applied => &mut self.applied,
            TargetState::Current => &mut self.current,
            TargetState::Failed => &mut self.failed,
            TargetState::Skipped => &mut self.skipped,
        } += count;
    }

    /// How many have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.applied + self.current + self.failed + self.skipped
    }

    /// Whether every database was proven to be where it should be.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        let central = matches!(self.central, None | Some(TargetState::Applied | TargetState::Current));
        central && self.applied + self.current == self.total
    }

    /// Whether the central database failed, and so no tenant was begun.
    #[must_use]
    pub fn central_failed(&self) -> bool {
        self.central == Some(TargetState::Failed)
    }
}

/// Failed targets of one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The name of the cause: eight hexadecimal digits.
    pub fingerprint: String,
    /// What kind of trouble.
    pub class: String,
    /// The database's error code, or one of our own words.
    pub code: String,
    /// The failing migration's version, as text.
    #[serde(rename = "migration")]
    pub version: Option<String>,
    /// Which of its statements, counted from 1.
    pub statement: Option<u32>,
    /// The line in that migration's file.
    pub line: Option<u32>,
    /// The message of one of them.
    pub message: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
    /// Whether those targets were refused before any change.
    pub refused: bool,
    /// How many targets.
    pub count: u64,
    /// How many of them were not tried, because they had failed with the same before.
    pub held: u64,
    /// The number of the first run in which one of those failed.
    pub failed_in: Option<i64>,
    /// Some of their tenants, by slug.
    pub tenants: Vec<String>,
    /// Whether there are more tenants than listed.
    pub truncated: bool,
}

/// All causes of a run's failed targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// The commonest ones, those first.
    pub list: Vec<Cause>,
    /// How many there are.
    pub kinds: u64,
    /// Whether every failure was a refusal before any change.
    pub refused: bool,
}

impl Causes {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds == 0
    }
}

/// What the exit code of a run that ended is. `refused`: whether every failure was a refusal before any change.
///
/// A run in which every failure was a refusal and nothing was applied changed nothing at all: that is
/// [`Exit::Refused`].
#[must_use]
pub fn exit_of(state: RunState, counts: &Counts, refused: bool) -> Exit {
    let applied = counts.applied > 0 || counts.central == Some(TargetState::Applied);
    let untouched = !applied && refused;
    match state {
        RunState::Succeeded if counts.is_proven() => Exit::Ok,
        RunState::Failed if untouched => Exit::Refused,
        RunState::Failed => Exit::TenantsFailed,
        RunState::Halted => Exit::Stopped,
        RunState::Succeeded | RunState::Pending | RunState::Running => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(applied: u64, failed: u64) -> Counts {
        Counts { total: applied + failed, applied, failed, ..Counts::default() }
    }

    #[test]
    fn a_run_that_only_refused_changed_nothing() {
        assert_eq!(exit_of(RunState::Failed, &counts(0, 1), true), Exit::Refused);
        assert_eq!(exit_of(RunState::Failed, &counts(1, 1), true), Exit::TenantsFailed);
        assert_eq!(exit_of(RunState::Failed, &counts(0, 2), false), Exit::TenantsFailed);
    }

    #[test]
    fn the_central_database_decides_with_the_tenants() {
        let with = |central, counts| Counts { central: Some(central), ..counts };
        let skipped = Counts { total: 3, skipped: 3, ..Counts::default() };
        let failed = with(TargetState::Failed, skipped);
        assert_eq!(exit_of(RunState::Failed, &failed, true), Exit::Refused);
        assert_eq!(exit_of(RunState::Failed, &failed, false), Exit::TenantsFailed);
        let changed = with(TargetState::Applied, counts(0, 1));
        assert_eq!(exit_of(RunState::Failed, &changed, true), Exit::TenantsFailed);
    }

    proptest! {
        /// Promise 4.
        #[test]
        fn only_a_run_in_which_every_target_is_proven_ends_with_zero(
            numbers in proptest::array::uniform7(0_u64..3), state in 0_usize..5, central in proptest::option::of(0_usize..7),
        ) {
            let central = central.map(|at| TargetState::ALL[at]);
            let mut counts = Counts { central, ..Counts::default() };
            for (state, n) in TargetState::ALL.iter().zip(numbers) {
                counts.add(*state, n);
            }
            prop_assert_eq!(counts.total, numbers.iter().sum::<u64>());
            let first = central.is_none_or(|c| matches!(c, TargetState::Applied | TargetState::Current));
            let proven = first && counts.applied + counts.current == counts.total;
            prop_assert_eq!(counts.ended() + counts.pending + counts.running + counts.retryable, counts.total);
            let exit = exit_of(RunState::ALL[state], &counts, false);
            prop_assert!(exit != Exit::Ok || proven);
            prop_assert!(exit == Exit::Ok || !proven || RunState::ALL[state] != RunState::Succeeded);
        }
    }
}
