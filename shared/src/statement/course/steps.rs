//! A script in units, each done or not done as a whole, and recorded.

use super::{
    super::{
        Kind, Statement,
        kind::{chains, keeps_for_session, may_commit, repeatable},
        script::{Piece, tokens},
        token::{Token, has_at},
    },
    Unit,
};
use crate::place::Engine;

/// The units of a script. `marked`: the file says that it runs outside a transaction.
pub(super) fn steps(pieces: Vec<Piece>, engine: Engine, marked: bool) -> Vec<Unit> {
    let mut steps = Steps { engine, marked, units: Vec::new(), open: None, group: false };
    let mut number = 0;
    for piece in pieces {
        number += 1;
        steps.take(piece.statement, number);
    }
    steps.end_group(number + 1);
    steps.units
}

/// Units on the way through a script.
struct Steps {
    engine: Engine,
    marked: bool,
    units: Vec<Unit>,
    /// The atomic unit that still grows.
    open: Option<Unit>,
    /// Whether the script itself has a transaction open.
    group: bool,
}

impl Steps {
    fn take(&mut self, statement: Statement, number: u32) {
        let tokens = tokens(&statement.text, self.engine);
        let commits = self.engine == Engine::MySql && statement.kind == Kind::Alone;
        match statement.kind {
            // PostgreSQL only warns of a second BEGIN.
            Kind::Begin if self.group && self.engine == Engine::Postgres => {}
            Kind::Begin => {
                self.end_group(number);
                self.group = true;
            }
            Kind::Commit => {
                self.end_group(number);
                self.group = chains(&tokens);
            }
            Kind::Rollback => {
                self.open = self.open.take().filter(|_| !self.group);
                self.end_group(number);
                self.group = chains(&tokens);
            }
            _ if self.group && !commits => self.grow(statement, number),
            Kind::Alone => {
                let session = self.engine == Engine::Sqlite && keeps_for_session(&tokens);
                self.end_group(number);
                self.push(statement, number, false, session);
            }
            Kind::Session if self.stays(&tokens) => self.grow(statement, number),
            Kind::Session => {
                self.close();
                self.push(statement, number, false, true);
            }
            Kind::Plain if self.engine == Engine::Postgres => {
                let atomic = !(self.marked && may_commit(&tokens));
                self.push(statement, number, atomic, false);
            }
            Kind::Plain => self.grow(statement, number),
        }
    }

    /// Whether a setting stays with the statements around it. In SQLite these are to be as few units as can be,
    /// and a temporary table belongs to what fills it.
    fn stays(&self, tokens: &[Token<'_>]) -> bool {
        self.engine == Engine::Sqlite && (self.open.is_some() || has_at(tokens, 0, &["create"]))
    }

    fn grow(&mut self, statement: Statement, number: u32) {
        let empty = || Unit { statements: Vec::new(), first: number, atomic: true, session: false };
        self.open.get_or_insert_with(empty).statements.push(statement);
    }

    fn push(&mut self, statement: Statement, number: u32, atomic: bool, session: bool) {
        self.units.push(Unit { statements: vec![statement], first: number, atomic, session });
    }

    fn close(&mut self) {
        self.units.extend(self.open.take());
    }

    /// Closes what grows. The settings of a transaction of the script outlive it, so they are made once more as
    /// a unit that a resumed run repeats; `number` is that of the statement which ends the transaction.
    fn end_group(&mut self, number: u32) {
        let engine = self.engine;
        let outlives = |s: &&Statement| s.kind == Kind::Session && repeatable(&tokens(&s.text, engine));
        let unit = self.open.as_ref().filter(|_| self.group);
        let statements: Vec<Statement> =
            unit.map(|u| u.statements.iter().filter(outlives).cloned().collect()).unwrap_or_default();
        self.close();
        if !statements.is_empty() {
            self.units.push(Unit { statements, first: number, atomic: false, session: true });
        }
        self.group = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Course, course},
        *,
    };

    /// Units as `first:statement;statement`, with `=` for an atomic one, `!` for one that runs alone and `~`
    /// for settings.
    fn units(sql: &str, engine: Engine, marked: bool) -> Vec<String> {
        let Course::Steps(units) = course(sql, engine, marked).unwrap() else {
            panic!("it runs whole: {sql}")
        };
        let shown = |u: Unit| {
            let sort = if u.session {
                '~'
            } else if u.atomic {
                '='
            } else {
                '!'
            };
            assert!(!(u.session && u.atomic));
            let texts: Vec<String> = u.statements.into_iter().map(|s| s.text).collect();
            format!("{}{sort}{}", u.first, texts.join(";"))
        };
        units.into_iter().map(shown).collect()
    }

    #[test]
    fn transactions_inside_a_script_are_units() {
        let sql = "CREATE TABLE a (b int); BEGIN; SELECT 1; SELECT 2; COMMIT; SELECT 3; BEGIN; SELECT 4; ROLLBACK; COMMIT; BEGIN; SELECT 5";
        let postgres = ["1=CREATE TABLE a (b int)", "3=SELECT 1;SELECT 2", "6=SELECT 3", "12=SELECT 5"];
        assert_eq!(units(sql, Engine::Postgres, false), postgres);
        assert_eq!(units(sql, Engine::Sqlite, false), postgres);
        let mysql = ["1!CREATE TABLE a (b int)", "3=SELECT 1;SELECT 2", "6=SELECT 3", "12=SELECT 5"];
        assert_eq!(units(sql, Engine::MySql, false), mysql);
        let chained = "BEGIN; SELECT 1; COMMIT AND CHAIN; SELECT 2; SELECT 3; ROLLBACK AND CHAIN; SELECT 4; SELECT 5; COMMIT";
        assert_eq!(units(chained, Engine::Postgres, false), ["2=SELECT 1", "7=SELECT 4;SELECT 5"]);
    }

    #[test]
    fn what_runs_alone_breaks_a_postgresql_script_up() {
        let sql = "SET lock_timeout = 1; CREATE TABLE a (b int); ALTER TABLE a ADD c int;\nCREATE INDEX CONCURRENTLY i ON a (b)";
        let expected = [
            "1~SET lock_timeout = 1",
            "2=CREATE TABLE a (b int)",
            "3=ALTER TABLE a ADD c int",
            "4!CREATE INDEX CONCURRENTLY i ON a (b)",
        ];
        assert_eq!(units(sql, Engine::Postgres, false), expected);
        assert_eq!(units(sql, Engine::Postgres, true), expected);
    }

    #[test]
    fn a_marked_script_lets_procedures_commit() {
        let sql = "CALL p(); DO $$ BEGIN COMMIT; END $$; DO $$ BEGIN END $$; SELECT 1";
        let expected = ["1!CALL p()", "2!DO $$ BEGIN COMMIT; END $$", "3=DO $$ BEGIN END $$", "4=SELECT 1"];
        assert_eq!(units(sql, Engine::Postgres, true), expected);
        assert!(matches!(course(sql, Engine::Postgres, false), Ok(Course::Whole { .. })));
        for engine in [Engine::Postgres, Engine::MySql, Engine::Sqlite] {
            assert_eq!(units("-- nothing", engine, true), [] as [&str; 0]);
        }
    }

    #[test]
    fn a_setting_in_a_transaction_is_repeated_after_it() {
        let sql =
            "BEGIN; SET a = 1; SELECT 1; PREPARE p AS SELECT 1; COMMIT; VACUUM; BEGIN; SET b = 1; ROLLBACK";
        let expected = ["2=SET a = 1;SELECT 1;PREPARE p AS SELECT 1", "5~SET a = 1", "6!VACUUM"];
        assert_eq!(units(sql, Engine::Postgres, false), expected);
        let sql = "BEGIN; SET NAMES utf8; SET @a = (SELECT 1); SELECT @a; COMMIT";
        let expected = ["2=SET NAMES utf8;SET @a = (SELECT 1);SELECT @a", "5~SET NAMES utf8"];
        assert_eq!(units(sql, Engine::MySql, false), expected);
    }

    #[test]
    fn a_new_value_that_is_used_needs_the_transaction_before() {
        let add = "ALTER TYPE s.\"E\" ADD VALUE IF NOT EXISTS 'b' AFTER 'a'";
        let used = format!("{add}; UPDATE t SET e = 'b'");
        assert_eq!(
            units(&used, Engine::Postgres, false),
            [format!("1={add}"), "2=UPDATE t SET e = 'b'".into()]
        );
        for sql in [
            format!("{add}; ALTER TYPE s.\"E\" ADD VALUE 'c' AFTER 'b'; UPDATE t SET e = 'a'"),
            format!("UPDATE t SET e = 'b'; {add}"),
        ] {
            assert!(matches!(course(&sql, Engine::Postgres, false), Ok(Course::Whole { .. })), "{sql}");
        }
    }

    #[test]
    fn a_mysql_script_groups_its_data_between_what_commits() {
        let sql = "SET NAMES utf8; INSERT INTO a VALUES (1); UPDATE a SET b = 1; ALTER TABLE a ADD c int; DELETE FROM a;
            SET @s = 'x'; PREPARE p FROM @s; EXECUTE p; START TRANSACTION; SELECT 1; DROP TABLE a; SELECT 2; ROLLBACK";
        let expected = [
            "1~SET NAMES utf8",
            "2=INSERT INTO a VALUES (1);UPDATE a SET b = 1",
            "4!ALTER TABLE a ADD c int",
            "5=DELETE FROM a",
            "6~SET @s = 'x'",
            "7~PREPARE p FROM @s",
            "8!EXECUTE p",
            "10=SELECT 1",
            "11!DROP TABLE a",
            "12=SELECT 2",
        ];
        assert_eq!(units(sql, Engine::MySql, false), expected);
        let dump = "LOCK TABLES `a` WRITE; /*!40000 ALTER TABLE a DISABLE KEYS */; INSERT INTO a VALUES (1); UNLOCK TABLES";
        let expected = ["2!/*!40000 ALTER TABLE a DISABLE KEYS */", "3=INSERT INTO a VALUES (1)"];
        assert_eq!(units(dump, Engine::MySql, false), expected);
    }

    #[test]
    fn a_rebuild_of_an_sqlite_table_stays_one_transaction() {
        let sql = "PRAGMA foreign_keys=OFF; CREATE TABLE b (a); PRAGMA legacy_alter_table=ON; DROP TABLE a; \
            ALTER TABLE b RENAME TO a; PRAGMA foreign_key_check; PRAGMA foreign_keys=ON";
        let expected = [
            "1~PRAGMA foreign_keys=OFF",
            "2=CREATE TABLE b (a);PRAGMA legacy_alter_table=ON;DROP TABLE a;ALTER TABLE b RENAME TO a;PRAGMA foreign_key_check",
            "7~PRAGMA foreign_keys=ON",
        ];
        assert_eq!(units(sql, Engine::Sqlite, false), expected);
        let sql = "PRAGMA foreign_keys=OFF; BEGIN; DROP TABLE a; COMMIT; VACUUM; CREATE TEMP TABLE b (c); DROP TABLE b";
        let expected = [
            "1~PRAGMA foreign_keys=OFF",
            "3=DROP TABLE a",
            "5!VACUUM",
            "6=CREATE TEMP TABLE b (c);DROP TABLE b",
        ];
        assert_eq!(units(sql, Engine::Sqlite, false), expected);
    }

    #[test]
    fn an_sqlite_script_written_for_a_runner_that_wraps_it_runs_in_steps() {
        let sql =
            "COMMIT; PRAGMA foreign_keys = 0; BEGIN; DROP TABLE a; COMMIT; PRAGMA foreign_keys = 1; BEGIN;";
        let expected = ["2~PRAGMA foreign_keys = 0", "4=DROP TABLE a", "6~PRAGMA foreign_keys = 1"];
        assert_eq!(units(sql, Engine::Sqlite, false), expected);
        assert_eq!(units("END; SELECT 1; SELECT 2", Engine::Sqlite, false), ["2=SELECT 1;SELECT 2"]);
    }
}
