//! A worker: the consume loop, the conductor and the heartbeat of one process.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use tenantry_shared::{
    config::WorkerConfig,
    id::RunId,
    ledger::{Ledger, Recorder, WorkerState},
    queue::{Before, Handler, Queue, Serve, serve},
    registry::Registry,
    secret::MasterKey,
};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

use crate::{
    accesses::Accesses,
    conductor::{self, Conductor},
    consume::{House, consume},
    engine::kept::Keeper,
    health,
    keep::keep,
    orders::Orders,
    pulse::Pulse,
    survey::Surveys,
    watch::looks,
};

const HEARTBEAT: Duration = Duration::from_secs(3);

/// Workers whose last heartbeat is not older than this are taken for alive.
pub const ALIVE: Duration = Duration::from_secs(15);

/// A shorter lease would lapse while its worker is well.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How long an abort waits for the registry to take the outcomes.
const ABORT_LIMIT: Duration = Duration::from_secs(5);

/// What a worker is made of.
pub struct Parts {
    /// Where tenants and bundles are.
    pub registry: Registry,
    /// Where jobs come from.
    pub queue: Queue,
    /// What opens tenants' URLs.
    pub key: MasterKey,
    /// How it works.
    pub config: WorkerConfig,
    /// Where it leaves signs of life for a health check.
    pub health_file: Option<PathBuf>,
}

/// A running worker.
pub struct Worker {
    stop: watch::Sender<bool>,
    abort: watch::Sender<bool>,
    tasks: JoinSet<()>,
    beat: Beat,
    pulse: Pulse,
    beating: tokio::task::JoinHandle<()>,
    keeper: Arc<Keeper>,
    surveys: Arc<Surveys>,
}

impl Worker {
    /// Starts to take jobs.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (abort, aborted) = watch::channel(false);
        let (forced, to_stop) = watch::channel(HashSet::new());
        let host = hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let owner: Arc<str> =
            format!("{host}/{}/{}", std::process::id(), uuid::Uuid::now_v7().simple()).into();
        let ledger = Ledger::new(parts.registry.store().clone());
        let (concurrency, lease) = (parts.config.concurrency, parts.config.lease.max(SHORTEST_LEASE));
        let (keeper, pulse) = (Keeper::new(concurrency), Pulse::default());
        let works = {
            let pulse = pulse.clone();
            move || pulse.working()
        };
        let house = Arc::new(House {
            registry: parts.registry,
            ledger: ledger.clone(),
            recorder: Recorder::new(ledger.clone(), owner.clone()).gathering(concurrency / 2, works),
            key: Arc::new(parts.key),
            orders: Orders::default(),
            lease,
            abort: aborted,
            forced: to_stop,
            looks: looks(),
            accesses: Accesses::default(),
            keeper: keeper.clone(),
            pulse: pulse.clone(),
        });
        let surveys = Surveys::new(house.clone(), parts.queue.clone(), concurrency, stopped.clone());
        let before: Before = {
            let surveys = surveys.clone();
            Arc::new(move |idle| Box::pin(surveys.clone().look(idle)))
        };
        let handler: Handler = Arc::new(move |claim, slot| Box::pin(consume(house.clone(), claim, slot)));
        let mut tasks = JoinSet::new();
        let beat = Beat {
            ledger: ledger.clone(),
            owner: owner.clone(),
            host,
            slots: concurrency,
            health_file: parts.health_file,
            forced,
        };
        let (beats, until) = (beat.clone(), stopped.clone());
        let beating = tokio::spawn(keep("heartbeat", move || beats.clone().go_on(until.clone())));
        let served = Serve {
            queue: parts.queue.clone(),
            ledger: ledger.clone(),
            owner: owner.clone(),
            lease,
            concurrency,
            before,
            due: pulse.due(),
        };
        let conductor = Conductor { ledger, queue: parts.queue, owner, lease, pulse: pulse.clone() };
        // The conductor stays until the last outcome is recorded: nobody else may be there to close the run.
        let (ended, all_ended) = watch::channel(false);
        let surveying = surveys.clone();
        tasks.spawn(async move {
            keep("queue", || serve(served.clone(), handler.clone(), stopped.clone())).await;
            surveying.over().await;
            ended.send_replace(true);
        });
        tasks.spawn(async move {
            keep("conductor", || conductor::conduct(conductor.clone(), all_ended.clone())).await;
        });
        Self { stop, abort, tasks, beat, pulse, beating, keeper, surveys }
    }

    /// What tells that a run has ended.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Takes no more jobs; what runs goes on. [`Self::ended`] tells when it has ended.
    pub fn drain(&self) {
        self.stop.send_replace(true);
    }

    /// Stops what runs at once: connections are cut, and PostgreSQL and SQLite roll back, unless PostgreSQL has come to the
    /// commit of a migration before it looks for its client.
    pub fn abort(&self) {
        self.stop.send_replace(true);
        self.abort.send_replace(true);
    }

    /// Waits until all that was begun has ended, after [`Self::drain`] or [`Self::abort`]. After an abort not for
    /// long: what a registry that is away has not taken by then is lost, and its lease lapses.
    pub async fn ended(&mut self) {
        let mut abort = self.abort.subscribe();
        let all_ended = async {
            while self.tasks.join_next().await.is_some() {}
            self.beating.abort();
            self.beat.once(WorkerState::Stopped).await;
            // Last, because servers are busy with the end of a session for a while.
            self.keeper.close().await;
            self.surveys.close().await;
        };
        let given_up = async {
            let _ = abort.wait_for(|abort| *abort).await; // the sender is ours
            tokio::time::sleep(ABORT_LIMIT).await;
        };
        tokio::select! {
            () = all_ended => {}
            () = given_up => tracing::warn!("the registry did not take all outcomes in time; their leases will lapse"),
        }
    }
}

/// The heartbeat goes on while a drain waits, so that nobody takes the worker for dead.
#[derive(Clone)]
struct Beat {
    ledger: Ledger,
    owner: Arc<str>,
    host: String,
    slots: usize,
    health_file: Option<PathBuf>,
    /// Tells attempts that they are to stop.
    forced: watch::Sender<HashSet<RunId>>,
}

impl Beat {
    async fn go_on(self, stop: watch::Receiver<bool>) {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let state = if *stop.borrow() { WorkerState::Draining } else { WorkerState::Running };
            self.once(state).await;
            self.look_for_forced().await;
        }
    }

    async fn look_for_forced(&self) {
        match tokio::time::timeout(HEARTBEAT, self.ledger.forced_runs()).await {
            Ok(Ok(runs)) => {
                self.forced.send_replace(runs.into_iter().collect());
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "it is not known whether a run is to be stopped at once")
            }
            Err(_) => {
                tracing::warn!(limit = ?HEARTBEAT, "it is not known in time whether a run is to be stopped at once");
            }
        }
    }

    async fn once(&self, state: WorkerState) {
        if let Some(Err(error)) = self.health_file.as_deref().map(health::touch) {
            tracing::warn!(%error, "no sign of life could be left for health checks");
        }
        // A registry that hangs must not keep the next sign of life back.
        let beat = self.ledger.beat(&self.owner, &self.host, self.slots, state);
        match tokio::time::timeout(HEARTBEAT, beat).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "no heartbeat could be written"),
            Err(_) => tracing::warn!(limit = ?HEARTBEAT, "no heartbeat could be written in time"),
        }
    }
}
