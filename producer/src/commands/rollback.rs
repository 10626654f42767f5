//! `rollback`: a run that reverts, or a look at what it would revert.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_shared::{
    bundle::Bundle,
    config::{Config, environment},
    exit::Exit,
    failure::{Class, Failure},
    fault::Fault,
    ledger::LedgerError,
    registry::{Access, RegistryError},
    run::{ActionKind, Back, Run, RunRef},
    version::Version,
};
use tenantry_worker::{orders::Order, revert};

use super::{
    dedicated, each,
    enqueue::{self, Draft},
    selection,
};
use crate::{
    app::{self, App},
    cli::{Global, How, Limits, RollbackArgs, SelectionArgs, To},
    output::{Output, failure_line, plural, waves_line},
};

/// How many files a question names.
const NAMED: usize = 5;

pub(crate) async fn run(global: &Global, args: RollbackArgs, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    if !selection::is_given(&args.selection) {
        return in_one(&config, &args, output).await;
    }
    let app = App::with(config).await?;
    let what = What::asked(&app, &args).await?;
    let looked = what.draft(&app, args.selection.clone(), &args.limits).await;
    let Some((mut draft, tenants)) = selection::or_nobody(looked, args.follow.no_tenants, output)? else {
        return Ok(Exit::Ok);
    };
    draft.roll_out(&app, args.rollout.clone(), output).await?;
    if args.dry_run {
        let waves = draft.waves(&app, tenants).await?;
        return foresee(&app, draft, &what, &waves, output).await;
    }
    let who = format!("{} ({})", plural(tenants, "tenant"), draft.selection.describe());
    let question = what.question(&who);
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    let written = draft.write(&app, None, selection::reason(args.follow.reason.clone()), &args.once).await;
    match selection::or_nobody(written, args.follow.no_tenants, output)? {
        Some(run) => enqueue::followed(&app, run, &args.follow, output).await,
        None => Ok(Exit::Ok),
    }
}

/// What is to be reverted, with the migrations that know how.
pub(crate) struct What {
    back: Back,
    bundle: Bundle,
    /// The run whose work is reverted, and what it applied.
    run: Option<(Run, Vec<Version>)>,
}

impl What {
    async fn asked(app: &App, args: &RollbackArgs) -> Result<Self, Fault> {
        if let Some(name) = args.run {
            return Self::of_run(app, name, &args.limits).await;
        }
        Self::by_files(&app.config, args)
    }

    fn by_files(config: &Config, args: &RollbackArgs) -> Result<Self, Fault> {
        let back = match &args.to {
            Some(To(version)) => Back::To(version.clone()),
            None => Back::Steps(args.steps.unwrap_or(1)),
        };
        Self::back(config, back, &args.limits)
    }

    /// As far back as this, with the files of the directory.
    pub(crate) fn back(config: &Config, back: Back, limits: &Limits) -> Result<Self, Fault> {
        let (bundle, _) = selection::bundle(config, &How::from(limits))?;
        if let Back::To(Some(version)) = &back
            && bundle.of_tenants(version).is_none()
        {
            let fault = Fault::usage(format!("there is no migration {version}"));
            return Err(
                fault.with_hint(format!("the newest is {}; 0 reverts everything", bundle.latest().version))
            );
        }
        Ok(Self { back, bundle, run: None })
    }

    /// A run is reverted with the files that it had, unless others are named.
    async fn of_run(app: &App, name: RunRef, limits: &Limits) -> Result<Self, Fault> {
        let run = app.ledger.find_run(name).await?;
        let number = run.number;
        if !run.action.kind.goes_forward() {
            let fault =
                Fault::usage(format!("run #{number} did not apply anything: it {}", run.action.kind.done()));
            return Err(fault.with_hint("list the runs with: tenantry runs"));
        }
        if !run.state.is_final() {
            let fault = Fault::usage(format!("run #{number} has not ended"));
            return Err(fault.with_hint(format!("wait for it with: tenantry wait {number}")));
        }
        let applied = app.ledger.applied_by(run.id).await?;
        if applied.is_empty() {
            return Err(Fault::new(Exit::NothingSelected, format!("run #{number} applied nothing")));
        }
        let bundle = match &limits.source {
            Some(_) => selection::bundle(&app.config, &How::from(limits))?.0,
            None => {
                app.registry.bundle(&run.digest).await?.only(&run.action.sets).map_err(RegistryError::Sets)?
            }
        };
        Ok(Self { back: Back::Run(run.id), bundle, run: Some((run, applied)) })
    }

    /// The run to be written, and how many tenants it is for. Nothing is written yet.
    pub(crate) async fn draft(
        &self,
        app: &App,
        args: SelectionArgs,
        limits: &Limits,
    ) -> Result<(Draft, u64), Fault> {
        let selection = selection::selection(&app.ledger, args).await?;
        app.key().await?;
        app.queue().await?;
        let tenants = app.ledger.count_selected(&selection).await?;
        if tenants == 0 {
            return Err(LedgerError::NothingSelected.into());
        }
        let policy = selection::policy(&app.config, &How::from(limits));
        let kind = ActionKind::Rollback { back: self.back.clone() };
        let sets = self.run.as_ref().map(|(run, _)| run.action.sets.clone()).unwrap_or_default();
        Ok((
            Draft {
                kind,
                bundle: self.bundle.clone(),
                target: self.target(),
                selection,
                policy,
                sets,
                central: None,
                retry_failed: true,
            },
            tenants,
        ))
    }

    /// What the run is known by.
    fn target(&self) -> Version {
        match (&self.back, &self.run) {
            (_, Some((run, _))) => format!("before #{}", run.number).into(),
            (Back::Steps(steps), _) => Version::from(-i64::from(*steps)),
            (Back::To(Some(version)), _) => version.clone(),
            _ => "0".into(),
        }
    }

    fn question(&self, who: &str) -> String {
        match (&self.back, &self.run) {
            (_, Some((run, applied))) => {
                let files = applied.iter().rev().filter_map(|id| self.bundle.get(id)).map(|m| m.file.clone());
                format!("Revert what run #{} applied ({}) in {who}?", run.number, named(files.collect()))
            }
            (Back::Steps(1), _) => format!("Revert the newest migration of {who}?"),
            (Back::Steps(steps), _) => format!("Revert the newest {steps} migrations of {who}?"),
            (Back::To(Some(version)), _) => {
                format!("Revert all above {version} ({}) in {who}?", named(self.above(version)))
            }
            _ => format!("Revert everything in {who}?"),
        }
    }

    /// The files above a version in its chain, the newest first.
    fn above(&self, version: &Version) -> Vec<String> {
        let chains = self.bundle.chains().iter();
        let mut links =
            chains.map(|chain| &chain.links).filter(|links| links.iter().any(|link| link.id == *version));
        let above = links.next().into_iter().flat_map(|links| links.iter().rev());
        let above = above.take_while(|link| link.id != *version).filter(|link| !link.migration.repeatable);
        above.map(|link| link.migration.file.clone()).collect()
    }
}

fn named(files: Vec<String>) -> String {
    let more = files.len().saturating_sub(NAMED);
    let list = files.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

/// Shows what would be reverted in each tenant.
async fn foresee(
    app: &App,
    draft: Draft,
    what: &What,
    waves: &[u64],
    output: &Output,
) -> Result<Exit, Fault> {
    if let Some(line) = waves_line(waves).filter(|_| !output.is_json()) {
        output.data(&line);
    }
    let Draft { kind, bundle, target, selection, policy, .. } = draft;
    let order = Arc::new(Order { bundle: bundle.into(), target, policy, action: kind });
    let (ledger, run) = (app.ledger.clone(), what.run.as_ref().map(|(run, _)| run.id));
    let registry = app.registry.clone();
    let look = move |order: Arc<Order>, access: Access| {
        let (ledger, registry) = (ledger.clone(), registry.clone());
        async move {
            let Some(run) = run else { return revert::fixed(&order, &access).await };
            let unread = |e: LedgerError| Failure::new(Class::Transient, "registry", e.to_string());
            let tenant = registry.tenant(&access.slug).await.map_err(|e| unread(e.into()))?.id;
            let plan = revert::of_run(ledger.traces(run, tenant).await.map_err(unread)?)?;
            let action = ActionKind::Rollback { back: Back::Exactly(plan) };
            revert::fixed(&Order { action, ..(*order).clone() }, &access).await
        }
    };
    let (mut documents, mut exit) = (Vec::new(), Exit::Ok);
    each::each(app, &selection, &order, look, |tenant, found| {
        exit = match &found {
            Ok(_) => exit,
            Err(failure) if failure.refused && exit != Exit::TenantsFailed => Exit::Refused,
            Err(_) => Exit::TenantsFailed,
        };
        if output.is_json() {
            documents.push(document(&tenant, &found, &order.bundle));
        } else {
            output.data(&text(&tenant, &found, &order.bundle));
        }
    })
    .await?;
    if output.is_json() {
        output.document(
            &json!({ "schema": "tenantry.rollback/v1", "exit_code": exit.code(), "waves": waves, "tenants": documents }),
        );
    }
    Ok(exit)
}

fn files(plan: &[Version], bundle: &Bundle) -> Vec<String> {
    let file =
        |id: &Version| bundle.get(id).map_or_else(|| id.to_string(), |migration| migration.file.clone());
    plan.iter().map(file).collect()
}

fn text(tenant: &str, found: &Result<Vec<Version>, Failure>, bundle: &Bundle) -> String {
    match found {
        Ok(plan) if plan.is_empty() => format!("{tenant}  nothing to revert"),
        Ok(plan) => format!("{tenant}  would revert {}", files(plan, bundle).join(", ")),
        Err(failure) => {
            format!("{tenant}  would fail: {}", failure_line(None, None, &failure.code, &failure.message))
        }
    }
}

fn document(tenant: &str, found: &Result<Vec<Version>, Failure>, bundle: &Bundle) -> Value {
    let plan = found.as_deref().unwrap_or_default();
    let migrations: Vec<Value> = plan
        .iter()
        .zip(files(plan, bundle))
        .map(|(version, file)| json!({ "version": version, "file": file, "direction": "down" }))
        .collect();
    let error = found
        .as_ref()
        .err()
        .map(|f| json!({ "code": f.code, "message": f.message, "hint": f.hint, "refused": f.refused }));
    json!({ "tenant": tenant, "migrations": migrations, "error": error })
}

/// One dedicated database.
async fn in_one(config: &Config, args: &RollbackArgs, output: &Output) -> Result<Exit, Fault> {
    if args.run.is_some() || args.dry_run || args.follow.wait || args.follow.work || args.once.is_given() {
        selection::must_be_given(&args.selection)?;
    }
    let what = What::by_files(config, args)?;
    let mut one = dedicated::one(config, &args.dedicated, &How::from(&args.limits), &environment)?;
    let question = what.question("the one database that is named");
    if !args.yes && !output.confirm(&question, "--yes")? {
        return Err(Fault::new(Exit::Usage, "not started"));
    }
    one.order.target = what.target();
    one.order.action = ActionKind::Rollback { back: what.back };
    dedicated::run(one, output).await
}
