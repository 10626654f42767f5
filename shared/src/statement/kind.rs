//! What a statement does to the transaction around it, read from its keywords.

use super::{
    Kind,
    token::{Sort, Token, begins, has_at, holds},
};
use crate::place::Engine;

/// The kind of a statement, which has at least one token.
pub(super) fn of(tokens: &[Token<'_>], engine: Engine) -> Kind {
    match engine {
        Engine::Postgres => postgres(tokens),
        Engine::MySql => mysql(tokens),
        Engine::Sqlite => sqlite(tokens),
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

fn postgres(tokens: &[Token<'_>]) -> Kind {
    if let Some(kind) = transaction(tokens, Engine::Postgres) {
        return kind;
    }
    let alone = match tokens[0].text.to_lowercase().as_str() {
        "vacuum" => true,
        "create" | "drop" => made_alone(tokens),
        "alter" => altered_alone(tokens),
        "reindex" | "repack" => {
            ["concurrently", "database", "system", "schema"].iter().any(|w| holds(tokens, &[w]))
        }
        "cluster" => !tokens.iter().skip(1).any(|t| t.name().is_some() && !t.is("verbose")),
        "discard" => has_at(tokens, 1, &["all"]),
        _ => false,
    };
    match alone {
        true => Kind::Alone,
        false if postgres_session(tokens) => Kind::Session,
        false => Kind::Plain,
    }
}

fn made_alone(tokens: &[Token<'_>]) -> bool {
    let at = if has_at(tokens, 1, &["unique"]) { 2 } else { 1 };
    has_at(tokens, 1, &["database", "tablespace", "subscription"])
        || begins(&tokens[at.min(tokens.len())..], &["index", "concurrently"])
}

fn altered_alone(tokens: &[Token<'_>]) -> bool {
    match tokens.get(1).map(|t| t.text.to_lowercase()).as_deref() {
        Some("system") => true,
        Some("database") => holds(tokens, &["set", "tablespace"]),
        Some("subscription") => holds(tokens, &["refresh"]) || holds(tokens, &["publication"]),
        Some("table") => holds(tokens, &["detach", "partition"]) && holds(tokens, &["concurrently"]),
        _ => false,
    }
}

/// Whether a statement of PostgreSQL changes its session.
pub(super) fn postgres_session(tokens: &[Token<'_>]) -> bool {
    match tokens[0].text.to_lowercase().as_str() {
        "set" => !has_at(tokens, 1, &["local", "transaction", "constraints"]),
        "prepare" => !has_at(tokens, 1, &["transaction"]),
        "reset" | "deallocate" | "discard" | "listen" | "unlisten" | "load" => true,
        "create" => temporary(tokens) && !holds(tokens, &["on", "commit", "drop"]),
        "select" => {
            sets_config(tokens) || holds(tokens, &["into", "temp"]) || holds(tokens, &["into", "temporary"])
        }
        _ => false,
    }
}

/// Whether a `CREATE` makes something that is gone with the session.
fn temporary(tokens: &[Token<'_>]) -> bool {
    let before = ["or", "replace", "global", "local", "temp", "temporary"];
    tokens[1..].iter().take_while(|t| t.is_any(&before)).any(|t| t.is_any(&["temp", "temporary"]))
}

/// Whether a statement calls `set_config` with a last argument other than `true`.
pub(super) fn sets_config(tokens: &[Token<'_>]) -> bool {
    let calls = tokens.windows(2).filter(|w| w[0].is("set_config") && w[1].is_mark("(")).count();
    let local = |w: &&[Token<'_>]| w[0].is_mark(",") && w[1].is("true") && w[2].is_mark(")");
    let local = tokens.windows(3).filter(local).count();
    calls > local
}

fn mysql(tokens: &[Token<'_>]) -> Kind {
    const DATA: [&str; 21] = [
        "insert",
        "update",
        "delete",
        "replace",
        "select",
        "with",
        "values",
        "table",
        "do",
        "explain",
        "describe",
        "desc",
        "show",
        "handler",
        "savepoint",
        "release",
        "load",
        "checksum",
        "help",
        "signal",
        "kill",
    ];
    if begins(tokens, &["begin", "not", "atomic"]) {
        return Kind::Alone;
    }
    if let Some(kind) = transaction(tokens, Engine::MySql).or_else(|| mysql_transaction(tokens)) {
        return kind;
    }
    match tokens[0].text.to_lowercase().as_str() {
        "set" => mysql_set(tokens),
        "use" | "prepare" | "deallocate" => Kind::Session,
        "drop" if has_at(tokens, 1, &["prepare", "temporary"]) => Kind::Session,
        "create" if temporary(tokens) => Kind::Session,
        "select" if sets_variable(tokens) => Kind::Session,
        "(" => Kind::Plain,
        "load" if has_at(tokens, 1, &["index"]) => Kind::Alone,
        _ if tokens[0].is_any(&DATA) => Kind::Plain,
        _ => Kind::Alone,
    }
}

/// `SET autocommit` and locked tables: a transaction by other names. While tables are locked the server lets
/// nothing write to any other, so no step could be recorded; what lies between runs as one transaction instead.
fn mysql_transaction(tokens: &[Token<'_>]) -> Option<Kind> {
    if has_at(tokens, 1, &["table", "tables"]) {
        match tokens[0].text.to_lowercase().as_str() {
            "lock" => return Some(Kind::Begin),
            "unlock" => return Some(Kind::Commit),
            _ => {}
        }
    }
    let said: Vec<&Token<'_>> = tokens
        .iter()
        .filter(|t| !["@", ".", ":"].contains(&t.text) && !t.is_any(&["session", "local"]))
        .collect();
    match said.as_slice() {
        [set, name, equal, value] if set.is("set") && name.is("autocommit") && equal.is_mark("=") => {
            match value.text.to_lowercase().as_str() {
                "0" | "off" | "false" => Some(Kind::Begin),
                "1" | "on" | "true" => Some(Kind::Commit),
                _ => None,
            }
        }
        _ => None,
    }
}

fn mysql_set(tokens: &[Token<'_>]) -> Kind {
    let lasts = ["last_insert_id", "row_count", "found_rows"];
    match tokens.iter().position(|t| t.is("for")) {
        Some(at) if has_at(tokens, 1, &["statement"]) => match &tokens[at + 1..] {
            [] => Kind::Session,
            [first, ..] if first.is("set") => Kind::Session,
            inner => mysql(inner),
        },
        _ if has_at(tokens, 1, &["password", "default"]) => Kind::Alone,
        // What the statement before it left is not there a second time.
        _ if tokens.iter().any(|t| t.is_any(&lasts)) => Kind::Plain,
        _ => Kind::Session,
    }
}

/// Whether a `SELECT` sets a variable, by `INTO @x` or by `@x := …`.
fn sets_variable(tokens: &[Token<'_>]) -> bool {
    tokens
        .windows(2)
        .any(|w| (w[0].is("into") && w[1].is_mark("@")) || (w[0].is_mark(":") && w[1].is_mark("=")))
}

fn sqlite(tokens: &[Token<'_>]) -> Kind {
    if let Some(kind) = transaction(tokens, Engine::Sqlite) {
        return kind;
    }
    match tokens[0].text.to_lowercase().as_str() {
        "vacuum" | "attach" | "detach" => Kind::Alone,
        "pragma" => pragma(tokens),
        "create" if temporary(tokens) => Kind::Session,
        _ => Kind::Plain,
    }
}

/// The kind of a `PRAGMA`: some only ask, some write into the file, some are ignored inside a transaction.
fn pragma(tokens: &[Token<'_>]) -> Kind {
    const OUTSIDE: [&str; 6] =
        ["foreign_keys", "journal_mode", "synchronous", "temp_store", "wal_checkpoint", "locking_mode"];
    const WRITES_OR_ASKS: [&str; 19] = [
        "application_id",
        "defer_foreign_keys",
        "foreign_key_check",
        "foreign_key_list",
        "function_list",
        "incremental_vacuum",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "optimize",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
        "collation_list",
        "database_list",
    ];
    let at = if tokens.get(2).is_some_and(|t| t.is_mark(".")) { 3 } else { 1 };
    let name = tokens.get(at).and_then(Token::name).unwrap_or_default();
    let given = tokens.get(at + 1).is_some_and(|t| t.sort != Sort::Delimiter);
    match name.as_str() {
        "wal_checkpoint" => Kind::Alone,
        _ if !given => Kind::Plain,
        name if OUTSIDE.contains(&name) => Kind::Alone,
        name if WRITES_OR_ASKS.contains(&name) => Kind::Plain,
        _ => Kind::Session,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{leaves_settings, split};
    use super::*;

    fn all_are(kind: Kind, engine: Engine, statements: &[&str]) {
        for sql in statements {
            let read = split(sql, engine).unwrap();
            assert_eq!(read.iter().map(|s| s.kind).collect::<Vec<_>>(), [kind], "{sql}");
        }
    }

    #[test]
    fn transactions_of_postgresql_are_known() {
        let of = |kind, statements: &[&str]| all_are(kind, Engine::Postgres, statements);
        of(Kind::Begin, &["BEGIN", "begin work", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE"]);
        of(Kind::Commit, &["COMMIT", "END", "commit and chain"]);
        of(Kind::Rollback, &["ROLLBACK", "ABORT", "rollback work"]);
        of(Kind::Plain, &["SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a"]);
        of(Kind::Alone, &["COMMIT PREPARED 'a'", "ROLLBACK PREPARED 'a'"]);
    }

    #[test]
    fn what_postgresql_cannot_do_in_a_transaction_is_alone() {
        let alone = [
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "/* x */ create unique index /* y */ concurrently on t (a)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX (VERBOSE) TABLE CONCURRENTLY t",
            "REINDEX DATABASE d",
            "REINDEX SCHEMA s",
            "VACUUM (ANALYZE) t",
            "CREATE DATABASE d",
            "DROP DATABASE d",
            "CREATE TABLESPACE s LOCATION '/x'",
            "DROP TABLESPACE s",
            "ALTER DATABASE d SET TABLESPACE s",
            "ALTER SYSTEM SET a = 1",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
            "CLUSTER",
            "CLUSTER (VERBOSE)",
            "DISCARD ALL",
        ];
        all_are(Kind::Alone, Engine::Postgres, &alone);
        let plain = [
            "CREATE INDEX i ON t (a)",
            "CREATE INDEX concurrently_i ON t (\"concurrently\")",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "REINDEX TABLE t",
            "ALTER DATABASE d SET lock_timeout = 1",
            "ALTER TABLE t DETACH PARTITION p",
            "CLUSTER t USING i",
            "CREATE TABLE vacuum (a int)",
            "SELECT 'VACUUM'",
            "DO $$ BEGIN COMMIT; END $$",
        ];
        all_are(Kind::Plain, Engine::Postgres, &plain);
    }

    #[test]
    fn settings_of_postgresql_last_as_long_as_its_session() {
        let session = [
            "SET search_path = a",
            "SET SESSION AUTHORIZATION a",
            "RESET ALL",
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "PREPARE p AS SELECT 1",
            "DEALLOCATE p",
            "CREATE TEMP TABLE t (a int)",
            "create or replace local temporary view v as select 1",
            "SELECT 1 AS a INTO TEMP t",
        ];
        all_are(Kind::Session, Engine::Postgres, &session);
        let plain = [
            "SET LOCAL a = 1",
            "SET TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED",
            "SELECT set_config('a', 'b', true)",
            "CREATE TEMP TABLE t (a int) ON COMMIT DROP",
            "CREATE INDEX temp ON t (a)",
            "ALTER TABLE t SET (fillfactor = 1)",
        ];
        all_are(Kind::Plain, Engine::Postgres, &plain);
    }

    #[test]
    fn what_mysql_commits_by_itself_is_alone() {
        let of = |kind, statements: &[&str]| all_are(kind, Engine::MySql, statements);
        let alone = [
            "CREATE TABLE t (a int)",
            "ALTER TABLE t ADD b int",
            "/*!40000 ALTER TABLE t DISABLE KEYS */",
            "TRUNCATE t",
            "RENAME TABLE a TO b",
            "GRANT SELECT ON a TO b",
            "CALL p()",
            "EXECUTE s",
            "SET PASSWORD = 'x'",
            "SET STATEMENT max_statement_time = 1 FOR DROP TABLE t",
            "LOAD INDEX INTO CACHE t",
            "XA START 'a'",
            "END",
            "UNHEARD OF",
        ];
        of(Kind::Alone, &alone);
        of(Kind::Plain, &["INSERT INTO t VALUES (1)", "(SELECT 1)", "WITH a AS (SELECT 1) SELECT * FROM a"]);
        of(
            Kind::Plain,
            &["SET @id = LAST_INSERT_ID()", "SET STATEMENT a = 1 FOR DELETE FROM t", "SAVEPOINT a"],
        );
    }

    #[test]
    fn settings_and_transactions_of_mysql_are_known() {
        let of = |kind, statements: &[&str]| all_are(kind, Engine::MySql, statements);
        let session = [
            "SET FOREIGN_KEY_CHECKS = 0",
            "/*!40101 SET NAMES utf8mb4 */",
            "SET @s = 'SELECT 1'",
            "SET @old = @@autocommit, autocommit = 0",
            "PREPARE s FROM @s",
            "DEALLOCATE PREPARE s",
            "DROP PREPARE s",
            "USE d",
            "SELECT id INTO @id FROM t",
            "SELECT @n := 1",
            "CREATE TEMPORARY TABLE t (a int)",
            "DROP TEMPORARY TABLE t",
        ];
        of(Kind::Session, &session);
        of(
            Kind::Begin,
            &["BEGIN", "START TRANSACTION", "SET autocommit=0", "SET @@SESSION.autocommit = OFF"],
        );
        of(Kind::Begin, &["LOCK TABLES t WRITE"]);
        of(Kind::Commit, &["COMMIT", "SET SESSION autocommit := 1", "UNLOCK TABLES"]);
        of(Kind::Rollback, &["ROLLBACK"]);
    }

    #[test]
    fn pragmas_of_sqlite_are_told_apart() {
        let of = |kind, statements: &[&str]| all_are(kind, Engine::Sqlite, statements);
        of(
            Kind::Alone,
            &["PRAGMA foreign_keys = OFF", "pragma main.journal_mode(wal)", "PRAGMA wal_checkpoint"],
        );
        of(Kind::Alone, &["VACUUM", "ATTACH 'a' AS b", "DETACH b"]);
        of(Kind::Plain, &["PRAGMA foreign_keys", "PRAGMA foreign_key_check", "PRAGMA user_version = 3"]);
        of(
            Kind::Plain,
            &["PRAGMA defer_foreign_keys = ON", "PRAGMA table_info(t)", "REINDEX", "ROLLBACK TO a"],
        );
        of(Kind::Session, &["PRAGMA legacy_alter_table = ON", "CREATE TEMP TABLE t (a)"]);
        of(Kind::Commit, &["COMMIT", "END TRANSACTION"]);
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
