//! `retry`: a new run of exactly the failed tenants of an earlier one.

use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    ledger::LedgerError,
    registry::RegistryError,
    run::{Action, Pick, RunRef, Selection},
};

use super::{
    enqueue::{self, Draft},
    selection, work,
};
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
    let sets = &failed.action.sets;
    let (bundle, target) = match args.source.as_deref() {
        None => (app.registry.bundle(&failed.digest).await?, Some(&failed.target)),
        Some(source) => {
            let target = Some(&failed.target).filter(|_| !failed.action.kind.goes_forward());
            (selection::migrations(&app.config, Some(source))?, target)
        }
    };
    let bundle = bundle.only(sets).map_err(RegistryError::Sets)?;
    let central = selection::central(app, &bundle).await?;
    let (nobody, see) = match &args.error {
        Some(print) => {
            (format!("no tenant failed with cause {print} in run #{}", failed.number), "--all-causes")
        }
        None => (format!("no tenant failed in run #{}", failed.number), "--state failed"),
    };
    let pick = Pick::FailedIn { run: failed.id, fingerprint: args.error, tenants: args.tenants };
    let selection = Selection { pick, exclude: Vec::new(), limit: None };
    let tenants = app.ledger.count_selected(&selection).await?;
    if tenants == 0 {
        let hint = format!("see its failures with: tenantry status {} {see}", failed.number);
        return Err(Fault::new(Exit::NothingSelected, nobody).with_hint(hint));
    }
    let question = format!("Try {} of run #{} again?", plural(tenants, "tenant"), failed.number);
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let target = target.unwrap_or(&bundle.latest().version).clone();
    let Action { kind, sets } = failed.action;
    let draft =
        Draft { kind, bundle, target, selection, policy: failed.policy, sets, central, retry_failed: true };
    let run = draft.write(app, Some(failed.id), selection::reason(args.reason), &args.once).await?;
    if args.work {
        output.run_begun(&run);
        return work::and_tell(app, RunRef::Id(run.id), None, false, output).await;
    }
    let wait = args.wait.then_some(args.timeout);
    enqueue::started(app, run, wait, output).await
}
