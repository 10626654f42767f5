//! What an attempt has come to know and done so far.

use std::{sync::Arc, time::Duration};

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    job::Step,
    schema::Fingerprint,
    version::Version,
};

use crate::{
    engine::{Doing, kept::Keeping},
    notes::Notes,
};

/// It outlives a failure.
#[derive(Debug, Default)]
pub struct Trail {
    /// The newest version before.
    pub from: Option<Version>,
    /// The newest version at the last look.
    pub to: Option<Version>,
    /// What was applied, in order.
    pub steps: Vec<Step>,
    /// What was applied since, and a crash of the server may take back.
    unsure: Vec<Unsure>,
    /// The end of what a program said that migrated in place of our engine.
    pub output: String,
    /// What was found out about its schema afterwards.
    pub fingerprint: Fingerprint,
    /// What is done at this moment.
    pub doing: Arc<Doing>,
    /// Who is told what begins.
    pub notes: Notes,
    /// Whose sessions it may take over, and who may have its own.
    pub keeping: Keeping,
}

/// What was applied and may not be written to the disk yet.
#[derive(Debug)]
struct Unsure {
    step: Step,
    /// The newest version since, if that is another one.
    to: Option<Version>,
    since: Stopwatch,
    /// After this time it is.
    written: Duration,
}

impl Trail {
    /// An empty one, and who has to do with the attempt.
    #[must_use]
    pub fn of(notes: Notes, keeping: Keeping) -> Self {
        Self { notes, keeping, ..Self::default() }
    }

    /// Something was applied, and may have made this the newest version. After this time it is durable, and all before it.
    pub(super) fn applied(&mut self, step: Step, to: Option<Version>, written: Duration) {
        self.unsure.push(Unsure { step, to, since: Stopwatch::start(), written });
        if written.is_zero() {
            self.stays();
        }
    }

    /// All that was applied so far outlives a crash.
    pub(super) fn stays(&mut self) {
        self.tell(self.unsure.len());
    }

    fn tell(&mut self, count: usize) {
        for Unsure { step, to, .. } in self.unsure.drain(..count) {
            self.steps.push(step);
            self.to = to.or(self.to.take());
        }
    }

    /// What an attempt failed with. Where the server is gone, and what it had not written yet with it or not, the attempt failed in
    /// the first of that, and the next one reads what is there.
    pub(super) fn failed(&self, failure: Failure) -> Failure {
        let Some(Unsure { step: first, .. }) = self.unsure.first() else { return failure };
        let message =
            format!("the server is gone, and may have lost what was applied before: {}", failure.message);
        let hint = failure.hint.filter(|_| failure.class == Class::Transient);
        let lost = Failure { hint, ..Failure::new(Class::Transient, "connection", message) };
        lost.in_migration(first.version.clone())
    }

    /// What can be told for sure when nothing more is done, however the attempt ended.
    #[must_use]
    pub fn ended(mut self) -> Self {
        let is_written = |unsure: &&Unsure| unsure.since.elapsed() >= unsure.written;
        let count = self.unsure.iter().take_while(is_written).count();
        self.tell(count);
        self
    }
}

#[cfg(test)]
mod tests {
    use tenantry_shared::job::Direction;

    use super::*;

    fn step(version: i64) -> (Step, Option<Version>) {
        let version = Version::from(version);
        let file = format!("{version}.sql");
        (Step { direction: Direction::Up, version: version.clone(), file, duration_ms: 1 }, Some(version))
    }

    fn told(trail: &Trail) -> Vec<String> {
        trail
            .steps
            .iter()
            .map(|step| step.version.to_string())
            .chain(trail.to.as_ref().map(|to| format!("at {to}")))
            .collect()
    }

    #[test]
    fn what_a_crash_may_take_back_is_not_told_and_the_attempt_failed_in_the_first_of_it() {
        let mut trail = Trail::default();
        let (now, later) = (Duration::ZERO, Duration::from_secs(60));
        for (number, written) in [(1, later), (2, now), (3, later), (4, later)] {
            let (step, to) = step(number);
            trail.applied(step, to, written);
        }
        assert_eq!(told(&trail), ["1", "2", "at 2"]);
        let duplicate =
            Failure::new(Class::Permanent, "23505", "duplicate key").with_hint("remove it").in_migration(5);
        let lost = trail.failed(duplicate.clone());
        assert_eq!(
            (lost.class, lost.code.as_str(), lost.version),
            (Class::Transient, "connection", Some(3.into()))
        );
        assert!(lost.message.contains("duplicate key") && lost.hint.is_none(), "{}", lost.message);
        trail.stays();
        assert_eq!(trail.failed(duplicate.clone()), duplicate);
        assert_eq!(told(&trail.ended()), ["1", "2", "3", "4", "at 4"]);
    }
}
