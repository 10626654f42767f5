//! The kinds of PostgreSQL's statements.

use super::{
    super::token::{Token, begins, has_at, holds},
    Kind, temporary, transaction,
};
use crate::place::Engine;

/// The kind of a statement.
pub(super) fn kind(tokens: &[Token<'_>]) -> Kind {
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
pub(in crate::statement) fn postgres_session(tokens: &[Token<'_>]) -> bool {
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

/// Whether a statement calls `set_config` with a last argument other than `true`.
pub(in crate::statement) fn sets_config(tokens: &[Token<'_>]) -> bool {
    let calls = tokens.windows(2).filter(|w| w[0].is("set_config") && w[1].is_mark("(")).count();
    let local = |w: &&[Token<'_>]| w[0].is_mark(",") && w[1].is("true") && w[2].is_mark(")");
    let local = tokens.windows(3).filter(local).count();
    calls > local
}

#[cfg(test)]
mod tests {
    use super::{super::tests::all_are, *};

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
}
