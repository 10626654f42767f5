//! One worker's outcomes, written together: while some are being written, those that come gather, and the next
//! transaction takes them all. Who comes alone waits for nobody.
//!
//! Invariant: each caller is answered for its own outcome. One that the registry does not take costs the others nothing:
//! each of those that were to be written with it is written alone then. Failures go alone always: they are few, and change more.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Ledger, LedgerError, bulk::Plain};
use crate::{
    digest::Digest,
    job::{Claim, Next, Outcome},
    schema::Catalog,
    store::Dialect,
};

/// So many outcomes are in one transaction at most: others wait for its locks.
const AT_ONCE: usize = 256;

/// So many transactions at once: while one waits for the disk, another one is worked on. `SQLite` has one writer.
const WRITERS: usize = 2;

/// So many schemas that the registry has are remembered.
const REMEMBERED: usize = 1_000;

/// Writes the outcomes of one worker.
#[derive(Clone, Debug)]
pub struct Recorder {
    ledger: Ledger,
    owner: Arc<str>,
    desk: Arc<Mutex<Desk>>,
    kept: Arc<Mutex<HashSet<Digest>>>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: VecDeque<Waiting>,
    writers: usize,
}

#[derive(Debug)]
struct Waiting {
    row: Plain,
    tell: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum Answer {
    Written(bool),
    Failed(Arc<LedgerError>),
    /// To be written by itself.
    Alone,
}

impl Recorder {
    /// The one of a worker of this name.
    #[must_use]
    pub fn new(ledger: Ledger, owner: Arc<str>) -> Self {
        Self { ledger, owner, desk: Arc::default(), kept: Arc::default() }
    }

    /// Whose outcomes these are.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Records how an attempt ended. `false`: a later attempt exists, and this result changes nothing. It is written even
    /// if the caller stops waiting.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses it. Whether it was written is not known then; it may be recorded again.
    pub async fn record(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        next: Next,
    ) -> Result<bool, Arc<LedgerError>> {
        if let Some(row) = Plain::of(claim, outcome, next) {
            if let Some(catalog) = &outcome.fingerprint.catalog {
                self.keep(catalog, claim).await?;
            }
            match self.bring(row).await {
                Ok(Answer::Written(written)) => return Ok(written),
                Ok(Answer::Failed(error)) => return Err(error),
                Ok(Answer::Alone) | Err(_) => {}
            }
        }
        Ok(Box::pin(self.ledger.record(claim, &self.owner, outcome, next)).await?)
    }

    /// Tenants that were brought to the same version mostly have the same schema, and what is kept stays so.
    async fn keep(&self, catalog: &Catalog, claim: &Claim) -> Result<(), LedgerError> {
        let digest = catalog.digest();
        let known = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(digest) && self.ledger.try_to_keep(catalog, claim).await? {
            let mut known = known();
            if known.len() < REMEMBERED {
                known.insert(digest.clone());
            }
        }
        Ok(())
    }

    fn bring(&self, row: Plain) -> oneshot::Receiver<Answer> {
        let most = if self.ledger.store().dialect() == Dialect::Sqlite { 1 } else { WRITERS };
        let (tell, told) = oneshot::channel();
        let mut desk = self.desk();
        desk.waiting.push_back(Waiting { row, tell });
        if desk.writers < most {
            desk.writers += 1;
            tokio::spawn(Writer(self.clone()).write());
        }
        told
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until nothing waits. It leaves its place however it ends.
struct Writer(Recorder);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.desk().writers -= 1;
    }
}

impl Writer {
    async fn write(self) {
        loop {
            let batch: Vec<Waiting> = {
                let mut desk = self.0.desk();
                let count = desk.waiting.len().min(AT_ONCE);
                desk.waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            self.write_batch(batch).await;
        }
    }

    async fn write_batch(&self, batch: Vec<Waiting>) {
        let (rows, tells): (Vec<Plain>, Vec<_>) =
            batch.into_iter().map(|Waiting { row, tell }| (row, tell)).unzip();
        let jobs: Vec<_> = rows.iter().map(Plain::job).collect();
        let result = self.0.ledger.record_all(&self.0.owner, rows).await.map_err(Arc::new);
        for (job, tell) in jobs.iter().zip(tells) {
            let answer = match &result {
                Ok(written) => Answer::Written(written.contains(job)),
                Err(error) if error.is_temporary() => Answer::Failed(error.clone()),
                Err(_) => Answer::Alone,
            };
            let _ = tell.send(answer); // nobody may wait any more
        }
    }
}
