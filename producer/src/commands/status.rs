//! `status`: of the fleet, of a run, of a tenant.

use serde_json::json;
use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    ledger::{LedgerError, TargetQuery, TargetRow},
    registry::RegistryError,
    run::{RunRef, RunState},
    tenant::{Slug, Tenant},
};
use tenantry_worker::worker::ALIVE;

use super::{follow::view, groups, runs, tenants};
use crate::{
    app::App,
    cli::StatusArgs,
    output::{Causes, DIM, Output, RunView, Table, ago, exit_of, or_dash, plural, sighting_lines},
};

const RUNS_SHOWN: u32 = 5;

pub(crate) async fn run(app: &App, args: &StatusArgs, output: &Output) -> Result<Exit, Fault> {
    let exit = match (&args.run, &args.tenant) {
        (Some(run), _) => of_run(app, *run, args, output).await?,
        (None, Some(tenant)) => of_tenant(app, tenant, output).await?,
        (None, None) => of_fleet(app, output).await?,
    };
    Ok(if args.exit_code { exit } else { Exit::Ok })
}

async fn of_fleet(app: &App, output: &Output) -> Result<Exit, Fault> {
    let versions = app.ledger.fleet().await?;
    let workers = app.ledger.live_workers(ALIVE).await?;
    let runs = runs::newest(app, RUNS_SHOWN).await?;
    let central = match app.registry.central().await {
        Err(RegistryError::CentralIsTenant) => None,
        found => found?,
    };
    let total: i64 = versions.iter().map(|(_, count)| count).sum();
    let document = json!({
        "schema": "tenantry.status/v1",
        "tenants": total,
        "versions": versions.iter().map(|(v, n)| json!({ "version": v, "tenants": n })).collect::<Vec<_>>(),
        "central": central.as_ref().map(tenants::document),
        "workers": workers,
        "runs": runs.iter().map(|r| r.document()).collect::<Vec<_>>(),
    });
    output.either(&document, || {
        let spread: Vec<String> = versions
            .iter()
            .map(|(version, count)| match version {
                Some(version) => format!("{count} at {version}"),
                None => format!("{count} not seen yet"),
            })
            .collect();
        let (slots, busy) = workers.iter().fold((0, 0), |(slots, busy), w| (slots + w.slots, busy + w.busy));
        let fleet = format!(
            "FLEET    {} active{}{}",
            plural(u64::try_from(total).unwrap_or(0), "tenant"),
            if spread.is_empty() { "" } else { " · " },
            spread.join(" · ")
        );
        let workers = format!("WORKERS  {} live · {busy}/{slots} slots busy", workers.len());
        let runs = if runs.is_empty() { "no run yet\n".into() } else { runs::table(&runs).text() };
        let central = central.map_or_else(String::new, |central| format!("CENTRAL  {}\n", seen(&central)));
        format!("{fleet}\n{central}{workers}\n\n{runs}")
    });
    // A run of some sets only may have a target that is no version of the tenants.
    let of_all_sets = runs.iter().find(|view| view.run.action.sets.is_empty());
    let newest = of_all_sets.filter(|view| view.run.action.kind.goes_forward()).map(|view| &view.run.target);
    let behind = versions.iter().any(|(version, _)| {
        version.is_none() || newest.is_some_and(|newest| version.as_ref() < Some(newest))
    });
    let unfinished = runs.iter().any(|view| !view.run.state.is_final());
    let failed =
        runs.first().is_some_and(|view| matches!(view.run.state, RunState::Failed | RunState::Halted));
    Ok(if behind || unfinished || failed { Exit::ChangesPending } else { Exit::Ok })
}

async fn of_run(app: &App, run: RunRef, args: &StatusArgs, output: &Output) -> Result<Exit, Fault> {
    let mut view = view(&app.ledger, run).await?;
    if args.tenant.is_some() {
        view.sightings = app.ledger.sightings(view.run.id, args.tenant.as_ref(), 1).await?;
    }
    if let Some(by) = &args.group_by {
        groups::show(app, &view, by, args, output).await?;
    } else if args.all_causes && !output.is_json() {
        output.standing(&view, Causes::All);
    } else {
        targets_of(app, &view, args, output).await?;
    }
    Ok(if view.run.state.is_final() && exit_of(&view) == Exit::Ok { Exit::Ok } else { Exit::ChangesPending })
}

/// The tenants of a run, below what is to be said of the run itself.
async fn targets_of(app: &App, view: &RunView, args: &StatusArgs, output: &Output) -> Result<(), Fault> {
    let query = TargetQuery {
        states: args.state.clone(),
        tenant: args.tenant.as_ref().map(ToString::to_string),
        after: None,
        limit: args.limit,
    };
    let targets = app.ledger.targets(view.run.id, &query).await?;
    if output.is_json() {
        let mut document = view.document();
        document["tenants"] = json!(targets);
        output.document(&document);
    } else {
        if view.run.state.is_final() {
            output.summary(view, false);
        } else if args.state.is_empty() && args.tenant.is_none() {
            output.standing(view, Causes::Some);
        }
        output.data(targets_table(&targets).text().trim_end());
        let sightings = sighting_lines(&view.sightings, view.now);
        if !sightings.is_empty() {
            output.data("");
        }
        sightings.iter().for_each(|line| output.data(line));
        if let (Some(_), [TargetRow { hint: Some(hint), .. }]) = (&args.tenant, targets.as_slice()) {
            output.data(&format!("{DIM}hint{DIM:#}  {hint}"));
        }
        let shown = targets.len() as u64;
        if args.state.is_empty() && args.tenant.is_none() && shown < view.counts.total {
            output.note(&format!(
                "{shown} of {} shown; more with --limit, fewer with --state failed",
                view.counts.total
            ));
        }
    }
    Ok(())
}

fn targets_table(targets: &[TargetRow]) -> Table {
    let mut table = Table::new(&["tenant", "state", "attempts", "from", "to", "cause", "code", "message"]);
    for target in targets {
        table.row(vec![
            target.tenant.clone(),
            target.state.clone(),
            target.attempts.to_string(),
            or_dash(target.from.as_ref()),
            or_dash(target.to.as_ref()),
            or_dash(target.fingerprint.as_ref()),
            or_dash(target.code.as_ref()),
            or_dash(target.message.as_ref()),
        ]);
    }
    table
}

/// Where a database was when its history was last read.
fn seen(tenant: &Tenant) -> String {
    tenant.version.as_ref().map_or_else(|| "not seen yet".into(), |(version, _)| format!("at {version}"))
}

async fn of_tenant(app: &App, slug: &Slug, output: &Output) -> Result<Exit, Fault> {
    let tenant = app.registry.tenant(slug).await?;
    let latest = match app.ledger.find_run(RunRef::Latest).await {
        Ok(run) => {
            let query = TargetQuery { tenant: Some(slug.to_string()), limit: 1, ..TargetQuery::default() };
            let now = app.ledger.store().now_ms().await?;
            app.ledger.targets(run.id, &query).await?.pop().map(|target| (run, target, now))
        }
        Err(LedgerError::UnknownRun(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let document = json!({
        "schema": "tenantry.tenant/v1",
        "tenant": tenants::document(&tenant),
        "latest_run": latest.as_ref().map(|(run, target, _)| json!({ "number": run.number, "target": target })),
    });
    output.either(&document, || {
        let version = seen(&tenant);
        let mut text = format!(
            "{slug}  {}  {} on {}  {version}\n",
            tenant.status, tenant.place.engine, tenant.place.server
        );
        if let Some((run, target, now)) = &latest {
            text.push_str(&format!("run #{} {}: {}", run.number, ago(*now, run.created_at), target.state));
            if let (Some(code), Some(message)) = (&target.code, &target.message) {
                text.push_str(&format!("  {code}: {message}"));
            }
        }
        text
    });
    let settled = latest.is_none_or(|(_, target, _)| matches!(target.state.as_str(), "applied" | "current"));
    Ok(if settled && tenant.version.is_some() { Exit::Ok } else { Exit::ChangesPending })
}
