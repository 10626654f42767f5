//! The format of sqlx: `<version>_<description>.sql`, or `….up.sql` with `….down.sql`.
//!
//! Rules from sqlx 0.9 (`sqlx-core/src/migrate/source.rs`): the version is the whole number before the
//! first `_`; the description is the rest with `_` read as a space; a file that begins, at its very first
//! byte, with `-- no-transaction` runs outside a transaction; the checksum is SHA-384 of the up file. Files
//! whose names have no `_`, or do not end in `.sql`, are no migrations.

use std::collections::{BTreeMap, btree_map::Entry};

use sha2::{Digest, Sha384};

use super::{File, FormatError, Migration};

/// The history table of sqlx, in the tenant's database or schema.
pub const HISTORY_TABLE: &str = "_sqlx_migrations";

const NO_TRANSACTION: &str = "-- no-transaction";

/// Endings of files that other runners execute as migrations.
const CODE: [&str; 10] = ["cjs", "cs", "go", "java", "js", "mjs", "php", "py", "rb", "ts"];

/// Reads a directory's files, in any order, into migrations in the order of their versions.
///
/// # Errors
/// When there is no migration among them, or one of them cannot be placed or run.
pub fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let (mut ups, mut downs) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let Some((version, stem, side)) = name_parts(&file.name)? else { continue };
        let side_map = if side == Side::Down { &mut downs } else { &mut ups };
        match side_map.entry(version) {
            Entry::Vacant(slot) => slot.insert((stem, file)),
            Entry::Occupied(taken) => {
                let first = taken.get().1.name.clone();
                return Err(FormatError::Duplicate { version, first, second: file.name.clone() });
            }
        };
    }
    if let Some((&version, (_, down))) = downs.iter().find(|(version, _)| !ups.contains_key(version)) {
        return Err(FormatError::LoneDown { file: down.name.clone(), version });
    }
    if ups.is_empty() {
        return Err(FormatError::Empty);
    }
    Ok(ups
        .into_iter()
        .map(|(version, (stem, up))| migration(version, stem, up, downs.get(&version).map(|d| d.1)))
        .collect())
}

/// The name of a new migration's files, up first. `stem` is made of words joined by `_`.
#[must_use]
pub fn new_names(version: i64, width: usize, stem: &str, reversible: bool) -> Vec<String> {
    let base = format!("{version:0width$}_{stem}");
    if reversible {
        vec![format!("{base}.up.sql"), format!("{base}.down.sql")]
    } else {
        vec![format!("{base}.sql")]
    }
}

/// The version a file's name says, if it names a migration.
#[must_use]
pub fn version_of(name: &str) -> Option<i64> {
    name_parts(name).ok().flatten().map(|(version, ..)| version)
}

#[derive(PartialEq, Eq)]
enum Side {
    Up,
    Down,
}

fn name_parts(name: &str) -> Result<Option<(i64, &str, Side)>, FormatError> {
    let Some((prefix, rest)) = name.split_once('_') else { return Ok(None) };
    let version = prefix.parse::<i64>();
    let Some(stem) = rest.strip_suffix(".sql") else {
        let extension = rest.rsplit_once('.').map(|(_, extension)| extension);
        let code = version.is_ok() && extension.is_some_and(|e| CODE.contains(&e));
        return if code { Err(FormatError::Code { file: name.to_owned() }) } else { Ok(None) };
    };
    let version = version.map_err(|_| FormatError::Version { file: name.to_owned() })?;
    Ok(Some(match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (version, stem, Side::Up),
        (_, Some(stem)) => (version, stem, Side::Down),
        _ => (version, stem, Side::Up),
    }))
}

fn migration(version: i64, stem: &str, up: &File, down: Option<&File>) -> Migration {
    Migration {
        version,
        description: stem.replace('_', " "),
        file: up.name.clone(),
        up: up.content.clone(),
        down: down.map(|d| d.content.clone()),
        checksum: Sha384::digest(up.content.as_bytes()).to_vec(),
        transactional: !up.content.starts_with(NO_TRANSACTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { name: name.into(), content: "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n".into() }
    }

    fn parse_names(names: &[&str]) -> Result<Vec<Migration>, FormatError> {
        parse(&names.iter().map(|n| file(n)).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_ordered_by_number_not_by_name() {
        let parsed = parse_names(&["10_c.sql", "9_b.sql", "001_a.sql"]).unwrap();
        assert_eq!(parsed.iter().map(|m| m.version).collect::<Vec<_>>(), [1, 9, 10]);
    }

    #[test]
    fn the_checksum_is_sha384_of_the_file() {
        let parsed = parse_names(&["1_create_t.sql"]).unwrap();
        let hex: String = parsed[0].checksum.iter().map(|b| format!("{b:02x}")).collect();
        let known = "a95782d1368b6c60251874de3f0174875bdb35d875ff7cb204124ba2c8228b04e88f39e9ea4f7ebe61d962b279b34f62";
        assert_eq!(hex, known);
        assert_eq!(parsed[0].description, "create t");
    }

    #[test]
    fn up_and_down_belong_together() {
        let parsed = parse_names(&["1_a.up.sql", "1_a.down.sql", "2_b.sql"]).unwrap();
        assert_eq!((parsed.len(), parsed[0].down.is_some(), parsed[1].down.is_some()), (2, true, false));
        assert!(matches!(
            parse_names(&["2_b.sql", "1_a.down.sql"]),
            Err(FormatError::LoneDown { version: 1, .. })
        ));
    }

    #[test]
    fn two_files_of_one_version_are_refused() {
        assert!(matches!(
            parse_names(&["1_a.sql", "01_b.sql"]),
            Err(FormatError::Duplicate { version: 1, .. })
        ));
        assert!(matches!(parse_names(&["1_a.up.sql", "1_a.sql"]), Err(FormatError::Duplicate { .. })));
    }

    #[test]
    fn what_is_no_migration_is_left_alone_and_what_cannot_run_is_named() {
        assert_eq!(parse_names(&["README.md", "seed.sql", "atlas.sum", "1_a.sql"]).unwrap().len(), 1);
        assert_eq!(parse_names(&["README.md"]), Err(FormatError::Empty));
        assert_eq!(parse_names(&["1_a.sql", "2_b.go"]), Err(FormatError::Code { file: "2_b.go".into() }));
        assert_eq!(parse_names(&["v1_a.sql"]), Err(FormatError::Version { file: "v1_a.sql".into() }));
    }

    #[test]
    fn the_marker_counts_only_at_the_first_byte() {
        let with = |content: &str| {
            parse(&[File { name: "1_a.sql".into(), content: content.into() }]).unwrap().remove(0)
        };
        assert!(!with("-- no-transaction\nCREATE INDEX CONCURRENTLY i ON t (id);").transactional);
        assert!(with("\n-- no-transaction\nSELECT 1;").transactional);
    }
}
