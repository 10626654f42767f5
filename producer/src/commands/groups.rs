//! `status RUN --group-by`: how many tenants of each group are in which state.

use serde_json::json;
use tenantry_shared::{
    fault::Fault,
    ledger::{GroupBy, GroupRow},
    summary::Counts,
};

use crate::{
    app::App,
    cli::StatusArgs,
    output::{Output, RunView, Table, or_dash},
};

/// A state's name, and how many are in it.
type State = (&'static str, fn(&Counts) -> u64);

/// The states in the order of a target's life, each with how many are in it.
const STATES: [State; 7] = [
    ("pending", |counts| counts.pending),
    ("running", |counts| counts.running),
    ("retryable", |counts| counts.retryable),
    ("applied", |counts| counts.applied),
    ("current", |counts| counts.current),
    ("failed", |counts| counts.failed),
    ("skipped", |counts| counts.skipped),
];

pub(crate) async fn show(
    app: &App,
    view: &RunView,
    by: &GroupBy,
    args: &StatusArgs,
    output: &Output,
) -> Result<(), Fault> {
    let groups = app.ledger.groups(view.run.id, by, &args.state, args.limit).await?;
    let mut document = view.document();
    document["groups"] = json!(groups);
    output.either(&document, || table(by, &groups).text());
    if groups.len() == args.limit as usize && !output.is_json() {
        output.note(&format!("{} groups shown; there may be more, see them with --limit", groups.len()));
    }
    Ok(())
}

fn table(by: &GroupBy, groups: &[GroupRow]) -> Table {
    let what = match by {
        GroupBy::Error => "cause",
        GroupBy::Label(name) => name.as_str(),
        GroupBy::Server => "server",
        GroupBy::Wave => "wave",
    };
    // A state that nobody is in has no column: so there is room for messages.
    let total = |of: fn(&Counts) -> u64| groups.iter().map(|group| of(&group.counts)).sum::<u64>();
    let states: Vec<_> = STATES.into_iter().filter(|(_, of)| total(*of) > 0).collect();
    let mut heading = vec![what, "tenants"];
    heading.extend(states.iter().map(|(name, _)| *name));
    if *by == GroupBy::Error {
        heading.extend(["code", "message"]);
    }
    let mut table = Table::new(&heading);
    for GroupRow { group, code, message, counts } in groups {
        let mut row = vec![or_dash(group.as_ref()), counts.total.to_string()];
        row.extend(states.iter().map(|(_, of)| of(counts).to_string()));
        if *by == GroupBy::Error {
            row.extend([or_dash(code.as_ref()), or_dash(message.as_ref())]);
        }
        table.row(row);
    }
    table
}
