//! `runs`: the newest runs.

use serde_json::json;
use tenantry_shared::{exit::Exit, fault::Fault, run::Run};

use super::follow::view;
use crate::{
    app::App,
    cli::RunsArgs,
    output::{Output, RunView, Table, ago, aim, or_dash, short_duration},
};

pub(crate) async fn run(app: &App, args: &RunsArgs, output: &Output) -> Result<Exit, Fault> {
    let views = newest(app, args.limit).await?;
    let documents: Vec<_> = views.iter().map(RunView::document).collect();
    if views.is_empty() && !output.is_json() {
        output.note(&format!("no run yet; start one with: {} enqueue --all", output.program()));
        return Ok(Exit::Ok);
    }
    output.either(&json!({ "schema": "tenantry.runs/v1", "runs": documents }), || table(&views).text());
    Ok(Exit::Ok)
}

/// The newest runs, each with its fold.
pub(crate) async fn newest(app: &App, limit: u32) -> Result<Vec<RunView>, Fault> {
    let mut views = Vec::new();
    for run in app.ledger.list_runs(limit).await? {
        views.push(view(&app.ledger, tenantry_shared::run::RunRef::Id(run.id)).await?);
    }
    Ok(views)
}

/// A run's state, or that it is paused.
fn state_of(run: &Run) -> &'static str {
    if run.paused_at.is_some() && !run.state.is_final() { "paused" } else { run.state.as_str() }
}

/// The code of the commonest cause, and how many others there are.
fn cause_of(view: &RunView) -> String {
    match (view.causes.list.first(), view.causes.kinds) {
        (Some(cause), 2..) => format!("{} (+{})", cause.code, view.causes.kinds - 1),
        (first, _) => or_dash(first.map(|cause| &cause.code)),
    }
}

/// Runs as a table.
pub(crate) fn table(views: &[RunView]) -> Table {
    let mut table = Table::new(&[
        "run", "state", "target", "started", "took", "tenants", "failed", "cause", "by", "reason",
    ]);
    for view in views {
        let run = &view.run;
        table.row(vec![
            run.number.to_string(),
            state_of(run).to_owned(),
            if run.action.kind.goes_forward() { run.target.to_string() } else { aim(run) },
            ago(view.now, run.created_at),
            short_duration(view.duration_ms()),
            view.counts.total.to_string(),
            if view.counts.central_failed() { "central".into() } else { view.counts.failed.to_string() },
            cause_of(view),
            run.requested_by.clone(),
            or_dash(run.reason.clone().or_else(|| run.parent.map(|parent| format!("retry of #{parent}")))),
        ]);
    }
    table
}
