//! The kinds of MySQL's and MariaDB's statements: all but data commits by itself.

use super::{
    super::token::{Token, begins, has_at},
    Kind, temporary, transaction,
};
use crate::place::Engine;

/// The kind of a statement.
pub(super) fn kind(tokens: &[Token<'_>]) -> Kind {
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
    if let Some(kind) = transaction(tokens, Engine::MySql).or_else(|| by_another_name(tokens)) {
        return kind;
    }
    match tokens[0].text.to_lowercase().as_str() {
        "set" => set(tokens),
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
fn by_another_name(tokens: &[Token<'_>]) -> Option<Kind> {
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

fn set(tokens: &[Token<'_>]) -> Kind {
    let lasts = ["last_insert_id", "row_count", "found_rows"];
    match tokens.iter().position(|t| t.is("for")) {
        Some(at) if has_at(tokens, 1, &["statement"]) => match &tokens[at + 1..] {
            [] => Kind::Session,
            [first, ..] if first.is("set") => Kind::Session,
            inner => kind(inner),
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

#[cfg(test)]
mod tests {
    use super::{super::tests::all_are, *};

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
}
