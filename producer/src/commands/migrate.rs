//! `migrate`: enqueue, work and wait in one process; or one dedicated database without any registry.

use tenantry_shared::{config::environment, exit::Exit, fault::Fault, run::RunRef};

use super::{dedicated, enqueue, selection, work};
use crate::{
    app::{self, App},
    cli::{Global, MigrateArgs},
    output::Output,
};

pub(crate) async fn run(global: &Global, args: MigrateArgs, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    if !selection::is_given(&args.selection) {
        return dedicated::run(&config, &args, &environment, output).await;
    }
    let app = App::with(config).await?;
    let (bundle, target) = selection::bundle(&app.config, &args.how)?;
    let selected = selection::selection(&app.ledger, args.selection).await;
    let Some(selection) = selection::or_nobody(selected, args.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    app.key().await?;
    app.queue().await?;
    selection::announce(output, &bundle, target);
    let policy = selection::policy(&app.config, &args.how);
    let reason = selection::reason(args.reason);
    let run =
        enqueue::write(&app, &bundle, target, selection, policy, reason, args.no_tenants, output).await?;
    match run {
        Some(run) => work::and_tell(&app, RunRef::Id(run.id), args.concurrency, true, output).await,
        None => Ok(Exit::Ok),
    }
}
