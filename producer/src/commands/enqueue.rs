//! `enqueue`: writes a run, and waits for its end if told to.

use std::collections::BTreeMap;

use tenantry_shared::{
    bundle::Bundle,
    exit::Exit,
    fault::Fault,
    id::RunId,
    ledger::{Enqueued, Held, LedgerError},
    place::{DatabaseUrl, Place},
    run::{Action, ActionKind, Policy, RunRef, RunSpec, Selection},
    version::Version,
};
use tenantry_worker::{
    survey::{Lookout, ahead as look_ahead},
    worker::ALIVE,
};

use super::{
    follow::{self, Wait},
    plan, selection, sync, work,
};
use crate::{
    app::App,
    cli::{EnqueueArgs, Follow, Global, How, OnceArgs, RolloutArgs, Scheduled, SelectionArgs},
    output::{Output, plural},
};

pub(crate) async fn run(global: &Global, args: EnqueueArgs, output: &Output) -> Result<Exit, Fault> {
    selection::must_be_given(&args.request.selection)?;
    if args.dry_run {
        return plan::run(global, args.into(), output).await;
    }
    let app = App::open(global).await?;
    if args.sync {
        sync::first(&app, args.yes, output).await?;
    }
    let request = args.request;
    let looked = Draft::look(&app, request.selection, &request.how, output).await;
    let Some((mut draft, tenants)) = selection::or_nobody(looked, args.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    draft.roll_out(&app, request.rollout, output).await?;
    draft.retry_failed = request.retry_failed;
    let central = if draft.bundle.has_central() { "central and " } else { "" };
    let who = format!("{central}{}", plural(tenants, "tenant"));
    let question = format!("Start a run of {who} ({})?", draft.selection.describe());
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let written = draft.write(&app, None, selection::reason(request.reason), &request.once).await;
    match selection::or_nobody(written, args.no_tenants, output)? {
        Some(run) => started(&app, run, args.wait.then_some(args.timeout), output).await,
        None => Ok(Exit::Ok),
    }
}

/// What a schedule asks for: nobody is there to be asked.
pub(crate) async fn scheduled(
    app: &App,
    args: Scheduled,
    reason: String,
    key: Option<String>,
    output: &Output,
) -> Result<Enqueued, Fault> {
    if args.sync {
        sync::first(app, true, output).await?;
    }
    let (mut draft, _) = Draft::look(app, args.selection, &args.how, output).await?;
    draft.roll_out(app, args.rollout, output).await?;
    draft.retry_failed = args.retry_failed;
    let once = OnceArgs { idempotency_key: key, overlap: false };
    draft.write(app, None, Some(args.reason.unwrap_or(reason)), &once).await
}

/// A run that is not written yet.
pub(crate) struct Draft {
    pub(crate) kind: ActionKind,
    pub(crate) bundle: Bundle,
    pub(crate) target: Version,
    pub(crate) selection: Selection,
    pub(crate) policy: Policy,
    pub(crate) sets: Vec<String>,
    /// The central database, where it is configured and comes first.
    pub(crate) central: Option<(DatabaseUrl, Place)>,
    /// Whether tenants are tried that failed for good with the same bytes before.
    pub(crate) retry_failed: bool,
}

impl Draft {
    /// What the flags ask for. Nothing is written.
    pub(crate) async fn of(app: &App, args: SelectionArgs, how: &How) -> Result<Self, Fault> {
        let (bundle, target) = selection::bundle(&app.config, how)?;
        let selection = selection::selection(&app.ledger, args).await?;
        let central = selection::central(app, &bundle).await?;
        let policy = selection::policy(&app.config, how);
        let (kind, sets) = (ActionKind::Apply, how.sets.clone());
        Ok(Self { kind, bundle, target, selection, policy, sets, central, retry_failed: false })
    }

    /// The same, and how many tenants that is. All that workers will need is looked at, and nothing is written: a
    /// selection of nobody, or of somebody unknown, leaves nothing behind, not even the bundle.
    pub(crate) async fn look(
        app: &App,
        args: SelectionArgs,
        how: &How,
        output: &Output,
    ) -> Result<(Self, u64), Fault> {
        let draft = Self::of(app, args, how).await?;
        app.key().await?;
        app.queue().await?;
        let tenants = draft.announced(app, output).await?;
        Ok((draft, tenants))
    }

    /// Takes the waves and limits that the flags ask for, over the configured ones. A configured canary that is nobody of
    /// this selection is left out; one that was asked for is an error then.
    pub(crate) async fn roll_out(
        &mut self,
        app: &App,
        args: RolloutArgs,
        output: &Output,
    ) -> Result<(), Fault> {
        let asked = args.canary.is_some();
        self.policy.rollout = args.over(&self.policy.rollout)?;
        let rollout = &mut self.policy.rollout;
        if app.ledger.labeled_canary(&self.selection, rollout).await? != Some(0) {
            return Ok(());
        }
        let canary = rollout.canary.take().map(|canary| canary.to_string()).unwrap_or_default();
        if asked {
            return Err(LedgerError::NoCanary(canary).into());
        }
        output.note(&format!("no selected tenant is in the configured canary {canary}: there is none"));
        Ok(())
    }

    /// The selected tenants that it would not try, by name.
    pub(crate) async fn held(&self, app: &App) -> Result<BTreeMap<String, Held>, Fault> {
        if !self.selection.holds_back(&self.kind, self.retry_failed) {
            return Ok(BTreeMap::new());
        }
        Ok(app.ledger.held(&self.selection, &self.bundle.bytes_to(&self.target)).await?)
    }

    /// How many tenants would be in each wave; nothing where there are no waves.
    pub(crate) async fn waves(&self, app: &App, tenants: u64) -> Result<Vec<u64>, Fault> {
        let rollout = &self.policy.rollout;
        if !rollout.has_waves() {
            return Ok(Vec::new());
        }
        let labeled = app.ledger.labeled_canary(&self.selection, rollout).await?;
        Ok(rollout.sizes(tenants, labeled.unwrap_or(0)))
    }

    /// Says what it is, and gives how many tenants are selected.
    pub(crate) async fn announced(&self, app: &App, output: &Output) -> Result<u64, Fault> {
        selection::announce(output, &self.bundle, &self.target);
        match app.ledger.count_selected(&self.selection).await? {
            0 => Err(LedgerError::NothingSelected.into()),
            tenants => Ok(tenants),
        }
    }

    /// Stores the bundle, the central database and the caps of servers, and writes the run, unless it is one already.
    /// `parent` is the run that it retries.
    pub(crate) async fn write(
        self,
        app: &App,
        parent: Option<RunId>,
        reason: Option<String>,
        once: &OnceArgs,
    ) -> Result<Enqueued, Fault> {
        self.write_ahead(app, parent, reason, once, None).await
    }

    /// The same, where this process works the run: of so many tenants, and so many at once. Who of them is up to date is found out
    /// before it is written.
    pub(crate) async fn write_ahead(
        self,
        app: &App,
        parent: Option<RunId>,
        reason: Option<String>,
        once: &OnceArgs,
        ahead: Option<(u64, usize)>,
    ) -> Result<Enqueued, Fault> {
        let description = self.bundle.find(&self.target).map(|m| m.description.clone()).unwrap_or_default();
        let goes_back = matches!(self.kind, ActionKind::Rollback { .. });
        let spec = RunSpec {
            migrations: if goes_back { Vec::new() } else { self.bundle.bytes_to(&self.target) },
            retry_failed: self.retry_failed,
            digest: self.bundle.digest().clone(),
            target: self.target,
            selection: self.selection,
            central: self.kind.goes_forward() && self.bundle.has_central(),
            action: Action { kind: self.kind, sets: self.sets },
            policy: self.policy,
            parent,
            requested_by: selection::requested_by(),
            reason,
            key: once.idempotency_key.clone(),
            overlap: once.overlap,
        };
        if let Some(run) = app.ledger.known_request(&spec).await? {
            return Ok(run);
        }
        app.registry.put_bundle(&self.bundle).await?;
        if let Some((url, place)) = &self.central {
            app.registry.put_central(&app.key().await?, url, place).await?;
        }
        app.ledger.put_caps(&app.config.caps).await?;
        // It waits for the disk while the look waits for tenants' servers.
        let store = app.ledger.store().clone();
        let written_back = tokio::spawn(async move { store.write_back().await });
        let ahead = match ahead {
            Some((tenants, concurrency)) => {
                let App { registry, ledger, .. } = app;
                let lookout = Lookout { registry, ledger, key: app.key().await?, concurrency, tenants };
                look_ahead(lookout, &spec, self.bundle).await?
            }
            None => None,
        };
        let _ = written_back.await; // the run is written whether it was or not
        Ok(app.ledger.enqueue_after(&spec, &description, ahead.as_ref()).await?)
    }
}

/// Works a run that was written, or follows it, or only tells of it.
pub(crate) async fn followed(
    app: &App,
    run: Enqueued,
    follow: &Follow,
    output: &Output,
) -> Result<Exit, Fault> {
    if !follow.work {
        return started(app, run, follow.wait.then_some(follow.timeout), output).await;
    }
    output.run_begun(&run);
    work::and_tell(app, RunRef::Id(run.id), follow.concurrency, false, output).await
}

/// Tells of a run that was written, and follows it if `wait` is given: with its time limit, if it has one.
pub(crate) async fn started(
    app: &App,
    run: Enqueued,
    wait: Option<Option<std::time::Duration>>,
    output: &Output,
) -> Result<Exit, Fault> {
    output.run_begun(&run);
    let ended = app.ledger.find_run(RunRef::Id(run.id)).await?.state.is_final();
    if !ended && app.ledger.live_workers(ALIVE).await?.is_empty() {
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
                output.document(&output.run_document(&follow::view(&app.ledger, name).await?));
            }
            Ok(Exit::Ok)
        }
    }
}
