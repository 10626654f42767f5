//! `reset` and `refresh`: everything is reverted, and for a refresh migrated again. Thin over `rollback` and `migrate`.

use tenantry_shared::{
    exit::Exit,
    fault::Fault,
    run::{ActionKind, Back},
    wave::Rollout,
};

use super::{
    enqueue::{self, Draft},
    rollback::What,
    selection,
};
use crate::{
    app::App,
    cli::{Global, OnceArgs, ResetArgs},
    output::{Output, plural},
};

/// So many tenants are not reverted by what is typed alone.
const TYPED_LIMIT: u64 = 20;

pub(crate) async fn run(
    global: &Global,
    args: ResetArgs,
    again: bool,
    output: &Output,
) -> Result<Exit, Fault> {
    selection::must_be_given(&args.selection)?;
    let app = App::open(global).await?;
    let what = What::back(&app.config, Back::To(None), &args.limits)?;
    let looked = what.draft(&app, args.selection.clone(), &args.limits).await;
    let Some((mut draft, tenants)) = selection::or_nobody(looked, args.follow.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    may_begin(&args, tenants, output)?;
    let central = selection::central(&app, &draft.bundle).await?;
    draft.policy.rollout = Rollout::default();
    let forward = Draft {
        kind: ActionKind::Apply,
        bundle: draft.bundle.clone(),
        target: draft.bundle.latest().version.clone(),
        selection: draft.selection.clone(),
        policy: draft.policy.clone(),
        sets: Vec::new(),
        central,
        retry_failed: true,
    };
    let reason = selection::reason(args.follow.reason.clone());
    // The second run begins only when the first one has succeeded.
    let mut follow = args.follow.clone();
    follow.wait |= again && !follow.work;
    let run = draft.write(&app, None, reason.clone(), &OnceArgs::default()).await?;
    let exit = enqueue::followed(&app, run, &follow, output).await?;
    if !again || exit != Exit::Ok {
        return Ok(exit);
    }
    let run = forward.write(&app, None, reason, &OnceArgs::default()).await?;
    enqueue::followed(&app, run, &follow, output).await
}

fn may_begin(args: &ResetArgs, tenants: u64, output: &Output) -> Result<(), Fault> {
    if args.yes_really {
        return Ok(());
    }
    let who = plural(tenants, "tenant");
    if tenants > TYPED_LIMIT {
        let fault = Fault::usage(format!("everything in {who} would be reverted, with the data"));
        return Err(fault.with_hint("select fewer, or say --yes-really"));
    }
    let question = format!("Everything in {who} is reverted, and the data with it.");
    if output.confirm_typed(&question, &tenants.to_string(), "--yes-really")? {
        return Ok(());
    }
    Err(Fault::new(Exit::Usage, "not started"))
}
