//! Surveys: before the tenants of a run are claimed one by one, their histories are read together, and those that are at
//! the run's version are written down as current in bulk.
//!
//! Reading harms nobody, so a survey claims and locks nothing, and what it does not prove it leaves as it was: the ordinary
//! attempt finds out why. Nothing is remembered from one survey to the next. Where the registry takes most tenants for current,
//! and while a survey is fruitful, the run's claims are held back. Else two tenants are read beside the claims, and where
//! neither is current that was the survey. It ends at the first page of which less than half was current, and a hung server
//! costs a read's limit.

mod ahead;
mod judge;
mod reader;
mod walk;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tenantry_shared::{
    clock::Stopwatch,
    ledger::{LedgerError, Survey},
    queue::Queue,
};
use tokio::sync::watch;

pub use self::ahead::{Lookout, ahead};
use self::{judge::can_tell, reader::Reader, walk::Walk};
use crate::{conductor, consume::House};

/// Fewer tenants are done sooner without.
const FEWEST: u64 = 16;

/// How long claims are held back without a sign of success.
const HOLD: Duration = Duration::from_secs(2);

/// How long a worker that has nothing else waits for claims that are held back before it looks for other jobs.
const PATIENCE: Duration = Duration::from_millis(200);

/// A worker that is busy does not look more often for a run to be surveyed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long connections outlive their survey: to end a session keeps its server busy, and what follows a survey goes first.
const LINGER: Duration = Duration::from_millis(50);

/// The surveys of one process: one at a time.
pub(crate) struct Surveys {
    house: Arc<House>,
    queue: Queue,
    concurrency: usize,
    stop: watch::Receiver<bool>,
    /// When it was last looked for one.
    looked: Mutex<Option<Stopwatch>>,
    stage: watch::Sender<Stage>,
    /// What has read, and has connections yet.
    left: Mutex<Vec<Arc<Reader>>>,
}

/// What a process surveys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    /// A run whose claims go on.
    Open,
    /// A run whose claims are held back.
    Held,
}

impl Surveys {
    pub(crate) fn new(
        house: Arc<House>,
        queue: Queue,
        concurrency: usize,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let (stage, looked, left) = (watch::Sender::new(Stage::Nothing), Mutex::default(), Mutex::default());
        Arc::new(Self { house, queue, concurrency, stop, looked, stage, left })
    }

    /// Begins a survey where a run wants one. A worker that is idle waits a moment while claims are held back.
    pub(crate) async fn look(self: Arc<Self>, idle: bool) {
        if *self.stage.borrow() == Stage::Nothing {
            if *self.stop.borrow() || !self.is_time() {
                return;
            }
            match self.house.ledger.begin_survey(FEWEST, HOLD).await {
                Ok(None) => return,
                Ok(Some(survey)) => {
                    self.stage.send_replace(if survey.is_held { Stage::Held } else { Stage::Open });
                    tokio::spawn(self.clone().conduct(survey));
                }
                Err(error) => return tracing::debug!(%error, "no survey was begun"),
            }
        }
        if idle {
            let mut stage = self.stage.subscribe();
            let _ = tokio::time::timeout(PATIENCE, stage.wait_for(|stage| *stage != Stage::Held)).await;
        }
    }

    /// Whether it was not looked just now. It is so from now on.
    fn is_time(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.as_ref().is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if is_time {
            *looked = Some(Stopwatch::start());
        }
        is_time
    }

    /// Returns when no survey goes on.
    pub(crate) async fn over(&self) {
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Nothing).await; // the sender is ours
    }

    /// Ends the connections of surveys that are over.
    pub(crate) async fn close(&self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in left {
            reader.close().await;
        }
    }

    async fn conduct(self: Arc<Self>, survey: Survey) {
        let _off = Off(self.clone());
        if let Err(error) = self.survey(survey).await {
            tracing::debug!(%error, run.id = %survey.run, "a survey was given up");
        }
        let ended = async {
            self.let_go(survey).await?;
            // A run of which all is current has ended, and need not wait for the conductor.
            conductor::close(&self.house.ledger, &self.house.pulse).await
        };
        if let Err(error) = ended.await {
            tracing::debug!(%error, run.id = %survey.run, "the hold of a survey ends by itself");
        }
        let surveys = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            surveys.close().await;
        });
    }

    async fn survey(&self, survey: Survey) -> Result<(), LedgerError> {
        let House { registry, ledger, orders, key, .. } = &*self.house;
        let order = orders.get(registry, ledger, survey.run).await?;
        if !can_tell(&order) {
            return Ok(());
        }
        let labels = order.bundle.asks_for_labels();
        let reader = Arc::new(Reader::new(order, key.clone(), self.concurrency, survey.tenants));
        let walked = Walk { surveys: self, survey, labels, reader: reader.clone() }.walk().await;
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        walked
    }

    /// Lets the run's claims go on, where they are held back.
    async fn let_go(&self, survey: Survey) -> Result<(), LedgerError> {
        if *self.stage.borrow() != Stage::Held {
            return Ok(());
        }
        self.house.ledger.end_survey(survey, matches!(self.queue, Queue::Redis(_))).await?;
        self.stage.send_replace(Stage::Open);
        self.house.pulse.due().notify_one();
        Ok(())
    }

    /// Holds the run's claims back.
    async fn hold(&self, survey: Survey) -> Result<(), LedgerError> {
        self.house.ledger.hold_survey(survey, HOLD).await?;
        self.stage.send_replace(Stage::Held);
        Ok(())
    }
}

/// Says that no survey goes on, however it ended.
struct Off(Arc<Surveys>);

impl Drop for Off {
    fn drop(&mut self) {
        self.0.stage.send_replace(Stage::Nothing);
    }
}
