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
    let given = args.source.as_deref().map(read_directory).transpose()?;
    if !args.yes
        && !output.confirm(&format!("Try the failed tenants of run #{} again?", failed.number), "--yes")?
    {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let (digest, target, description) = match given {
        None => (failed.digest, failed.target, failed.description),
        Some(bundle) => {
            app.registry.put_bundle(&bundle).await?;
            let latest = bundle.latest();
            (bundle.digest().clone(), latest.version, latest.description.clone())
        }
    };
    let nobody = match &args.error {
        Some(print) => format!("no tenant failed with cause {print} in run #{}", failed.number),
        None => format!("no tenant failed in run #{}", failed.number),
    };
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
            let hint = format!("see its failures with: tenantry status {} --state failed", failed.number);
            return Err(Fault::new(Exit::NothingSelected, nobody).with_hint(hint));
        }
        result => result?,
    };
    if args.work {
        if !output.is_json() {
            output.data(&run.number.to_string());
        }
        return work::and_tell(app, RunRef::Id(run.id), None, false, output).await;
    }
    let wait = args.wait.then_some(args.timeout);
    enqueue::started(app, run, wait, output).await
}
