//! `status RUN --group-by`: how many tenants of each group are in which state.

use serde_json::json;
use tenantry_shared::{
    fault::Fault,
    ledger::{GroupBy, GroupRow},
};

use crate::{
    app::App,
    cli::StatusArgs,
    output::{Output, RunView, Table, or_dash},
};

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
    let states = ["tenants", "pending", "running", "retryable", "applied", "current", "failed", "skipped"];
    let mut heading = [&[what][..], &states].concat();
    if *by == GroupBy::Error {
        heading.extend(["code", "message"]);
    }
    let mut table = Table::new(&heading);
    for GroupRow { group, code, message, counts } in groups {
        let numbers = [
            counts.total,
            counts.pending,
            counts.running,
            counts.retryable,
            counts.applied,
            counts.current,
            counts.failed,
            counts.skipped,
        ];
        let mut row = vec![or_dash(group.as_ref())];
        row.extend(numbers.map(|number| number.to_string()));
        if *by == GroupBy::Error {
            row.extend([or_dash(code.as_ref()), or_dash(message.as_ref())]);
        }
        table.row(row);
    }
    table
}
