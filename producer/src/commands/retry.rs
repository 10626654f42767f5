//! `retry`: a new run of exactly the failed tenants of an earlier one.

use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    ledger::LedgerError,
    registry::read_directory,
    run::{Pick, RunRef, RunSpec, Selection},
};

use super::{enqueue, selection, work};
use crate::{app::App, cli::RetryArgs, output::Output};

pub(crate) async fn run(app: &App, args: RetryArgs, output: &Output) -> Result<Exit, Fault> {
    let failed = match (app.ledger.find_run(args.run).await, args.run) {
        (Err(LedgerError::UnknownRun(_)), RunRef::LatestFailed) => {
            return Err(Fault::new(
                Exit::NothingSelected,
                "no run has failed, there is nothing to try again",
            ));
        }
        (found, _) => found?,
    };
    app.key().await?;
    app.queue().await?;
    let (digest, target, description) = match &args.source {
        None => (failed.digest, failed.target, failed.description),
        Some(directory) => {
            let bundle = read_directory(directory)?;
            app.registry.put_bundle(&bundle).await?;
            let latest = bundle.latest();
            (bundle.digest().clone(), latest.version, latest.description.clone())
        }
    };
    if !args.yes
        && !output.confirm(&format!("Try the failed tenants of run #{} again?", failed.number), "--yes")?
    {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let pick = Pick::FailedIn { run: failed.id, fingerprint: args.error, tenants: args.tenants };
    let spec = RunSpec {
        digest,
        target,
        selection: Selection { pick, exclude: Vec::new(), limit: None },
        policy: failed.policy,
        parent: Some(failed.id),
        requested_by: selection::requested_by(),
        reason: selection::reason(args.reason),
    };
    let run = match app.ledger.enqueue(&spec, &description).await {
        Err(LedgerError::NothingSelected) => {
            let fault = Fault::new(
                Exit::NothingSelected,
                format!("run #{} has no such failed tenant", failed.number),
            );
            return Err(fault.with_hint(format!(
                "see its failures with: tenantry status {} --state failed",
                failed.number
            )));
        }
        result => result?,
    };
    if args.work {
        if !output.is_json() {
            output.data(&run.number.to_string());
        }
        return work::and_tell(app, RunRef::Id(run.id), None, false, output).await;
    }
    let wait = (args.wait || args.timeout.is_some()).then_some(args.timeout);
    enqueue::started(app, run, wait, output).await
}
