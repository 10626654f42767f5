//! A look now and then at an attempt that takes long: what it does, what it waits for, and who holds that.
//!
//! It runs beside the attempt in the same task, and ends with it. It never holds an attempt up: it shares nothing with
//! it but [`Doing`], every look has a time limit, and a look that fails is left out. What begins quickly and ends quickly is
//! not looked at, so a fleet that has nothing to wait for costs no connection and no write.

use std::{convert::Infallible, future::pending, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tenantry_shared::{clock::Stopwatch, job::Claim, ledger::Seen, place::Engine, registry::Access};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    consume::House,
    engine::{Doing, Limits, Now, Wait, waited_for},
    keep,
};

/// What has not lasted so long is not looked at.
const QUIET: Duration = Duration::from_secs(2);

/// How long it is until the next look: longer with every look that tells nothing new.
const SOONEST: Duration = Duration::from_secs(3);
const LATEST: Duration = Duration::from_secs(12);

/// How long a server is left alone that did not answer: it may have no connection left.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// How many connections of a worker look at the same time.
const LOOKS: usize = 2;

/// The time limit of a look, and of what it is made of.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    lock: Duration::from_secs(1),
    statement: Some(Duration::from_secs(2)),
};

/// What bounds the looks of one worker.
#[must_use]
pub fn looks() -> Semaphore {
    Semaphore::new(LOOKS)
}

/// Watches one attempt until this is dropped. It never ends by itself.
pub async fn watch(house: &House, claim: &Claim, access: &Access, doing: &Doing) -> Infallible {
    let watcher = Watcher { house, claim, access, doing, told: None, waits: None };
    if let Err(panic) = AssertUnwindSafe(watcher.go_on()).catch_unwind().await {
        tracing::error!(
            error = keep::message(panic.as_ref()),
            "a watch panicked; its attempt goes on without one"
        );
    }
    pending().await
}

struct Watcher<'a> {
    house: &'a House,
    claim: &'a Claim,
    access: &'a Access,
    doing: &'a Doing,
    /// What the ledger has of it, and the moment and the wait that it was made of.
    told: Option<Told>,
    /// What it waits for, and since when that is known.
    waits: Option<(Wait, Stopwatch)>,
}

#[derive(PartialEq, Eq)]
struct Told {
    moment: u64,
    wait: Option<String>,
}

impl Watcher<'_> {
    async fn go_on(mut self) {
        let (mut pause, mut next) = (QUIET, SOONEST);
        loop {
            sleep(pause).await;
            let now = self.doing.now();
            let lasted = now.since.elapsed();
            if lasted < QUIET {
                if !Box::pin(self.forget()).await {
                    return;
                }
                (pause, next) = (QUIET - lasted, SOONEST);
                continue;
            }
            // Seldom needed, and large: the others are begun without it.
            let answered = Box::pin(self.look(&now)).await;
            match Box::pin(self.tell(&now)).await {
                Some(true) => next = SOONEST,
                Some(false) => next = (next * 2).min(LATEST),
                None => return,
            }
            pause = if answered { next } else { LEFT_ALONE };
        }
    }

    /// Asks what it waits for. `false`: there was no answer, and what was known may be so no more.
    async fn look(&mut self, now: &Now) -> bool {
        let look = async {
            // The semaphore is never closed.
            let _one_of_few = match self.access.place.engine {
                Engine::Sqlite => None,
                _ => self.house.looks.acquire().await.ok(),
            };
            timeout(LOOK_LIMIT, waited_for(self.access, LIMITS, now)).await
        };
        let found = look.await;
        let wait = match &found {
            Ok(Ok(wait)) => wait.clone(),
            Ok(Err(error)) => {
                tracing::debug!(tenant.id = %self.claim.job.tenant, code = %error.code, "it is not known what the attempt waits for");
                None
            }
            Err(_) => None,
        };
        let since = match (&self.waits, &wait) {
            (Some((before, since)), Some(wait)) if before.same == wait.same => *since,
            _ => Stopwatch::start(),
        };
        self.waits = wait.map(|wait| (wait, since));
        matches!(found, Ok(Ok(_)))
    }

    /// Writes what was seen, where it is new and still so. Whether it was new; none: the attempt is over.
    async fn tell(&mut self, now: &Now) -> Option<bool> {
        let wait = self.waits.as_ref().map(|(wait, _)| wait);
        let told = Told { moment: now.moment, wait: wait.map(|wait| wait.same.clone()) };
        if self.doing.now().moment != now.moment || self.told.as_ref() == Some(&told) {
            return Some(false);
        }
        let table = wait.and_then(|wait| wait.table.as_deref());
        let seen = Seen {
            migration: now.migration.clone(),
            statement: now.statement(self.access.place.engine, table),
            waits_for: wait.map(|wait| wait.text.clone()),
        };
        let waited = self.waits.as_ref().map(|(_, since)| since.elapsed());
        let written = self.house.ledger.sight(self.claim, Some(&seen), now.since.elapsed(), waited).await;
        match written {
            Ok(true) => self.told = Some(told),
            Ok(false) => return None,
            Err(error) => tracing::debug!(%error, "what an attempt does was not written"),
        }
        Some(true)
    }

    /// What was told is so no more, and what is done now is quick. `false`: the attempt is over.
    async fn forget(&mut self) -> bool {
        self.waits = None;
        if self.told.is_none() {
            return true;
        }
        match self.house.ledger.sight(self.claim, None, Duration::ZERO, None).await {
            Ok(ours) => {
                self.told = None;
                ours
            }
            Err(error) => {
                tracing::debug!(%error, "what an attempt did was not taken away");
                true
            }
        }
    }
}
