//! Which database a registry is in, and what it says for the words in braces.

use std::path::PathBuf;

use super::StoreError;

/// Which database holds the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A file; the default.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    MySql,
}

impl Dialect {
    /// A registry of this kind in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Sqlite => "an SQLite file",
            Self::Postgres => "a PostgreSQL database",
            Self::MySql => "a MySQL or MariaDB database",
        }
    }

    /// A text with this dialect's SQL for the words in braces.
    pub(super) fn words(self, text: &str) -> String {
        let (now, skip_locked, [by_due, by_server, by_lapses], rows) = match self {
            Self::Sqlite => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", "", ["", "", ""], "VALUES"),
            Self::Postgres => (
                "(extract(epoch from clock_timestamp()) * 1000)::bigint",
                "FOR UPDATE SKIP LOCKED",
                ["", "", ""],
                "VALUES",
            ),
            // The time when the statement began: SYSDATE() would go on during it, and no index can be used with it.
            // Without the index, every row that is due would be sorted, and so locked, for the few that are taken.
            Self::MySql => (
                "CAST(unix_timestamp(now(3)) * 1000 AS SIGNED)",
                "FOR UPDATE SKIP LOCKED",
                ["FORCE INDEX (targets_due)", "FORCE INDEX (targets_server)", "FORCE INDEX (targets_lapses)"],
                "",
            ),
        };
        let opaque = if self == Self::Sqlite { " + 0" } else { "" };
        // Of this transaction alone, which is this statement where there is no other one.
        let hint = match self {
            Self::Postgres => "AND set_config('synchronous_commit', 'off', true) = 'off'",
            Self::Sqlite | Self::MySql => "",
        };
        let array = match self {
            Self::Sqlite => "json_array",
            Self::Postgres => "json_build_array",
            Self::MySql => "JSON_ARRAY",
        };
        let words = [
            ("{now}", now),
            ("{array}", array),
            ("{skip_locked}", skip_locked),
            ("{by_due}", by_due),
            ("{by_server}", by_server),
            ("{by_lapses}", by_lapses),
            ("{rows}", rows),
            ("{opaque}", opaque),
            ("{hint}", hint),
        ];
        replaced(text, &words)
    }
}

/// A text with words in braces replaced. Other braces are left as they are.
fn replaced(text: &str, words: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        let (word, sql) = words.iter().find(|(word, _)| behind.starts_with(word)).unwrap_or(&("{", "{"));
        out.push_str(before);
        out.push_str(sql);
        rest = &behind[word.len()..];
    }
    out + rest
}

/// Which database a registry URL is of.
///
/// # Errors
/// [`StoreError::Scheme`] for any other.
pub fn dialect_of(url: &str) -> Result<Dialect, StoreError> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Dialect::Sqlite),
        Some("postgres" | "postgresql") => Ok(Dialect::Postgres),
        Some("mysql" | "mariadb") => Ok(Dialect::MySql),
        _ => Err(StoreError::Scheme),
    }
}

/// The file of an SQLite registry URL.
#[must_use]
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(PathBuf::from(rest.split('?').next().unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_sqlite_postgres_or_mysql() {
        assert_eq!(dialect_of("sqlite:a.db").unwrap(), Dialect::Sqlite);
        assert_eq!(dialect_of("postgresql://h/d").unwrap(), Dialect::Postgres);
        assert_eq!(dialect_of("mysql://h/d").unwrap(), Dialect::MySql);
        assert_eq!(dialect_of("mariadb://h/d").unwrap(), Dialect::MySql);
        assert!(dialect_of("oracle://h/d").is_err());
    }

    #[test]
    fn words_in_braces_are_what_the_database_has_for_them_and_other_braces_stay() {
        let words =
            |dialect: Dialect| dialect.words("SELECT '{' FROM x {by_due} LIMIT $1{opaque} {skip_locked}");
        assert_eq!(words(Dialect::Sqlite), "SELECT '{' FROM x  LIMIT $1 + 0 ");
        assert_eq!(words(Dialect::Postgres), "SELECT '{' FROM x  LIMIT $1 FOR UPDATE SKIP LOCKED");
        let mysql = "SELECT '{' FROM x FORCE INDEX (targets_due) LIMIT $1 FOR UPDATE SKIP LOCKED";
        assert_eq!(words(Dialect::MySql), mysql);
    }
}
