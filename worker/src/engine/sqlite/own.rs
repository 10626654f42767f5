//! An attempt's own thread: one hand-over for all of it, where each call of a session would be two.
//!
//! Invariant: what waits in such a thread is heard of by nobody else in it. So whoever stops waiting for the attempt is noticed
//! by SQLite itself (`deadline`), and the time of the first look is watched from outside.

use std::{
    cell::RefCell,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tenantry_shared::failure::Failure;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

use super::{deadline::interrupted, thread::lost};
use crate::engine::Limits;

/// So many attempts have a thread each. The runtime has 512, and others need some, too.
const MOST: usize = 256;

static FREE: Semaphore = Semaphore::const_new(MOST);

thread_local! {
    /// What an attempt that has this thread for itself is waited for by.
    static OWNED: RefCell<Option<Waited>> = const { RefCell::new(None) };
}

/// Whether anybody still waits for an attempt, and whether its first look is over: who waits asks for that when it is late, and
/// is not woken by it.
#[derive(Clone, Debug)]
pub(super) struct Waited {
    open: watch::Receiver<()>,
    looked: Arc<AtomicBool>,
}

impl Waited {
    /// Whoever waits for what runs in this thread, if it is an attempt's own.
    pub(super) fn here() -> Option<Self> {
        OWNED.with_borrow(Clone::clone)
    }

    /// A call of a session has come back.
    pub(super) fn has_looked(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }

    /// Whether nobody does any more.
    pub(super) fn is_over(&self) -> bool {
        self.open.has_changed().is_err()
    }
}

/// Whether any attempt has a thread of its own, be it one that nobody waits for any more.
pub(crate) fn works_files() -> bool {
    FREE.available_permits() < MOST
}

/// Works an attempt in a thread of its own, where its sessions wait for their files themselves. Whoever does not wait for it
/// any more stops it: between two statements, and within one. A file whose first look has no end, as on a disk that does
/// not answer, is not waited for.
pub(crate) async fn in_own_thread<T: Send + 'static>(
    limits: Limits,
    attempt: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let Ok(free) = FREE.try_acquire() else { return attempt.await };
    let (_waits, mut open) = watch::channel(());
    let looked = Arc::new(AtomicBool::new(false));
    let waited = Waited { open: open.clone(), looked: looked.clone() };
    let runtime = Handle::current();
    let done = spawn_blocking(move || {
        let _free = free;
        let _owned = Owned::by(waited);
        runtime.block_on(async {
            tokio::select! {
                biased;
                done = attempt => done,
                _ = open.changed() => Err(interrupted()),
            }
        })
    });
    let silent = async {
        let silent = limits.answered(pending()).await;
        if looked.load(Ordering::Relaxed) { pending().await } else { silent }
    };
    tokio::select! {
        biased;
        done = done => done.unwrap_or_else(lost),
        silent = silent => silent,
    }
}

/// This thread is an attempt's until this is dropped.
struct Owned;

impl Owned {
    fn by(waited: Waited) -> Self {
        OWNED.set(Some(waited));
        Self
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        OWNED.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenantry_shared::place::Engine;

    use super::*;
    use crate::engine::{Doing, Session as _, SqliteSession};

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits { connect: SECOND, lock: Duration::from_secs(10), statement: None };

    #[tokio::test]
    async fn an_attempt_that_nobody_waits_for_any_more_is_stopped_within_a_statement_and_leaves_nothing() {
        const ENDLESS: &str = "CREATE TABLE t (id);
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;";
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let (url, doing) = (format!("sqlite:{}", path.display()), Arc::new(Doing::default()));
        let (told, of) = (doing.clone(), url.clone());
        let attempt = in_own_thread(LIMITS, async move {
            let mut session = SqliteSession::at(&of, LIMITS)?;
            session.tell(told);
            session.with(|file| file.begin_change("SELECT '1'", "", ENDLESS, ENDLESS)).await?
        });
        let begun = async {
            while doing.now().statement(Engine::Sqlite, None) != Some(2) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = attempt => panic!("it has no end: {ended:?}"),
            () = begun => {}
        }
        let mut next = SqliteSession::at(&url, LIMITS).expect("a URL");
        let written = next.with(|file| file.write(&[], &["SELECT 1".into()])).await.expect("the file");
        assert_eq!(written, Ok(()), "the lock is held");
        let rows = next.with(|file| file.rows("SELECT '1' FROM t")).await.expect("the file");
        assert_eq!(rows, Ok(None), "the table is there");
        next.close().await;
    }

    #[tokio::test]
    async fn what_an_attempt_waits_for_beside_its_file_is_left_when_nobody_waits_for_it() {
        let (tell, left) = tokio::sync::oneshot::channel::<()>();
        let (begins, begun) = tokio::sync::oneshot::channel();
        let attempt = in_own_thread(LIMITS, async move {
            let _held = tell;
            let _ = begins.send(());
            std::future::pending::<()>().await;
            Ok(())
        });
        tokio::select! {
            ended = attempt => panic!("it has no end: {ended:?}"),
            _ = begun => {}
        }
        assert!(left.await.is_err(), "it was told nothing");
    }

    #[tokio::test]
    async fn a_file_whose_first_look_has_no_end_is_not_waited_for() {
        let limits = Limits { connect: Duration::ZERO, lock: Duration::ZERO, statement: None };
        let attempt = std::future::pending::<Result<(), Failure>>();
        let failure = in_own_thread(limits, attempt).await.expect_err("a failure");
        assert_eq!(failure.code, "no-answer");
    }
}
