//! Surveys: before the tenants of a run are claimed one by one, their histories are read together, and those that are at
//! the run's version are written down as current in bulk.
//!
//! Reading harms nobody, so a survey claims and locks nothing, and what it does not prove it leaves as it was: the ordinary
//! attempt finds out why. Nothing is remembered from one survey to the next. Where the registry takes most tenants for current,
//! and while a survey is fruitful, the run's claims are held back. Else a tenant of each end is read beside the claims, and
//! where neither is current that was the survey. It ends at the first page of which less than half was current, and a hung
//! server costs a read's limit.

mod judge;
mod reader;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tenantry_shared::{
    clock::Stopwatch,
    id::TenantId,
    ledger::{End, Found, LedgerError, Page, Survey},
    queue::Queue,
    registry::Located,
};
use tokio::{sync::watch, task::JoinHandle};

use self::{
    judge::can_tell,
    reader::{Current, Reader},
};
use crate::{conductor, consume::House};

/// Fewer tenants are done sooner without.
const FEWEST: u64 = 16;

/// By so many tenants of each end of a run it is judged what the registry knows of them.
const SAMPLE: usize = 16;

/// So many tenants are read, and written down, together.
const PAGE: usize = 500;

/// So many pages are read at once: the connections that have ended one go on with the next.
const AT_ONCE: usize = 2;

/// How long claims are held back without a sign of success.
const HOLD: Duration = Duration::from_secs(2);

/// How often the hold is renewed.
const RENEW: Duration = Duration::from_millis(500);

/// How long claims are held back in all where others of the run wait to be begun.
const HELD_AT_MOST: Duration = Duration::from_secs(2);

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
                    self.stage.send_replace(Stage::Held);
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
        let House { registry, ledger, orders, .. } = &*self.house;
        let order = orders.get(registry, ledger, survey.run).await?;
        if !can_tell(&order) {
            return Ok(());
        }
        let labels = order.bundle.asks_for_labels();
        let reader = Arc::new(Reader::new(order, self.concurrency, survey.tenants));
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(reader.clone());
        Walk { surveys: self, survey, labels, reader }.walk().await
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

/// Some targets with what is needed to reach them.
struct Sheet {
    page: Page,
    tenants: Vec<Located>,
    /// Whether more may follow.
    is_full: bool,
}

/// A page whose tenants are being read.
struct Reading {
    page: Page,
    reading: reader::Reading,
}

/// The way of one survey through a run.
struct Walk<'a> {
    surveys: &'a Surveys,
    survey: Survey,
    labels: bool,
    reader: Arc<Reader>,
}

impl Walk<'_> {
    /// What the registry takes for current is read at once, and of others one of each end first.
    async fn walk(&self) -> Result<(), LedgerError> {
        let (first, last) =
            tokio::try_join!(self.sheet(End::First, SAMPLE), self.sheet(End::Last(None), SAMPLE))?;
        if !self.seems_current(&first, &last) {
            self.surveys.let_go(self.survey).await?;
            if !self.is_any_current([&first, &last]).await {
                return Ok(());
            }
            self.surveys.hold(self.survey).await?;
        }
        self.rest(last).await
    }

    /// Whether the registry has seen most of some tenants at the run's version when it last heard of them.
    fn seems_current(&self, first: &Sheet, last: &Sheet) -> bool {
        let all = || first.tenants.iter().chain(&last.tenants);
        let known = all().filter(|tenant| tenant.version.as_ref() == Some(self.reader.target()));
        known.count() * 2 > all().count()
    }

    async fn is_any_current(&self, sheets: [&Sheet; 2]) -> bool {
        let each = sheets.into_iter().filter_map(|sheet| sheet.tenants.first().cloned());
        !self.reader.begin(each.collect(), 1).ended().await.is_empty()
    }

    /// From the newest tenant to the oldest. While a page is read from the tenants, the one before it is written down, and
    /// the one after it is fetched and begun.
    async fn rest(&self, first: Sheet) -> Result<(), LedgerError> {
        let (mut hold, mut writing) = (Hold::new(), Writing::default());
        let (mut sheet, mut pages) = (Some(first), VecDeque::new());
        loop {
            while let Some(next) = sheet.take_if(|_| pages.len() < AT_ONCE) {
                let last = next.page.tenants.last().filter(|_| next.is_full).copied();
                pages.push_back(self.read(next));
                if let Some(last) = last {
                    sheet = Some(self.sheet(End::Last(Some(last)), PAGE).await?);
                }
            }
            let Some(Reading { page, reading }) = pages.pop_front() else { break };
            let current = reading.ended().await;
            let (found, seen) = (current.len(), page.tenants.len());
            writing.ended().await?;
            writing = self.write(page, current);
            if found * 2 < seen || *self.surveys.stop.borrow() {
                break;
            }
            hold.renew(self, found * 10 >= seen * 9).await?;
        }
        writing.ended().await
    }

    fn read(&self, Sheet { page, tenants, .. }: Sheet) -> Reading {
        Reading { page, reading: self.reader.begin(tenants, usize::MAX) }
    }

    async fn sheet(&self, end: End, limit: usize) -> Result<Sheet, LedgerError> {
        let House { registry, ledger, key, .. } = &*self.surveys.house;
        let page = ledger.survey_page(self.survey, end, limit).await?;
        let tenants = registry.accesses(key, &page.tenants, self.labels).await?;
        Ok(Sheet { is_full: page.tenants.len() == limit, page, tenants })
    }

    fn write(&self, page: Page, current: Vec<Current>) -> Writing {
        let mut by_version = BTreeMap::<_, Vec<TenantId>>::new();
        for (tenant, version) in current {
            by_version.entry(version).or_default().push(tenant);
        }
        let found = |(version, tenants)| Found { version, tenants };
        let found: Vec<Found> = by_version.into_iter().map(found).collect();
        let (house, survey) = (self.surveys.house.clone(), self.survey);
        Writing((!found.is_empty()).then(|| {
            tokio::spawn(async move {
                house.ledger.found_current(survey, &page, &found, house.recorder.owner()).await
            })
        }))
    }
}

/// What is being written down beside the reading.
#[derive(Default)]
struct Writing(Option<JoinHandle<Result<u64, LedgerError>>>);

impl Writing {
    async fn ended(&mut self) -> Result<(), LedgerError> {
        match self.0.take() {
            // A panic is told of by the runtime; what was not written down is left to the attempts.
            Some(writing) => writing.await.unwrap_or(Ok(0)).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// How long the run's claims are held back.
struct Hold {
    begun: Stopwatch,
    renewed: Stopwatch,
    ended: bool,
}

impl Hold {
    fn new() -> Self {
        Self { begun: Stopwatch::start(), renewed: Stopwatch::start(), ended: false }
    }

    /// Goes on while nearly all is current, and else until others have waited long enough.
    async fn renew(&mut self, walk: &Walk<'_>, nearly_all: bool) -> Result<(), LedgerError> {
        if self.ended || self.renewed.elapsed() < RENEW {
            return Ok(());
        }
        self.renewed = Stopwatch::start();
        self.ended = !nearly_all && self.begun.elapsed() >= HELD_AT_MOST;
        let hold = if self.ended { Duration::ZERO } else { HOLD };
        walk.surveys.house.ledger.hold_survey(walk.survey, hold).await
    }
}

/// Says that no survey goes on, however it ended.
struct Off(Arc<Surveys>);

impl Drop for Off {
    fn drop(&mut self) {
        self.0.stage.send_replace(Stage::Nothing);
    }
}
