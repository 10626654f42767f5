//! Where a session's file is worked: in the attempt's own thread (`own`), or with each call in one of those that the runtime
//! has for what waits.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
};

use tenantry_shared::failure::{Class, Failure};
use tokio::task::{JoinError, spawn_blocking};

use super::{
    SqliteSession,
    deadline::Deadline,
    file::{File, Opening},
    own::Waited,
};
use crate::engine::{Doing, hint};

/// A file that is opened when it is first worked.
pub(super) type Place = Arc<Mutex<Option<File>>>;

/// Gives a call up when nobody waits for it any more: SQLite runs it to its end otherwise.
struct Waiting<'a> {
    deadline: &'a Deadline,
    call: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.deadline.give_up(self.call);
    }
}

/// One call of a session.
struct Call {
    number: u64,
    opening: Arc<Opening>,
    doing: Arc<Doing>,
    place: Place,
    /// Whether the file is closed after it.
    last: bool,
}

impl Call {
    fn run<T>(self, work: impl FnOnce(&mut File) -> T) -> Result<T, Failure> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        self.opening.deadline.begins(self.number);
        let file = match &mut *place {
            Some(file) => file,
            none => none.insert(File::open(&self.opening)?),
        };
        file.doing = self.doing;
        let worked = work(file);
        if self.last {
            *place = None;
        }
        Ok(worked)
    }
}

impl SqliteSession {
    /// Does this with the file, in one call.
    pub(super) async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.call(work, false).await
    }

    /// The same, and closes the file in that very call: it is hardly needed any more, and is opened anew if it is.
    pub(super) async fn at_last_with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.foreign_keys = true;
        self.call(work, true).await
    }

    async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> T + Send + 'static,
        last: bool,
    ) -> Result<T, Failure> {
        self.calls += 1;
        let call = Call {
            number: self.calls,
            opening: self.opening.clone(),
            doing: self.doing.clone(),
            place: self.place.clone(),
            last,
        };
        if let Some(waited) = Waited::here() {
            let done = call.run(work);
            waited.has_looked();
            return done;
        }
        let waiting = Waiting { deadline: &self.opening.deadline, call: call.number };
        let done = spawn_blocking(move || call.run(work)).await;
        drop(waiting);
        done.unwrap_or_else(lost)
    }

    /// Closes the file.
    pub(super) async fn leave(self) {
        let place = self.place;
        if place.try_lock().is_ok_and(|file| file.is_none()) {
            return;
        }
        let close = move || place.lock().unwrap_or_else(PoisonError::into_inner).take().map(drop);
        if Waited::here().is_some() {
            close();
            return;
        }
        // Nothing is left to be written; an error here loses nothing.
        let _ = spawn_blocking(close).await;
    }
}

/// A panic goes on where it is waited for. Else the runtime ends.
pub(super) fn lost<T>(error: JoinError) -> Result<T, Failure> {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => {
            let lost = Failure::new(Class::Transient, "connection", "the connection was lost");
            Err(lost.with_hint(hint("connection").unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::engine::{Limits, Session as _};

    const LIMITS: Limits = Limits {
        connect: Duration::from_secs(10),
        lock: Duration::from_secs(10),
        statement: Some(Duration::from_secs(60)),
    };

    fn session(file: &Path, says: &str) -> SqliteSession {
        SqliteSession::at(&format!("sqlite:{}{says}", file.display()), LIMITS).expect("a URL")
    }

    async fn failure(mut session: SqliteSession, sql: &'static str) -> Failure {
        let done = session.with(|file| file.execute(sql)).await.and_then(|done| done);
        session.close().await;
        done.expect_err("a failure")
    }

    #[tokio::test]
    async fn a_migration_that_nobody_waits_for_any_more_is_stopped_and_leaves_nothing() {
        const ENDLESS: &str = "CREATE TABLE t (id);
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;";
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let mut session = session(&path, "");
        let doing = session.doing.clone();
        {
            let run = session.with(|file| file.begin_change("SELECT '1'", "", ENDLESS, ENDLESS));
            let run = std::pin::pin!(run);
            let begun = async {
                while doing.now().statement(tenantry_shared::place::Engine::Sqlite, None) != Some(2) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = run => panic!("it has no end"),
                () = begun => {}
            }
        }
        session.close().await;
        let mut next = self::session(&path, "");
        let rows =
            next.with(|file| file.write(&[], &["SELECT 1".into()]).map(|()| file.rows("SELECT '1' FROM t")));
        let rows = rows.await.expect("the file").expect("the lock");
        assert_eq!(rows, Ok(None), "the table is there");
        next.close().await;
    }

    #[tokio::test]
    async fn a_file_is_found_by_whatever_name_and_opened_as_its_url_says() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a ?#%.db"), "").expect("a file");
        let path = dir.path().join("a %3F%23%25.db");
        for says in ["", "?mode=rw", "?mode=rwc"] {
            let mut session = session(&path, says);
            let made = session.with(|file| file.execute("CREATE TABLE IF NOT EXISTS t (id)")).await;
            assert!(made.expect("the file").is_ok(), "{says}");
            session.close().await;
        }
        assert_eq!(failure(session(&path, "?mode=ro"), "DROP TABLE t").await.code, "8");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_was_closed_with_its_last_migration_is_opened_anew_if_it_is_needed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let mut session = session(&path, "");
        let made = session.at_last_with(|file| file.execute("BEGIN; CREATE TABLE t (id)")).await;
        assert!(made.expect("the file").is_ok());
        let rows = session.with(|file| file.rows("SELECT '1' FROM t")).await.expect("the file");
        assert_eq!(rows, Ok(None), "its transaction goes on");
        session.close().await;
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_never_made() {
        let dir = tempfile::tempdir().expect("a directory");
        for says in ["", "?mode=rwc"] {
            let failure = failure(session(&dir.path().join("a.db"), says), "SELECT 1").await;
            assert_eq!(
                (failure.code.as_str(), failure.message.as_str()),
                ("14", "unable to open database file")
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
    }

    #[tokio::test]
    async fn a_script_with_a_nul_byte_is_refused_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let mut session = session(&path, "");
        let ran = session.with(|file| file.run_script("", "CREATE TABLE t (id); \0 DROP TABLE t")).await;
        assert_eq!(ran.expect("the file").expect_err("a refusal").code, "script");
        let rows = session.with(|file| file.rows("SELECT '1' FROM t")).await.expect("the file");
        assert_eq!(rows, Ok(None), "the table is there");
        session.close().await;
    }
}
