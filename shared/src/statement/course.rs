//! How a script is to run: as one text in one transaction with its history row, or in units that are each
//! recorded, so that an interrupted run goes on after the last one that is done.

use super::{
    Kind, ScriptError, Statement,
    postgres::CLIENT,
    script::{Piece, pieces, tokens},
    token::{Sort, Token, begins, holds},
};
use crate::place::Engine;

mod steps;

use self::steps::steps;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(sql: &str, engine: Engine) -> Option<String> {
        match course(sql, engine, false).unwrap() {
            Course::Whole { text } => Some(text),
            Course::Steps(_) => None,
        }
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
}
