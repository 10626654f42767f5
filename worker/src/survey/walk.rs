//! The way of one survey through the pages of a run: what is read of it, what is written down, and when it ends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tenantry_shared::{
    clock::Stopwatch,
    id::TenantId,
    ledger::{Found, LedgerError, Page, Survey},
    registry::Sealed,
};
use tokio::task::JoinHandle;

use super::{
    HOLD, Surveys,
    reader::{self, Current, Reader},
};
use crate::consume::House;

/// So many tenants are read first: the newest ones are often new.
const FIRST: usize = 16;

/// So many tenants are read, and written down, together.
const PAGE: usize = 500;

/// So many pages are read at once: the connections that have ended one go on with the next.
const AT_ONCE: usize = 2;

/// How often the hold is renewed.
const RENEW: Duration = Duration::from_millis(500);

/// How long claims are held back in all where others of the run wait to be begun.
const HELD_AT_MOST: Duration = Duration::from_secs(2);

/// Some targets with what is needed to reach them.
struct Sheet {
    page: Page,
    tenants: Vec<Sealed>,
    /// Whether more may follow.
    is_full: bool,
}

/// A page whose tenants are being read.
struct Reading {
    page: Page,
    reading: reader::Reading,
}

/// The way of one survey through a run.
pub(super) struct Walk<'a> {
    pub(super) surveys: &'a Surveys,
    pub(super) survey: Survey,
    /// Whether the run's migrations ask for tenants' labels.
    pub(super) labels: bool,
    pub(super) reader: Arc<Reader>,
}

impl Walk<'_> {
    /// What the registry takes for current is read at once, and of others two of the newest first: nobody claims those soon.
    pub(super) async fn walk(&self) -> Result<(), LedgerError> {
        let newest = self.sheet(None, FIRST).await?;
        if !self.survey.is_held {
            if !self.is_any_current(&newest).await? {
                return Ok(());
            }
            self.surveys.hold(self.survey).await?;
        }
        self.rest(newest).await
    }

    /// Whether one of two tenants was current before anybody claimed it.
    async fn is_any_current(&self, sheet: &Sheet) -> Result<bool, LedgerError> {
        let (first, last) = (sheet.tenants.first(), sheet.tenants.last());
        let two = first.into_iter().chain(last).cloned().collect();
        let current = self.reader.begin(two, 1).ended().await;
        Ok(self.write(sheet.page.clone(), current).ended().await? > 0)
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
                    sheet = Some(self.sheet(Some(last), PAGE).await?);
                }
            }
            let Some(Reading { page, reading }) = pages.pop_front() else { break };
            let current = reading.ended().await;
            let (found, seen) = (current.len(), page.tenants.len());
            writing.ended().await?;
            writing = self.write(page, current);
            let is_fruitful = found * 2 >= seen || seen <= FIRST;
            if !is_fruitful || *self.surveys.stop.borrow() {
                break;
            }
            hold.renew(self, found * 10 >= seen * 9).await?;
        }
        writing.ended().await.map(|_| ())
    }

    fn read(&self, Sheet { page, tenants, .. }: Sheet) -> Reading {
        Reading { page, reading: self.reader.begin(tenants, usize::MAX) }
    }

    async fn sheet(&self, before: Option<TenantId>, limit: usize) -> Result<Sheet, LedgerError> {
        let House { registry, ledger, .. } = &*self.surveys.house;
        let page = ledger.survey_page(self.survey, before, limit).await?;
        let tenants = registry.sealed(&page.tenants, self.labels).await?;
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
    /// How many were written down.
    async fn ended(&mut self) -> Result<u64, LedgerError> {
        match self.0.take() {
            // A panic is told of by the runtime; what was not written down is left to the attempts.
            Some(writing) => writing.await.unwrap_or(Ok(0)),
            None => Ok(0),
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
