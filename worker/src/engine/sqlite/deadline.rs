//! When SQLite is to stop what it runs: it asks again and again while it runs something. Nobody can tell it from outside.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
};

use super::own::Waited;

/// How many of SQLite's instructions run between two looks at the clock.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

/// The end of a statement's time, and whether anybody still waits for the call that runs it. Calls are counted from 1.
#[derive(Debug)]
pub(super) struct Deadline {
    /// Who waits for the attempt whose thread it was made in.
    waited: Option<Waited>,
    watch: Stopwatch,
    /// In milliseconds of this watch.
    end: AtomicU64,
    running: AtomicU64,
    given_up: AtomicU64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            waited: Waited::here(),
            watch: Stopwatch::start(),
            end: AtomicU64::new(u64::MAX),
            running: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }
}

impl Deadline {
    /// Has SQLite ask.
    pub(super) fn watches(self: &Arc<Self>, connection: &Connection) -> Result<(), rusqlite::Error> {
        let asked = self.clone();
        connection.progress_handler(INSTRUCTIONS_PER_LOOK, Some(move || asked.is_over()))
    }

    /// This call begins.
    pub(super) fn begins(&self, call: u64) {
        self.end.store(u64::MAX, Ordering::Relaxed);
        self.running.store(call, Ordering::Relaxed);
    }

    /// Nobody waits for this call any more.
    pub(super) fn give_up(&self, call: u64) {
        self.given_up.fetch_max(call, Ordering::Relaxed);
    }

    /// A statement begins, and may take so long.
    pub(super) fn in_time(&self, limit: Option<std::time::Duration>) {
        let limit = limit.map_or(u64::MAX, millis);
        self.end.store(self.watch.elapsed_ms().saturating_add(limit), Ordering::Relaxed);
    }

    /// No statement of a script runs any more.
    pub(super) fn ends(&self) {
        self.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// Before each statement: what nobody waits for is left, and so is rolled back.
    pub(super) fn goes_on(&self) -> Result<(), Failure> {
        if self.is_given_up() {
            return Err(interrupted());
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.is_given_up() || self.watch.elapsed_ms() >= self.end.load(Ordering::Relaxed)
    }

    fn is_given_up(&self) -> bool {
        self.waited.as_ref().is_some_and(Waited::is_over)
            || self.running.load(Ordering::Relaxed) <= self.given_up.load(Ordering::Relaxed)
    }
}

/// What SQLite says of what it was told to stop.
pub(super) fn interrupted() -> Failure {
    Failure::new(Class::Interrupted, "9", "interrupted")
}
