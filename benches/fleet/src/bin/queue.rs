//! A worker whose handler does nothing but record an outcome: what the ledger and the queue cost alone. It works so many
//! jobs of the registry that the environment names, and ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenantry_shared::{
    job::{Claim, Next, Outcome, Verdict},
    ledger::{Ledger, Recorder},
    queue::{Handler, Queue, Serve, serve},
    registry::Registry,
    run::TargetState,
    schema::Fingerprint,
    store::Store,
};
use tenantry_worker::{
    conductor::{Conductor, conduct},
    pulse::Pulse,
};
use tokio::sync::watch;

const LEASE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let number =
        |at| std::env::args().nth(at).and_then(|word| word.parse().ok()).expect("fleet-queue JOBS SLOTS");
    let (jobs, concurrency): (usize, usize) = (number(1), number(2));
    let url = std::env::var("TENANTRY_REGISTRY_URL").expect("TENANTRY_REGISTRY_URL");
    let queue = std::env::var("TENANTRY_QUEUE_URL").ok();
    let registry = Registry::new(Store::open(&url).await.expect("a registry"));
    let identity = registry.identity().await.expect("an identity");
    let queue = Queue::open(queue.as_deref(), &url, &identity).await.expect("a queue");
    let ledger = Ledger::new(registry.store().clone());
    let (stop, stopped) = watch::channel(false);
    let owner: Arc<str> = "fleet-queue".into();
    let recorder = Recorder::new(ledger.clone(), owner.clone());
    let work = Arc::new(Work { recorder, left: AtomicUsize::new(jobs), stop });
    let handler: Handler = Arc::new(move |claim, slot| {
        let work = work.clone();
        Box::pin(async move {
            work.record(claim).await;
            drop(slot);
        })
    });
    // A queue of its own gets what is due from the conductor.
    let conductor = Conductor {
        ledger: ledger.clone(),
        queue: queue.clone(),
        owner: owner.clone(),
        lease: LEASE,
        pulse: Pulse::default(),
    };
    let served = Serve {
        queue,
        ledger,
        owner,
        lease: LEASE,
        concurrency,
        before: Arc::new(|_| Box::pin(async {})),
        due: Arc::default(),
    };
    tokio::join!(serve(served, handler, stopped.clone()), conduct(conductor, stopped));
}

struct Work {
    recorder: Recorder,
    left: AtomicUsize,
    stop: watch::Sender<bool>,
}

impl Work {
    async fn record(&self, claim: Claim) {
        let next = Next::End(TargetState::Current);
        let recorded = self.recorder.record(&claim, &nothing(), next).await;
        assert!(recorded.expect("the registry"), "the claim was lost");
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.send_replace(true);
        }
    }
}

/// The outcome of an attempt that found nothing to do.
fn nothing() -> Outcome {
    Outcome {
        verdict: Verdict::Proven,
        from: None,
        to: None,
        version: None,
        steps: Vec::new(),
        duration: Duration::ZERO,
        output: None,
        fingerprint: Fingerprint::default(),
        bytes: None,
    }
}
