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

use super::{
    Ledger, LedgerError,
    bulk::{Plain, Turn},
};
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

impl Desk {
    fn take(&mut self) -> Vec<Waiting> {
        let count = self.waiting.len().min(AT_ONCE);
        self.waiting.drain(..count).collect()
    }
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
            tokio::spawn(Writer { recorder: self.clone(), left: false }.write());
        }
        told
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until nothing waits.
struct Writer {
    recorder: Recorder,
    /// Whether it has left its place at the desk.
    left: bool,
}

impl Drop for Writer {
    /// However it ends.
    fn drop(&mut self) {
        if !self.left {
            self.recorder.desk().writers -= 1;
        }
    }
}

impl Writer {
    async fn write(mut self) {
        while self.is_needed() {
            // What comes while the turn is waited for is written in it, too.
            let turn = self.recorder.ledger.turn().await;
            let batch = self.recorder.desk().take();
            self.write_batch(turn, batch).await;
        }
    }

    /// Whether something waits. It leaves in the same moment where nothing does: whoever comes then begins another one.
    fn is_needed(&mut self) -> bool {
        let mut desk = self.recorder.desk();
        self.left = desk.waiting.is_empty();
        desk.writers -= usize::from(self.left);
        !self.left
    }

    async fn write_batch(&self, turn: Result<Turn, LedgerError>, batch: Vec<Waiting>) {
        let (rows, tells): (Vec<Plain>, Vec<_>) =
            batch.into_iter().map(|Waiting { row, tell }| (row, tell)).unzip();
        let jobs: Vec<_> = rows.iter().map(Plain::job).collect();
        let result = match turn {
            Ok(turn) => self.recorder.ledger.record_all(turn, &self.recorder.owner, rows).await,
            Err(error) => Err(error),
        };
        let result = result.map_err(Arc::new);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_writer_that_finds_nothing_has_left_its_place_before_anybody_can_bring_more() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let recorder = Recorder::new(Ledger::new(Store::init(&url).await.unwrap()), "me".into());
        recorder.desk().writers = 1;
        let mut writer = Writer { recorder: recorder.clone(), left: false };
        assert!(!writer.is_needed());
        assert_eq!(recorder.desk().writers, 0, "what is brought now would wait for ever");
        drop(writer);
        assert_eq!(recorder.desk().writers, 0);
    }
}
