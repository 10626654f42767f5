//! The end of a run for a person: counts, causes, and the commands that come next.

use std::fmt::Write as _;

use tenantry_shared::{
    codes,
    ledger::TargetRow,
    run::{ActionKind, Back, Run, RunState},
    summary::Cause,
};

use super::{DIM, ERROR, GOOD, RunView, or_dash, plural, short_duration};

/// How many tenants a cause names.
const TENANTS_SHOWN: usize = 3;

/// The summary. Its last line is not in it: see [`verdict`].
pub(super) fn text(view: &RunView, program: &str) -> String {
    let (counts, number) = (&view.counts, view.run.number);
    let mut out = String::new();
    let style = if view.run.state == RunState::Succeeded { GOOD } else { ERROR };
    let retried = if counts.retried > 0 { format!(" ({} retried)", counts.retried) } else { String::new() };
    let skipped = if counts.skipped > 0 { format!(", {} skipped", counts.skipped) } else { String::new() };
    let _ = writeln!(out, "────────────");
    let _ = writeln!(
        out,
        "{style}{:>10}{style:#} [{}] run #{number} {}: {}: {} {}{retried}, {} current, {} failed{skipped}",
        match view.run.state {
            RunState::Succeeded => "Summary",
            RunState::Halted => "HALTED",
            _ => "FAILED",
        },
        short_duration(view.duration_ms()),
        aim(&view.run),
        plural(counts.total, "tenant"),
        counts.applied,
        view.run.action.kind.done(),
        counts.current,
        counts.failed,
    );
    if let Some(central) = &view.central {
        let _ = writeln!(out, "{:>10}  {}", "central", central_line(central));
    }
    if let Some(reason) = halted(view) {
        let _ = writeln!(out, "{:>10}  {reason}", "stopped");
    }
    for cause in &view.causes {
        cause_text(&mut out, cause);
    }
    let work = if view.embedded { " --work" } else { "" };
    if view.causes.is_empty() && counts.skipped > 0 {
        let _ = writeln!(out, "  {DIM}retry:{DIM:#}  {program} retry {number}{work}");
    }
    if let Some(cause) = view.causes.first() {
        let only =
            if view.causes.len() > 1 { format!(" --error {}", cause.fingerprint) } else { String::new() };
        let _ = writeln!(out, "  {DIM}retry:{DIM:#}  {program} retry {number}{only}{work}");
        if let Some(tenant) = cause.tenants.first() {
            let _ = writeln!(out, "  {DIM}show:{DIM:#}   {program} logs {number} -t {tenant}");
        }
    }
    out
}

/// Where the central database is, in a few words.
pub(crate) fn central_line(central: &TargetRow) -> String {
    let versions = match (&central.from, &central.to) {
        (_, None) => String::new(),
        (from, Some(to)) if from.as_ref() == Some(to) => format!(" at {to}"),
        (from, Some(to)) => format!(" from {} to {to}", or_dash(from.as_ref())),
    };
    format!("{}{versions}", central.state)
}

/// Where a run goes, in words that begin with a preposition or `back`.
pub(crate) fn aim(run: &Run) -> String {
    match &run.action.kind {
        ActionKind::Apply => format!("to {}", run.target),
        ActionKind::Baseline => format!("as of {}", run.target),
        ActionKind::Rollback { back: Back::Steps(steps) } => {
            format!("back {}", plural(u64::from(*steps), "step"))
        }
        ActionKind::Rollback { back: Back::Run(_) } => format!("back {}", run.target),
        ActionKind::Rollback { .. } => format!("back to {}", run.target),
    }
}

fn cause_text(out: &mut String, cause: &Cause) {
    let named = cause.tenants.len().min(TENANTS_SHOWN);
    let more = cause.count.saturating_sub(named as u64);
    let tenants = cause.tenants[..named].join(", ");
    let more = if more > 0 { format!(", … (+{more})") } else { String::new() };
    let _ = writeln!(out, "{ERROR}{:>10}{ERROR:#}  {}  {}", cause.count, cause.fingerprint, headline(cause));
    let _ = writeln!(out, "{:>10}  {tenants}{more}", "in");
    if let Some(hint) = &cause.hint {
        let _ = writeln!(out, "{DIM}{:>10}{DIM:#}  {hint}", "hint");
    }
}

/// A cause in one line: where, code, message.
pub(super) fn headline(cause: &Cause) -> String {
    failure_line(cause.version.as_deref(), cause.statement, &cause.code, &cause.message)
}

/// A failure in one line: `20261102113000 statement 2: 23505 unique_violation: …`.
pub(crate) fn failure_line(place: Option<&str>, statement: Option<u32>, code: &str, message: &str) -> String {
    let statement = statement.map(|n| format!(" statement {n}")).unwrap_or_default();
    let place = place.map(|place| format!("{place}{statement}: ")).unwrap_or_default();
    let name = codes::name(code).map(|name| format!(" {name}")).unwrap_or_default();
    format!("{place}{code}{name}: {message}")
}

/// Why a run ended before its time.
fn halted(view: &RunView) -> Option<&str> {
    let stop = view.run.stop.as_ref().filter(|_| view.run.state == RunState::Halted);
    stop.map(|stop| stop.reason.as_str())
}

/// The last line of a run that did not succeed.
pub(super) fn verdict(view: &RunView) -> Option<String> {
    if let Some(reason) = halted(view) {
        let (skipped, total) = (view.counts.skipped, plural(view.counts.total, "tenant"));
        return Some(format!("stopped: {reason}; {skipped} of {total} not begun"));
    }
    let failed = view.run.state == RunState::Failed;
    if failed && view.counts.central_failed() {
        return Some("central failed: no tenant was started".into());
    }
    failed.then(|| format!("{} of {} failed", view.counts.failed, plural(view.counts.total, "tenant")))
}
