//! `plan`, and `--dry-run` of others: what a run would do to whom. The same path with execution off: nothing is
//! written, in no tenant and not in the registry.

use std::{collections::BTreeMap, sync::Arc};

use tenantry_shared::{
    bundle::Scope,
    config::environment,
    exit::Exit,
    failure::Failure,
    fault::Fault,
    ledger::Held,
    registry::{Access, CENTRAL},
    run::Pick,
    secret::MasterKey,
    tenant::Labels,
};
use tenantry_worker::{
    fan::{Fan, Told},
    orders::Order,
    preview::{Step, preview},
};

use super::{
    dedicated::{self, One},
    enqueue::Draft,
    selection,
};
use crate::{
    app::{self, App},
    cli::{Global, NoTenants, PlanArgs},
    output::{Group, Known, Output, PlanView, Would},
};

pub(crate) async fn run(global: &Global, args: PlanArgs, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    let (sql, exit_code) = (args.sql, args.exit_code);
    let view = if selection::is_given(&args.selection) {
        fleet(&App::with(config).await?, args, output).await?
    } else {
        let one = dedicated::one(&config, &args.dedicated, &args.how, &environment)?;
        output.ignored(&one.order.bundle);
        of_one(one).await
    };
    let view = PlanView { sql, exit_code, ..view };
    output.plan(&view);
    Ok(view.exit())
}

/// One dedicated database.
async fn of_one(One { name, order, access }: One) -> PlanView {
    let mut groups = Groups::default();
    groups.add(name, preview(&order, &access).await, true);
    groups.view(&order, None, None)
}

async fn fleet(app: &App, args: PlanArgs, output: &Output) -> Result<PlanView, Fault> {
    let mut draft = Draft::of(app, args.selection, &args.how).await?;
    let key = app.config.master_key()?;
    app.registry.expect_key(&key).await?;
    let tenants = counted(&draft, app, args.no_tenants, output).await?;
    if tenants > 0 {
        draft.roll_out(app, args.rollout, output).await?;
    }
    draft.retry_failed = args.retry_failed;
    let held = draft.held(app).await?;
    let waves = draft.waves(app, tenants.saturating_sub(held.len() as u64)).await?;
    let central = central(&draft, app, &key).await?;
    let order = Order {
        bundle: Arc::new(draft.bundle),
        target: draft.target,
        policy: draft.policy,
        action: draft.kind,
    };
    let central = match central {
        Some(access) => Some(Would::of(preview(&order, &access).await)),
        None => None,
    };
    let by_name = args.sql && matches!(draft.selection.pick, Pick::Tenants(_));
    let (mut groups, mut tally) = (Groups { held, ..Groups::default() }, output.tally(tenants));
    let fan = Fan {
        registry: &app.registry,
        key: &key,
        selection: &draft.selection,
        labels: order.bundle.asks_for_labels(),
        concurrency: args.concurrency.map_or(app.config.worker.concurrency, usize::from),
        told: Told::AsTheyCome,
    };
    let look = |access: Access| {
        let order = &order;
        async move { preview(order, &access).await }
    };
    let looked = fan.each(look, |tenant, result| {
        groups.add(tenant, result, by_name);
        tally.step();
    });
    looked.await?;
    tally.finish();
    let view = groups.view(&order, central, Some(draft.selection.describe()));
    Ok(PlanView { waves, ..view })
}

/// How many tenants are selected; none is fine where that was said.
pub(super) async fn counted(
    draft: &Draft,
    app: &App,
    no_tenants: NoTenants,
    output: &Output,
) -> Result<u64, Fault> {
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

/// The central database, where a run begins with it. As it is configured: the registry may not know it yet, and is not
/// told.
pub(super) async fn central(draft: &Draft, app: &App, key: &MasterKey) -> Result<Option<Access>, Fault> {
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

/// Tenants that the same would be done to.
#[derive(Default)]
struct Groups {
    all: BTreeMap<(Option<String>, Known), Group>,
    /// Those that would not be tried, whatever is to be read there.
    held: BTreeMap<String, Held>,
}

impl Groups {
    /// `alone`: the tenant is not put together with others.
    fn add(&mut self, tenant: String, result: Result<Vec<Step>, Failure>, alone: bool) {
        let would = self.held.remove(&tenant).map_or_else(|| Would::of(result), Would::Hold);
        let name = alone.then(|| tenant.clone());
        let key = (name.clone(), would.known());
        self.all.entry(key).or_insert_with(|| Group::new(name, would)).add(tenant);
    }

    fn view(self, order: &Order, central: Option<Would>, selection: Option<String>) -> PlanView {
        PlanView {
            bundle: order.bundle.clone(),
            target: order.target.clone(),
            selection,
            central,
            groups: self.all.into_values().collect(),
            waves: Vec::new(),
            sql: false,
            exit_code: false,
        }
        .sorted()
    }
}
