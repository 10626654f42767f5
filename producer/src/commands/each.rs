//! Looking into each tenant of a selection from this process, a few at once and in the order of their ids.

use std::sync::Arc;

use tenantry_shared::{
    failure::{Class, Failure},
    fault::Fault,
    id::TenantId,
    registry::{Access, Registry},
    run::Selection,
    secret::MasterKey,
};
use tenantry_worker::orders::Order;
use tokio::task::JoinSet;

use crate::app::App;

/// Does `work` in each selected tenant and gives what came of it to `tell`, one tenant after the other.
pub(crate) async fn each<T, W, F>(
    app: &App,
    selection: &Selection,
    order: &Arc<Order>,
    work: W,
    mut tell: impl FnMut(String, Result<T, Failure>),
) -> Result<(), Fault>
where
    T: Send + 'static,
    W: Fn(Arc<Order>, Access) -> F + Clone + Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let tenants = app.ledger.selected(selection).await?;
    let key = Arc::new(app.key().await?);
    for some in tenants.chunks(app.config.worker.concurrency.max(1)) {
        let mut tasks = JoinSet::new();
        for (at, (id, _)) in some.iter().enumerate() {
            let (registry, key, id) = (app.registry.clone(), Arc::clone(&key), *id);
            let (order, work) = (Arc::clone(order), work.clone());
            tasks.spawn(async move { (at, one(&registry, &key, id, order, work).await) });
        }
        let mut done = tasks.join_all().await;
        done.sort_by_key(|(at, _)| *at);
        for (at, result) in done {
            tell(some[at].1.to_string(), result);
        }
    }
    Ok(())
}

async fn one<T, F: Future<Output = Result<T, Failure>>>(
    registry: &Registry,
    key: &MasterKey,
    id: TenantId,
    order: Arc<Order>,
    work: impl Fn(Arc<Order>, Access) -> F,
) -> Result<T, Failure> {
    let access = registry.access(key, id, order.bundle.asks_for_labels()).await;
    let access = access.map_err(|error| Failure::new(Class::Permanent, "registry", error.to_string()))?;
    work(order, access).await
}
