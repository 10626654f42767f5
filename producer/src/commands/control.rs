//! `cancel`, `pause` and `resume`: what an operator does to a run that goes on. Each may be said twice.

use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    run::{Run, RunRef},
};

use super::{follow::view, selection};
use crate::{
    app::App,
    cli::{CancelArgs, PauseArgs},
    output::{Output, plural},
};

pub(crate) async fn cancel(app: &App, args: &CancelArgs, output: &Output) -> Result<Exit, Fault> {
    let run = open_run(app, args.run).await?;
    let number = run.number.to_string();
    let question = format!("Stop run #{number}, and the migrations of it that run?");
    if args.force && !args.yes && !output.confirm_typed(&question, &number, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not stopped"));
    }
    app.ledger.cancel(run.id, args.force, &selection::requested_by()).await?;
    tell(app, &run, output, |view| {
        let left = match view.counts.running {
            0 => "none is being migrated any more".into(),
            running => format!("{} still being migrated", plural(running, "tenant")),
        };
        format!("run #{number} is stopped: {} not begun, {left}", view.counts.skipped)
    })
    .await
}

pub(crate) async fn pause(app: &App, args: &PauseArgs, output: &Output) -> Result<Exit, Fault> {
    let run = open_run(app, args.run).await?;
    refuse_stopped(&run)?;
    app.ledger.pause(run.id, &selection::requested_by()).await?;
    let program = output.program();
    tell(app, &run, output, |_| {
        format!("run #{} is paused; go on with: {program} resume {}", run.number, run.number)
    })
    .await
}

pub(crate) async fn resume(app: &App, args: &PauseArgs, output: &Output) -> Result<Exit, Fault> {
    let run = open_run(app, args.run).await?;
    refuse_stopped(&run)?;
    app.ledger.resume(run.id, &selection::requested_by()).await?;
    tell(app, &run, output, |_| format!("run #{} goes on", run.number)).await
}

/// A run that has not ended.
async fn open_run(app: &App, run: RunRef) -> Result<Run, Fault> {
    let run = app.ledger.find_run(run).await?;
    if run.state.is_final() {
        return Err(Fault::usage(format!("run #{} has ended: {}", run.number, run.state))
            .with_hint("see which runs go on with: tenantry runs"));
    }
    Ok(run)
}

/// Nothing is held up, or goes on, in a run that is being stopped.
fn refuse_stopped(run: &Run) -> Result<(), Fault> {
    let Some(stop) = &run.stop else { return Ok(()) };
    let (number, reason) = (run.number, &stop.reason);
    Err(Fault::usage(format!("run #{number} is being stopped: {reason}"))
        .with_hint(format!("once it has ended, try the others again with: tenantry retry {number}")))
}

async fn tell(
    app: &App,
    run: &Run,
    output: &Output,
    line: impl FnOnce(&crate::output::RunView) -> String,
) -> Result<Exit, Fault> {
    let view = view(&app.ledger, RunRef::Id(run.id)).await?;
    if output.is_json() {
        output.document(&view.document());
    } else {
        output.note(&line(&view));
    }
    Ok(Exit::Ok)
}
