//! `rehearse`: what is pending in each selected tenant runs in a transaction that is rolled back. Nothing is written:
//! no history, and nothing in the registry.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tenantry_shared::{
    config::environment,
    exit::Exit,
    fault::Fault,
    id::TenantId,
    ledger::LedgerError,
    registry::Access,
    run::{Pick, Selection},
    store::StoreError,
};
use tenantry_worker::{
    fan::{self, Fan, Told},
    orders::Order,
    rehearse::rehearse,
};

use super::{
    dedicated::{self, One},
    enqueue::Draft,
    plan, selection,
};
use crate::{
    app::{self, App},
    cli::{Global, RehearseArgs, Sample},
    output::{Output, RehearsalGroups, RehearsalView, plural},
};

pub(crate) async fn run(global: &Global, args: RehearseArgs, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    let view = if selection::is_given(&args.selection) {
        fleet(&App::with(config).await?, args, output).await?
    } else {
        of_one(dedicated::one(&config, &args.dedicated, &args.how(), &environment)?).await
    };
    output.rehearsal(&view);
    Ok(view.exit())
}

/// One dedicated database.
async fn of_one(One { name, order, access }: One) -> RehearsalView {
    let mut groups = RehearsalGroups::default();
    groups.add(name, rehearse(&order, &access).await);
    RehearsalView::new(&order, None, groups, None)
}

async fn fleet(app: &App, args: RehearseArgs, output: &Output) -> Result<RehearsalView, Fault> {
    let how = args.how();
    let mut draft = Draft::of(app, args.selection, &how).await?;
    let key = app.config.master_key()?;
    app.registry.expect_key(&key).await?;
    let mut tenants = plan::counted(&draft, app, args.no_tenants, output).await?;
    let mut selected = draft.selection.describe();
    if let Some(sample) = args.sample.filter(|_| tenants > 0) {
        draft.selection = sampled(app, &draft.selection, tenants, sample).await?;
        let of = plural(tenants, "tenant");
        tenants = app.ledger.count_selected(&draft.selection).await?;
        selected = format!("{selected}, a sample of {tenants} of {of}");
    }
    let central = plan::central(&draft, app, &key).await?;
    let order = Order {
        bundle: Arc::new(draft.bundle),
        target: draft.target,
        policy: draft.policy,
        action: draft.kind,
    };
    let central = match central {
        Some(access) => Some(rehearse(&order, &access).await),
        None => None,
    };
    let fan = Fan {
        registry: &app.registry,
        key: &key,
        selection: &draft.selection,
        labels: order.bundle.asks_for_labels(),
        concurrency: args.concurrency.map_or(app.config.worker.concurrency, usize::from),
        told: Told::AsTheyCome,
    };
    let (mut groups, mut tally) = (RehearsalGroups::default(), output.tally(tenants));
    let look = |access: Access| {
        let order = &order;
        async move { rehearse(order, &access).await }
    };
    let looked = fan.each(look, |tenant, result| {
        groups.add(tenant, result);
        tally.step();
    });
    looked.await?;
    tally.finish();
    Ok(RehearsalView::new(&order, central, groups, Some(selected)))
}

/// Some of so many selected tenants, by name.
async fn sampled(app: &App, selection: &Selection, of: u64, sample: Sample) -> Result<Selection, Fault> {
    let all = fan::tenants(&app.ledger, selection).enumerate();
    let chosen = all.filter(|(at, _)| std::future::ready(sample.takes(*at as u64, of)));
    let some: Vec<(TenantId, String)> = chosen.map(|(_, tenant)| tenant).try_collect().await?;
    let damaged = |_| LedgerError::from(StoreError::Value("tenants.slug".into()));
    let some = some.iter().map(|(_, slug)| slug.parse().map_err(damaged)).collect::<Result<_, _>>()?;
    Ok(Selection { pick: Pick::Tenants(some), exclude: Vec::new(), limit: None })
}
