//! How a script is to run: as one text in one transaction with its history row, or in units that are each
//! recorded, so that an interrupted run goes on after the last one that is done.

use super::{
    Kind, ScriptError, Statement,
    kind::{chains, keeps_for_session, may_commit, repeatable},
    postgres::CLIENT,
    script::{Piece, pieces, tokens},
    token::{Sort, Token, begins, has_at, holds},
};
use crate::place::Engine;

/// How a script is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// As one text in one transaction with its history row (PostgreSQL, SQLite).
    Whole {
        /// The script. A `BEGIN` and `COMMIT` around all of it are blanks here, and so is a byte order mark;
        /// every other character is where it was.
        text: String,
    },
    /// Unit by unit, each recorded.
    Steps(Vec<Unit>),
}

/// Statements that are done or not done together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What runs, without statements that begin or end a transaction. Never empty.
    pub statements: Vec<Statement>,
    /// The number of the first statement in the script, from 1, over all statements; ascending from unit to
    /// unit. Settings that are repeated after their transaction take the number of its end.
    pub first: u32,
    /// Whether it runs in one transaction with the record of it. If not, it must run outside one.
    pub atomic: bool,
    /// Whether it changes only the session, so that it is done again when a later unit is resumed.
    pub session: bool,
}

/// Decides how a script is to run. `marked`: the file says that it runs outside a transaction.
///
/// # Errors
/// As [`super::split`], for scripts that must be split; and for parameters that SQLite would take for NULL.
pub fn course(sql: &str, engine: Engine, marked: bool) -> Result<Course, ScriptError> {
    if let Some(error) = parameter(sql).filter(|_| engine == Engine::Sqlite) {
        return Err(error);
    }
    let one_text = !marked && engine != Engine::MySql;
    if one_text && !may_matter(sql) {
        return Ok(Course::Whole { text: blanked(sql, &[]) });
    }
    let pieces = match pieces(sql, engine) {
        // The server says what is wrong with it better than anyone; but it would wait for a client's data.
        Err(e) if one_text && engine == Engine::Postgres && e.reason != CLIENT => {
            return Ok(Course::Whole { text: blanked(sql, &[]) });
        }
        pieces => pieces?,
    };
    match outermost(&pieces, engine) {
        Some(pair) if one_text => Ok(Course::Whole { text: blanked(sql, &pair) }),
        _ => Ok(Course::Steps(steps(pieces, engine, marked))),
    }
}

/// Whether a script may hold anything that decides its course. Most do not and need no reading.
fn may_matter(sql: &str) -> bool {
    const POSTGRES: &str = "abort cluster concurrently database discard prepared reindex repack stdin subscription \
        system tablespace value \\";
    const SQLITE: &str = "attach detach pragma";
    const BOTH: &str = "begin commit end rollback start vacuum";
    let lower = sql.to_ascii_lowercase();
    [POSTGRES, SQLITE, BOTH].iter().flat_map(|words| words.split(' ')).any(|word| lower.contains(word))
}

/// The first parameter in a script for SQLite: the other servers do not know them, and say so.
fn parameter(sql: &str) -> Option<ScriptError> {
    const MARKS: [char; 4] = ['?', ':', '@', '$'];
    if !sql.contains(MARKS) {
        return None;
    }
    let tokens = tokens(sql, Engine::Sqlite);
    let at = tokens
        .iter()
        .position(|t| [Sort::Mark, Sort::Word].contains(&t.sort) && t.text.starts_with(MARKS))?;
    let found = &tokens[at];
    let behind = tokens.get(at + 1).filter(|t| t.sort == Sort::Word && t.start == found.end());
    let name = &sql[found.start..behind.map_or(found.end(), Token::end)];
    let breaks = sql[..found.start].matches('\n').count();
    Some(ScriptError {
        line: u32::try_from(breaks + 1).unwrap_or(u32::MAX),
        reason: format!("{name} is a parameter, and nothing gives it a value here"),
    })
}

/// The pieces to blank out so that all of it can run in one transaction; `None` when it cannot.
fn outermost(pieces: &[Piece], engine: Engine) -> Option<Vec<&Piece>> {
    let kind = |piece: &Piece| piece.statement.kind;
    let controls: Vec<&Piece> =
        pieces.iter().filter(|p| matches!(kind(p), Kind::Begin | Kind::Commit | Kind::Rollback)).collect();
    let around = match controls.as_slice() {
        [] => true,
        [begin, commit] => {
            let first = pieces.iter().find(|p| kind(p) != Kind::Session);
            let last = pieces.last();
            kind(begin) == Kind::Begin
                && kind(commit) == Kind::Commit
                && first.is_some_and(|p| p.span == begin.span)
                && last.is_some_and(|p| p.span == commit.span)
        }
        _ => false,
    };
    let alone = pieces.iter().any(|p| kind(p) == Kind::Alone);
    (around && !alone && !(engine == Engine::Postgres && uses_new_value(pieces))).then_some(controls)
}

/// A script with blanks where these pieces were.
fn blanked(sql: &str, pieces: &[&Piece]) -> String {
    let mut text = String::with_capacity(sql.len());
    for (at, c) in sql.char_indices() {
        let gone = pieces.iter().any(|piece| piece.span.contains(&at)) || (at == 0 && c == '\u{feff}');
        text.push(if gone && c != '\n' && c != '\r' { ' ' } else { c });
    }
    text
}

/// Whether a value is added to an enumerated type and named again later: PostgreSQL lets nothing use it before
/// the transaction that added it has ended. Since version 17 it does when that transaction made the type too,
/// but a script is to run the same everywhere.
fn uses_new_value(pieces: &[Piece]) -> bool {
    let mut added: Vec<String> = Vec::new();
    for piece in pieces {
        let tokens = tokens(&piece.statement.text, Engine::Postgres);
        if begins(&tokens, &["alter", "type"]) && holds(&tokens, &["add", "value"]) {
            added.extend(tokens.iter().find(|t| t.sort == Sort::Text).map(|t| t.text.to_owned()));
        } else if added.iter().any(|value| piece.statement.text.contains(value.as_str())) {
            return true;
        }
    }
    false
}

fn steps(pieces: Vec<Piece>, engine: Engine, marked: bool) -> Vec<Unit> {
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
    use super::*;

    fn whole(sql: &str, engine: Engine) -> Option<String> {
        match course(sql, engine, false).unwrap() {
            Course::Whole { text } => Some(text),
            Course::Steps(_) => None,
        }
    }

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
    fn an_ordinary_script_runs_whole_and_as_it_is() {
        for engine in [Engine::Postgres, Engine::Sqlite] {
            for sql in [
                "",
                "-- nothing\n",
                "CREATE TABLE a (b int); -- c\r\nINSERT INTO a VALUES (1)",
                "SAVEPOINT a; RELEASE a",
            ] {
                assert_eq!(whole(sql, engine).as_deref(), Some(sql));
            }
            assert_eq!(whole("\u{feff}SELECT 1", engine).as_deref(), Some(" SELECT 1"));
        }
    }

    #[test]
    fn a_parameter_that_sqlite_would_take_for_null_is_refused() {
        for (sql, name) in [
            ("SELECT 1;\nSELECT :name", ":name"),
            ("\nSELECT ?", "?"),
            ("\nSELECT @a", "@a"),
            ("\nSELECT $b;", "$b"),
            ("\nSELECT ${b};", "$"),
        ] {
            let error = course(sql, Engine::Sqlite, false).unwrap_err();
            assert_eq!(error.line, 2, "{sql}");
            assert!(error.reason.starts_with(&format!("{name} is a parameter")), "{error}");
        }
        let texts = "SELECT '12:00 ?', \"a@b\", [x:y], a$b; -- what?\n/* :a */ SELECT j ->> '$.a'";
        assert!(whole(texts, Engine::Sqlite).is_some() && whole("SELECT :a", Engine::Postgres).is_some());
    }

    #[test]
    fn words_in_bodies_and_texts_do_not_break_a_script_up() {
        let sql = "CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN COMMIT; VACUUM; END $$ LANGUAGE plpgsql; SELECT 'VACUUM;'";
        assert_eq!(whole(sql, Engine::Postgres).as_deref(), Some(sql));
        let sql = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 'COMMIT;'; END; SELECT 1";
        assert_eq!(whole(sql, Engine::Sqlite).as_deref(), Some(sql));
        let sql = "SELECT 'no end; VACUUM";
        assert_eq!(whole(sql, Engine::Postgres).as_deref(), Some(sql));
        assert!(course(sql, Engine::Sqlite, false).is_err() && course(sql, Engine::Postgres, true).is_err());
    }

    #[test]
    fn every_statement_that_runs_alone_is_noticed() {
        for sql in [
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "REINDEX SCHEMA s",
            "VACUUM",
            "DROP DATABASE d",
            "DROP TABLESPACE s",
            "ALTER SYSTEM RESET ALL",
            "DROP SUBSCRIPTION s",
            "CLUSTER",
            "DISCARD ALL",
            "ROLLBACK PREPARED 'a'",
            "START TRANSACTION",
            "ABORT",
            "END",
        ] {
            assert_eq!(whole(sql, Engine::Postgres), None, "{sql}");
        }
        for sql in [
            "VACUUM",
            "ATTACH 'a' AS b",
            "DETACH b",
            "PRAGMA journal_mode = wal",
            "END",
            "COMMIT",
            "ROLLBACK",
        ] {
            assert_eq!(whole(sql, Engine::Sqlite), None, "{sql}");
        }
    }

    #[test]
    fn what_only_psql_can_do_is_refused_before_the_server_waits_for_data() {
        for sql in ["COPY t FROM STDIN;\n1\n\\.\n", "\\i other.sql", "copy t from stdin"] {
            let error = course(sql, Engine::Postgres, false).unwrap_err();
            assert_eq!((error.line, error.reason.as_str()), (1, CLIENT), "{sql}");
        }
    }

    #[test]
    fn a_transaction_around_all_of_it_becomes_blanks() {
        let sql = "-- é\nSET a = 1;\nBEGIN /*\né */ ;\nCREATE TABLE a (b int);\r\nCOMMIT;\n-- end";
        let blank = "-- é\nSET a = 1;\n        \n      \nCREATE TABLE a (b int);\r\n       \n-- end";
        assert_eq!(whole(sql, Engine::Postgres).as_deref(), Some(blank));
        assert_eq!(whole("BEGIN;SELECT 1;END", Engine::Sqlite).as_deref(), Some("      SELECT 1;   "));
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
        assert!(whole(sql, Engine::Postgres).is_some());
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
            assert!(whole(&sql, Engine::Postgres).is_some(), "{sql}");
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
