//! Progress of a run on standard error: one redrawn block on a terminal, few lines elsewhere.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    io::Write as _,
    time::Duration,
};

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use tenantry_shared::clock::{Stopwatch, time_of_day};

use super::{DIM, ERROR, RunView, causes, sightings};

/// A line is printed this often at the least, and when another twentieth is done, but not more often than it can be read.
const LINE_EVERY: Duration = Duration::from_secs(10);
const LINES_PER_RUN: u64 = 20;
const LINES_APART: Duration = Duration::from_secs(1);

/// From when on a wait for a lock is worth a line, in milliseconds.
const LONG_WAIT_MS: i64 = 10_000;

/// How many causes are told one by one while a run goes on.
const CAUSES_TOLD: usize = 20;

/// How progress is shown.
pub(crate) struct Progress {
    view: View,
    causes_told: HashSet<String>,
    /// Since when a tenant that waits was first seen waiting, in whatever attempt; none once that was told.
    waits: HashMap<String, Option<i64>>,
}

enum View {
    None,
    Bar(ProgressBar),
    Lines { since: Stopwatch, told: u64, begun: bool },
}

/// How long it may still take: nobody knows before something has ended.
fn eta(state: &ProgressState, to: &mut dyn fmt::Write) {
    let _ = match state.pos() {
        0 => to.write_char('-'),
        _ => write!(to, "{:#}", HumanDuration(state.eta())),
    };
}

impl Progress {
    pub(super) fn none() -> Self {
        Self::with(View::None)
    }

    pub(super) fn bar() -> Self {
        let bar = ProgressBar::no_length();
        let template = "{prefix} {bar:32.green/dim} {pos}/{len} {percent}% {elapsed} eta {eta}\n  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─").with_key("eta", eta));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::with(View::Bar(bar))
    }

    pub(super) fn lines() -> Self {
        Self::with(View::Lines { since: Stopwatch::start(), told: 0, begun: false })
    }

    fn with(view: View) -> Self {
        Self { view, causes_told: HashSet::new(), waits: HashMap::new() }
    }

    /// Whether anything is shown at all.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self.view, View::None)
    }

    /// Shows how far the run is. Each new cause is told at once.
    pub(crate) fn update(&mut self, run: &RunView) {
        if !self.is_shown() {
            return;
        }
        self.tell_causes(run);
        self.tell_waits(run);
        let counts = &run.counts;
        let central = counts.central.map(|state| format!("central {state}  ")).unwrap_or_default();
        let skipped =
            if counts.skipped > 0 { format!("  skipped {}", counts.skipped) } else { String::new() };
        let standing = standing(run);
        let states = format!(
            "{standing}{central}{} {}  current {}  running {}  retrying {}  failed {}  waiting {}{skipped}",
            run.run.action.kind.done(),
            counts.applied,
            counts.current,
            counts.running,
            counts.retryable,
            counts.failed,
            counts.pending
        );
        let short = format!("#{} {}", run.run.number, run.run.description);
        self.show(&format!("run #{}", run.run.number), &short, counts.ended(), counts.total, states);
    }

    /// A line for each tenant that waits for long, once.
    fn tell_waits(&mut self, run: &RunView) {
        for sighting in &run.sightings {
            let Some(since) = sighting.waits_since else { continue };
            let first = self.waits.entry(sighting.tenant.clone()).or_insert(Some(since));
            if first.is_some_and(|first| run.now - first >= LONG_WAIT_MS) {
                *first = None;
                self.line(&format!("{DIM}WAIT{DIM:#} {}", sightings::line(sighting, run.now)));
            }
        }
    }

    /// Tells each cause once, at the first tenant that failed for it or waits because of it.
    fn tell_causes(&mut self, run: &RunView) {
        let failed = run.causes.list.iter().map(|cause| ("FAIL", cause));
        // What waits in a run that is being stopped gets no other attempt.
        let stopped = run.run.stop.is_some();
        let retrying = run.retrying.iter().filter(|_| !stopped).map(|retrying| ("RETRY", &retrying.cause));
        for (word, cause) in failed.chain(retrying).filter(|(_, cause)| !cause.code.is_empty()) {
            let new = self.causes_told.insert(format!("{word} {}", cause.fingerprint));
            if !new || self.causes_told.len() > CAUSES_TOLD + 1 {
                continue;
            }
            if self.causes_told.len() > CAUSES_TOLD {
                let number = run.run.number;
                self.line(&format!(
                    "there are more causes; see them with: tenantry status {number} --all-causes"
                ));
                continue;
            }
            let tenant = cause.tenants.first().map_or("", String::as_str);
            self.line(&format!("{ERROR}{word}{ERROR:#} {tenant}  {}", causes::headline(cause)));
        }
    }

    /// Shows how many are done of something that is no run.
    pub(crate) fn count(&mut self, what: &str, done: u64, total: u64, states: String) {
        self.show(what, what, done, total, states);
    }

    /// `what` stands in a line, `short` before a bar.
    fn show(&mut self, what: &str, short: &str, done: u64, total: u64, states: String) {
        match &mut self.view {
            View::None => {}
            View::Bar(bar) => {
                bar.set_prefix(short.to_owned());
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(states);
            }
            View::Lines { since, told, begun } => {
                let share = (done * LINES_PER_RUN).checked_div(total).unwrap_or(0);
                let first = !std::mem::replace(begun, true);
                let readable = since.elapsed() >= LINES_APART || done == total;
                if first || (share > *told && readable) || since.elapsed() >= LINE_EVERY {
                    (*told, *since) = (share, Stopwatch::start());
                    let percent = (done * 100).checked_div(total).unwrap_or(100);
                    let line = format!("{} {what} {done}/{total} {percent:>3}%  {states}", time_of_day());
                    self.line(&line);
                }
            }
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.view {
            View::Bar(bar) if !bar.is_hidden() => bar.println(text),
            _ => {
                let _ = writeln!(anstream::stderr(), "{text}");
            }
        }
    }

    /// Takes the redrawn block away.
    pub(crate) fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

/// What keeps a run from going on, and which wave it is in.
fn standing(view: &RunView) -> String {
    let run = &view.run;
    let wave =
        if run.waves.len() > 1 { format!("wave {}/{}  ", run.wave, run.waves.len()) } else { String::new() };
    let held = match (&run.stop, run.paused_at, run.soak_until) {
        _ if run.state.is_final() => "",
        (Some(_), _, _) => "stopping  ",
        (None, Some(_), _) => "paused  ",
        (None, None, Some(_)) => "soaking  ",
        (None, None, None) => "",
    };
    format!("{wave}{held}")
}

/// Shows how many tenants were looked at, on standard error.
pub(crate) struct Tally {
    view: View,
    done: u64,
    total: u64,
}

impl Tally {
    pub(super) fn new(progress: Progress, total: u64) -> Self {
        let view = progress.view;
        if let View::Bar(bar) = &view {
            bar.set_length(total);
        }
        Self { view, done: 0, total }
    }

    /// One more.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        match &mut self.view {
            View::None => {}
            View::Bar(bar) => bar.set_position(self.done),
            View::Lines { since, .. } => {
                if since.elapsed() >= LINE_EVERY {
                    *since = Stopwatch::start();
                    let _ = writeln!(
                        anstream::stderr(),
                        "{} looked at {}/{}",
                        time_of_day(),
                        self.done,
                        self.total
                    );
                }
            }
        }
    }

    /// Takes the redrawn block away.
    pub(crate) fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}
