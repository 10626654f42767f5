//! The conductor: a loop in every worker, of which one at a time is at work.
//!
//! States: *waiting* (somebody else holds the lease) and *conducting*. The term is [`TERM`] by the registry's
//! clock, renewed at every beat; a conductor that dies is followed by another one within a term. One that is
//! paused for an hour and wakes does at most one beat's work before it learns that it is not the conductor any
//! more, and that work is harmless: it takes no input but the ledger, and every statement is guarded.

use std::{sync::Arc, time::Duration};

use tenantry_shared::{
    ledger::{Ledger, LedgerError},
    queue::{Queue, QueueError},
};
use tokio::sync::watch;

use crate::grace::Grace;

/// How long the lease is good.
pub const TERM: Duration = Duration::from_secs(3);

const LEASE: &str = "conductor";
const BEAT: Duration = Duration::from_millis(200);

/// Not more jobs than these wait in a queue of its own: the rest is in the ledger.
const CREDIT: u64 = 2_000;
const SENT_AT_ONCE: u64 = 500;

/// A job that nobody has claimed so long after it was sent is sent again.
const RESEND: Duration = Duration::from_secs(30);

/// A job that nobody has claimed so long after it was sent, and the queue is empty, is lost.
const LOST: Duration = Duration::from_secs(3);

/// Workers that were silent for so long are forgotten.
const FORGET_WORKERS: Duration = Duration::from_hours(24);

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
}

/// Conducts until `stop` turns true, and does one more beat then: what was worked until now is closed.
pub async fn conduct(conductor: Conductor, mut stop: watch::Receiver<bool>) {
    let mut grace = Grace::of(conductor.lease);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = beat.tick() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let done = one_beat(&conductor, &mut grace).await;
        if let Err(error) = &done {
            tracing::warn!(%error, "the conductor could not do its work");
        }
        if last {
            break;
        }
        if done.is_err() {
            tokio::time::sleep(BEAT * 5).await;
        }
    }
    if let Err(error) = conductor.ledger.drop_lease(LEASE, &conductor.owner).await {
        tracing::debug!(%error, "the conductor's lease was not given up, it ends by itself");
    }
}

async fn one_beat(conductor: &Conductor, grace: &mut Grace) -> Result<(), QueueError> {
    let Conductor { ledger, queue, owner, .. } = conductor;
    let lapsed_until = grace.lapsed_until(ledger.store().now_ms().await.map_err(LedgerError::from)?);
    if !ledger.hold_lease(LEASE, owner, TERM).await? {
        return Ok(());
    }
    if ledger.open_runs().await? > 0 {
        ledger.forget_workers(FORGET_WORKERS).await?;
    }
    let rescued = ledger.rescue(lapsed_until).await?;
    if rescued > 0 {
        tracing::warn!(targets = rescued, "took back targets whose worker was lost");
    }
    stop_runs(ledger).await?;
    begin_waves(ledger).await?;
    ledger.end_stopped().await?;
    close(ledger).await?;
    send_due(ledger, queue).await
}

async fn send_due(ledger: &Ledger, queue: &Queue) -> Result<(), QueueError> {
    let Some(depth) = queue.depth().await? else { return Ok(()) };
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
    Ok(())
}

async fn stop_runs(ledger: &Ledger) -> Result<(), LedgerError> {
    for stopped in ledger.stop_runs().await? {
        let (number, code, reason) = (stopped.number, &stopped.stop.code, &stopped.stop.reason);
        tracing::warn!(run.number = number, code, reason, "the run is stopped");
    }
    Ok(())
}

async fn begin_waves(ledger: &Ledger) -> Result<(), LedgerError> {
    for begun in ledger.begin_waves().await? {
        let (number, wave, tenants) = (begun.number, begun.wave, begun.tenants);
        if begun.opened {
            tracing::info!(run.number = number, wave, tenants, "all before it went well, the wave opens");
        } else {
            tracing::warn!(run.number = number, tenants, "the central database failed, no tenant is begun");
        }
    }
    Ok(())
}

async fn close(ledger: &Ledger) -> Result<(), LedgerError> {
    for run in ledger.close_runs().await? {
        tracing::info!(run.number = run.number, state = %run.state, "the run ended");
    }
    Ok(())
}
