//! How many tenants a process works at once, and how many outcomes it has not written yet.
//!
//! A slot is for a tenant that is worked. Whoever has ended its session leaves the slot to the next tenant and writes the
//! outcome meanwhile: so the registry is waited for by nobody who could work. What a process may lose at once, its outcomes that
//! are not written, is bounded all the same: of those that have left their slots there are as many as there are slots.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The slots of a process, whichever incarnation of its worker uses them.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    /// Room for outcomes whose slots are free again.
    room: Arc<Semaphore>,
    count: u32,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let semaphore = || Arc::new(Semaphore::new(count as usize));
        Self { free: semaphore(), room: semaphore(), count }
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// All that are free, and one at least.
    pub(super) async fn free(&self) -> Option<Held> {
        let mut free = self.free.clone().acquire_owned().await.ok()?;
        // Those whose outcomes were written together become free together.
        tokio::task::yield_now().await;
        while let Ok(slot) = self.free.clone().try_acquire_owned() {
            free.merge(slot);
        }
        Some(Held { free, room: self.room.clone() })
    }

    /// Whether these are all, and no outcome waits to be written.
    pub(super) fn are_all(&self, held: &Held) -> bool {
        let count = self.count();
        held.count() == count && self.room.available_permits() == count
    }

    /// Waits until nothing is worked and all is written.
    pub(super) async fn all(&self) {
        drop(self.free.acquire_many(self.count).await);
        drop(self.room.acquire_many(self.count).await);
    }
}

/// Slots that were taken. Whoever drops them gives them back.
pub(super) struct Held {
    free: OwnedSemaphorePermit,
    room: Arc<Semaphore>,
}

impl Held {
    pub(super) fn count(&self) -> usize {
        self.free.num_permits()
    }

    /// One of them.
    pub(super) fn one(&mut self) -> Option<Self> {
        Some(Self { free: self.free.split(1)?, room: self.room.clone() })
    }
}

/// The slot of one tenant, or all of a process where it must be worked alone.
pub struct Slot {
    held: Option<Held>,
    /// From when it has left the slot.
    _written: Option<OwnedSemaphorePermit>,
    _left: Option<oneshot::Sender<()>>,
}

impl Slot {
    /// And what ends when it is free.
    pub(super) fn of(held: Held) -> (Self, oneshot::Receiver<()>) {
        let (left, free) = oneshot::channel();
        (Self { held: Some(held), _written: None, _left: Some(left) }, free)
    }

    /// Leaves it to the next tenant. What is left to do before this is dropped is to write the outcome. It is kept where too many
    /// outcomes wait already, and by who must be alone.
    pub fn leave(&mut self) {
        let Some(held) = self.held.take_if(|held| held.count() == 1) else { return };
        match held.room.clone().try_acquire_owned() {
            Ok(room) => (self._written, self._left) = (Some(room), None),
            Err(_) => self.held = Some(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    async fn taken(slots: &Slots) -> (Slot, oneshot::Receiver<()>) {
        Slot::of(slots.free().await.unwrap().one().unwrap())
    }

    #[tokio::test]
    async fn a_slot_that_was_left_is_the_next_tenants_while_its_outcome_is_being_written() {
        let slots = Slots::new(1);
        let (mut first, left) = taken(&slots).await;
        assert!(slots.free().now_or_never().is_none());
        first.leave();
        assert!(left.await.is_err());
        let next = slots.free().await.unwrap();
        assert!(!slots.are_all(&next), "a worker that has outcomes to write is idle");
        drop(first);
        assert!(slots.are_all(&next));
    }

    #[tokio::test]
    async fn no_more_outcomes_wait_than_there_are_slots_and_all_are_waited_for() {
        let slots = Slots::new(2);
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let (mut slot, left) = taken(&slots).await;
            slot.leave();
            waiting.push((slot, left));
        }
        assert_eq!(slots.free().await.unwrap().count(), 1, "the third has left its slot");
        assert!(slots.all().now_or_never().is_none());
        waiting.clear();
        slots.all().await;
    }

    #[tokio::test]
    async fn who_is_alone_keeps_all_slots_until_its_outcome_is_written() {
        let slots = Slots::new(2);
        let (mut alone, _) = Slot::of(slots.free().await.unwrap());
        alone.leave();
        assert!(slots.free().now_or_never().is_none());
        drop(alone);
        assert_eq!(slots.free().await.unwrap().count(), 2);
    }
}
