//! What a statement of PostgreSQL leaves in its session when its transaction has ended. Behind a pooler that hands out
//! sessions by the transaction, that is somebody else's then.
//!
//! What a function does that a statement calls is not seen.

use super::{
    Kind, Statement,
    kind::{postgres_session, sets_config},
    script::tokens,
    token::{Sort, Token, begins, has_at, holds},
};
use crate::place::Engine;

const SESSION: &str = "it changes its session (SET without LOCAL, LISTEN, PREPARE, a temporary table)";
const LOCKS: &str = "it takes an advisory lock for its session";
const HOLDS: &str = "it declares a cursor WITH HOLD";
const PREPARES: &str = "it prepares its transaction to be ended later";

const SESSION_LOCKS: [&str; 4] =
    ["pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared"];

/// What stands before a statement inside of a body.
const OPENERS: [&str; 4] = ["begin", "then", "else", "loop"];

/// The first of a script's statements that leaves something in its session, counted from 0, and what.
#[must_use]
pub fn outlives(statements: &[Statement]) -> Option<(usize, &'static str)> {
    let kept = |(at, statement): (usize, &Statement)| {
        let session = (statement.kind == Kind::Session).then_some(SESSION);
        session.or_else(|| keeps(&tokens(&statement.text, Engine::Postgres))).map(|what| (at, what))
    };
    statements.iter().enumerate().find_map(kept)
}

fn keeps(tokens: &[Token<'_>]) -> Option<&'static str> {
    let locks = |t: &Token<'_>| t.name().is_some_and(|name| SESSION_LOCKS.contains(&name.as_str()));
    if has_at(tokens, 0, &["do"]) {
        return tokens.iter().filter(|t| t.sort == Sort::Text).find_map(|t| in_body(body(t.text)));
    }
    // What a function is to do is not done yet.
    let makes = has_at(tokens, 0, &["create"]);
    if !makes && tokens.iter().any(locks) {
        return Some(LOCKS);
    }
    if has_at(tokens, 0, &["declare"]) && holds(tokens, &["with", "hold"]) {
        return Some(HOLDS);
    }
    if begins(tokens, &["prepare", "transaction"]) {
        return Some(PREPARES);
    }
    let stays = makes && !holds(tokens, &["on", "commit", "drop"]);
    let temp = stays && tokens.windows(2).any(|w| w[0].is("pg_temp") && w[1].is_mark("."));
    (temp || !makes && sets_config(tokens)).then_some(SESSION)
}

/// Statements of a body are cut at their semicolons and at the words before which none stands.
fn in_body(text: &str) -> Option<&'static str> {
    let tokens = tokens(text, Engine::Postgres);
    let opens = |t: &Token<'_>| t.sort == Sort::Delimiter || t.is_any(&OPENERS);
    let mut statements = tokens.split(opens).filter(|statement| !statement.is_empty());
    statements.find_map(|s| postgres_session(s).then_some(SESSION).or_else(|| keeps(s)))
}

/// The text of a body without the quotes around it.
fn body(text: &str) -> &str {
    let mark = match text.strip_prefix('$').and_then(|rest| rest.find('$')) {
        Some(end) => &text[..end + 2],
        None => "'",
    };
    text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{super::split, *};

    fn found(sql: &str) -> Option<(usize, &'static str)> {
        outlives(&split(sql, Engine::Postgres).unwrap())
    }

    #[test]
    fn what_stays_in_a_session_is_found() {
        for (sql, what) in [
            ("SET search_path = a", SESSION),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", SESSION),
            ("LISTEN a", SESSION),
            ("PREPARE p AS SELECT 1", SESSION),
            ("SELECT pg_catalog.set_config('search_path', '', false)", SESSION),
            ("INSERT INTO t SELECT set_config('a.b', 'c', false)", SESSION),
            ("CREATE TEMP TABLE t (a int)", SESSION),
            ("CREATE TABLE pg_temp.t (a int)", SESSION),
            ("SELECT 1 AS a INTO TEMP t", SESSION),
            ("SELECT pg_advisory_lock(1)", LOCKS),
            ("SELECT pg_try_advisory_lock_shared(1, 2)", LOCKS),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", HOLDS),
            ("PREPARE TRANSACTION 'a'", PREPARES),
            ("DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$", LOCKS),
            ("DO $x$ BEGIN IF true THEN SET role = a; END IF; END $x$", SESSION),
            ("DO 'BEGIN PERFORM set_config(''a.b'', ''c'', false); END'", SESSION),
            ("DO $$ BEGIN CREATE TEMP TABLE t (a int); END $$", SESSION),
        ] {
            assert_eq!(found(&format!("SELECT 1; {sql}")), Some((1, what)), "{sql}");
        }
    }

    #[test]
    fn what_ends_with_its_transaction_is_not() {
        for sql in [
            "SET LOCAL search_path = a",
            "SET CONSTRAINTS ALL DEFERRED",
            "SELECT set_config('a.b', 'c', true)",
            "CREATE TEMP TABLE t (a int) ON COMMIT DROP",
            "CREATE TABLE pg_temp.t (a int) ON COMMIT DROP",
            "SELECT pg_advisory_xact_lock(1)",
            "SELECT 'SET a = 1; SELECT pg_advisory_lock(1)'",
            "UPDATE t SET a = 1",
            "DO $$ BEGIN UPDATE t SET a = 1; SET LOCAL a.b = 'c'; END $$",
            "DO $$ BEGIN CREATE TEMP TABLE t (a int) ON COMMIT DROP; END $$",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql SET search_path = a AS $$ BEGIN PERFORM pg_advisory_lock(1); END $$",
            "DECLARE c CURSOR FOR SELECT 1",
        ] {
            assert_eq!(found(sql), None, "{sql}");
        }
    }
}
