//! The one table of database error codes: which may heal by themselves, and what they are called. Pure.
//!
//! Sources: PostgreSQL's appendix "Error Codes", MariaDB's and MySQL's server error reference, SQLite's
//! "Result and Error Codes". What is not listed is permanent: trying again would only hide it.

use crate::failure::{Class, Failure};

/// The class of a PostgreSQL SQLSTATE.
#[must_use]
pub fn postgres(sqlstate: &str) -> Class {
    let transient = match sqlstate {
        // lock_timeout, serialization, deadlock, statement timeout, another session has the object open
        "55P03" | "40001" | "40P01" | "57014" | "55006" => true,
        // admin or crash shutdown, cannot connect now, database dropped under us is permanent
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => true,
        code => code.starts_with("08") || code.starts_with("53"),
    };
    if transient { Class::Transient } else { Class::Permanent }
}

/// The class of a MySQL or MariaDB error number.
#[must_use]
pub fn mysql(number: u16) -> Class {
    match number {
        // too many connections (server, user), disk full, out of resources
        1040 | 1203 | 1226 | 1021 | 1041 => Class::Transient,
        // shutdown in progress, connection killed, aborted, net errors
        1053 | 1077 | 1079 | 1152 | 1156..=1161 | 1184 | 1927 => Class::Transient,
        // lock wait timeout, deadlock, statement timeout (MySQL, MariaDB), interrupted
        1205 | 1213 | 3024 | 1969 | 1317 => Class::Transient,
        // client side: cannot connect, gone away, lost connection
        2002 | 2003 | 2006 | 2013 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// The class of an SQLite result code, extended or not.
#[must_use]
pub fn sqlite(code: i32) -> Class {
    match code & 0xff {
        // BUSY, LOCKED, INTERRUPT (our statement timeout), IOERR, FULL, CANTOPEN's transient cousins are told apart by the engine
        5 | 6 | 9 | 10 | 13 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// Whether a server had no connection to spare: too many of the server, of a database or a user. PgBouncer says it with a
/// code that means much else. What a migration fails with is something else.
#[must_use]
pub fn is_server_full(failure: &Failure) -> bool {
    let full = matches!(failure.code.as_str(), "53300" | "1040" | "1203" | "1226")
        || failure.message.contains("no more connections allowed");
    full && failure.class == Class::Transient && failure.version.is_none()
}

/// What people call a code: the condition name of PostgreSQL, the symbol of MySQL, the constant of SQLite.
#[must_use]
pub fn name(code: &str) -> Option<&'static str> {
    let at = NAMES.binary_search_by_key(&code, |(code, _)| code).ok()?;
    Some(NAMES[at].1)
}

/// Sorted by code.
const NAMES: [(&str, &str); 61] = [
    ("08006", "connection_failure"),
    ("1", "SQLITE_ERROR"),
    ("1005", "ER_CANT_CREATE_TABLE"),
    ("1040", "ER_CON_COUNT_ERROR"),
    ("1044", "ER_DBACCESS_DENIED_ERROR"),
    ("1045", "ER_ACCESS_DENIED_ERROR"),
    ("1048", "ER_BAD_NULL_ERROR"),
    ("1049", "ER_BAD_DB_ERROR"),
    ("1050", "ER_TABLE_EXISTS_ERROR"),
    ("1053", "ER_SERVER_SHUTDOWN"),
    ("1054", "ER_BAD_FIELD_ERROR"),
    ("1060", "ER_DUP_FIELDNAME"),
    ("1061", "ER_DUP_KEYNAME"),
    ("1062", "ER_DUP_ENTRY"),
    ("1064", "ER_PARSE_ERROR"),
    ("1091", "ER_CANT_DROP_FIELD_OR_KEY"),
    ("11", "SQLITE_CORRUPT"),
    ("1146", "ER_NO_SUCH_TABLE"),
    ("1205", "ER_LOCK_WAIT_TIMEOUT"),
    ("1213", "ER_LOCK_DEADLOCK"),
    ("1299", "SQLITE_CONSTRAINT_NOTNULL"),
    ("13", "SQLITE_FULL"),
    ("14", "SQLITE_CANTOPEN"),
    ("1451", "ER_ROW_IS_REFERENCED_2"),
    ("1452", "ER_NO_REFERENCED_ROW_2"),
    ("1555", "SQLITE_CONSTRAINT_PRIMARYKEY"),
    ("1927", "ER_CONNECTION_KILLED"),
    ("1969", "ER_STATEMENT_TIMEOUT"),
    ("2067", "SQLITE_CONSTRAINT_UNIQUE"),
    ("22001", "string_data_right_truncation"),
    ("23502", "not_null_violation"),
    ("23503", "foreign_key_violation"),
    ("23505", "unique_violation"),
    ("23514", "check_violation"),
    ("25001", "active_sql_transaction"),
    ("26", "SQLITE_NOTADB"),
    ("275", "SQLITE_CONSTRAINT_CHECK"),
    ("28000", "invalid_authorization_specification"),
    ("28P01", "invalid_password"),
    ("3D000", "invalid_catalog_name"),
    ("3F000", "invalid_schema_name"),
    ("40001", "serialization_failure"),
    ("40P01", "deadlock_detected"),
    ("42501", "insufficient_privilege"),
    ("42601", "syntax_error"),
    ("42701", "duplicate_column"),
    ("42703", "undefined_column"),
    ("42704", "undefined_object"),
    ("42804", "datatype_mismatch"),
    ("42P01", "undefined_table"),
    ("42P07", "duplicate_table"),
    ("5", "SQLITE_BUSY"),
    ("53300", "too_many_connections"),
    ("55P03", "lock_not_available"),
    ("57014", "query_canceled"),
    ("57P01", "admin_shutdown"),
    ("57P03", "cannot_connect_now"),
    ("6", "SQLITE_LOCKED"),
    ("787", "SQLITE_CONSTRAINT_FOREIGNKEY"),
    ("8", "SQLITE_READONLY"),
    ("9", "SQLITE_INTERRUPT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_so_that_they_can_be_found() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(
            (name("23505"), name("0"), name("55P03")),
            (Some("unique_violation"), None, Some("lock_not_available"))
        );
    }

    #[test]
    fn a_server_without_free_connections_is_told_from_one_that_is_away() {
        let refused =
            |code: &str, message: &str| is_server_full(&Failure::new(Class::Transient, code, message));
        assert!(
            refused("53300", "sorry, too many clients already") && refused("1040", "Too many connections")
        );
        assert!(refused("08P01", "no more connections allowed (max_client_conn)"));
        assert!(!refused("57P03", "the database system is starting up") && !refused("53100", "disk full"));
        let said = Failure::new(Class::Transient, "53300", "by the script").in_migration(7);
        assert!(!is_server_full(&said));
    }

    #[test]
    fn what_may_heal_is_transient_and_all_else_is_permanent() {
        for code in ["08006", "53300", "53100", "57P01", "57P03", "55P03", "40001", "40P01", "57014"] {
            assert_eq!(postgres(code), Class::Transient, "{code}");
        }
        for code in ["42601", "42P07", "42703", "23505", "23502", "28P01", "3D000", "XX000"] {
            assert_eq!(postgres(code), Class::Permanent, "{code}");
        }
        for number in [1040, 1205, 1213, 2002, 2006, 2013, 1053] {
            assert_eq!(mysql(number), Class::Transient, "{number}");
        }
        for number in [1064, 1050, 1054, 1062, 1045, 1049] {
            assert_eq!(mysql(number), Class::Permanent, "{number}");
        }
        assert_eq!(
            (sqlite(5), sqlite(261), sqlite(2067), sqlite(1)),
            (Class::Transient, Class::Transient, Class::Permanent, Class::Permanent)
        );
    }
}
