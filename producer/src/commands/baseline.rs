//! `baseline`: takes tenants over as they are. Their history says then what they have.

use tenantry_shared::{exit::Exit, fault::Fault, ledger::LedgerError, run::ActionKind};

use super::{
    enqueue::{self, Draft},
    selection,
};
use crate::{
    app::App,
    cli::{BaselineArgs, Global, How},
    output::{Output, plural},
};

pub(crate) async fn run(global: &Global, args: BaselineArgs, output: &Output) -> Result<Exit, Fault> {
    selection::must_be_given(&args.selection)?;
    let app = App::open(global).await?;
    let looked = look(&app, &args).await;
    let Some((mut draft, tenants)) = selection::or_nobody(looked, args.follow.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    draft.roll_out(&app, args.rollout, output).await?;
    let who = format!("{} ({})", plural(tenants, "tenant"), draft.selection.describe());
    let question = format!("Record all up to {} as applied in {who}, without running it?", args.to);
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let run = draft.write(&app, None, selection::reason(args.follow.reason.clone()), &args.once).await?;
    enqueue::followed(&app, run, &args.follow, output).await
}

async fn look(app: &App, args: &BaselineArgs) -> Result<(Draft, u64), Fault> {
    let (bundle, _) = selection::bundle(&app.config, &How::from(&args.limits))?;
    if bundle.of_tenants(&args.to).is_none() {
        let fault = Fault::usage(format!("there is no migration {}", args.to));
        return Err(fault.with_hint(format!("the newest is {}", bundle.latest().version)));
    }
    let selection = selection::selection(&app.ledger, args.selection.clone()).await?;
    app.key().await?;
    app.queue().await?;
    let tenants = app.ledger.count_selected(&selection).await?;
    if tenants == 0 {
        return Err(LedgerError::NothingSelected.into());
    }
    let policy = selection::policy(&app.config, &How::from(&args.limits));
    let target = args.to.clone();
    Ok((
        Draft {
            kind: ActionKind::Baseline,
            bundle,
            target,
            selection,
            policy,
            sets: Vec::new(),
            central: None,
            retry_failed: true,
        },
        tenants,
    ))
}
