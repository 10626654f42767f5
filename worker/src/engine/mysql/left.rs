//! A MariaDB session between two tenants of one server.
//!
//! The driver has no command that resets a session. So one is left to the next tenant only where it is known that nothing can be
//! left in it but our own locks and the last number of a row, which are taken away: where all that has run in it are changes of
//! tables that compute nothing, and no trigger has run with the rows of the history. An account that may not see all triggers,
//! and MySQL, where it was never tried, have a new session for each tenant.
//!
//! Where it is known that a tenant's last message is the last one, the session is freed at its end: behind the commit and all
//! that is read under the tenant's lock.

use std::time::Duration;

use tenantry_shared::{failure::Failure, registry::Access, statement::Unit};

use super::MySqlSession;
use crate::engine::{Change, Limits, Session as _, kept::Key, steps::Stepwise as _};

/// A session is closed after so long: what was set for the server or for its account since is in force in new sessions only.
const LONGEST: Duration = Duration::from_secs(180);

/// Frees a session of what is ours.
pub(super) const FREE: &str = "DO RELEASE_ALL_LOCKS(), LAST_INSERT_ID(0)";

/// Statements that begin so change tables.
const CHANGES: [[&str; 2]; 7] = [
    ["create", "table"],
    ["create", "index"],
    ["create", "unique"],
    ["alter", "table"],
    ["drop", "table"],
    ["drop", "index"],
    ["rename", "table"],
];

/// What computes something, or is the session's own.
const COMPUTES: [&str; 9] =
    ["select", "values", "value", "temporary", "next", "nextval", "setval", "lastval", "last_insert_id"];

/// What of its tenant may be left in a session.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Whether a statement has run that may have left something.
    something: bool,
    /// Whether rows of a table of the tenant's were written.
    written: bool,
    /// Whether the tenant has no trigger, as far as the account may see.
    untriggered: bool,
    /// Whether what is ours is taken away.
    pub(super) freed: bool,
    /// Whether a look at the schema took more than its first message.
    pub(super) more: bool,
}

impl Left {
    /// This change runs.
    pub(super) fn by(&mut self, change: &Change<'_>, units: &[Unit]) {
        let statements = || units.iter().flat_map(|unit| &unit.statements);
        self.something |= change.preamble.is_some() || !statements().all(|s| leaves_nothing(&s.text));
        self.written();
    }

    /// Rows are written.
    pub(super) fn written(&mut self) {
        (self.written, self.untriggered, self.freed) = (true, false, false);
    }

    /// A look has found triggers, or none.
    pub(super) fn looked(&mut self, triggers: bool) {
        self.untriggered = !triggers;
    }
}

impl MySqlSession {
    /// Sessions that are alike in this can have each other's tenants.
    pub(super) fn key_of(access: &Access, limits: Limits) -> Key {
        let url = access.url.expose();
        let (server, options) = url.split_once('?').unwrap_or((url, ""));
        let server = server.rsplit_once('/').map_or(server, |(server, _)| server);
        Key(limits, format!("{server}?{options}"))
    }

    /// The same session for another tenant, which nothing was asked of yet.
    pub(super) fn taken_over(mut self, access: &Access) -> Self {
        self.database.clone_from(&access.place.database);
        self.options = self.options.clone().database(&self.database);
        self.settings = format!("USE {}", self.site("").name(&self.database));
        if let Some(number) = self.number {
            self.stopper.arm(self.options.clone(), number);
        }
        self
    }

    /// Whether nothing of its tenant is left in the session.
    pub(super) async fn is_freed(&mut self) -> bool {
        if !self.may_be_left() || (self.left.written && !self.left.untriggered) {
            return false;
        }
        let freed = self.left.freed || (self.finish().await.is_ok() && self.execute(FREE).await.is_ok());
        self.left = Left { more: self.left.more, ..Left::default() };
        (self.made, self.ahead, self.ready, self.there) = (None, None, None, None);
        self.doing = std::sync::Arc::default();
        freed
    }

    /// Whether the session may be another tenant's, as far as is known before a look at triggers.
    pub(super) fn may_be_left(&self) -> bool {
        self.sees_triggers && !self.stained && !self.left.something && self.born.elapsed() < LONGEST
    }

    /// Takes the tenant's lock, if it was let go already.
    pub(super) async fn locked_again(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.left.freed) {
            self.there = None;
            self.take_locks().await?;
        }
        Ok(())
    }
}

/// Whether nothing in the session is another after this statement of a migration.
fn leaves_nothing(statement: &str) -> bool {
    let is_apart = |c: char| !c.is_alphanumeric() && c != '_';
    let words: Vec<&str> = statement.split(is_apart).filter(|word| !word.is_empty()).collect();
    let is = |word: &str, known: &str| word.eq_ignore_ascii_case(known);
    let begins =
        |[first, second]: &[&str; 2]| matches!(words[..], [a, b, ..] if is(a, first) && is(b, second));
    CHANGES.iter().any(begins)
        && !["@", ";", "/*"].iter().any(|mark| statement.contains(mark))
        && !words.iter().any(|word| COMPUTES.iter().any(|known| is(word, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_tables_that_compute_nothing_leave_nothing() {
        for sql in [
            "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
            "create unique index i on t (a)",
            "ALTER TABLE `t` ADD COLUMN a INT DEFAULT 1",
            "DROP TABLE t",
        ] {
            assert!(leaves_nothing(sql), "{sql}");
        }
    }

    #[test]
    fn what_computes_or_sets_something_may_leave_something() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "CREATE TABLE t AS SELECT f()",
            "CREATE TABLE t (a INT) VALUES (1)",
            "CREATE TEMPORARY TABLE t (a INT)",
            "CREATE OR REPLACE TEMPORARY TABLE t (a INT)",
            "ALTER TABLE t ADD COLUMN a INT DEFAULT (@b)",
            "ALTER TABLE t ADD COLUMN a INT DEFAULT NEXTVAL(s)",
            "/*!50003 CREATE TABLE t (a INT) */",
            "CREATE TABLE t (a INT); SET a = 1",
            "SET a = 1",
            "CALL p()",
            "",
        ] {
            assert!(!leaves_nothing(sql), "{sql}");
        }
    }
}
