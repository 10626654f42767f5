//! What the parts of one process tell each other, so that nobody waits for the next tick of a clock: that nothing is
//! worked any more, that something may be claimed now, and that a run has ended. Nothing depends on it: who does not hear of
//! it finds out at the next tick.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenantry_shared::clock::Stopwatch;
use tokio::sync::Notify;

/// A worker that has ended one target and not begun another one within this has nothing to do.
const PAUSE: Duration = Duration::from_millis(5);

/// It is not told more often that nothing is worked: a worker with one slot works nothing after each target.
const NOT_BEFORE: Duration = Duration::from_millis(10);

/// The pulse of one process.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    working: AtomicUsize,
    stopped: Notify,
    told: Mutex<Option<Stopwatch>>,
    due: Arc<Notify>,
    ended: Notify,
}

/// Something that is worked, until this is dropped.
pub struct Working(Pulse);

impl Pulse {
    /// A target begins.
    #[must_use]
    pub fn works(&self) -> Working {
        self.0.working.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }

    /// Waits until what was worked has ended. Something else may begin at once: see [`Self::stays_idle`].
    pub async fn idle(&self) {
        loop {
            self.0.stopped.notified().await;
            let told = *self.told();
            if let Some(told) = told {
                tokio::time::sleep(NOT_BEFORE.saturating_sub(told.elapsed())).await;
            }
            if self.works_nothing() {
                *self.told() = Some(Stopwatch::start());
                return;
            }
        }
    }

    /// Whether nothing else has begun after a moment.
    pub async fn stays_idle(&self) -> bool {
        tokio::time::sleep(PAUSE).await;
        self.works_nothing()
    }

    /// How many targets are worked.
    #[must_use]
    pub fn working(&self) -> usize {
        self.0.working.load(Ordering::SeqCst)
    }

    fn works_nothing(&self) -> bool {
        self.working() == 0
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Option<Stopwatch>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told when targets may be claimed that could not be before: a wave has opened, or claims are not held back any
    /// more.
    #[must_use]
    pub fn due(&self) -> Arc<Notify> {
        self.0.due.clone()
    }

    /// A run has ended.
    pub fn run_ended(&self) {
        self.0.ended.notify_one();
    }

    /// Waits until a run ends.
    pub async fn end(&self) {
        self.0.ended.notified().await;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if self.0.0.working.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.stopped.notify_one();
        }
    }
}
