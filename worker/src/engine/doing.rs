//! What a session does at this moment: told by the session, read by whoever watches the attempt. Nothing is decided by
//! it, and telling costs no more than a few writes to memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenantry_shared::{
    clock::Stopwatch,
    place::Engine,
    statement::{Kind, names, split},
    version::Version,
};

/// What one session after another of an attempt does.
#[derive(Debug, Default)]
pub struct Doing(Mutex<Now>);

/// One moment of it.
#[derive(Clone, Debug)]
pub struct Now {
    /// Counts what was told: another number means that something else is done now.
    pub moment: u64,
    /// Since when it does that.
    pub since: Stopwatch,
    /// The migration that runs.
    pub migration: Option<Version>,
    /// The number of its server for the session.
    pub(super) session: Option<u64>,
    /// A lock that it asks for in a way that its server does not show.
    pub(super) lock: Option<Lock>,
    /// Which statement runs, counted from 1: of the script, or of what was sent where that is a whole script.
    statement: Option<u32>,
    /// A script that was sent as a whole.
    whole: Option<Arc<str>>,
}

/// A lock that a session asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// The tenant's on PostgreSQL, which is polled.
    Advisory(i64),
    /// The tenant's on MySQL and MariaDB.
    Named(String),
    /// That of an SQLite file, in words that end before its path.
    File(&'static str),
}

impl Default for Now {
    fn default() -> Self {
        Self {
            moment: 0,
            since: Stopwatch::start(),
            migration: None,
            session: None,
            lock: None,
            statement: None,
            whole: None,
        }
    }
}

impl Doing {
    /// What is done now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.read().clone()
    }

    /// A migration begins, or has ended.
    pub fn migration(&self, migration: Option<&Version>) {
        let session = self.read().session;
        self.tell(|now| *now = Now { session, migration: migration.cloned(), ..Now::default() });
    }

    /// A session begins. Its server's number of it, where it has one.
    pub(super) fn session(&self, session: Option<u64>) {
        self.tell(|now| *now = Now { session, ..Now::default() });
    }

    /// What is done goes on in a session of another number, or in none for now.
    pub(super) fn moved(&self, session: Option<u64>) {
        self.read().session = session;
    }

    /// A statement of the script runs, or none does.
    pub(super) fn statement(&self, statement: Option<u32>) {
        self.tell(|now| (now.whole, now.statement) = (None, statement));
    }

    /// A whole script is sent. `counted`: [`Self::next`] is told when one of its statements has ended.
    pub(super) fn whole(&self, script: &str, counted: bool) {
        self.tell(|now| (now.whole, now.statement) = (Some(script.into()), counted.then_some(1)));
    }

    /// The next statement of a whole script runs.
    pub(super) fn next(&self) {
        self.tell(|now| {
            if now.whole.is_some() {
                now.statement = now.statement.map(|number| number + 1);
            }
        });
    }

    /// A lock is asked for, or was taken.
    pub(super) fn lock(&self, lock: Option<Lock>) {
        self.tell(|now| now.lock = lock);
    }

    fn tell(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.read();
        let moment = now.moment + 1;
        change(&mut now);
        (now.moment, now.since) = (moment, Stopwatch::start());
    }

    fn read(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// Which statement of the script runs, counted from 1. Of one that PostgreSQL has as a whole it is known where one
    /// alone names the table whose lock is waited for, or there is only one.
    #[must_use]
    pub fn statement(&self, engine: Engine, table: Option<&str>) -> Option<u32> {
        let Some(whole) = &self.whole else { return self.statement };
        let statements = split(whole, engine).ok()?;
        // A BEGIN and COMMIT around it all were not sent.
        let sent = |kind: &Kind| !matches!(kind, Kind::Begin | Kind::Commit);
        let sent: Vec<_> = (1..).zip(&statements).filter(|(_, statement)| sent(&statement.kind)).collect();
        if let Some(number) = self.statement {
            return sent.get(number as usize - 1).map(|(at, _)| *at);
        }
        let named = |text: &str| table.is_none_or(|table| names(text, engine).contains(table));
        let mut meant = sent.iter().filter(|(_, statement)| named(&statement.text)).map(|(at, _)| *at);
        meant.next().filter(|_| meant.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str, counted: bool) -> Doing {
        let doing = Doing::default();
        doing.migration(Some(&"2".into()));
        doing.whole(script, counted);
        doing
    }

    #[test]
    fn a_statement_of_a_whole_script_is_known_by_the_table_that_it_alone_names() {
        let of = |script, table| told(script, false).now().statement(Engine::Postgres, table);
        let two = "BEGIN; CREATE TABLE a (id int); ALTER TABLE users ADD b int; COMMIT;";
        assert_eq!([of(two, Some("users")), of(two, Some("c")), of(two, None)], [Some(3), None, None]);
        let both = "ALTER TABLE users ADD b int; ALTER TABLE users ADD c int";
        assert_eq!(of(both, Some("users")), None);
        assert_eq!(of("ALTER TABLE users ADD b int;", None), Some(1));
    }

    #[test]
    fn statements_that_are_counted_are_told_by_their_place_in_the_script() {
        let doing = told("BEGIN; SELECT 1; SELECT 2; COMMIT;", true);
        assert_eq!(doing.now().statement(Engine::Sqlite, None), Some(2));
        doing.next();
        assert_eq!(doing.now().statement(Engine::Sqlite, None), Some(3));
    }

    #[test]
    fn whatever_is_told_is_another_moment() {
        let doing = Doing::default();
        doing.session(Some(7));
        doing.migration(Some(&"2".into()));
        let before = doing.now();
        doing.lock(Some(Lock::Advisory(1)));
        let now = doing.now();
        assert!(now.moment > before.moment && now.session == Some(7) && now.migration == before.migration);
        doing.migration(None);
        assert!(doing.now().lock.is_none() && doing.now().session == Some(7));
    }
}
