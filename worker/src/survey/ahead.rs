//! A look ahead: the survey of a run that is not written yet. Who asks for a run and works it himself need not write targets down
//! to end them at once.
//!
//! It reads only whom the registry takes for current, claims nothing and writes nothing: what it finds is written with the run. It
//! ends after a while, and at the first page of which less than half is current; the run's own survey goes on with the others.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tenantry_shared::{
    bundle::Bundle,
    clock::Stopwatch,
    id::TenantId,
    ledger::{Ahead, Ledger, LedgerError},
    registry::{Registry, Sealed},
    run::RunSpec,
    secret::MasterKey,
};

use super::{
    FEWEST,
    judge::can_tell,
    reader::{Reader, Reading},
};
use crate::orders::Order;

/// So many tenants are read together, and so many of them first: connections are opened by then.
const PAGE: usize = 500;
const FIRST: usize = 64;

/// So many pages are read at once.
const AT_ONCE: usize = 4;

/// How long nobody else hears of a run because of it: no page is begun after this, and a page that is read is cut short.
const LIMIT: Duration = Duration::from_secs(2);

/// What is looked ahead with.
pub struct Lookout<'a> {
    /// Where tenants are.
    pub registry: &'a Registry,
    /// Where the run will be.
    pub ledger: &'a Ledger,
    /// What opens tenants' URLs.
    pub key: MasterKey,
    /// How many tenants are worked at once.
    pub concurrency: usize,
    /// How many are selected.
    pub tenants: u64,
}

/// Who of a run's tenants is up to date. Of the bundle, the run's sets are chosen already. None where that is not worth a look,
/// or cannot be told.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn ahead(
    lookout: Lookout<'_>,
    spec: &RunSpec,
    bundle: Bundle,
) -> Result<Option<Ahead>, LedgerError> {
    let Lookout { ledger, key, concurrency, tenants, .. } = lookout;
    let order = Order {
        bundle: Arc::new(bundle),
        target: spec.target.clone(),
        policy: spec.policy.clone(),
        action: spec.action.kind.clone(),
    };
    if tenants < FEWEST || !can_tell(&order) {
        return Ok(None);
    }
    let Some(mut ahead) = ledger.look_ahead(spec, tenants).await? else { return Ok(None) };
    let labels = order.bundle.asks_for_labels();
    let reader = Arc::new(Reader::new(Arc::new(order), Arc::new(key), concurrency, tenants));
    let look = Look { registry: lookout.registry, ledger, spec, labels, reader: reader.clone() };
    ahead.found = look.found().await?;
    tokio::spawn(async move { reader.close().await });
    Ok(Some(ahead))
}

struct Look<'a> {
    registry: &'a Registry,
    ledger: &'a Ledger,
    spec: &'a RunSpec,
    /// Whether the run's migrations ask for tenants' labels.
    labels: bool,
    reader: Arc<Reader>,
}

impl Look<'_> {
    /// From the newest tenant to the oldest. While a page is read the next ones are fetched and begun.
    async fn found(&self) -> Result<Vec<TenantId>, LedgerError> {
        let (begun, mut found, mut pages) = (Stopwatch::start(), Vec::new(), VecDeque::new());
        let (mut next, mut limit) = (self.page(None, FIRST).await?, FIRST);
        loop {
            while !next.is_empty() && pages.len() < AT_ONCE {
                let (last, seen) = (next.last().map(Sealed::id), next.len());
                pages.push_back((seen, self.reader.begin(next, usize::MAX)));
                next = if seen == limit { self.page(last, PAGE).await? } else { Vec::new() };
                limit = PAGE;
            }
            let Some((seen, reading)) = pages.pop_front() else { return Ok(found) };
            let current = self.read(reading, &begun).await;
            let is_fruitful = current.len() * 2 >= seen;
            found.extend(current);
            if !is_fruitful || begun.elapsed() >= LIMIT {
                self.reader.stop();
                next = Vec::new();
            }
        }
    }

    async fn page(&self, before: Option<TenantId>, limit: usize) -> Result<Vec<Sealed>, LedgerError> {
        self.ledger.ahead_page(self.registry, self.spec, before, limit, self.labels).await
    }

    /// Those of a page that are at the run's version.
    async fn read(&self, reading: Reading, begun: &Stopwatch) -> Vec<TenantId> {
        let ended = reading.ended();
        tokio::pin!(ended);
        let current = tokio::select! {
            current = &mut ended => current,
            () = tokio::time::sleep(LIMIT.saturating_sub(begun.elapsed())) => {
                self.reader.stop();
                ended.await
            }
        };
        let is_target = |version: Option<_>| version.as_ref() == Some(&self.spec.target);
        current.into_iter().filter_map(|(id, version)| is_target(version).then_some(id)).collect()
    }
}
