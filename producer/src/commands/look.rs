//! Looking at a fleet without a run: what a run would do, in the central database where it would begin with that, and then
//! in each selected tenant, so many at once. Nothing is written to the registry.

use std::sync::Arc;

use tenantry_shared::{
    bundle::Scope,
    exit::Exit,
    failure::Failure,
    fault::Fault,
    registry::{Access, CENTRAL},
    secret::MasterKey,
    tenant::Labels,
};
use tenantry_worker::{
    fan::{Fan, Told},
    orders::Order,
};

use super::{enqueue::Draft, work};
use crate::{
    app::App,
    cli::{How, NoTenants, SelectionArgs},
    output::Output,
};

/// What a run would be asked for, and of how many tenants.
pub(super) struct Look<'a> {
    app: &'a App,
    key: MasterKey,
    pub(super) draft: Draft,
    pub(super) tenants: u64,
}

/// What is found in one database.
type Found<T> = Result<T, Failure>;

impl<'a> Look<'a> {
    /// What the flags ask for. Nobody is connected to yet; `no_tenants` says whether nobody may be selected.
    pub(super) async fn new(
        app: &'a App,
        selection: SelectionArgs,
        how: &How,
        no_tenants: NoTenants,
        output: &Output,
    ) -> Result<Self, Fault> {
        let draft = Draft::of(app, selection, how).await?;
        let key = app.config.master_key()?;
        app.registry.expect_key(&key).await?;
        let tenants = counted(&draft, app, no_tenants, output).await?;
        Ok(Self { app, key, draft, tenants })
    }

    /// Gives what `look` finds in each tenant to `tell`, as it comes; and what it found in the central database, if a run
    /// would begin with that, at the end.
    pub(super) async fn at_all<T>(
        self,
        concurrency: Option<u16>,
        output: &Output,
        look: impl AsyncFn(&Order, &Access) -> Found<T>,
        mut tell: impl FnMut(String, Found<T>),
    ) -> Result<(Order, Option<Found<T>>), Fault> {
        let central = self.central().await?;
        let Self { app, key, draft, tenants } = self;
        let Draft { bundle, target, policy, kind: action, selection, .. } = draft;
        let order = Order { bundle: Arc::new(bundle), target, policy, action };
        let central = match central {
            Some(access) => Some(look(&order, &access).await),
            None => None,
        };
        let fan = Fan {
            registry: &app.registry,
            key: &key,
            selection: &selection,
            labels: order.bundle.asks_for_labels(),
            concurrency: work::slots(app, concurrency),
            told: Told::AsTheyCome,
        };
        let (look, order_of_all) = (&look, &order);
        let mut tally = output.tally(tenants);
        let looked = fan.each(
            |access| async move { look(order_of_all, &access).await },
            |tenant, found| {
                tell(tenant, found);
                tally.step();
            },
        );
        looked.await?;
        tally.finish();
        Ok((order, central))
    }

    /// The central database, where a run begins with it. As it is configured: the registry may not know it yet, and is not
    /// told.
    async fn central(&self) -> Result<Option<Access>, Fault> {
        let Self { app, key, draft, .. } = self;
        if let Some((url, place)) = draft.central.clone() {
            let slug = CENTRAL.parse().map_err(|_| Fault::new(Exit::Error, "no name"))?;
            return Ok(Some(Access { slug, place, url, labels: Labels::new(), scope: Scope::Central }));
        }
        if !draft.bundle.has_central() {
            return Ok(None);
        }
        let row = app.registry.central().await?;
        let row = row.ok_or_else(|| Fault::new(Exit::Config, "there is no central database"))?;
        Ok(Some(app.registry.access(key, row.id, false).await?))
    }
}

/// How many tenants are selected; none is fine where that was said.
async fn counted(draft: &Draft, app: &App, no_tenants: NoTenants, output: &Output) -> Result<u64, Fault> {
    match draft.announced(app, output).await {
        Err(fault) if fault.exit == Exit::NothingSelected && no_tenants != NoTenants::Fail => {
            if no_tenants == NoTenants::Warn {
                output.note(&format!("{fault}, nothing to do"));
            }
            Ok(0)
        }
        counted => counted,
    }
}
