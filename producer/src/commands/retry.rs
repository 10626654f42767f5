//! `retry`: a new run of exactly the failed tenants of an earlier one.

use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    ledger::LedgerError,
    registry::read_directory,
    run::{Pick, RunRef, RunSpec, Selection},
};

use super::{enqueue, selection, work};
use crate::{
    app::App,
    cli::RetryArgs,
    output::{Output, plural},
};

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
    let bundle = args.source.as_deref().map(read_directory).transpose()?;
    let nobody = match &args.error {
        Some(print) => format!("no tenant failed with cause {print} in run #{}", failed.number),
        None => format!("no tenant failed in run #{}", failed.number),
    };
    let pick = Pick::FailedIn { run: failed.id, fingerprint: args.error, tenants: args.tenants };
    let selection = Selection { pick, exclude: Vec::new(), limit: None };
    let tenants = app.ledger.count_selected(&selection).await?;
    if tenants == 0 {
        let hint = format!("see its failures with: tenantry status {} --state failed", failed.number);
        return Err(Fault::new(Exit::NothingSelected, nobody).with_hint(hint));
    }
    let question = format!("Try {} of run #{} again?", plural(tenants, "failed tenant"), failed.number);
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let (digest, target, description) = match bundle {
        None => (failed.digest, failed.target, failed.description),
        Some(bundle) => {
            app.registry.put_bundle(&bundle).await?;
            let latest = bundle.latest();
            (bundle.digest().clone(), latest.version.clone(), latest.description.clone())
        }
    };
    let spec = RunSpec {
        digest,
        target,
        selection,
        policy: failed.policy,
        parent: Some(failed.id),
        requested_by: selection::requested_by(),
        reason: selection::reason(args.reason),
    };
    let run = app.ledger.enqueue(&spec, &description).await?;
    if args.work {
        if !output.is_json() {
            output.data(&run.number.to_string());
        }
        return work::and_tell(app, RunRef::Id(run.id), None, false, output).await;
    }
    let wait = args.wait.then_some(args.timeout);
    enqueue::started(app, run, wait, output).await
}
