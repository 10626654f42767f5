//! What a statement does to the transaction around it, read from its keywords.

use super::{
    Kind,
    token::{Token, begins, has_at, holds},
};
use crate::place::Engine;

mod mysql;
mod postgres;
mod sqlite;

pub(super) use self::postgres::{postgres_session, sets_config};

/// The kind of a statement, which has at least one token.
pub(super) fn of(tokens: &[Token<'_>], engine: Engine) -> Kind {
    match engine {
        Engine::Postgres => postgres::kind(tokens),
        Engine::MySql => mysql::kind(tokens),
        Engine::Sqlite => sqlite::kind(tokens),
    }
}

/// Whether a statement may set something for the session although its kind does not say so.
pub(super) fn may_set(tokens: &[Token<'_>], engine: Engine) -> bool {
    match engine {
        Engine::Postgres => {
            has_at(tokens, 0, &["do", "call"])
                || (has_at(tokens, 0, &["select", "with"]) && holds(tokens, &["set_config"]))
        }
        Engine::MySql => has_at(tokens, 0, &["call", "execute"]),
        Engine::Sqlite => keeps_for_session(tokens),
    }
}

/// Whether one of SQLite's statements that cannot run inside a transaction changes only the session.
pub(super) fn keeps_for_session(tokens: &[Token<'_>]) -> bool {
    has_at(tokens, 0, &["pragma", "attach", "detach"])
}

/// Whether a setting can be set once more at no cost and with the same outcome.
pub(super) fn repeatable(tokens: &[Token<'_>]) -> bool {
    let setting = has_at(tokens, 0, &["set", "reset", "use", "pragma"]) || holds(tokens, &["set_config"]);
    setting && !tokens.iter().any(|t| t.is_mark("@"))
}

/// Whether the end of a transaction begins the next one.
pub(super) fn chains(tokens: &[Token<'_>]) -> bool {
    holds(tokens, &["and", "chain"])
}

/// Whether an anonymous block or a procedure may end the transaction around it.
pub(super) fn may_commit(tokens: &[Token<'_>]) -> bool {
    let ends = |text: &str| ["commit", "rollback"].iter().any(|word| text.to_lowercase().contains(word));
    has_at(tokens, 0, &["call"]) || (has_at(tokens, 0, &["do"]) && tokens.iter().any(|t| ends(t.text)))
}

/// The beginnings and ends of transactions.
fn transaction(tokens: &[Token<'_>], engine: Engine) -> Option<Kind> {
    match tokens[0].text.to_lowercase().as_str() {
        "begin" => Some(Kind::Begin),
        "start" if begins(tokens, &["start", "transaction"]) => Some(Kind::Begin),
        "rollback" if holds(tokens, &["to"]) => Some(Kind::Plain),
        "commit" | "rollback" if has_at(tokens, 1, &["prepared"]) => Some(Kind::Alone),
        "rollback" => Some(Kind::Rollback),
        "abort" if engine == Engine::Postgres => Some(Kind::Rollback),
        "commit" => Some(Kind::Commit),
        "end" if engine != Engine::MySql => Some(Kind::Commit),
        _ => None,
    }
}

/// Whether a `CREATE` makes something that is gone with the session.
fn temporary(tokens: &[Token<'_>]) -> bool {
    let before = ["or", "replace", "global", "local", "temp", "temporary"];
    tokens[1..].iter().take_while(|t| t.is_any(&before)).any(|t| t.is_any(&["temp", "temporary"]))
}

#[cfg(test)]
mod tests {
    use super::super::{leaves_settings, split};
    use super::*;

    pub(super) fn all_are(kind: Kind, engine: Engine, statements: &[&str]) {
        for sql in statements {
            let read = split(sql, engine).unwrap();
            assert_eq!(read.iter().map(|s| s.kind).collect::<Vec<_>>(), [kind], "{sql}");
        }
    }

    #[test]
    fn what_may_leave_a_setting_behind_is_told() {
        let leaves = |sql, engine| leaves_settings(&split(sql, engine).unwrap(), engine);
        for sql in [
            "SELECT 1; SET a = 1",
            "DO $$ BEGIN END $$",
            "CALL p()",
            "WITH a AS (SELECT set_config('a', 'b', true))",
        ] {
            assert!(leaves(sql, Engine::Postgres), "{sql}");
        }
        for sql in
            ["SET LOCAL a = 1", "UPDATE t SET a = 1", "CREATE FUNCTION f() RETURNS int SET search_path = a"]
        {
            assert!(!leaves(sql, Engine::Postgres), "{sql}");
        }
        assert!(leaves("CALL p()", Engine::MySql) && leaves("USE d", Engine::MySql));
        assert!(!leaves("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", Engine::MySql));
        assert!(leaves("PRAGMA foreign_keys = OFF", Engine::Sqlite) && !leaves("VACUUM", Engine::Sqlite));
    }
}
