//! `enqueue`: writes a run, and waits for its end if told to.

use tenantry_shared::{
    bundle::Bundle,
    exit::Exit,
    fault::Fault,
    ledger::{Enqueued, LedgerError},
    run::{Policy, RunRef, RunSpec, Selection},
};
use tenantry_worker::worker::ALIVE;

use super::{
    follow::{self, Wait},
    selection,
};
use crate::{
    app::App,
    cli::{EnqueueArgs, Global, NoTenants},
    output::{Output, plural},
};

pub(crate) async fn run(global: &Global, args: EnqueueArgs, output: &Output) -> Result<Exit, Fault> {
    selection::must_be_given(&args.selection)?;
    let app = App::open(global).await?;
    let (bundle, target) = selection::bundle(&app.config, &args.how)?;
    let selected = selection::selection(&app.ledger, args.selection).await;
    let Some(selection) = selection::or_nobody(selected, args.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    // What workers will need is looked at before anything is written.
    app.key().await?;
    let queue = app.queue().await?;
    selection::announce(output, &bundle, target);
    let tenants = app.ledger.count_selected(&selection).await?;
    let question = format!("Start a run of {} ({})?", plural(tenants, "tenant"), selection.describe());
    if tenants > 0 && !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let policy = selection::policy(&app.config, &args.how);
    let reason = selection::reason(args.reason);
    let Some(run) = write(&app, &bundle, target, selection, policy, reason, args.no_tenants, output).await?
    else {
        return Ok(Exit::Ok);
    };
    drop(queue);
    started(&app, run, args.wait.then_some(args.timeout), output).await
}

/// Stores the bundle and writes the run. None: nobody was selected, and that is fine.
#[expect(
    clippy::too_many_arguments,
    reason = "a run is made of these, and no two callers share a part of them"
)]
pub(crate) async fn write(
    app: &App,
    bundle: &Bundle,
    target: i64,
    selection: Selection,
    policy: Policy,
    reason: Option<String>,
    no_tenants: NoTenants,
    output: &Output,
) -> Result<Option<Enqueued>, Fault> {
    // A selection of nobody, or of somebody unknown, leaves nothing behind, not even the bundle.
    if app.ledger.count_selected(&selection).await? == 0 {
        return selection::or_nobody(Err(LedgerError::NothingSelected.into()), no_tenants, output);
    }
    app.registry.put_bundle(bundle).await?;
    let description = bundle.get(target).map(|m| m.description.clone()).unwrap_or_default();
    let spec = RunSpec {
        digest: bundle.digest().clone(),
        target,
        selection,
        policy,
        parent: None,
        requested_by: selection::requested_by(),
        reason,
    };
    let enqueued = app.ledger.enqueue(&spec, &description).await.map_err(Fault::from);
    selection::or_nobody(enqueued, no_tenants, output)
}

/// Tells of a run that was written, and follows it if `wait` is given: with its time limit, if it has one.
pub(crate) async fn started(
    app: &App,
    run: Enqueued,
    wait: Option<Option<std::time::Duration>>,
    output: &Output,
) -> Result<Exit, Fault> {
    if !output.is_json() {
        output.data(&run.number.to_string());
    }
    if app.ledger.live_workers(ALIVE).await?.is_empty() {
        output.note(&format!(
            "no worker is alive; the run starts when one does: tenantry-worker run (or use: {} migrate)",
            output.program()
        ));
    }
    let name = RunRef::Id(run.id);
    match wait {
        Some(timeout) => follow::follow(app, name, &Wait { timeout, ..Wait::default() }, false, output).await,
        None => {
            if output.is_json() {
                output.document(&follow::view(&app.ledger, name).await?.document());
            }
            Ok(Exit::Ok)
        }
    }
}
