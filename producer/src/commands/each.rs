//! Looking into each tenant of a selection from this process, a few at once and in the order of their ids. Memory does
//! not grow with the selection.

use std::sync::Arc;

use tenantry_shared::{
    failure::Failure, fault::Fault, ledger::LedgerError, registry::Access, run::Selection,
};
use tenantry_worker::{
    fan::{Fan, Told},
    orders::Order,
};

use crate::app::App;

/// Does `work` in each selected tenant and gives what came of it to `tell`, one tenant after the other.
pub(crate) async fn each<T, F>(
    app: &App,
    selection: &Selection,
    order: &Arc<Order>,
    work: impl Fn(Arc<Order>, Access) -> F,
    tell: impl FnMut(String, Result<T, Failure>),
) -> Result<(), Fault>
where
    F: Future<Output = Result<T, Failure>>,
{
    if app.ledger.count_selected(selection).await? == 0 {
        return Err(LedgerError::NothingSelected.into());
    }
    let key = app.key().await?;
    let fan = Fan {
        registry: &app.registry,
        key: &key,
        selection,
        labels: order.bundle.asks_for_labels(),
        concurrency: app.config.worker.concurrency,
        told: Told::InOrder,
    };
    Ok(fan.each(|access| work(Arc::clone(order), access), tell).await?)
}
