//! Looking at many tenants at once from one process, without a run: a stream of the tenants of a selection, so many of
//! them at work, and each result told as it comes. Memory does not grow with the fleet.

use futures::{StreamExt as _, TryStreamExt as _, stream};
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
}

impl Fan<'_> {
    /// Looks at each tenant, and tells each result with the tenant's slug, in no particular order.
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
        let limit = self.selection.limit.map_or(usize::MAX, |limit| limit as usize);
        let pages = stream::try_unfold(None, |after: Option<String>| {
            let ledger = ledger.clone();
            async move {
                let page = ledger.selected_page(self.selection, after.as_deref(), PAGE).await?;
                let last = page.last().map(|(_, slug)| slug.clone());
                Ok::<_, LedgerError>(last.map(|last| (page, Some(last))))
            }
        });
        let tenants = pages
            .map_ok(|page| stream::iter(page.into_iter().map(Ok::<_, LedgerError>)))
            .try_flatten()
            .take(limit);
        let looked = tenants.map_ok(|(id, slug)| {
            let look = &look;
            async move { Ok::<_, LedgerError>((slug, self.at(id, look).await)) }
        });
        let mut results = std::pin::pin!(looked.try_buffer_unordered(self.concurrency));
        while let Some((slug, result)) = results.try_next().await? {
            tell(slug, result);
        }
        Ok(())
    }

    async fn at<T, L>(&self, id: TenantId, look: &impl Fn(Access) -> L) -> Result<T, Failure>
    where
        L: Future<Output = Result<T, Failure>>,
    {
        let access = self.registry.access(self.key, id, self.labels).await;
        look(access.map_err(|error| unloaded(&error.into()))?).await
    }
}
