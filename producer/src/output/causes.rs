//! Why tenants of a run failed or wait for another attempt, and which are worked, for a person.

use std::fmt::Write as _;

use tenantry_shared::{
    ledger::{Retrying, RunningRow},
    summary::Cause,
};

use super::{DIM, ERROR, RunView, failure_line, few::few, plural, short_duration};

/// How many causes are told where not all are asked for, and how many tenants that are worked.
pub(super) const SHOWN: usize = 10;

/// How many tenants a cause names.
const TENANTS_SHOWN: usize = 3;

/// The failures, the commonest cause first, each with the command that tries exactly its tenants again.
pub(super) fn failed(out: &mut String, view: &RunView, program: &str, shown: usize) {
    let causes = &view.causes;
    for cause in causes.list.iter().take(shown) {
        head(out, cause, &cause.count.to_string());
        if causes.kinds > 1 {
            let _ = writeln!(out, "{DIM}{:>10}{DIM:#}  {program} {}", "retry", view.retry(Some(cause)));
        }
    }
    let told = causes.list.len().min(shown) as u64;
    let more = causes.kinds.saturating_sub(told);
    if more == 0 {
        return;
    }
    let see = if causes.list.len() > shown {
        format!("see all with: {program} status {} --all-causes", view.run.number)
    } else {
        "the rarest are not told apart".to_owned()
    };
    let _ = writeln!(out, "{:>10}  {}; {see}", "…", plural(more, "more cause"));
}

/// What waits for another attempt, and what is worked. Nothing once a run has ended.
pub(super) fn going(out: &mut String, view: &RunView) {
    for retrying in view.retrying.iter().take(SHOWN) {
        waiting(out, view, retrying);
    }
    more(out, view.retrying.len().saturating_sub(SHOWN) as u64, "more cause to wait");
    for row in view.running.iter().take(SHOWN) {
        at_work(out, view, row);
    }
    more(out, view.counts.running.saturating_sub(view.running.len().min(SHOWN) as u64), "more at work");
}

fn more(out: &mut String, count: u64, what: &str) {
    if count > 0 {
        let _ = writeln!(out, "{:>10}  {count} {what}", "…");
    }
}

fn waiting(out: &mut String, view: &RunView, retrying: &Retrying) {
    let soon = u64::try_from(retrying.next_at - view.now).unwrap_or(0);
    let due = if soon == 0 { "due now".to_owned() } else { format!("in {}", short_duration(soon)) };
    if retrying.cause.code.is_empty() {
        let line = format!("given back before they began; next attempt {due}");
        let _ = writeln!(out, "{DIM}{:>10}{DIM:#}  {}: {line}", "retrying", retrying.cause.count);
        return;
    }
    head(out, &retrying.cause, "retrying");
    let _ = writeln!(out, "{:>10}  {}, next attempt {due}", "", plural(retrying.cause.count, "tenant"));
}

fn at_work(out: &mut String, view: &RunView, row: &RunningRow) {
    let since = short_duration(view.since(row.started_at));
    let _ = writeln!(
        out,
        "{DIM}{:>10}{DIM:#}  {} for {since}, attempt {}, by {}",
        "running", row.tenant, row.attempt, row.worker
    );
}

/// A cause with its tenants and its way out.
fn head(out: &mut String, cause: &Cause, label: &str) {
    let tenants = few(cause.tenants.iter().take(TENANTS_SHOWN).map(String::as_str), cause.count);
    let _ = writeln!(out, "{ERROR}{label:>10}{ERROR:#}  {}  {}", cause.fingerprint, headline(cause));
    let _ = writeln!(out, "{:>10}  {tenants}", "in");
    if let Some(line) = held_line(cause) {
        let _ = writeln!(out, "{:>10}  {line}", "held");
    }
    if let Some(hint) = &cause.hint {
        let _ = writeln!(out, "{DIM}{:>10}{DIM:#}  {hint}", "hint");
    }
}

/// How many of a cause's tenants were not tried, and since when.
fn held_line(cause: &Cause) -> Option<String> {
    let failed_in = cause.failed_in?;
    let who = if cause.held == cause.count { String::new() } else { format!("{} ", cause.held) };
    Some(format!("{who}not tried again: failed in run #{failed_in}, with the same migration"))
}

/// A cause in one line: where, code, message.
pub(super) fn headline(cause: &Cause) -> String {
    let line = cause.line.map(|line| format!(" line {line}")).unwrap_or_default();
    let statement = cause.statement.map(|number| format!(" statement {number}")).unwrap_or_default();
    let place = cause.version.as_ref().map(|version| format!("{version}{statement}{line}"));
    failure_line(place.as_deref(), None, &cause.code, &cause.message)
}
