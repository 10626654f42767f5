//! The end of a run for a person: counts, causes, and the commands that come next.

use std::fmt::Write as _;

use tenantry_shared::{
    codes,
    ledger::{Joined, TargetRow},
    run::{ActionKind, Back, Run, RunState},
};

use super::{DIM, ERROR, GOOD, RunView, causes, or_dash, plural, short_duration};

/// The summary, with so many causes. Its last line is not in it: see [`verdict`].
pub(super) fn text(view: &RunView, program: &str, shown: usize) -> String {
    let (counts, number) = (&view.counts, view.run.number);
    let mut out = String::new();
    let _ = writeln!(out, "────────────");
    let _ = writeln!(out, "{}", head(view));
    if let Some(central) = &view.central {
        let _ = writeln!(out, "{:>10}  {}", "central", central_line(central));
    }
    if let Some(stop) = &view.run.stop {
        let _ = writeln!(out, "{:>10}  {}", "stopped", stop.reason);
    }
    if let Some(wave) = wave(view) {
        let _ = writeln!(out, "{:>10}  {wave}", "wave");
    }
    causes::failed(&mut out, view, program, shown);
    causes::going(&mut out, view);
    if view.run.state.is_final() && (!view.causes.is_empty() || counts.skipped > 0) {
        let _ = writeln!(out, "  {DIM}retry:{DIM:#}  {program} {}", view.retry(None));
    }
    let first = view.causes.list.first();
    if let Some((cause, tenant)) = first.and_then(|cause| Some((cause, cause.tenants.first()?))) {
        // What was not tried has its attempts elsewhere.
        let shown = cause.failed_in.filter(|_| cause.held == cause.count).unwrap_or(number);
        let _ = writeln!(out, "  {DIM}show:{DIM:#}   {program} logs {shown} -t {tenant}");
    }
    out
}

/// What became of the run, in one line.
fn head(view: &RunView) -> String {
    let (run, counts) = (&view.run, &view.counts);
    let style = match run.state {
        RunState::Failed | RunState::Halted => ERROR,
        _ => GOOD,
    };
    let state = match run.state {
        RunState::Succeeded => "Summary",
        RunState::Halted => "HALTED",
        RunState::Failed => "FAILED",
        RunState::Pending | RunState::Running if run.stop.is_some() => "stopping",
        RunState::Pending | RunState::Running if run.paused_at.is_some() => "paused",
        state => state.as_str(),
    };
    let retried = if counts.retried > 0 { format!(" ({} retried)", counts.retried) } else { String::new() };
    let held = if counts.held > 0 { format!(" ({} not tried again)", counts.held) } else { String::new() };
    let skipped = if counts.skipped > 0 { format!(", {} skipped", counts.skipped) } else { String::new() };
    format!(
        "{style}{state:>10}{style:#} [{}] run #{} {}: {}: {} {}{retried}, {} current, {} failed{held}{skipped}{}",
        short_duration(view.duration_ms()),
        run.number,
        aim(run),
        plural(counts.total, "tenant"),
        counts.applied,
        run.action.kind.done(),
        counts.current,
        counts.failed,
        left(view),
    )
}

/// Why a request is a run that was there before.
pub(super) fn joined_line(why: Joined, number: i64) -> String {
    match why {
        Joined::Key => format!("joined run #{number}: it was asked for under this idempotency key before"),
        Joined::UnderWay { absent: 0 } => format!("joined run #{number}: the same is under way"),
        Joined::UnderWay { absent } => format!(
            "joined run #{number}: the same is under way; {} selected now and not in it, ask again when it has ended",
            if absent == 1 { "1 tenant is".into() } else { format!("{absent} tenants are") }
        ),
    }
}

/// Where the central database is, in a few words.
fn central_line(central: &TargetRow) -> String {
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

/// Which wave of several a run is in, and how long it is watched still.
fn wave(view: &RunView) -> Option<String> {
    let run = &view.run;
    if run.waves.len() < 2 || run.state.is_final() {
        return None;
    }
    let soaks = run.soak_until.map(|until| u64::try_from(until - view.now).unwrap_or(0));
    let soaks = soaks.map(|ms| format!(", soaking for {}", short_duration(ms))).unwrap_or_default();
    Some(format!("{} of {}{soaks}", run.wave, run.waves.len()))
}

/// What has not ended yet.
fn left(view: &RunView) -> String {
    let counts = &view.counts;
    let left = [(counts.running, "running"), (counts.retryable, "retrying"), (counts.pending, "waiting")];
    left.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect()
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
        let total = plural(view.counts.total, "tenant");
        return Some(match (view.counts.skipped, view.counts.failed) {
            (0, failed) => format!("stopped: {reason}; {failed} of {total} failed"),
            (skipped, _) => format!("stopped: {reason}; {skipped} of {total} not begun"),
        });
    }
    let failed = view.run.state == RunState::Failed;
    if failed && view.counts.central_failed() {
        return Some("central failed: no tenant was started".into());
    }
    failed.then(|| format!("{} of {} failed", view.counts.failed, plural(view.counts.total, "tenant")))
}
