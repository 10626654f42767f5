//! Running a worker: apalis over our backend, rebuilt with backoff if it ever ends by itself.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use apalis::{
    layers::WorkerBuilderExt as _,
    prelude::{BoxDynError, Data, WorkerBuilder},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{Notify, watch};

use super::{
    Queue,
    backend::{ClaimBackend, Held, Source},
    slots::{Slot, Slots},
    suspects::{Room, look_out},
};
use crate::{clock, job::Claim, ledger::Ledger, retry};

const RESTART_BASE: Duration = Duration::from_millis(200);
const RESTART_CAP: Duration = Duration::from_secs(10);

/// Works one claim to its end and records the outcome, or gives it back where its slot does not begin. It must not panic. It
/// has the slot until it leaves it.
pub type Handler = Arc<dyn Fn(Claim, Slot) -> BoxFuture<'static, ()> + Send + Sync>;

/// Called before jobs are looked for: what there is may be done without any. It is told whether the worker is idle, and is
/// waited for.
pub type Before = Arc<dyn Fn(bool) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a worker serves.
#[derive(Clone)]
pub struct Serve {
    /// Where jobs come from.
    pub queue: Queue,
    /// What claims are made in.
    pub ledger: Ledger,
    /// The worker's name, unique per start.
    pub owner: Arc<str>,
    /// How long a claim is good without being renewed.
    pub lease: Duration,
    /// Tenants at once.
    pub concurrency: usize,
    /// What comes before jobs.
    pub before: Before,
    /// What tells a worker that waits that jobs may be due. It looks for some every now and then in any case.
    pub due: Arc<Notify>,
}

/// What apalis hands to each job. By itself, the type of a handler has a lifetime that apalis cannot be told.
#[derive(Clone)]
struct Work {
    handler: Handler,
}

/// Takes jobs and works them until `stop` turns true; returns when all that was begun has ended.
pub async fn serve(serve: Serve, handler: Handler, stop: watch::Receiver<bool>) {
    let slots = Slots::new(serve.concurrency, stop.clone());
    let work = Work { handler };
    let (tell, room) = watch::channel(Room::default());
    let looking = look_out(serve.ledger.clone(), serve.owner.clone(), tell);
    let source = Source {
        queue: serve.queue,
        ledger: serve.ledger,
        owner: serve.owner,
        lease: serve.lease,
        slots,
        stop: stop.clone(),
        room,
        before: serve.before,
        due: serve.due,
    };
    tokio::select! {
        () = incarnations(&source, &work, &stop) => {}
        () = looking => {}
    }
    // What an earlier incarnation began may still run, and outcomes be written: they hold their permits until they end.
    source.slots.all().await;
}

async fn incarnations(source: &Source, work: &Work, stop: &watch::Receiver<bool>) {
    let mut incarnation = 0_u32;
    while !*stop.borrow() {
        incarnation += 1;
        let stopped = stop.clone();
        let ended = WorkerBuilder::new(format!("{}#{incarnation}", source.owner))
            .backend(ClaimBackend::new(source.clone()))
            .data(work.clone())
            .concurrency(source.slots.most())
            .build(on_claim)
            .run_until(until(stopped))
            .await;
        if !*stop.borrow() {
            let delay = retry::delay(incarnation, RESTART_BASE, RESTART_CAP, 0.5 + clock::chance() / 2.0);
            tracing::error!(
                ?ended,
                retry_in_ms = clock::millis(delay),
                "the worker runtime ended by itself and is started again"
            );
            tokio::time::sleep(delay).await;
        }
    }
}

async fn until(mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    // An error means the sender is gone, and with it whoever could want more work.
    let _ = stop.wait_for(|stop| *stop).await;
    Ok(())
}

/// The work runs in a task of its own and takes its slot with it: when apalis drops this future, the migration
/// goes on and reports. To apalis it is over when its slot is free.
async fn on_claim(held: Held, work: Data<Work>) -> Result<(), BoxDynError> {
    let Held { claim, slots } = held;
    let (slot, left) = Slot::of(slots);
    let running = AssertUnwindSafe((work.handler)(claim, slot)).catch_unwind();
    tokio::spawn(async move {
        if running.await.is_err() {
            tracing::error!("a handler panicked; the lease of its target will lapse");
        }
    });
    let _ = left.await; // nothing is sent: it is dropped
    Ok(())
}
