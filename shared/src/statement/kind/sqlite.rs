//! The kinds of SQLite's statements.

use super::{
    super::token::{Sort, Token},
    Kind, temporary, transaction,
};
use crate::place::Engine;

/// The kind of a statement.
pub(super) fn kind(tokens: &[Token<'_>]) -> Kind {
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
    use super::{super::tests::all_are, *};

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
}
