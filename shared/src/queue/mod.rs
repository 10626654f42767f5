//! The queue: how workers hear of jobs. One seam, two sources, chosen by the queue's URL.
//!
//! | URL | source |
//! |---|---|
//! | none, or the registry's own | the ledger: workers claim due targets from it; enqueue is one transaction and nothing can be lost between two stores |
//! | `redis:` or `rediss:` | a list of job ids, for many workers that should not poll the registry |
//!
//! Targets on a server with a cap or a limit are in no list: how many of them may run is counted in the ledger, so workers
//! claim them there, and a list would only give what cannot be run.
//!
//! A job is a hint. The claim in the ledger makes a duplicate, stale or lost one harmless, and the conductor
//! sends again what is due. apalis is the worker runtime over both; its name and redis' stand only in here.

mod backend;
mod redis;
mod serve;
mod slots;
mod suspects;

use std::time::Duration;

pub use serve::{Before, Handler, Serve, serve};
pub use slots::Slot;

use self::redis::RedisQueue;
use crate::{
    clock,
    job::{Claim, Job},
    ledger::{Ledger, LedgerError},
    store,
};

/// How often one call takes messages again of which none could be claimed.
const MAX_STALE_ROUNDS: u32 = 200;

/// What can go wrong with the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The URL is of no queue.
    #[error("the queue URL must begin with redis: or rediss:, or be the registry's own")]
    Scheme,
    /// A database that is not the registry.
    #[error("the queue URL names a database that is not the registry")]
    OtherDatabase,
    /// Nothing answers there, or not in time.
    #[error("the queue cannot be reached: {0}")]
    Unreachable(String),
    /// The ledger behind it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Where workers get their jobs.
#[derive(Clone)]
pub enum Queue {
    /// From the ledger itself.
    Ledger,
    /// From a Redis list.
    Redis(RedisQueue),
}

impl Queue {
    /// Connects to the queue of a registry.
    ///
    /// # Errors
    /// When the URL is none of a queue, or nothing answers there.
    pub async fn open(url: Option<&str>, registry_url: &str, identity: &str) -> Result<Self, QueueError> {
        match url {
            None => Ok(Self::Ledger),
            Some(url) if url.starts_with("redis:") || url.starts_with("rediss:") => {
                Ok(Self::Redis(RedisQueue::connect(url, identity).await?))
            }
            Some(url) => match store::dialect_of(url) {
                Ok(_) if url == registry_url => Ok(Self::Ledger),
                Ok(_) => Err(QueueError::OtherDatabase),
                Err(_) => Err(QueueError::Scheme),
            },
        }
    }

    /// Its kind in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Redis(_) => "redis",
        }
    }

    /// How many jobs are waiting in a store of its own; none when the ledger is the queue.
    ///
    /// # Errors
    /// When the queue cannot be reached.
    pub async fn depth(&self) -> Result<Option<u64>, QueueError> {
        match self {
            Self::Ledger => Ok(None),
            Self::Redis(redis) => redis.depth().await.map(Some),
        }
    }

    /// Hands jobs over. Nothing to do when the ledger is the queue: what is due is there already.
    ///
    /// # Errors
    /// When the queue cannot be reached.
    pub async fn send(&self, jobs: &[Job]) -> Result<(), QueueError> {
        match self {
            Self::Ledger => Ok(()),
            Self::Redis(redis) => redis.send(jobs).await,
        }
    }

    /// Claims up to `limit` targets for `owner`.
    ///
    /// # Errors
    /// When the queue or the ledger cannot be reached. Jobs taken from the queue by then are sent again later.
    pub async fn take(
        &self,
        ledger: &Ledger,
        limit: usize,
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Claim>, QueueError> {
        match self {
            Self::Ledger => Ok(ledger.claim_due(limit, owner, lease).await?),
            Self::Redis(redis) => {
                // Targets of capped servers are not in the list. Neither they nor the others may keep all slots.
                if clock::chance() < 0.5 {
                    let claims = ledger.claim_capped(limit, owner, lease).await?;
                    if !claims.is_empty() {
                        return Ok(claims);
                    }
                }
                let claims = take_jobs(redis, ledger, limit, owner, lease).await?;
                if !claims.is_empty() {
                    return Ok(claims);
                }
                Ok(ledger.claim_capped(limit, owner, lease).await?)
            }
        }
    }
}

/// Gives a claim back that was not begun.
pub async fn give_back(ledger: &Ledger, claim: &Claim) {
    if let Err(error) = ledger.release(claim).await {
        tracing::warn!(%error, "a claim could not be given back; its lease will lapse");
    }
}

async fn take_jobs(
    redis: &RedisQueue,
    ledger: &Ledger,
    limit: usize,
    owner: &str,
    lease: Duration,
) -> Result<Vec<Claim>, QueueError> {
    // What is stale or cannot be read is dropped at once: behind it, others wait.
    for _ in 0..MAX_STALE_ROUNDS {
        let Some(jobs) = redis.take(limit).await? else { break };
        let claims = ledger.claim_jobs(&jobs, owner, lease).await?;
        if !claims.is_empty() {
            return Ok(claims);
        }
    }
    Ok(Vec::new())
}
