//! What the rules are tested on: a registry, a queue before it, and consumers.

use std::{sync::Arc, time::Duration};

use tenantry_shared::{
    bundle::Bundle,
    failure::{Class, Failure},
    format::File,
    job::{Claim, Job, Next, Outcome, Verdict},
    ledger::{Ledger, Recorder},
    place::DatabaseUrl,
    queue::{Handler, Queue, Serve, serve},
    registry::{NewTenant, Registry},
    run::{Action, Pick, Policy, RunRef, RunSpec, Selection, TargetState},
    schema::Fingerprint,
    secret::MasterKey,
    store::Store,
    tenant::{Labels, Status},
};
use tenantry_tests::{Home, TenantDb, server, wait::until};
use tokio::{sync::watch, task::JoinHandle};

use super::{LEASE, SHORT_LEASE};

/// A registry with some tenants, the queue before it, and a second way to look into the registry.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) registry: Registry,
    pub(super) ledger: Ledger,
    pub(super) recorder: Recorder,
    pub(super) queue: Queue,
    pub(super) sql: TenantDb,
    pub(super) spec: RunSpec,
    _home: Arc<Home>,
}

impl Bench {
    pub(super) async fn new(home: Home, redis: bool, tenants: usize) -> Self {
        let url = home.registry_url();
        let registry = Registry::new(Store::init(&url).await.expect("a registry"));
        let queue_url = redis.then(server::redis);
        let identity = registry.identity().await.expect("an identity");
        let queue = Queue::open(queue_url.as_deref(), &url, &identity).await.expect("a queue");
        registry.add_tenants(&MasterKey::generate().expect("a key"), &some(tenants)).await.expect("tenants");
        let file = File { name: "1_first.sql".into(), content: "SELECT 1;".into() };
        let bundle = Bundle::new(vec![file]).expect("a bundle");
        registry.put_bundle(&bundle).await.expect("a stored bundle");
        let ledger = Ledger::new(registry.store().clone());
        Self {
            recorder: Recorder::new(ledger.clone(), "a test".into()),
            ledger,
            queue,
            sql: TenantDb::registry(&url),
            spec: RunSpec {
                action: Action::default(),
                central: false,
                digest: bundle.digest().clone(),
                target: 1.into(),
                selection: Selection { pick: Pick::All, exclude: vec![], limit: None },
                policy: Policy::default(),
                parent: None,
                requested_by: "a test".into(),
                reason: None,
                key: None,
                overlap: true,
                migrations: vec![],
                retry_failed: false,
            },
            registry,
            _home: Arc::new(home),
        }
    }

    /// The same for another process, which has seen nothing yet.
    pub(super) fn elsewhere(&self) -> Self {
        let ledger = Ledger::new(self.registry.store().clone());
        Self { recorder: Recorder::new(ledger.clone(), "a test".into()), ledger, ..self.clone() }
    }

    pub(super) async fn enqueue(&self) {
        self.ledger.enqueue(&self.spec, "first").await.expect("a run");
    }

    /// Enqueues a run of so many of the tenants.
    pub(super) async fn enqueue_some(&self, limit: u32) {
        let selection = Selection { limit: Some(limit), ..self.spec.selection.clone() };
        self.ledger.enqueue(&RunSpec { selection, ..self.spec.clone() }, "first").await.expect("a run");
    }

    /// What a conductor does at a beat, without closing runs.
    pub(super) async fn conduct(&self) {
        self.ledger.rescue(i64::MAX).await.expect("a rescue");
        if self.queue.depth().await.expect("a depth").is_some() {
            let due = self.ledger.take_due(1000, LEASE).await.expect("due jobs");
            self.queue.send(&due).await.expect("sent jobs");
        }
    }

    pub(super) async fn take(&self, limit: usize, owner: &str, lease: Duration) -> Vec<Claim> {
        self.conduct().await;
        self.queue.take(&self.ledger, limit, owner, lease).await.expect("claims")
    }

    /// Takes one claim and lets its lease lapse.
    pub(super) async fn take_and_lose(&self) -> Claim {
        let claim = self.take(1, "lost", SHORT_LEASE).await.remove(0);
        self.until_rescued().await;
        claim
    }

    /// Claims the suspect that is due longest.
    pub(super) async fn suspect(&self, owner: &str, lease: Duration) -> Option<Claim> {
        self.ledger.claim_suspect(owner, lease).await.expect("an answer")
    }

    pub(super) async fn until_rescued(&self) {
        until("the lease lapses and the target is rescued", || async {
            self.ledger.rescue(i64::MAX).await.expect("a rescue") == 1
        })
        .await;
    }

    pub(super) async fn record(&self, claim: &Claim, verdict: Verdict, next: Next) -> bool {
        let outcome = outcome(verdict);
        self.recorder.record(claim, &outcome, next).await.expect("an answer")
    }

    pub(super) async fn succeed(&self, claim: &Claim) -> bool {
        self.record(claim, Verdict::Proven, Next::End(TargetState::Applied)).await
    }

    /// The job of a tenant in the newest run.
    pub(super) async fn job(&self, slug: &str) -> Job {
        let run = self.ledger.find_run(RunRef::Latest).await.expect("a run").id;
        let tenant = self.registry.tenant(&slug.parse().expect("a slug")).await.expect("a tenant").id;
        Job { run, tenant }
    }

    pub(super) async fn targets(&self, condition: &str) -> i64 {
        self.sql.number(&format!("SELECT count(*) FROM targets WHERE {condition}")).await
    }

    /// Serves until the returned switch is turned, with a conductor beside it.
    pub(super) fn serve(&self, owner: &str, concurrency: usize, lease: Duration, handler: Handler) -> Served {
        let (stop, stopped) = watch::channel(false);
        let served = Serve {
            before: Arc::new(|_| Box::pin(async {})),
            due: Arc::default(),
            queue: self.queue.clone(),
            ledger: self.ledger.clone(),
            owner: owner.into(),
            lease,
            concurrency,
        };
        let (bench, mut conducting) = (self.clone(), stopped.clone());
        let conductor = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(50));
            while !*conducting.borrow_and_update() {
                beat.tick().await;
                bench.conduct().await;
            }
        });
        Served { stop, tasks: [conductor, tokio::spawn(serve(served, handler, stopped))] }
    }
}

pub(super) struct Served {
    pub(super) stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Served {
    pub(super) async fn drain(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.expect("an end");
        }
    }
}

pub(super) fn some(count: usize) -> Vec<NewTenant> {
    let tenant = |at: usize| {
        let path = format!("sqlite:/nowhere/t{at:02}.db");
        let url = DatabaseUrl::parse(&path, "/".as_ref()).expect("a URL");
        NewTenant {
            slug: format!("t{at:02}").parse().expect("a slug"),
            place: url.place(None).expect("a place"),
            url,
            status: Status::Active,
            labels: Labels::new(),
        }
    };
    (0..count).map(tenant).collect()
}

fn outcome(verdict: Verdict) -> Outcome {
    let to = matches!(verdict, Verdict::Proven).then_some(1.into());
    Outcome {
        verdict,
        from: None,
        version: to.clone(),
        to,
        steps: Vec::new(),
        duration: Duration::ZERO,
        output: None,
        fingerprint: Fingerprint::default(),
        bytes: None,
    }
}

/// The outcome of an attempt that brought its tenant to version 1.
pub(super) fn success() -> Outcome {
    outcome(Verdict::Proven)
}

pub(super) fn failure(class: Class) -> Verdict {
    Verdict::Failed(Failure::new(class, "of-a-test", "it went wrong"))
}

/// A handler out of an async closure.
pub(super) fn handler<F: Future<Output = ()> + Send + 'static>(
    work: impl Fn(Claim) -> F + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |claim, slot| {
        let work = work(claim);
        Box::pin(async move {
            work.await;
            drop(slot);
        })
    })
}
