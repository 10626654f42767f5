//! The ledger: runs, targets and attempts. It is the truth; a queue is a hint.
//!
//! Invariants, each kept by one guarded statement, or one short transaction where a database needs two:
//! - a target belongs to the worker that claimed it until its lease lapses by the registry's clock;
//! - the number of an attempt is its fence: a result is written only while the target is `running` in that
//!   very attempt, so a worker that was paused for an hour cannot overwrite a newer result;
//! - a target whose workers were lost twice is claimed only by a worker that works nothing else;
//! - an attempt is counted when it is claimed, so a job that kills its worker still runs out of attempts;
//!   what the tenant is not to blame for is taken back as `uncounted`;
//! - what is due longest is claimed first. A tenant whose last change took long is due earlier than others of its run, so that
//!   nobody waits for it at the end: by 1.5 seconds at the most, and so no run overtakes an earlier one by more than that;
//! - nothing is claimed of a run that is paused or stopped, or while it is surveyed;
//! - no two targets of a tenant are worked at once;
//! - a tenant that failed for good is not tried again with the same bytes until somebody asks for it;
//! - a final state never changes.

mod ahead;
mod bulk;
mod caps;
mod causes;
mod claims;
mod conduct;
mod enqueue;
mod groups;
mod held;
mod knowledge;
mod once;
mod outcomes;
mod plans;
mod read;
mod recorder;
mod repairs;
mod rollout;
mod schedules;
mod schemas;
mod servers;
mod sightings;
mod selection;
mod stops;
mod suspects;
mod survey;
mod waves;
mod workers;

pub use ahead::Ahead;
pub use causes::{Retrying, RunningRow};
pub use conduct::Closed;
pub use enqueue::Enqueued;
pub use groups::{GroupBy, GroupRow};
pub use held::Held;
pub use knowledge::{Known, Unproven, Why};
pub use once::Joined;
pub use plans::Traces;
pub use read::{AttemptRow, TargetQuery, TargetRow};
pub use recorder::Recorder;
pub use schedules::schedule_key;
pub use schemas::{OutsiderRow, outsider_id};
pub use servers::ServerRow;
pub use sightings::{Seen, Sighting};
pub use stops::{CANCELED, Stopped};
pub use survey::{Found, Page, Survey};
pub use suspects::Suspects;
pub use waves::Begun;
pub use workers::{WorkerRow, WorkerState};

use std::{sync::Arc, time::Duration};

use crate::{
    clock::millis,
    id::{RunId, TenantId},
    job::{Claim, Job},
    registry::RegistryError,
    store::{Row, Statement, Store, StoreError},
};

/// What can go wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database under it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry beside it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No run of this name.
    #[error("there is no run {0}")]
    UnknownRun(String),
    /// Tenants that were named and are not there.
    #[error("there is no tenant {0}")]
    UnknownTenants(String),
    /// Tenants that were named and are not active.
    #[error("not active: {0}")]
    Inactive(String),
    /// Tenants that were named and did not fail in that run.
    #[error("did not fail in that run: {0}")]
    NotFailed(String),
    /// No selected tenant has the labels of the canary.
    #[error("no selected tenant is in the canary {0}")]
    NoCanary(String),
    /// No server of this address or id.
    #[error("there is no server '{0}'")]
    UnknownServer(String),
    /// An SQLite directory.
    #[error("'{0}' is a directory of SQLite files, which have no connections to count")]
    NoConnections(String),
    /// The key is of a run that was asked for something else.
    #[error("the idempotency key '{key}' is of run #{number}, which was another request")]
    KeyTaken {
        /// The key.
        key: String,
        /// The number of its run.
        number: i64,
    },
    /// Another run has not ended with some of the tenants.
    #[error("run #{number} is under way with {tenants} of these tenants{}", more_runs(*.others))]
    UnderWay {
        /// Its number.
        number: i64,
        /// How many of the tenants it has not ended with.
        tenants: i64,
        /// How many other runs are under way with some of them.
        others: usize,
    },
    /// A run to which something could not be done.
    #[error("run {number}: {source}")]
    Run {
        /// Its number.
        number: i64,
        /// Why.
        source: Box<Self>,
    },
    /// The selection chose nobody.
    #[error("no tenant matched the selection")]
    NothingSelected,
}

fn more_runs(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", and so is another run".into(),
        _ => format!(", and so are {others} other runs"),
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl LedgerError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Store(e) | Self::Registry(RegistryError::Store(e)) if e.is_temporary())
    }
}

/// What was done to runs, and the runs to which it could not be done: one that cannot be read harms no other.
#[derive(Debug)]
pub struct Swept<T> {
    /// What was done.
    pub done: Vec<T>,
    /// What was in the way, by run.
    pub failed: Vec<LedgerError>,
}

impl<T> Default for Swept<T> {
    fn default() -> Self {
        Self { done: Vec::new(), failed: Vec::new() }
    }
}

impl<T> Swept<T> {
    /// Adds what came of one run. What is in the way of all of them is an error.
    fn add(&mut self, number: i64, result: Result<Option<T>, LedgerError>) -> Result<(), LedgerError> {
        match result {
            Ok(done) => self.done.extend(done),
            Err(error) if error.is_temporary() => return Err(error),
            Err(error) => self.failed.push(LedgerError::Run { number, source: Box::new(error) }),
        }
        Ok(())
    }
}

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    sight: Arc<caps::Sight>,
}

impl Ledger {
    /// The ledger in a registry's database.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, sight: Arc::default() }
    }

    /// The database under it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// Reads `run_id, tenant_id` from the first two columns.
fn read_job(row: &Row) -> Result<Job, LedgerError> {
    let run: String = row.try_get(0)?;
    let tenant: String = row.try_get(1)?;
    let damaged = |_| StoreError::Value("targets".into());
    Ok(Job {
        run: run.parse::<RunId>().map_err(damaged)?,
        tenant: tenant.parse::<TenantId>().map_err(damaged)?,
    })
}

/// A number of ours out of a `BIGINT`.
fn number(row: &Row, at: usize) -> Result<u32, LedgerError> {
    let value: i64 = row.try_get(at)?;
    u32::try_from(value).map_err(|_| StoreError::Value(format!("{value}")).into())
}

/// A thousand years. What is longer would leave the numbers of a database, or of a calendar.
const LONGEST_MS: u64 = 31_556_952_000_000;

/// A duration in the database's milliseconds.
fn ms(duration: Duration) -> i64 {
    bounded(millis(duration))
}

/// Milliseconds of a duration as a number of the database.
fn bounded(ms: u64) -> i64 {
    i64::try_from(ms.min(LONGEST_MS)).unwrap_or(i64::MAX)
}

/// Binds what guards a write: run, tenant and number of the attempt.
fn bind_attempt(query: Statement, claim: &Claim) -> Statement {
    query.bind(claim.job.run.to_string()).bind(claim.job.tenant.to_string()).bind(i64::from(claim.attempt))
}
