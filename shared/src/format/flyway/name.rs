//! What a file's name says in Flyway: `V1_2__add_email.sql` and its like.

use crate::format::{FormatError, is_code};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Applied once, in the order of the versions.
    Versioned,
    /// Reverts the versioned migration of its version.
    Undo,
    /// Stands for all versioned migrations up to its version, in a new database.
    Baseline,
    /// Applied again whenever its contents change.
    Repeatable,
}

/// A migration's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) role: Role,
    /// As it is written, with `_` read as `.`; nothing where it is repeatable.
    pub(super) version: String,
    /// With `_` read as a blank.
    pub(super) description: String,
}

/// A version's numbers, in an order of their own: without zeros at the end, which mean nothing.
pub(super) type Parts = Vec<(usize, String)>;

/// Events in whose course `flyway migrate` runs an SQL file of that name.
const EVENTS: [&str; 31] = [
    "afterConnect",
    "afterEachMigrate",
    "afterEachMigrateError",
    "afterEachMigrateStatement",
    "afterEachMigrateStatementError",
    "afterEachUndo",
    "afterEachUndoError",
    "afterEachUndoStatement",
    "afterEachUndoStatementError",
    "afterMigrate",
    "afterMigrateApplied",
    "afterMigrateError",
    "afterMigrateOperationFinish",
    "afterUndo",
    "afterUndoError",
    "afterUndoOperationFinish",
    "afterValidate",
    "afterValidateError",
    "afterValidateOperationFinish",
    "afterVersioned",
    "beforeConnect",
    "beforeCreateSchema",
    "beforeEachMigrate",
    "beforeEachMigrateStatement",
    "beforeEachUndo",
    "beforeEachUndoStatement",
    "beforeMigrate",
    "beforeRepeatables",
    "beforeUndo",
    "beforeValidate",
    "createSchema",
];

/// Endings of what Flyway runs as a program, beside those of languages.
const PROGRAMS: [&str; 9] = ["bash", "bat", "class", "cmd", "groovy", "ps1", "rs", "scala", "sh"];

/// Reads a file's name. None: it is no migration, and nobody could take it for one.
///
/// # Errors
/// When it is one that cannot be run, or nearly one.
pub(super) fn read(file: &str) -> Result<Option<Name>, FormatError> {
    let base = file.rsplit('/').next().unwrap_or(file);
    let Some((stem, ending)) = base.rsplit_once('.') else { return Ok(None) };
    let sql = ending.eq_ignore_ascii_case("sql");
    let event = stem.split("__").next().unwrap_or(stem);
    if sql && EVENTS.contains(&event) {
        let reason = "a callback is not run here, and leaving it out could change what the migrations do: put its SQL into the migrations or into a set's preamble, and take the file away";
        return Err(FormatError::Name { file: file.to_owned(), reason: reason.to_owned() });
    }
    let Some(role) = role(stem) else { return Ok(None) };
    let rest = &stem[1..];
    let (version, description) = rest.split_once("__").unwrap_or((rest, ""));
    let fits = match role {
        Role::Repeatable => rest.starts_with("__"),
        _ => parts(version).is_some(),
    };
    let meant =
        rest.starts_with(|c: char| if role == Role::Repeatable { c == '_' } else { c.is_ascii_digit() });
    match (fits, sql) {
        (true, true) => Ok(Some(Name {
            role,
            version: version.replace('_', "."),
            description: description.replace('_', " "),
        })),
        (true, false) if is_code(base) || PROGRAMS.contains(&ending.to_ascii_lowercase().as_str()) => {
            Err(FormatError::Code { file: file.to_owned() })
        }
        (false, true) if meant => {
            let reason = "it is nearly a migration's name (expected V1.2__what_it_does.sql or R__what_it_does.sql, with two '_')";
            Err(FormatError::Name { file: file.to_owned(), reason: reason.to_owned() })
        }
        _ => Ok(None),
    }
}

fn role(stem: &str) -> Option<Role> {
    match stem.as_bytes().first()? {
        b'V' => Some(Role::Versioned),
        b'U' => Some(Role::Undo),
        b'B' => Some(Role::Baseline),
        b'R' => Some(Role::Repeatable),
        _ => None,
    }
}

/// The role of a file that [`read`] has accepted.
pub(super) fn role_of(file: &str) -> Option<Role> {
    role(file.rsplit('/').next().unwrap_or(file))
}

/// The numbers of a version, for comparing. None: it is none.
pub(super) fn parts(version: &str) -> Option<Parts> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let value = part.trim_start_matches('0');
        digits.then(|| (value.len(), value.to_owned()))
    };
    let mut parts = version.split(['.', '_']).map(number).collect::<Option<Parts>>()?;
    while parts.last().is_some_and(|(length, _)| *length == 0) {
        parts.pop();
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(file: &str) -> Name {
        read(file).unwrap().unwrap_or_else(|| panic!("{file} is no migration"))
    }

    #[test]
    fn a_name_says_its_role_version_and_description() {
        let read = name("sub/V1_2__add_email.SQL");
        let expected = Name { role: Role::Versioned, version: "1.2".into(), description: "add email".into() };
        assert_eq!(read, expected);
        assert_eq!(name("R__all_views.sql").description, "all views");
        assert_eq!((name("V7.sql").version, name("V7.sql").description), ("7".into(), String::new()));
        assert_eq!(name("V1___x.sql").description, " x");
        assert_eq!((name("U2__b.sql").role, name("B3__c.sql").role), (Role::Undo, Role::Baseline));
    }

    #[test]
    fn what_is_no_migration_is_left_alone() {
        for file in [
            "README.md",
            "Vendors.sql",
            "Reports.sql",
            "seed.sql",
            "V1__a.sql.conf",
            "afterClean.sql",
            "V1__a.txt",
        ] {
            assert_eq!(read(file), Ok(None), "{file}");
        }
    }

    #[test]
    fn what_is_nearly_a_migration_or_cannot_be_run_is_named() {
        for file in [
            "V1_a.sql",
            "V1.a__b.sql",
            "R_views.sql",
            "x/beforeMigrate.sql",
            "afterMigrate__grant.sql",
            "B1x__c.sql",
        ] {
            assert!(
                matches!(read(file), Err(FormatError::Name { file: named, .. }) if named == file),
                "{file}"
            );
        }
        for file in ["V2__b.java", "sub/V2_1__c.kt", "R__d.py", "V3__e.sh", "V1__x.rs"] {
            assert_eq!(read(file), Err(FormatError::Code { file: file.into() }));
        }
    }

    #[test]
    fn versions_are_compared_number_by_number() {
        let mut versions = ["10", "2.1", "2", "1.10", "1.9", "20240101000001", "99999999999999999999"];
        versions.sort_by_key(|v| parts(v).unwrap());
        assert_eq!(versions, ["1.9", "1.10", "2", "2.1", "10", "20240101000001", "99999999999999999999"]);
        assert_eq!((parts("1_0"), parts("007")), (parts("1"), parts("7")));
        assert!(parts("").is_none() && parts("1.").is_none() && parts("1a").is_none());
    }

    proptest! {
        #[test]
        fn zeros_that_mean_nothing_do_not_count(numbers in prop::collection::vec(0_u32..200, 1..4), zeros in 0_usize..3) {
            let join = |f: &dyn Fn(&u32) -> String| numbers.iter().map(f).collect::<Vec<_>>().join(".");
            let plain = join(&|n| n.to_string());
            let padded = join(&|n| format!("{n:05}")) + &".0".repeat(zeros);
            prop_assert_eq!(parts(&plain), parts(&padded));
        }

        #[test]
        fn the_order_is_that_of_the_numbers(a in prop::collection::vec(1_u32..200, 1..4), b in prop::collection::vec(1_u32..200, 1..4)) {
            let text = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("_");
            prop_assert_eq!(parts(&text(&a)).cmp(&parts(&text(&b))), a.cmp(&b));
        }
    }
}
