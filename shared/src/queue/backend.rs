//! Our `Backend` for apalis: it claims, and apalis runs.
//!
//! It never returns an error to apalis, which would stop the worker and drop what is in flight: it waits with
//! backoff and goes on. How much it may claim is told by [`slots`], so that nothing is hoarded here while
//! another worker idles, and it takes that before it asks: it waits for it, and does not look for it again and again.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis::prelude::{Task, WorkerContext};
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::{builder::TaskBuilder, task_id::TaskId},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinHandle},
};

use super::{
    Before, Queue, QueueError, give_back,
    slots::{self, Slots},
    suspects::Room,
};
use crate::{clock, job::Claim, ledger::Ledger, retry};

const IDLE_POLL: Duration = Duration::from_millis(200);
const OUTAGE_BACKOFF_BASE: Duration = Duration::from_millis(200);
const OUTAGE_BACKOFF_CAP: Duration = Duration::from_secs(10);

/// What the backend needs of its worker.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) queue: Queue,
    pub(super) ledger: Ledger,
    pub(super) owner: Arc<str>,
    pub(super) lease: Duration,
    /// Those of this process, whichever incarnation of the worker holds them.
    pub(super) slots: Slots,
    /// Turns true when a drain begins.
    pub(super) stop: watch::Receiver<bool>,
    /// Whether a suspect is to be worked.
    pub(super) room: watch::Receiver<Room>,
    /// What comes before jobs.
    pub(super) before: Before,
    /// What tells that some may be due.
    pub(super) due: Arc<Notify>,
}

/// A claim on its way to its handler.
pub(super) struct Held {
    pub(super) claim: Claim,
    /// What is left of what may be claimed, or all of this process where it must be worked alone. Whoever drops it on the way
    /// gives it back.
    pub(super) slots: slots::Held,
}

impl Source {
    /// Begins when something may be claimed. What comes home during a drain is given back at once: apalis looks at its backend
    /// again only when all that runs has ended, and a lease may lapse until then.
    async fn fetch(self) -> Result<Vec<Held>, QueueError> {
        let Some(mut slots) = self.claimable().await else { return Ok(Vec::new()) };
        let idle = self.slots.are_all(&slots);
        (self.before)(idle).await;
        let room = *self.room.borrow();
        let claims = if room.made { Vec::new() } else { self.take(slots.count()).await? };
        let held: Vec<Held> = if claims.is_empty() && idle && room.wanted {
            let claim = self.ledger.claim_suspect(&self.owner, self.lease).await?;
            claim.map(|claim| Held { claim, slots }).into_iter().collect()
        } else {
            let each = claims.into_iter().zip(std::iter::from_fn(|| slots.one()));
            each.map(|(claim, slots)| Held { claim, slots }).collect()
        };
        if !*self.stop.borrow() {
            return Ok(held);
        }
        self.give_back(held).await;
        Ok(Vec::new())
    }

    /// All that may be claimed, and one at least. None during a drain. Where a server has a cap a claim is the permit of a
    /// connection, so that none is made there before there is a slot.
    async fn claimable(&self) -> Option<slots::Held> {
        let mut stop = self.stop.clone();
        tokio::select! {
            slots = self.slots.claimable(!self.ledger.knows_caps()) => Some(slots),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }

    async fn take(&self, limit: usize) -> Result<Vec<Claim>, QueueError> {
        self.queue.take(&self.ledger, limit, &self.owner, self.lease).await
    }

    async fn give_back(&self, held: impl IntoIterator<Item = Held>) {
        for Held { claim, slots: _until_then } in held {
            give_back(&self.ledger, &claim).await;
        }
    }
}

enum State {
    Ready,
    /// In a task of its own, which goes on while apalis does not look.
    Fetching(JoinHandle<Result<Vec<Held>, QueueError>>),
    Waiting(BoxFuture<'static, ()>),
}

pub(super) struct ClaimBackend {
    source: Source,
    state: Mutex<State>,
    claimed: VecDeque<Held>,
    outages: u32,
    closing: Option<BoxFuture<'static, ()>>,
}

impl ClaimBackend {
    pub(super) fn new(source: Source) -> Self {
        Self { source, state: Mutex::new(State::Ready), claimed: VecDeque::new(), outages: 0, closing: None }
    }

    fn fetched(&mut self, result: Result<Vec<Held>, QueueError>) -> State {
        match result {
            Ok(held) => {
                self.outages = 0;
                let empty = held.is_empty();
                self.claimed.extend(held);
                if empty {
                    let due = self.source.due.clone();
                    State::Waiting(Box::pin(async move {
                        let _ = tokio::time::timeout(clock::jitter(IDLE_POLL), due.notified()).await;
                    }))
                } else {
                    State::Ready
                }
            }
            Err(error) => {
                self.outages += 1;
                let delay = retry::delay(
                    self.outages,
                    OUTAGE_BACKOFF_BASE,
                    OUTAGE_BACKOFF_CAP,
                    0.5 + clock::chance() / 2.0,
                );
                tracing::warn!(%error, retry_in_ms = clock::millis(delay), "no jobs can be taken");
                State::Waiting(Box::pin(tokio::time::sleep(delay)))
            }
        }
    }

    fn swap(&mut self, state: State) -> State {
        std::mem::replace(self.state.get_mut().unwrap_or_else(PoisonError::into_inner), state)
    }
}

impl Backend for ClaimBackend {
    type Task = Task<Held>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Held>, Infallible>>> {
        loop {
            if let Some(held) = self.claimed.pop_front() {
                let Claim { job, attempt, .. } = &held.claim;
                let id = TaskId::from_string(format!("{}/{}#{attempt}", job.run, job.tenant));
                return Poll::Ready(Some(Ok(TaskBuilder::new(held).task_id(id).build())));
            }
            match self.state.get_mut().unwrap_or_else(PoisonError::into_inner) {
                State::Ready => {
                    let fetch = tokio::spawn(self.source.clone().fetch());
                    self.swap(State::Fetching(fetch));
                }
                State::Fetching(fetch) => {
                    let result = ready!(fetch.poll_unpin(cx));
                    let next = self.fetched(come_home(result));
                    self.swap(next);
                }
                State::Waiting(wait) => {
                    ready!(wait.poll_unpin(cx));
                    self.swap(State::Ready);
                }
            }
        }
    }

    /// Drain: lets a fetch in flight come home, and gives back what was claimed and not begun.
    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.closing.is_none() {
            let fetch = match self.swap(State::Ready) {
                State::Fetching(fetch) => Some(fetch),
                State::Ready | State::Waiting(_) => None,
            };
            let (source, mut left) = (self.source.clone(), std::mem::take(&mut self.claimed));
            self.closing = Some(Box::pin(async move {
                if let Some(fetch) = fetch {
                    left.extend(come_home(fetch.await).unwrap_or_default());
                }
                source.give_back(left).await;
            }));
        }
        match &mut self.closing {
            Some(closing) => closing.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

fn come_home(fetch: Result<Result<Vec<Held>, QueueError>, JoinError>) -> Result<Vec<Held>, QueueError> {
    fetch.unwrap_or_else(|error| Err(QueueError::Unreachable(error.to_string())))
}

impl BackendConfig for ClaimBackend {
    type Args = Held;
    type Id = String;
    type Kind = Ephemeral; // claims are typed already: no codec, nothing to fail on
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
