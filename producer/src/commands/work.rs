//! Working a run off in this process: a worker beside the command that follows it.

use std::time::Duration;

use tenantry_shared::{config::WorkerConfig, exit::Exit, fault::Fault, run::RunRef};
use tenantry_worker::{
    pulse::Pulse,
    signals::Signals,
    worker::{Parts, Worker},
};

use super::follow;
use crate::{
    app::App,
    output::{Output, RunView, exit_of},
};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The run is not looked at before this, but when it has ended: its worker begins meanwhile.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// Works until the run has ended, and gives its view. The first signal lets running migrations finish, a second one
/// stops them at once; the exit is the signal's then.
pub(crate) async fn until_ended(
    app: &App,
    run: RunRef,
    concurrency: Option<u16>,
    output: &Output,
) -> Result<Result<RunView, Exit>, Fault> {
    // One that had nothing left to do when it was written, or that is joined, may have ended.
    if app.ledger.find_run(run).await?.state.is_final() {
        let ended = follow::until_ended(&app.ledger, run, LOOK_EVERY, Pulse::default(), output);
        return ended.await.map(Ok);
    }
    let mut signals = Signals::listen()?;
    let config = WorkerConfig { concurrency: slots(app, concurrency), ..app.config.worker.clone() };
    let (key, queue) = (app.key().await?, app.queue().await?);
    let mut worker =
        Worker::start(Parts { registry: app.registry.clone(), queue, key, config, health_file: None });
    let followed = async {
        let pulse = worker.pulse();
        let _ = tokio::time::timeout(FIRST_LOOK, pulse.end()).await;
        follow::until_ended(&app.ledger, run, LOOK_EVERY, pulse, output).await
    };
    let result = tokio::select! {
        view = followed => view.map(Ok),
        exit = signals.next() => Ok(Err(exit)),
    };
    if matches!(result, Ok(Err(_))) {
        output.note("finishing the migrations that run; once more to stop them at once");
    }
    worker.drain();
    let again = tokio::select! {
        () = worker.ended() => false,
        _ = signals.next() => true,
    };
    if again {
        worker.abort();
        worker.ended().await;
    }
    result
}

/// How many tenants are worked at once.
pub(crate) fn slots(app: &App, concurrency: Option<u16>) -> usize {
    concurrency.map_or(app.config.worker.concurrency, usize::from)
}

/// The same, with the summary printed and the exit decided.
pub(crate) async fn and_tell(
    app: &App,
    run: RunRef,
    concurrency: Option<u16>,
    on_stdout: bool,
    output: &Output,
) -> Result<Exit, Fault> {
    match until_ended(app, run, concurrency, output).await? {
        Ok(view) => {
            output.run_ended(&view, on_stdout);
            Ok(exit_of(&view))
        }
        Err(exit) => {
            output.note("stopped; the next worker or migrate goes on with the run");
            Ok(exit)
        }
    }
}
