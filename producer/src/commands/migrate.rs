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
    let (config, request) = (app::config(global)?, args.request);
    if !selection::is_given(&request.selection) {
        if request.once.is_given() {
            selection::must_be_given(&request.selection)?;
        }
        let one = dedicated::one(&config, &args.dedicated, &request.how, &environment)?;
        return dedicated::run(one, output).await;
    }
    let app = App::with(config).await?;
    if args.sync {
        sync::first(&app, args.yes, output).await?;
    }
    let looked = Draft::look(&app, request.selection, &request.how, output).await;
    let Some((mut draft, tenants)) = selection::or_nobody(looked, args.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    draft.roll_out(&app, request.rollout, output).await?;
    draft.retry_failed = request.retry_failed;
    let ahead = Some((tenants, work::slots(&app, args.concurrency)));
    let reason = selection::reason(request.reason);
    let written = draft.write_ahead(&app, None, reason, &request.once, ahead).await;
    match selection::or_nobody(written, args.no_tenants, output)? {
        Some(run) => {
            output.joined(&run);
            work::and_tell(&app, RunRef::Id(run.id), args.concurrency, true, output).await
        }
        None => Ok(Exit::Ok),
    }
}
