//! The tables of a tenant, as far as they are known without a question: those that were there when its lock was had, and what
//! migrations have made since. Pure.
//!
//! Only of what was listed is anything proven, and as long as nothing has run since: all else is a guess, which the next answer
//! of the server confirms or not.

use std::collections::BTreeSet;

use tenantry_shared::statement::{Object, Trace, Unit, trace};

/// What may make a trigger, or run what does.
const MAKES_TRIGGERS: [&str; 5] = ["trigger", "call", "execute", "prepare", "/*"];

pub(super) struct There {
    tables: BTreeSet<String>,
    /// Whether nothing has run since they were listed.
    listed: bool,
    /// Whether there was none, and nothing has made a trigger.
    untriggered: bool,
}

impl There {
    /// These, under the tenant's lock.
    pub(super) fn of(tables: Vec<String>) -> Self {
        Self { listed: true, untriggered: tables.is_empty(), tables: tables.into_iter().collect() }
    }

    /// These statements have run.
    pub(super) fn ran(&mut self, units: &[Unit]) {
        self.listed = false;
        for statement in units.iter().flat_map(|unit| &unit.statements) {
            let text = statement.text.to_ascii_lowercase();
            self.untriggered &= !MAKES_TRIGGERS.iter().any(|word| text.contains(word));
            match trace(&statement.text) {
                Some(Trace::Made(Object::Table(path))) => self.tables.extend(path.into_iter().next_back()),
                Some(Trace::Gone(Object::Table(path))) => {
                    self.tables.remove(path.last().map_or("", String::as_str));
                }
                _ => {}
            }
        }
    }

    /// What may be the names of all tables.
    pub(super) fn guessed(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(String::as_str)
    }

    /// Whether a table of this name may be there.
    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.contains(table)
    }

    /// Whether no table has a trigger, where nobody but this session has changed anything.
    pub(super) fn has_no_trigger(&self) -> bool {
        self.untriggered
    }

    /// Whether it is known that none of these is done.
    pub(super) fn is_without(&self, traces: &[&Trace]) -> bool {
        let is_gone = |path: &[String]| match path {
            [table] => !self.tables.iter().any(|there| there.eq_ignore_ascii_case(table)),
            _ => false,
        };
        let undone = |trace: &&Trace| match trace {
            Trace::Harmless => true,
            Trace::Made(
                Object::Table(path)
                | Object::Column(path, _)
                | Object::Index(path, _)
                | Object::Constraint(path, _),
            ) => is_gone(path),
            Trace::Made(_) | Trace::Gone(_) => false,
        };
        self.listed && traces.iter().all(undone)
    }
}

#[cfg(test)]
mod tests {
    use tenantry_shared::{
        place::Engine,
        statement::{Course, course},
    };

    use super::*;

    fn units(sql: &str) -> Vec<Unit> {
        let Ok(Course::Steps(units)) = course(sql, Engine::MySql, false) else { panic!("units: {sql}") };
        units
    }

    fn there(tables: &[&str]) -> There {
        There::of(tables.iter().map(|&table| table.to_owned()).collect())
    }

    #[test]
    fn what_was_listed_tells_what_is_not_done_until_something_runs() {
        let mut there = there(&["Users"]);
        let made = |sql: &str| trace(sql).expect("a trace");
        let (new, on_new) = (made("CREATE TABLE t (a INT)"), made("CREATE INDEX i ON t (a)"));
        assert!(there.is_without(&[&new, &on_new, &Trace::Harmless]));
        for sql in [
            "CREATE TABLE users (a INT)",
            "CREATE TABLE other.t (a INT)",
            "CREATE INDEX i ON users (a)",
            "ALTER TABLE users ADD COLUMN a INT",
            "DROP TABLE t",
            "CREATE PROCEDURE p() DO 1",
        ] {
            assert!(!there.is_without(&[&made(sql)]), "{sql}");
        }
        there.ran(&units("INSERT INTO users VALUES (1)"));
        assert!(!there.is_without(&[&new]));
    }

    #[test]
    fn tables_that_are_made_and_taken_away_are_followed() {
        let mut there = there(&["a", "b"]);
        there.ran(&units("CREATE TABLE c (n INT); DROP TABLE a; ALTER TABLE b ADD m INT"));
        assert_eq!(there.guessed().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn only_where_there_was_no_table_and_nothing_may_have_made_one_there_is_no_trigger() {
        assert!(!there(&["a"]).has_no_trigger());
        for (sql, none) in [
            ("CREATE TABLE t (n INT); INSERT INTO t VALUES (1)", true),
            ("CREATE TABLE t (n INT); CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1", false),
            ("/*!50003 CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1 */", false),
            ("CALL p()", false),
        ] {
            let mut there = there(&[]);
            there.ran(&units(sql));
            assert_eq!(there.has_no_trigger(), none, "{sql}");
        }
    }
}
