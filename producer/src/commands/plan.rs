//! `plan`, and `--dry-run` of others: what a run would do to whom. The same path with execution off: nothing is
//! written, in no tenant and not in the registry.

use std::collections::BTreeMap;

use tenantry_shared::{
    config::environment, exit::Exit, failure::Failure, fault::Fault, ledger::Held, run::Pick,
};
use tenantry_worker::{
    orders::Order,
    preview::{Step, preview},
};

use super::{
    dedicated::{self, One},
    look::Look,
    selection,
};
use crate::{
    app::{self, App},
    cli::{Global, PlanArgs},
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
    let mut look = Look::new(app, args.selection, &args.how, args.no_tenants, output).await?;
    if look.tenants > 0 {
        look.draft.roll_out(app, args.rollout, output).await?;
    }
    look.draft.retry_failed = args.retry_failed;
    let held = look.draft.held(app).await?;
    let waves = look.draft.waves(app, look.tenants.saturating_sub(held.len() as u64)).await?;
    let by_name = args.sql && matches!(look.draft.selection.pick, Pick::Tenants(_));
    let selection = look.draft.selection.describe();
    let mut groups = Groups { held, ..Groups::default() };
    let tell = |tenant, result| groups.add(tenant, result, by_name);
    let (order, central) = look.at_all(args.concurrency, output, preview, tell).await?;
    let view = groups.view(&order, central.map(Would::of), Some(selection));
    Ok(PlanView { waves, ..view })
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
