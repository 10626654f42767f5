//! How many tenants a process works at once, how many it claims ahead, and how many outcomes it has not written yet.
//!
//! A slot is for a tenant that is worked. Whoever has ended its session leaves the slot to the next tenant and writes the
//! outcome meanwhile, and where attempts end quickly more are claimed than there are slots, which wait for the next one that is
//! left: so the registry is waited for by nobody who could work. What a process may lose at once, its outcomes that
//! are not written, is bounded all the same: of those that have left their slots there are as many as there are slots.
//!
//! Nothing is hoarded that another process could work. One more may be claimed ahead for each attempt that ended quickly, and
//! one less for each claim that waited in vain: for longer than a quick attempt takes, or until an attempt failed, after
//! which its run may have stopped. It is given back then. While enough wait, nothing is claimed for a few slots alone.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::clock::Stopwatch;

/// What ends within this is quick, and nobody waits longer for a slot.
const QUICK: Duration = Duration::from_millis(250);

/// The slots of a process, whichever incarnation of its worker uses them.
#[derive(Clone)]
pub(super) struct Slots {
    count: usize,
    /// Those that are free.
    free: Arc<Semaphore>,
    /// Room for outcomes whose slots are free again.
    room: Arc<Semaphore>,
    claims: watch::Sender<Claims>,
    /// Turns true when a drain begins.
    stop: watch::Receiver<bool>,
}

/// What is claimed and has not left its slot.
#[derive(Clone, Copy, Default)]
struct Claims {
    count: usize,
    /// How many more than there are slots may be claimed.
    ahead: usize,
    /// How many attempts have failed so far.
    failed: u64,
}

impl Slots {
    pub(super) fn new(count: usize, stop: watch::Receiver<bool>) -> Self {
        let semaphore = || Arc::new(Semaphore::new(count));
        Self { count, free: semaphore(), room: semaphore(), claims: watch::Sender::default(), stop }
    }

    /// The most that is claimed at once.
    pub(super) fn most(&self) -> usize {
        self.count + self.most_ahead()
    }

    /// None where one tenant after the other is asked for.
    fn most_ahead(&self) -> usize {
        self.count.saturating_sub(1)
    }

    /// Waits until something may be claimed, and takes all of what may be; `ahead` of free slots, too, where that keeps nobody
    /// from a connection.
    pub(super) async fn claimable(&self, ahead: bool) -> Held {
        let ahead = |claims: &Claims| if ahead { claims.ahead } else { 0 };
        let mut claims = self.claims.subscribe();
        loop {
            // Half of those ahead are enough to go on with. The sender is ours.
            let _ = claims.wait_for(|claims| claims.count < self.count + ahead(claims).div_ceil(2)).await;
            // Those whose outcomes were written together become free together.
            tokio::task::yield_now().await;
            let (mut count, mut failed) = (0, 0);
            self.claims.send_modify(|claims| {
                count = (self.count + ahead(claims)).saturating_sub(claims.count);
                claims.count += count;
                failed = claims.failed;
            });
            if count > 0 {
                let ahead = count.saturating_sub(self.free.available_permits());
                return Held { count, ahead, failed, slots: self.clone(), end: End::Any };
            }
        }
    }

    /// Whether this is all that is claimed, and no outcome waits to be written.
    pub(super) fn are_all(&self, held: &Held) -> bool {
        self.claims.borrow().count == held.count && self.room.available_permits() == self.count
    }

    /// Waits until nothing is claimed and all is written.
    pub(super) async fn all(&self) {
        let _ = self.claims.subscribe().wait_for(|claims| claims.count == 0).await;
        let _ = self.room.acquire_many(u32::try_from(self.count).unwrap_or(u32::MAX)).await;
    }
}

/// What may be claimed, or is. Whoever drops it gives it back.
pub(super) struct Held {
    count: usize,
    /// How many of these were more than there were free slots.
    ahead: usize,
    /// How many attempts had failed by then.
    failed: u64,
    slots: Slots,
    end: End,
}

/// How it came that something is no longer claimed here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// In a way that tells nothing.
    Any,
    /// It was worked, quickly.
    Quick,
    /// Its attempt failed.
    Failed,
    /// It was given back because it waited in vain.
    Vain,
}

impl Held {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// One of them.
    pub(super) fn one(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        let ahead = usize::from(self.ahead > self.count);
        self.ahead -= ahead;
        Some(Self { count: 1, ahead, failed: self.failed, slots: self.slots.clone(), end: End::Any })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let most = self.slots.most_ahead();
        self.slots.claims.send_modify(|claims| {
            claims.count -= self.count;
            match self.end {
                End::Any => {}
                End::Quick => claims.ahead = most.min(claims.ahead + 1),
                End::Failed => claims.failed += 1,
                End::Vain => claims.ahead = claims.ahead.saturating_sub(1),
            }
        });
    }
}

/// What is claimed of one tenant and, from [`Self::begin`] on, its slot; all of a process where it must be worked alone.
pub struct Slot {
    // Before the next one: who waits for a slot that a failure leaves must see that there was one.
    held: Option<Held>,
    worked: Option<(OwnedSemaphorePermit, Stopwatch)>,
    /// From when it has left the slot.
    _written: Option<OwnedSemaphorePermit>,
    _left: Option<oneshot::Sender<()>>,
}

impl Slot {
    /// And what ends when it is free.
    pub(super) fn of(held: Held) -> (Self, oneshot::Receiver<()>) {
        let (left, free) = oneshot::channel();
        (Self { held: Some(held), worked: None, _written: None, _left: Some(left) }, free)
    }

    /// Waits for a free slot, before anything is begun. `false`: the claim is to be given back.
    pub async fn begin(&mut self) -> bool {
        let Some(held) = &mut self.held else { return false };
        let Slots { free, claims, stop, .. } = &held.slots;
        let mut stop = stop.clone();
        let slot = tokio::select! {
            biased;
            slot = tokio::time::timeout(QUICK, free.clone().acquire_owned()) => slot.ok().and_then(Result::ok),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let may_be_stopped = held.ahead > 0 && claims.borrow().failed != held.failed;
        self.worked = slot.filter(|_| !may_be_stopped).map(|slot| (slot, Stopwatch::start()));
        held.end = if self.worked.is_some() { End::Failed } else { End::Vain };
        self.worked.is_some()
    }

    /// Leaves it to the next tenant, where nothing has failed. What is left to do before this is dropped is to write the
    /// outcome. It is kept where too many outcomes wait already, and by who must be alone.
    pub fn leave(&mut self) {
        let Some(held) = &mut self.held else { return };
        let quick = self.worked.as_ref().is_some_and(|(_, since)| since.elapsed() <= QUICK);
        held.end = if quick { End::Quick } else { End::Any };
        if held.count == 1
            && let Ok(room) = held.slots.room.clone().try_acquire_owned()
        {
            *self = Self { held: None, worked: None, _written: Some(room), _left: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn slots(count: usize) -> (Slots, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Slots::new(count, stopped), stop)
    }

    async fn claimed(slots: &Slots) -> Slot {
        Slot::of(slots.claimable(true).await.one().unwrap()).0
    }

    async fn begun(slots: &Slots) -> Slot {
        let mut slot = claimed(slots).await;
        assert!(slot.begin().await);
        slot
    }

    /// Two slots that are taken, and who was claimed ahead of them.
    async fn taken(slots: &Slots) -> ([Slot; 2], Slot) {
        begun(slots).await.leave();
        ([begun(slots).await, begun(slots).await], claimed(slots).await)
    }

    /// How many may be claimed without waiting for anything.
    async fn claimable(slots: &Slots) -> usize {
        tokio::select! {
            biased;
            held = slots.claimable(true) => held.count(),
            () = async { tokio::task::yield_now().await; tokio::task::yield_now().await } => 0,
        }
    }

    #[tokio::test]
    async fn a_slot_that_was_left_is_the_next_tenants_while_its_outcome_is_being_written() {
        let (slots, _stop) = slots(1);
        let (mut first, left) = Slot::of(slots.claimable(true).await.one().unwrap());
        assert!(first.begin().await);
        assert_eq!(claimable(&slots).await, 0);
        first.leave();
        assert!(left.await.is_err());
        let next = slots.claimable(true).await;
        assert!(!slots.are_all(&next), "a worker that has outcomes to write is idle");
        drop(first);
        assert!(slots.are_all(&next));
    }

    #[tokio::test]
    async fn no_more_outcomes_wait_than_there_are_slots_and_all_are_waited_for() {
        let (slots, _stop) = slots(2);
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut slot = begun(&slots).await;
            slot.leave();
            waiting.push(slot);
        }
        let mut third = begun(&slots).await;
        third.leave();
        let fourth = begun(&slots).await;
        assert!(claimed(&slots).await.begin().now_or_never().is_none(), "the third has left its slot");
        assert!(slots.all().now_or_never().is_none());
        drop((waiting, third, fourth));
        slots.all().await;
    }

    #[tokio::test]
    async fn who_is_alone_keeps_all_slots_until_its_outcome_is_written() {
        let (slots, _stop) = slots(2);
        let (mut alone, _) = Slot::of(slots.claimable(true).await);
        assert!(alone.begin().await);
        alone.leave();
        assert_eq!(claimable(&slots).await, 0);
        drop(alone);
        assert!(claimable(&slots).await >= 2);
    }

    #[tokio::test]
    async fn quick_attempts_let_almost_as_many_as_there_are_slots_be_claimed_ahead() {
        let (slots, _stop) = slots(4);
        for ahead in [0, 1, 2, 3, 3] {
            assert_eq!(claimable(&slots).await, 4 + ahead);
            begun(&slots).await.leave();
        }
    }

    #[tokio::test]
    async fn nobody_is_claimed_ahead_of_free_slots_where_a_claim_is_the_permit_of_a_connection() {
        let (slots, _stop) = slots(4);
        begun(&slots).await.leave();
        assert_eq!(slots.claimable(false).await.count(), 4);
        assert_eq!(slots.claimable(true).await.count(), 5);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_given_back_and_is_not_claimed_ahead_again() {
        let (slots, _stop) = slots(2);
        let (_slow, mut ahead) = taken(&slots).await;
        assert!(!ahead.begin().await);
        drop(ahead);
        assert_eq!(claimable(&slots).await, 0);
    }

    #[tokio::test]
    async fn who_was_claimed_ahead_of_a_failure_is_not_begun() {
        let (slots, _stop) = slots(2);
        let ([fails, _other], mut ahead) = taken(&slots).await;
        drop(fails);
        assert!(!ahead.begin().await);
        drop(ahead);
        assert!(claimed(&slots).await.begin().await, "a slot is free, and nobody has failed since");
    }

    #[tokio::test]
    async fn who_waits_for_a_slot_when_a_drain_begins_is_given_back() {
        let (slots, stop) = slots(2);
        let (_working, mut ahead) = taken(&slots).await;
        stop.send_replace(true);
        assert!(!ahead.begin().now_or_never().unwrap());
    }
}
