//! What surrounds an attempt: its lease is renewed while it runs, and its outcome is recorded whatever happens.

mod ends;

use std::{any::Any, collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tenantry_shared::{
    bundle::Digest,
    clock::Stopwatch,
    failure::{Class, Failure},
    id::RunId,
    job::{Claim, Outcome, Verdict},
    ledger::{CANCELED, Ledger, LedgerError, Recorder},
    place::Engine,
    queue::{Slot, give_back},
    registry::{Access, Registry, RegistryError},
    run::{ActionKind, Back},
    secret::MasterKey,
    store::StoreError,
    version::Version,
};
use tokio::{
    sync::{Mutex, Semaphore, watch::Receiver},
    time::MissedTickBehavior,
};

use crate::{
    accesses::Accesses,
    attempt::{Trail, attempt},
    engine::{
        Limits, in_own_thread,
        kept::{Keeper, Keeping},
    },
    keep,
    notes::Notes,
    orders::{Order, Orders},
    pulse::Pulse,
    revert,
    watch::watch,
};

/// How long an attempt that is stopped is waited for: a file on a disk that does not answer holds it up.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// What every attempt of this process needs.
pub struct House {
    /// Where tenants and bundles are.
    pub registry: Registry,
    /// What claims are made in.
    pub ledger: Ledger,
    /// Where outcomes go.
    pub recorder: Recorder,
    /// What opens tenants' URLs.
    pub key: Arc<MasterKey>,
    /// What runs ask for.
    pub orders: Orders,
    /// How long a claim is good without being renewed.
    pub lease: Duration,
    /// Turns true when running attempts must stop at once.
    pub abort: Receiver<bool>,
    /// Runs whose attempts must stop at once.
    pub forced: Receiver<HashSet<RunId>>,
    /// What bounds the looks at attempts that take long.
    pub looks: Semaphore,
    /// How tenants are reached.
    pub accesses: Accesses,
    /// Who is told that nothing is worked any more.
    pub pulse: Pulse,
    /// Sessions between two tenants.
    pub keeper: Arc<Keeper>,
}

/// Works one claim to its end. Never panics, never fails: what happens is recorded.
pub async fn consume(house: Arc<House>, claim: Claim, mut slot: Slot) {
    // Until its outcome is recorded.
    let _works = house.pulse.works();
    let notes = Notes::of(&house.ledger, &claim);
    let trail = Trail::of(notes, keeping(&house, &claim));
    let (doing, trail) = (trail.doing.clone(), Arc::new(Mutex::new(trail)));
    let loaded = load(&house, &claim).await;
    if !slot.begin().await {
        return give_back(&house.ledger, &claim).await;
    }
    let lasts = Stopwatch::start();
    let policy = loaded.as_ref().map(|(order, _)| order.policy.clone()).unwrap_or_default();
    let tells = loaded.as_ref().is_ok_and(|(order, _)| order.bundle.tells_versions());
    let order = loaded.as_ref().ok().map(|(order, _)| order.clone());
    let verdict = match loaded {
        Err(failure) => Verdict::Failed(failure),
        Ok((order, access)) => {
            let access = Arc::new(access);
            let work = AssertUnwindSafe(work(&house, &claim, order, access.clone(), &trail)).catch_unwind();
            tokio::select! {
                result = work => match result {
                    Ok(Ok(())) => Verdict::Proven,
                    Ok(Err(failure)) => Verdict::Failed(failure),
                    Err(panic) => Verdict::Failed(panicked(panic.as_ref())),
                },
                () = lease_lost(&house, &claim) => {
                    tracing::warn!(run.id = %claim.job.run, tenant.id = %claim.job.tenant, attempt = claim.attempt, "the lease was lost, the work is stopped");
                    return;
                }
                never = watch(&house, &claim, &access, &doing) => match never {},
                () = forced(&house, claim.job.run) => Verdict::Failed(canceled()),
                () = aborted(&house) => Verdict::Failed(Failure::new(Class::Interrupted, "shutdown", "the worker was told to stop at once")),
            }
        }
    };
    let trail = left(&trail).await;
    // Of a failure first all must know: it may be the one too many.
    if matches!(verdict, Verdict::Proven) && !claim.alone {
        slot.leave();
    }
    let version = trail.to.clone().filter(|_| tells);
    let outcome = Outcome {
        bytes: order.and_then(|order| failed_bytes(&order, &verdict)),
        verdict,
        from: trail.from,
        to: trail.to,
        version,
        steps: trail.steps,
        duration: lasts.elapsed(),
        output: Some(trail.output).filter(|output| !output.is_empty()),
        fingerprint: trail.fingerprint,
    };
    ends::record(&house, &claim, &outcome, &policy).await;
}

/// A claim is the permit of a connection where a server has a cap, and a session that is kept would be one without. One
/// that lost its workers gets a session of its own.
fn keeping(house: &House, claim: &Claim) -> Keeping {
    if claim.alone || house.ledger.knows_caps() { Keeping::default() } else { Keeping::with(&house.keeper) }
}

/// What was run of a migration that failed. A refusal is found by reading alone: it has run nothing.
fn failed_bytes(order: &Order, verdict: &Verdict) -> Option<Digest> {
    let Verdict::Failed(failure) = verdict else { return None };
    let ran = order.action.goes_forward() && !failure.refused;
    failure.version.as_ref().filter(|_| ran).and_then(|id| order.bundle.link(id)?.bytes())
}

/// A rollback is told first what it comes to for this tenant.
async fn work(
    house: &House,
    claim: &Claim,
    order: Arc<Order>,
    access: Arc<Access>,
    trail: &Arc<Mutex<Trail>>,
) -> Result<(), Failure> {
    let order = match aim(house, claim, &order, &access).await? {
        Some(plan) => {
            let action = ActionKind::Rollback { back: Back::Exactly(plan) };
            Arc::new(Order { action, ..Order::clone(&order) })
        }
        None => order,
    };
    let (engine, limits, trail) = (access.place.engine, Limits::from(&order.policy), trail.clone());
    let attempt = async move { attempt(&order, &access, &mut *trail.lock().await).await };
    match engine {
        Engine::Sqlite => in_own_thread(limits, attempt).await,
        Engine::Postgres | Engine::MySql => attempt.await,
    }
}

/// What an attempt has come to that has ended, or is being stopped. One that does not stop tells nothing: its history will.
async fn left(trail: &Mutex<Trail>) -> Trail {
    let trail = tokio::time::timeout(STOPPED_WITHIN, trail.lock()).await;
    trail.map(|mut trail| std::mem::take(&mut *trail).ended()).unwrap_or_default()
}

/// What "so many steps" or "what that run applied" are for this tenant, decided once and kept.
async fn aim(
    house: &House,
    claim: &Claim,
    order: &Order,
    access: &Access,
) -> Result<Option<Vec<Version>>, Failure> {
    let kept = match &order.action {
        ActionKind::Rollback { back: Back::Steps(_) | Back::Run(_) } => {
            house.ledger.plan_of(&claim.job).await.map_err(|e| unloaded(&e))?
        }
        _ => return Ok(None),
    };
    let plan = match (kept, &order.action) {
        (Some(plan), _) => plan,
        (None, ActionKind::Rollback { back: Back::Run(run) }) => {
            let traces = house.ledger.traces(*run, claim.job.tenant).await.map_err(|e| unloaded(&e))?;
            revert::of_run(traces)?
        }
        (None, _) => Box::pin(revert::fixed(order, access)).await?,
    };
    if house.ledger.keep_plan(claim, &plan).await.map_err(|e| unloaded(&e))? {
        return Ok(Some(plan));
    }
    Err(Failure::new(Class::Interrupted, "worker-lost", "a later attempt has begun"))
}

async fn load(house: &House, claim: &Claim) -> Result<(Arc<Order>, Access), Failure> {
    let order =
        house.orders.get(&house.registry, &house.ledger, claim.job.run).await.map_err(|e| unloaded(&e))?;
    let (registry, key, tenant) = (&house.registry, &house.key, claim.job.tenant);
    let access = if order.bundle.asks_for_labels() {
        Box::pin(registry.access(key, tenant, true)).await
    } else {
        house.accesses.get(registry, key, tenant).await
    };
    Ok((order, access.map_err(|e| unloaded(&LedgerError::from(e)))?))
}

/// A registry that is away, or refuses for now, is not the tenant's fault; what this worker cannot read, another one may;
/// a URL that does not open is for somebody to mend.
pub(crate) fn unloaded(error: &LedgerError) -> Failure {
    match error {
        error if error.is_temporary() => Failure::new(Class::Interrupted, "registry", error.to_string()),
        LedgerError::Store(StoreError::Database(_))
        | LedgerError::Registry(RegistryError::Store(StoreError::Database(_))) => {
            Failure::new(Class::Transient, "registry", error.to_string())
        }
        LedgerError::Store(StoreError::Value(_))
        | LedgerError::Registry(RegistryError::Store(StoreError::Value(_))) => {
            Failure::new(Class::Transient, "registry", error.to_string())
                .with_hint("was it written by a newer version of tenantry? bring this worker up to that one")
        }
        LedgerError::Registry(RegistryError::Secret(_) | RegistryError::Url(_)) => {
            Failure::new(Class::Permanent, "sealed-url", error.to_string())
                .with_hint("set the tenant's URL again: tenantry tenants set ID --url-stdin")
        }
        error => Failure::new(Class::Permanent, "registry", error.to_string()),
    }
}

/// Returns when the claim is not ours any more. While the registry does not answer, it may still be: the tenant's
/// own lock protects it.
async fn lease_lost(house: &House, claim: &Claim) {
    let mut renewal = tokio::time::interval(house.lease / 3);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    renewal.tick().await;
    loop {
        renewal.tick().await;
        match house.ledger.renew(claim, house.lease).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, "a lease could not be renewed, trying again"),
        }
    }
}

async fn aborted(house: &House) {
    if house.abort.clone().wait_for(|abort| *abort).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when an operator wants what runs of this run to stop.
async fn forced(house: &House, run: RunId) {
    if house.forced.clone().wait_for(|runs| runs.contains(&run)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn canceled() -> Failure {
    Failure::new(Class::Interrupted, CANCELED, "stopped while it ran, with the run")
        .with_hint("its history tells what was done: a retry of the run goes on from there")
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    Failure::new(Class::Permanent, "panic", format!("the worker panicked: {}", keep::message(panic)))
}
