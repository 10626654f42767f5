//! Running a script within its time limit, on SQLite.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::StreamExt as _;
use sqlx::AssertSqlSafe;
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
    place::Engine,
    statement::{Statement, split},
};

use super::{SqliteSession, fail};
use crate::engine::run_all;

/// How many of SQLite's instructions run between two looks at the clock.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

/// What asks whether foreign keys hold, and the code of the answer that they do not.
const CHECK: &str = "foreign_key_check";
const VIOLATED: &str = "787";

/// When SQLite is to stop what it runs, in milliseconds of this watch.
pub(super) struct Deadline {
    watch: Stopwatch,
    end: AtomicU64,
}

impl Deadline {
    /// A statement begins.
    fn in_ms(&self, limit: u64) {
        self.end.store(self.watch.elapsed_ms().saturating_add(limit), Ordering::Relaxed);
    }

    fn is_ahead(&self) -> bool {
        self.watch.elapsed_ms() < self.end.load(Ordering::Relaxed)
    }
}

/// Stops the script once nobody waits for it any more: SQLite runs it in a thread of its own, to its end.
struct Waiting<'a>(&'a Deadline);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Relaxed);
    }
}

impl SqliteSession {
    /// Runs a script, after statements of ours that are no part of it.
    pub(super) async fn run_script(&mut self, ours: &str, text: String) -> Result<(), Failure> {
        let before = split(ours, Engine::Sqlite).map_or(0, |statements| statements.len());
        let asks = asks_for_check(&text);
        let deadline = self.deadline().await?;
        let limit = self.limits.statement.map_or(u64::MAX, millis);
        deadline.in_ms(limit);
        let waiting = Waiting(&deadline);
        let mut ended = 0;
        let text = if before == 0 { text } else { format!("{ours};\n{text}") };
        let statements =
            sqlx::raw_sql(AssertSqlSafe(text)).execute_many(&mut self.connection).inspect(|_| {
                deadline.in_ms(limit);
                ended += 1;
                if ended > before {
                    self.doing.next();
                }
            });
        let result = run_all(statements.boxed()).await;
        drop(waiting);
        deadline.end.store(u64::MAX, Ordering::Relaxed);
        result.map_err(|(statement, error)| {
            let own = u32::try_from(before).ok().and_then(|before| statement.checked_sub(before));
            Failure { statement: own.filter(|number| *number > 0), ..fail(&error) }
        })?;
        if asks { self.foreign_keys_hold().await } else { Ok(()) }
    }

    /// What SQLite asks again and again while it runs something; it is told so once.
    async fn deadline(&mut self) -> Result<Arc<Deadline>, Failure> {
        if let Some(deadline) = &self.deadline {
            return Ok(deadline.clone());
        }
        let deadline = Arc::new(Deadline { watch: Stopwatch::start(), end: AtomicU64::new(u64::MAX) });
        let asked = deadline.clone();
        let mut handle = self.connection.lock_handle().await.map_err(|e| fail(&e))?;
        handle.set_progress_handler(INSTRUCTIONS_PER_LOOK, move || asked.is_ahead());
        drop(handle);
        Ok(self.deadline.insert(deadline).clone())
    }

    /// A file that asks for it is heard: what it finds would be rows that nobody reads.
    async fn foreign_keys_hold(&mut self) -> Result<(), Failure> {
        let found = "SELECT '\"' || \"table\" || '\" row ' || coalesce(rowid, '?') || ' refers to no row of \"' || parent || '\"' FROM pragma_foreign_key_check LIMIT 1";
        let found = self.rows(found).await?.unwrap_or_default();
        match found.into_iter().next().and_then(|row| row.into_iter().next()).flatten() {
            None => Ok(()),
            Some(message) => Err(Failure::new(Class::Permanent, VIOLATED, message)),
        }
    }
}

/// Whether a script asks if foreign keys hold.
fn asks_for_check(text: &str) -> bool {
    let is_check = |statement: &Statement| {
        let text = statement.text.to_ascii_lowercase();
        text.starts_with("pragma") && text.contains(CHECK)
    };
    text.to_ascii_lowercase().contains(CHECK)
        && split(text, Engine::Sqlite).is_ok_and(|statements| statements.iter().any(is_check))
}
