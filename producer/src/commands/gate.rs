//! `gate`: whether enough tenants are proven to be at a version. Answered from the registry alone.

use tenantry_shared::{
    bundle::Bundle,
    exit::Exit,
    fault::Fault,
    gate::reaches,
    ledger::{Known, LedgerError, TargetQuery},
    registry::RegistryError,
    run::{Pick, Run, RunRef, Selection, TargetState},
    version::Version,
};

use super::{follow::view, selection};
use crate::{
    app::App,
    cli::{GateArgs, Target},
    output::{GateView, Missing, Output},
};

/// Among how many of the newest runs one is looked for that tells where the fleet should be.
const RUNS: u32 = 100;

pub(crate) async fn run(app: &App, args: &GateArgs, output: &Output) -> Result<Exit, Fault> {
    let view = match args.run {
        Some(run) => of_run(app, run, args).await?,
        None => of_fleet(app, args).await?,
    };
    output.gate(&view);
    Ok(view.exit())
}

async fn of_fleet(app: &App, args: &GateArgs) -> Result<GateView, Fault> {
    let selection = if selection::is_given(&args.selection) {
        selection::selection(&app.ledger, args.selection.clone()).await?
    } else {
        Selection { pick: Pick::All, exclude: Vec::new(), limit: None }
    };
    let (bundle, target) = aim(app, args).await?;
    let known = app.ledger.knowledge(&selection, args.max_age).await?;
    let mut view = GateView::of(&target, args.min, app.ledger.store().now_ms().await?);
    view.selection = selection.describe();
    view.max_age = args.max_age;
    let mut behind = Vec::new();
    for at in &known {
        let there = at.version.as_ref().is_some_and(|version| reaches(bundle.main(), version, &target));
        count(&mut view, at, there);
        behind.extend(at.version.clone().filter(|_| !there));
    }
    let limit = args.show as usize;
    let missing = app.ledger.unproven(&selection, &behind, args.max_age, limit).await?;
    view.missing = missing.into_iter().map(Missing::from).collect();
    Ok(view.sorted())
}

/// Adds the tenants at one version.
fn count(view: &mut GateView, known: &Known, there: bool) {
    view.tenants += known.tenants;
    match &known.version {
        None => view.unseen += known.tenants,
        Some(_) if !there => view.behind += known.tenants,
        Some(_) => {
            view.unsure += known.unsure;
            view.stale += known.stale;
            view.proven += known.tenants - known.unsure - known.stale;
            view.oldest_at = [view.oldest_at, known.oldest_at].into_iter().flatten().min();
        }
    }
    view.versions.push((known.version.clone(), known.tenants, there));
}

/// The migrations, whose order tells what is beyond, and the version to be at. Where there is no directory of them, they
/// are those of the latest run.
async fn aim(app: &App, args: &GateArgs) -> Result<(Bundle, Version), Fault> {
    let config = &app.config;
    let named = args.source.is_some() || config.named_directory.is_some() || config.has_sets;
    let (bundle, latest) = if named || config.migrations.exists() {
        let bundle = selection::migrations(config, args.source.as_deref())?;
        let latest = bundle.latest().version.clone();
        (bundle, latest)
    } else {
        let Some(run) = latest_run(app).await? else {
            let nothing =
                Fault::usage("there are no migrations here, and no run tells where the fleet should be");
            return Err(nothing.with_hint("name their directory with --source"));
        };
        (app.registry.bundle(&run.digest).await?.only(&[]).map_err(RegistryError::Sets)?, run.target)
    };
    let target = match &args.target {
        None | Some(Target::Latest) => latest,
        Some(Target::Version(version)) => version.clone(),
    };
    match bundle.find(&target) {
        Some(migration) if !migration.repeatable => Ok((bundle, target)),
        Some(_) => Err(Fault::usage(format!("{target} is repeatable: no tenant is known by it"))),
        None => Err(Fault::usage(format!("there is no migration {target}")).with_hint(format!(
            "the newest is {}; --source names another directory",
            bundle.latest().version
        ))),
    }
}

/// The newest run that was for all sets to be brought forward.
async fn latest_run(app: &App) -> Result<Option<Run>, LedgerError> {
    let runs = app.ledger.list_runs(RUNS).await?;
    Ok(runs.into_iter().find(|run| run.action.kind.goes_forward() && run.action.sets.is_empty()))
}

async fn of_run(app: &App, run: RunRef, args: &GateArgs) -> Result<GateView, Fault> {
    let of = view(&app.ledger, run).await?;
    let unproven = |state: &TargetState| !matches!(state, TargetState::Applied | TargetState::Current);
    let query = TargetQuery {
        states: TargetState::ALL.iter().copied().filter(unproven).collect(),
        limit: args.show,
        ..TargetQuery::default()
    };
    let targets = app.ledger.targets(of.run.id, &query).await?;
    let mut view = GateView::of(&of.run.target, args.min, of.now);
    (view.tenants, view.proven) = (of.counts.total, of.counts.applied + of.counts.current);
    view.behind = view.tenants - view.proven;
    view.central = of.counts.central.filter(unproven).map(TargetState::as_str);
    view.missing = targets.into_iter().map(Missing::from).collect();
    view.selection.clone_from(&of.run.selection);
    view.run = Some(of.run);
    Ok(view)
}
