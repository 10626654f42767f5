//! `rehearse`: what is pending in each selected tenant runs in a transaction that is rolled back. Nothing is written:
//! no history, and nothing in the registry.

use futures::{StreamExt as _, TryStreamExt as _};
use tenantry_shared::{
    config::environment,
    exit::Exit,
    fault::Fault,
    id::TenantId,
    ledger::LedgerError,
    run::{Pick, Selection},
    store::StoreError,
};
use tenantry_worker::{fan, rehearse::rehearse};

use super::{
    dedicated::{self, One},
    look::Look,
    selection,
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
    let mut look = Look::new(app, args.selection, &how, args.no_tenants, output).await?;
    let mut selected = look.draft.selection.describe();
    if let Some(sample) = args.sample.filter(|_| look.tenants > 0) {
        let of = plural(look.tenants, "tenant");
        look.draft.selection = sampled(app, &look.draft.selection, look.tenants, sample).await?;
        look.tenants = app.ledger.count_selected(&look.draft.selection).await?;
        selected = format!("{selected}, a sample of {} of {of}", look.tenants);
    }
    let mut groups = RehearsalGroups::default();
    let tell = |tenant, result| groups.add(tenant, result);
    let (order, central) = look.at_all(args.concurrency, output, rehearse, tell).await?;
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
