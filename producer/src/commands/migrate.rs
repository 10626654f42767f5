//! `migrate`: enqueue, work and wait in one process; or one dedicated database without any registry.

use tenantry_shared::{config::environment, exit::Exit, fault::Fault, run::RunRef};

use super::{dedicated, enqueue::Draft, plan, selection, sync, work};
use crate::{
    app::{self, App},
    cli::{Global, MigrateArgs},
    output::Output,
};

pub(crate) async fn run(global: &Global, args: MigrateArgs, output: &Output) -> Result<Exit, Fault> {
    if args.dry_run {
        return plan::run(global, args.into(), output).await;
    }
    let config = app::config(global)?;
    if !selection::is_given(&args.selection) {
        if args.once.is_given() {
            selection::must_be_given(&args.selection)?;
        }
        let one = dedicated::one(&config, &args.dedicated, &args.how, &environment)?;
        return dedicated::run(one, output).await;
    }
    let app = App::with(config).await?;
    if args.sync {
        sync::first(&app, args.yes, output).await?;
    }
    let looked = Draft::look(&app, args.selection, &args.how, output).await;
    let Some((mut draft, _)) = selection::or_nobody(looked, args.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    draft.roll_out(&app, args.rollout, output).await?;
    draft.retry_failed = args.retry_failed;
    let written = draft.write(&app, None, selection::reason(args.reason), &args.once).await;
    match selection::or_nobody(written, args.no_tenants, output)? {
        Some(run) => {
            output.joined(&run);
            work::and_tell(&app, RunRef::Id(run.id), args.concurrency, true, output).await
        }
        None => Ok(Exit::Ok),
    }
}
