//! Following a run to its end: `wait`, and the `--wait` of others. It reads only.

use std::time::Duration;

use tenantry_shared::{
    clock::Stopwatch,
    exit::Exit,
    fault::Fault,
    ledger::{Ledger, LedgerError},
    run::{Run, RunRef, TargetState},
    store::Dialect,
    summary::{Causes, Counts},
};
use tenantry_worker::{pulse::Pulse, signals::Signals};

use crate::{
    app::App,
    cli::WaitArgs,
    output::{Output, RunView, exit_of},
};

/// How long the registry may be away while a run is followed.
const OUTAGE: Duration = Duration::from_mins(1);

/// How many targets a view tells what they do.
const SIGHTINGS: u32 = 50;

/// How many tenants are told one by one that are worked now.
const RUNNING: u32 = 100;

/// For so many times as long as a look took none follows: it counts all targets of the run, and there may be a million.
const PAUSE: u32 = 49;

/// How to follow.
pub(crate) struct Wait {
    pub(crate) timeout: Option<Duration>,
    pub(crate) interval: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self { timeout: None, interval: Duration::from_millis(250) }
    }
}

pub(crate) async fn wait(app: &App, args: &WaitArgs, output: &Output) -> Result<Exit, Fault> {
    follow(app, args.run, &Wait { timeout: args.timeout, interval: args.interval }, true, output).await
}

/// Follows a run and prints its summary. Ends with the run's verdict, or because the time is over or a signal came; the
/// run goes on then.
pub(crate) async fn follow(
    app: &App,
    run: RunRef,
    wait: &Wait,
    on_stdout: bool,
    output: &Output,
) -> Result<Exit, Fault> {
    let mut signals = Signals::listen()?;
    let run = RunRef::Id(app.ledger.find_run(run).await?.id);
    let unfinished = tokio::select! {
        view = until_ended(&app.ledger, run, wait.interval, Pulse::default(), output) => {
            let view = view?;
            output.run_ended(&view, on_stdout);
            return Ok(exit_of(&view));
        }
        exit = signals.next() => exit,
        () = over(wait.timeout) => Exit::WaitTimeout,
    };
    let view = view(&app.ledger, run).await?;
    if output.is_json() {
        output.document(&output.run_document(&view));
    }
    let why = if unfinished == Exit::WaitTimeout { "the time is over" } else { "interrupted" };
    output.note(&format!(
        "{why}; the run goes on, follow it with: {} wait {}",
        output.program(),
        view.run.number
    ));
    Ok(unfinished)
}

async fn over(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// Shows progress until the run has ended: looks every so often, and when this process has ended one.
pub(crate) async fn until_ended(
    ledger: &Ledger,
    run: RunRef,
    interval: Duration,
    pulse: Pulse,
    output: &Output,
) -> Result<RunView, Fault> {
    let mut progress = output.progress();
    let (mut last_seen, mut before) = (Stopwatch::start(), None);
    loop {
        let began = Stopwatch::start();
        match look(ledger, run, before.as_ref(), progress.is_shown()).await {
            Ok(Some(view)) if view.run.state.is_final() => {
                progress.update(&view);
                progress.finish();
                return Ok(view);
            }
            Ok(view) => {
                view.iter().for_each(|view| progress.update(view));
                (last_seen, before) = (Stopwatch::start(), view);
            }
            Err(error) if error.is_temporary() && last_seen.elapsed() < OUTAGE => {
                progress.line("the registry does not answer, trying again");
            }
            Err(error) => return Err(error.into()),
        }
        let paused = pause(ledger, run, interval.max(Duration::from_millis(20)), began.elapsed() * PAUSE);
        tokio::select! {
            () = paused => {}
            () = pulse.end() => {}
        }
    }
}

/// Waits for an interval at least, and after a look that took long for longer, unless the run ends meanwhile.
async fn pause(ledger: &Ledger, run: RunRef, interval: Duration, pause: Duration) {
    let waited = Stopwatch::start();
    loop {
        tokio::time::sleep(interval).await;
        let over = waited.elapsed() >= pause;
        if over || ledger.find_run(run).await.is_ok_and(|run| run.state.is_final()) {
            return;
        }
    }
}

/// A run with the fold of its targets, now. The run is read first: what ended by then is complete.
pub(crate) async fn view(ledger: &Ledger, run: RunRef) -> Result<RunView, LedgerError> {
    let run = ledger.find_run(run).await?;
    let counts = ledger.counts(run.id).await?;
    fold(ledger, run, counts, None).await
}

/// The same after an earlier look: of a run that goes on as much as is shown, and nothing if that is nothing.
async fn look(
    ledger: &Ledger,
    run: RunRef,
    before: Option<&RunView>,
    shown: bool,
) -> Result<Option<RunView>, LedgerError> {
    let run = ledger.find_run(run).await?;
    let counts = match (run.state.is_final(), shown) {
        (true, _) => ledger.counts(run.id).await?,
        (false, true) => ledger.tally(run.id).await?,
        (false, false) => return Ok(None),
    };
    fold(ledger, run, counts, before).await.map(Some)
}

/// What has failed stays so: while no more has than before, the causes are those of then.
async fn fold(
    ledger: &Ledger,
    run: Run,
    counts: Counts,
    before: Option<&RunView>,
) -> Result<RunView, LedgerError> {
    let failures = |counts: &Counts| (counts.failed, counts.central_failed());
    let causes = match before.filter(|before| failures(&before.counts) == failures(&counts)) {
        Some(before) => before.causes.clone(),
        None if failures(&counts) == (0, false) => Causes::default(),
        None => ledger.causes(run.id).await?,
    };
    let goes_on = !run.state.is_final();
    let retrying = if goes_on { ledger.retrying(run.id).await? } else { Vec::new() };
    let running = if goes_on { ledger.running(run.id, RUNNING).await? } else { Vec::new() };
    let central = if counts.central.is_some() { ledger.central_target(run.id).await? } else { None };
    let works = counts.running > 0 || counts.central == Some(TargetState::Running);
    let sightings = if works { ledger.sightings(run.id, None, SIGHTINGS).await? } else { Vec::new() };
    let now = ledger.store().now_ms().await?;
    let embedded = ledger.store().dialect() == Dialect::Sqlite;
    Ok(RunView { run, counts, causes, retrying, running, central, sightings, now, embedded })
}
