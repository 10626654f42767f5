//! The conductor: a loop in every worker, of which one at a time is at work.
//!
//! **States.** *Waiting* (somebody else holds the lease) and *conducting*. Each beat begins by taking or renewing the lease;
//! who does not get it waits for a longer one. The term is [`TERM`] by the registry's clock: a conductor that dies is
//! followed within a term and such a beat, one that stops gives the lease up. It stays until its worker's last outcome is
//! recorded. One that panics is told of and begun again with backoff (`keep`).
//!
//! **Trust window.** The lease is looked at once a beat, not before each statement. So a conductor that is paused within a
//! beat, or waits for an answer, may end that one beat however much later, beside its successor. That is harmless, because
//! the lease only saves work: nothing is decided by what it remembers, and every write says what it must find.
//!
//! | statement | guard | done late or twice |
//! |---|---|---|
//! | `open_runs` | the run is `pending` | changes nothing |
//! | `forget_workers` | silent for a day at that moment | who wakes is written down again at its next heartbeat |
//! | `rescue` | `running` in that very attempt, its lease lapsed at that moment | changes nothing; who renewed keeps it |
//! | `stop_runs` | the run goes on and has no reason yet; it has something left, and none has succeeded where that counts | a failure does not go away, nor does a deadline: the halt comes late |
//! | `begin_waves` | targets that wait in that wave; the run is still at the wave before | changes nothing, for what the gate saw is final; of a run that was stopped meanwhile nothing is claimed |
//! | `end_stopped` | `pending` or `retryable`, of a run with a reason, which it keeps | changes nothing |
//! | `close_runs` | the run goes on; final states stay | changes nothing |
//! | `resend_lost`, `take_due`, `send` | due at that moment, sent before | a job comes twice, and is claimed once |
//!
//! **A step that fails** keeps no later one from being done, and a run that cannot be read harms itself alone: what a newer
//! version has written, say. It is told once, and the lease is given up, so that a worker that can may do it.
//!
//! **Paused for an hour.** It ends its beat as above, finds the lease with another one, and waits. If nobody else was there
//! it takes it again, and gives grace as after an absence of the registry.
//!
//! **The registry restarts.** Leases are rows and outlive it. Beats fail and are tried again every second. Whoever was cut
//! off for half a lease of its targets holds no lapse of that time against a worker for one more lease (`grace`), so that
//! the living renew first. A process that begins just then knows of no gap and gives no grace: what it takes back from the
//! living is tried again, and not counted.
//!
//! **Clocks.** Times are the registry's; a machine's own clock only paces the beats. Set forward, the registry's clock looks
//! like an absence: grace. Set back, whatever the living hold goes on with their next renewal, and what the dead held, this
//! lease too, lapses by so much later.
//!
//! No job expires: `RESEND` and `LOST` are about jobs that nobody has claimed, and a claim lasts while it is renewed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tenantry_shared::{
    ledger::{Ledger, LedgerError},
    queue::{Queue, QueueError},
};
use tokio::sync::watch;

use crate::{grace::Grace, pulse::Pulse};

/// How long the lease is good.
pub const TERM: Duration = Duration::from_secs(3);

const LEASE: &str = "conductor";
const BEAT: Duration = Duration::from_millis(200);

/// How often who waits asks for the lease: of many workers, all but one do.
const WAITING_BEAT: Duration = Duration::from_millis(500);

/// Not more jobs than these wait in a queue of its own: the rest is in the ledger.
const CREDIT: u64 = 10_000;
const SENT_AT_ONCE: u64 = 1_000;

/// A job that nobody has claimed so long after it was sent is sent again.
const RESEND: Duration = Duration::from_secs(30);

/// A job that nobody has claimed so long after it was sent, and the queue is empty, is lost.
const LOST: Duration = Duration::from_secs(3);

/// Workers that were silent for so long are forgotten.
const FORGET_WORKERS: Duration = Duration::from_hours(24);

/// What could not be done in a beat, by the step: told when it is new.
type Troubles = BTreeSet<(&'static str, String)>;

/// A step of a beat: the runs to which it could not be done, or why it could not be done at all.
type Done = Result<Vec<LedgerError>, QueueError>;

/// What conducts.
#[derive(Clone)]
pub struct Conductor {
    /// What it conducts by.
    pub ledger: Ledger,
    /// Where due jobs go.
    pub queue: Queue,
    /// Its worker's name, unique per start.
    pub owner: Arc<str>,
    /// How long a claim is good without being renewed.
    pub lease: Duration,
    /// What tells that there is something to close, and is told of a run that has ended.
    pub pulse: Pulse,
}

/// Conducts until `stop` turns true, and does one more beat then if a run goes on: what was worked until now is closed.
pub async fn conduct(conductor: Conductor, mut stop: watch::Receiver<bool>) {
    let mut grace = Grace::of(conductor.lease);
    let mut told = Troubles::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let woken = tokio::select! {
            _ = beat.tick() => Woken::ByTime,
            () = conductor.pulse.idle() => Woken::Idle,
            _ = stop.wait_for(|stop| *stop) => Woken::Last,
        };
        match woken {
            Woken::Idle if is_done(&conductor).await => continue,
            Woken::Last if is_without_runs(&conductor.ledger).await => break,
            Woken::ByTime | Woken::Idle | Woken::Last => {}
        }
        let mut troubles = Troubles::new();
        let done = one_beat(&conductor, &mut grace, &mut troubles).await;
        tell(&done, troubles, &mut told);
        if woken == Woken::Last {
            break;
        }
        match done {
            Ok(true) => {}
            Ok(false) => beat.reset_after(WAITING_BEAT),
            Err(_) => tokio::time::sleep(BEAT * 5).await,
        }
    }
    if let Err(error) = conductor.ledger.drop_lease(LEASE, &conductor.owner).await {
        tracing::debug!(%error, "the conductor's lease was not given up, it ends by itself");
    }
}

/// Why a beat begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    ByTime,
    /// Nothing is worked any more.
    Idle,
    /// There is none after it.
    Last,
}

/// Closes what was worked to its end just now, behind what a beat does of it before. `false`: a beat is needed, as nothing
/// is worked and no run has ended.
async fn is_done(conductor: &Conductor) -> bool {
    let Conductor { ledger, pulse, .. } = conductor;
    let closed = async {
        begin_waves(ledger, pulse).await?;
        Ok::<_, QueueError>(close(ledger, pulse).await? > 0)
    };
    closed.await.unwrap_or(false) || !pulse.stays_idle().await
}

/// Whether a beat would find nothing to do.
async fn is_without_runs(ledger: &Ledger) -> bool {
    ledger.has_open_runs().await.is_ok_and(|open| !open)
}

/// Tells what is new of what could not be done. While somebody else conducts, nothing is known of it.
fn tell(done: &Result<bool, QueueError>, mut troubles: Troubles, told: &mut Troubles) {
    match done {
        Ok(false) => return,
        Err(error) if troubles.is_empty() => _ = troubles.insert(("lease", error.to_string())),
        Ok(true) | Err(_) => {}
    }
    for (step, error) in troubles.difference(told) {
        tracing::warn!(step, error, "the conductor could not do all of its work");
    }
    *told = troubles;
}

/// A step that fails, or a run that cannot be read, keeps no other from being done. Who could not do all gives the lease
/// up: a worker of another version may be able to. `false`: somebody else conducts.
async fn one_beat(
    conductor: &Conductor,
    grace: &mut Grace,
    troubles: &mut Troubles,
) -> Result<bool, QueueError> {
    let Conductor { ledger, queue, owner, .. } = conductor;
    let lapsed_until = grace.lapsed_until(ledger.store().now_ms().await.map_err(LedgerError::from)?);
    if !ledger.hold_lease(LEASE, owner, TERM).await? {
        return Ok(false);
    }
    let steps: [(&str, BoxFuture<'_, Done>); 8] = [
        ("open", open(ledger).boxed()),
        ("rescue", rescue(ledger, lapsed_until).boxed()),
        ("limits", raise_limits(ledger).boxed()),
        ("stop", stop_runs(ledger).boxed()),
        ("waves", begin_waves(ledger, &conductor.pulse).boxed()),
        ("end", end_stopped(ledger).boxed()),
        (
            "close",
            async { close(ledger, &conductor.pulse).await.map(|_| Vec::new()).map_err(Into::into) }.boxed(),
        ),
        ("send", send_due(ledger, queue).boxed()),
    ];
    let mut done = Ok(true);
    for (step, work) in steps {
        match work.await {
            Ok(failed) => troubles.extend(failed.iter().map(|error| (step, error.to_string()))),
            Err(error) => {
                troubles.insert((step, error.to_string()));
                // A registry that is away is waited for once.
                ledger.store().now_ms().await.map_err(LedgerError::from)?;
                done = Err(error);
            }
        }
    }
    if !troubles.is_empty() {
        ledger.drop_lease(LEASE, owner).await?;
    }
    done
}

async fn open(ledger: &Ledger) -> Done {
    if ledger.open_runs().await? > 0 {
        ledger.forget_workers(FORGET_WORKERS).await?;
    }
    Ok(Vec::new())
}

async fn rescue(ledger: &Ledger, lapsed_until: i64) -> Done {
    let rescued = ledger.rescue(lapsed_until).await?;
    if rescued > 0 {
        tracing::warn!(targets = rescued, "took back targets whose worker was lost");
    }
    Ok(Vec::new())
}

async fn raise_limits(ledger: &Ledger) -> Done {
    ledger.raise_limits().await?;
    Ok(Vec::new())
}

async fn end_stopped(ledger: &Ledger) -> Done {
    ledger.end_stopped().await?;
    Ok(Vec::new())
}

async fn send_due(ledger: &Ledger, queue: &Queue) -> Done {
    let Some(depth) = queue.depth().await? else { return Ok(Vec::new()) };
    if depth == 0 {
        let lost = ledger.resend_lost(LOST).await?;
        if lost > 0 {
            tracing::warn!(jobs = lost, "the queue lost jobs, they are sent again");
        }
    }
    let mut room = CREDIT.saturating_sub(depth);
    while room > 0 {
        let jobs = ledger.take_due(room.min(SENT_AT_ONCE), RESEND).await?;
        queue.send(&jobs).await?;
        room = room.saturating_sub(jobs.len() as u64);
        if jobs.is_empty() {
            break;
        }
    }
    Ok(Vec::new())
}

async fn stop_runs(ledger: &Ledger) -> Done {
    let swept = ledger.stop_runs().await?;
    for stopped in swept.done {
        let (number, code, reason) = (stopped.number, &stopped.stop.code, &stopped.stop.reason);
        tracing::warn!(run.number = number, code, reason, "the run is stopped");
    }
    Ok(swept.failed)
}

async fn begin_waves(ledger: &Ledger, pulse: &Pulse) -> Done {
    let swept = ledger.begin_waves().await?;
    for begun in swept.done {
        let (number, wave, tenants) = (begun.number, begun.wave, begun.tenants);
        if begun.opened {
            pulse.due().notify_one();
            tracing::info!(run.number = number, wave, tenants, "all before it went well, the wave opens");
        } else {
            tracing::warn!(run.number = number, tenants, "the central database failed, no tenant is begun");
        }
    }
    Ok(swept.failed)
}

/// Ends runs that have nothing left to do, and gives how many.
pub(crate) async fn close(ledger: &Ledger, pulse: &Pulse) -> Result<usize, LedgerError> {
    let closed = ledger.close_runs().await?;
    for run in &closed {
        tracing::info!(run.number = run.number, state = %run.state, "the run ended");
        pulse.run_ended();
    }
    Ok(closed.len())
}
