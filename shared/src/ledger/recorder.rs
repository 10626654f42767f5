//! One worker's outcomes, written together: while some are being written, those that come gather, and the next
//! transaction takes them all. For an SQLite file they gather a moment longer while others are worked: who claims waits there
//! for who writes. Who comes alone waits for nobody.
//!
//! Invariant: each caller is answered for its own outcome. One that the registry does not take costs the others nothing:
//! each of those that were to be written with it is written alone then. Failures go alone always: they are few, and change more.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::spawn_blocking,
    time::timeout,
};

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

/// How long an outcome waits for others where one at a time writes.
const GATHER: Duration = Duration::from_millis(3);

/// So many schemas that the registry has are remembered.
const REMEMBERED: usize = 1_000;

/// Writes the outcomes of one worker.
#[derive(Clone)]
pub struct Recorder {
    ledger: Ledger,
    owner: Arc<str>,
    desk: Arc<Mutex<Desk>>,
    kept: Arc<Mutex<HashSet<Digest>>>,
    company: Option<Company>,
    complete: Arc<Notify>,
}

/// Who else has an outcome to come.
#[derive(Clone)]
struct Company {
    /// So many are enough.
    enough: usize,
    /// How many are worked, or wait until theirs is written.
    worked: Arc<dyn Fn() -> usize + Send + Sync>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: VecDeque<Waiting>,
    /// How many are being written.
    writing: usize,
    writers: usize,
}

impl Desk {
    fn take(&mut self) -> Vec<Waiting> {
        self.writing = self.waiting.len().min(AT_ONCE);
        self.waiting.drain(..self.writing).collect()
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
        let (desk, kept, complete) = (Arc::default(), Arc::default(), Arc::default());
        Self { ledger, owner, desk, kept, company: None, complete }
    }

    /// The same, which lets an outcome for an SQLite file wait a moment until there are `enough`, or as many as are `worked`:
    /// those whose outcome is still to come or not written.
    #[must_use]
    pub fn gathering(mut self, enough: usize, worked: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        if self.ledger.store().dialect() == Dialect::Sqlite {
            self.company = Some(Company { enough, worked: Arc::new(worked) });
        }
        self
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
        let is_file = self.ledger.store().dialect() == Dialect::Sqlite;
        let most = if is_file { 1 } else { WRITERS };
        let (tell, told) = oneshot::channel();
        let mut desk = self.desk();
        desk.waiting.push_back(Waiting { row, tell });
        if self.is_complete(&desk) {
            self.complete.notify_one();
        }
        if desk.writers < most {
            desk.writers += 1;
            let writing = Writer { recorder: self.clone(), left: false }.write();
            if is_file {
                // It works in the thread that asks for it, and for longer than others there should wait.
                let runtime = Handle::current();
                spawn_blocking(move || runtime.block_on(writing));
            } else {
                tokio::spawn(writing);
            }
        }
        told
    }

    /// Whether no more are to be waited for.
    fn is_complete(&self, desk: &Desk) -> bool {
        let Some(Company { enough, worked }) = &self.company else { return true };
        desk.waiting.len() >= *enough || desk.waiting.len() + desk.writing >= worked()
    }

    /// Waits for company.
    async fn gathered(&self) {
        if !self.is_complete(&self.desk()) {
            let _ = timeout(GATHER, self.complete.notified()).await; // or that is enough
        }
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
            self.recorder.gathered().await;
            // What comes while the turn is waited for is written in it, too.
            let turn = self.recorder.ledger.turn().await;
            let batch = self.recorder.desk().take();
            self.write_batch(turn, batch).await;
        }
    }

    /// Whether something waits. It leaves in the same moment where nothing does: whoever comes then begins another one.
    fn is_needed(&mut self) -> bool {
        let mut desk = self.recorder.desk();
        desk.writing = 0;
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::Store;

    async fn recorder() -> (tempfile::TempDir, Recorder) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let ledger = Ledger::new(Store::init(&url).await.unwrap());
        (directory, Recorder::new(ledger, "me".into()))
    }

    #[tokio::test]
    async fn a_writer_that_finds_nothing_has_left_its_place_before_anybody_can_bring_more() {
        let (_directory, recorder) = recorder().await;
        recorder.desk().writers = 1;
        let mut writer = Writer { recorder: recorder.clone(), left: false };
        assert!(!writer.is_needed());
        assert_eq!(recorder.desk().writers, 0, "what is brought now would wait for ever");
        drop(writer);
        assert_eq!(recorder.desk().writers, 0);
    }

    #[tokio::test]
    async fn an_outcome_waits_for_company_only_while_others_are_worked() {
        let (_directory, recorder) = recorder().await;
        assert!(recorder.is_complete(&recorder.desk()));
        let worked = Arc::new(AtomicUsize::new(2));
        let told = worked.clone();
        let recorder = recorder.gathering(4, move || told.load(Ordering::Relaxed));
        recorder.desk().writing = 1;
        assert!(!recorder.is_complete(&recorder.desk()), "another one is worked");
        worked.store(1, Ordering::Relaxed);
        assert!(recorder.is_complete(&recorder.desk()), "nobody else is");
    }
}
