//! Looking at many tenants at once from one process, without a run: a stream of the tenants of a selection, so many of
//! them at work, and each result told as it comes. Memory does not grow with the fleet.

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tenantry_shared::{
    failure::Failure,
    id::TenantId,
    ledger::{Ledger, LedgerError},
    registry::{Access, Registry},
    run::Selection,
    secret::MasterKey,
};

use crate::consume::unloaded;

/// How many tenants are read from the registry at once.
const PAGE: usize = 500;

/// In which order results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Each as it comes.
    AsTheyCome,
    /// By the tenants' slugs.
    InOrder,
}

/// The tenants of a selection, by their slugs, a page after the other. Whether the names in it are right is for
/// [`Ledger::count_selected`] to say before.
pub fn tenants<'a>(
    ledger: &'a Ledger,
    selection: &'a Selection,
) -> impl Stream<Item = Result<(TenantId, String), LedgerError>> + 'a {
    let limit = selection.limit.map_or(usize::MAX, |limit| limit as usize);
    let pages = stream::try_unfold(None, move |after: Option<String>| async move {
        let page = ledger.selected_page(selection, after.as_deref(), PAGE).await?;
        let last = page.last().map(|(_, slug)| slug.clone());
        Ok::<_, LedgerError>(last.map(|last| (page, Some(last))))
    });
    pages.map_ok(|page| stream::iter(page.into_iter().map(Ok::<_, LedgerError>))).try_flatten().take(limit)
}

/// Works at each tenant of a selection, so many at once, and tells each result.
///
/// # Errors
/// The first error of the work, or that the registry cannot be reached. What is at work then is dropped.
pub async fn each<T, E, W>(
    ledger: &Ledger,
    selection: &Selection,
    concurrency: usize,
    told: Told,
    work: impl Fn(TenantId, String) -> W,
    mut tell: impl FnMut(T),
) -> Result<(), E>
where
    E: From<LedgerError>,
    W: Future<Output = Result<T, E>>,
{
    let at_work = tenants(ledger, selection).map_err(E::from).map_ok(|(id, slug)| work(id, slug));
    let slots = concurrency.max(1);
    let results = match told {
        Told::AsTheyCome => at_work.try_buffer_unordered(slots).left_stream(),
        Told::InOrder => at_work.try_buffered(slots).right_stream(),
    };
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.try_next().await? {
        tell(result);
    }
    Ok(())
}

/// The tenants to look at, and what it takes to reach them.
pub struct Fan<'a> {
    /// Where they are.
    pub registry: &'a Registry,
    /// What opens their URLs.
    pub key: &'a MasterKey,
    /// Which ones.
    pub selection: &'a Selection,
    /// Whether their labels are needed.
    pub labels: bool,
    /// How many at once.
    pub concurrency: usize,
    /// In which order results are told.
    pub told: Told,
}

impl Fan<'_> {
    /// Looks at each tenant, and tells each result with the tenant's slug.
    ///
    /// # Errors
    /// When the registry cannot be reached. A tenant that cannot be reached is a result.
    pub async fn each<T, L>(
        &self,
        look: impl Fn(Access) -> L,
        mut tell: impl FnMut(String, Result<T, Failure>),
    ) -> Result<(), LedgerError>
    where
        L: Future<Output = Result<T, Failure>>,
    {
        let ledger = Ledger::new(self.registry.store().clone());
        let look = &look;
        let work = |id, slug| async move { Ok((slug, self.at(id, look).await)) };
        each(&ledger, self.selection, self.concurrency, self.told, work, |(slug, result)| tell(slug, result))
            .await
    }

    async fn at<T, L>(&self, id: TenantId, look: &impl Fn(Access) -> L) -> Result<T, Failure>
    where
        L: Future<Output = Result<T, Failure>>,
    {
        let access = self.registry.access(self.key, id, self.labels).await;
        look(access.map_err(|error| unloaded(&error.into()))?).await
    }
}
