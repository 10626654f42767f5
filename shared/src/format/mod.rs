//! Migration files and history tables as other tools write them. Pure: names, order, parsing and SQL text, no I/O.
//!
//! Each format is one module with one value of [`Rules`]: how its files are read, and how its history table is made,
//! read and written, so that the tool itself afterwards says "up to date". A format never skips in silence what looks
//! like a migration that cannot be run: that is an error that names the file.

pub mod atlas;
pub mod code;
pub mod dbmate;
pub mod diesel;
mod draft;
mod error;
pub mod flyway;
mod folder;
pub mod found;
pub mod golang_migrate;
pub mod goose;
mod listed;
mod migration;
pub mod multi_tenant;
pub mod node_pg_migrate;
pub mod none;
pub mod prisma;
pub mod refinery;
pub mod repeatable;
mod rules;
pub mod sequelize;
pub mod sqlx;
mod tally;
mod text;

use std::{collections::HashMap, time::Duration};

pub use self::{
    draft::Draft,
    error::FormatError,
    migration::{Applied, Entry, File, Migration, Script},
    rules::Rules,
    tally::Tally,
};

use self::text::{is_code, is_silent, leading_digits, lines};
use crate::version::Version;

/// Every format. That of sqlx is the one of a directory that no other [suits](Rules::suits).
pub const ALL: &[&dyn Rules] = &[
    &golang_migrate::GolangMigrate,
    &dbmate::Dbmate,
    &goose::Goose,
    &sequelize::Sequelize,
    &multi_tenant::MultiTenant,
    &node_pg_migrate::NodePgMigrate,
    &flyway::Flyway,
    &diesel::Diesel,
    &refinery::INT4,
    &refinery::INT8,
    &prisma::Prisma,
    &atlas::Atlas,
    &code::RAILS,
    &code::LARAVEL,
    &code::SEQUELIZE,
    &code::django::Django,
    &code::alembic::Alembic,
    &repeatable::Repeatable,
    &none::Nothing,
    &sqlx::Sqlx,
];

/// What a file begins with, at its very first byte, that runs outside a transaction: sqlx's way, and ours for tools
/// whose files have no way of their own to say so.
pub const NO_TRANSACTION: &str = "-- no-transaction";

/// SQL that does nothing on any engine.
const NOTHING: &str = "SELECT 1";

/// The format of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Rules> {
    ALL.iter().copied().find(|rules| rules.name() == name)
}

/// Migrations, when there are any and no two of them have one version.
fn of_different_versions(migrations: Vec<Migration>) -> Result<Vec<Migration>, FormatError> {
    let mut seen: HashMap<&Version, &str> = HashMap::new();
    for migration in &migrations {
        if let Some(first) = seen.insert(&migration.version, &migration.file) {
            let (first, second) = (first.to_owned(), migration.file.clone());
            return Err(FormatError::Duplicate { version: migration.version.clone(), first, second });
        }
    }
    if migrations.is_empty() { Err(FormatError::Empty) } else { Ok(migrations) }
}

/// Nanoseconds.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Milliseconds.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_migration_is_one_of_its_format() {
        for rules in ALL {
            for (reversible, no_transaction) in [(false, false), (false, true), (true, false), (true, true)] {
                let number = if rules.counts() { "0007" } else { "20260102030405" };
                let draft = Draft { number, words: "add_email", reversible, no_transaction };
                let files = rules.skeleton(&draft);
                let seen = format!("{}: {files:?}", rules.name());
                assert!(files.iter().all(|file| rules.keeps(&file.name)), "{seen}");
                assert!(files.iter().all(|file| rules.digits(&file.name).is_some()), "{seen}");
                // Only its own tool writes a program, and the sums that Atlas wants.
                if files.is_empty() || rules.name() == "atlas" {
                    continue;
                }
                let parsed = rules.parse(&files).unwrap();
                let [only] = parsed.as_slice() else { panic!("{seen}") };
                assert_eq!(only.up.as_ref().map(|up| up.marked), Some(no_transaction), "{seen}");
                assert_eq!(only.description, "add email", "{seen}");
                match rules.name() {
                    "dbmate" => assert!(only.down.is_some(), "{seen}"),
                    "repeatable" | "refinery" | "refinery-int8" => assert!(only.down.is_none(), "{seen}"),
                    _ => assert_eq!(only.down.is_some(), reversible, "{seen}"),
                }
            }
        }
    }

    #[test]
    fn names_are_given_once() {
        for rules in ALL {
            assert_eq!(named(rules.name()).map(Rules::name), Some(rules.name()));
            assert_eq!(ALL.iter().filter(|other| other.name() == rules.name()).count(), 1);
        }
    }
}
