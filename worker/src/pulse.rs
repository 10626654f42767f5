//! What the parts of one process tell each other, so that nobody waits for the next tick of a clock: that nothing is
//! worked any more, and that a run has ended. Nothing depends on it: who does not hear of it finds out at the next tick.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// A worker that has ended one target and not begun another one within this has nothing to do.
const PAUSE: Duration = Duration::from_millis(5);

/// The pulse of one process.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    working: AtomicUsize,
    stopped: Notify,
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

    /// Waits until what was worked has ended and nothing else has begun.
    pub async fn idle(&self) {
        loop {
            self.0.stopped.notified().await;
            tokio::time::sleep(PAUSE).await;
            if self.0.working.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
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
