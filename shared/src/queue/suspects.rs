//! Room for suspects: what tells a worker's source that a target is due which must be worked alone.
//!
//! An idle worker that finds nothing else takes one at once. A busy one makes room for one that has waited: it claims
//! nothing more until it is idle. The lease [`LEASE`] in the ledger lets one worker at a time do so, until its suspect has
//! ended; the others go on meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::ledger::{Ledger, LedgerError};

const LEASE: &str = "suspects";
const TERM: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a suspect waits for an idle worker before a busy one makes room.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the source is told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// A suspect is due.
    pub(super) wanted: bool,
    /// Nothing else is to be claimed here until it was.
    pub(super) made: bool,
}

/// Looks for suspects until it is dropped.
pub(super) async fn look_out(ledger: Ledger, owner: Arc<str>, tell: watch::Sender<Room>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut holds = false;
    loop {
        looks.tick().await;
        let room = look(&ledger, &owner, &mut holds).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "it is not known whether a target is to be worked alone");
            Room::default()
        });
        if room.made && !tell.borrow().made {
            tracing::info!("claiming nothing more until a target is worked that must be alone");
        }
        tell.send_replace(room);
    }
}

async fn look(ledger: &Ledger, owner: &str, holds: &mut bool) -> Result<Room, LedgerError> {
    let suspects = ledger.suspects(owner).await?;
    let late = suspects.waited.is_some_and(|waited| waited >= PATIENCE);
    if late || (*holds && suspects.held) {
        *holds = ledger.hold_lease(LEASE, owner, TERM).await?;
    } else if std::mem::take(holds) {
        ledger.drop_lease(LEASE, owner).await?;
    }
    Ok(Room { wanted: suspects.waited.is_some(), made: late && *holds })
}
