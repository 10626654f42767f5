//! What the rows of a Flyway history say was applied.

use super::name::{Parts, Role, parts, role_of};
use crate::{
    format::{Applied, Migration},
    site::Row,
    version::Version,
};

/// Reads the log in its order: a later row about a migration replaces an earlier one, or takes it away.
pub(super) fn read(rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
    let mut log = Log { migrations, applied: Vec::new(), baseline: None };
    for row in rows {
        if let [Some(version), checksum, success, Some(kind)] = row.as_slice() {
            log.enter(
                version,
                checksum.as_deref(),
                success.as_deref() == Some("1"),
                &kind.to_ascii_uppercase(),
            );
        }
    }
    log.stand_for_older();
    log.applied
}

struct Log<'a> {
    migrations: &'a [&'a Migration],
    applied: Vec<Applied>,
    /// The newest version that a baseline stands for.
    baseline: Option<Parts>,
}

impl<'a> Log<'a> {
    fn enter(&mut self, version: &str, checksum: Option<&str>, success: bool, kind: &str) {
        let known = self.known(version);
        let name = known.map_or_else(|| version.into(), |known| known.version.clone());
        let begun_by_baseline = kind.contains("BASELINE");
        match kind {
            "SCHEMA" => return,
            _ if (kind == "DELETE" || kind.starts_with("UNDO")) && success => {
                self.applied.retain(|row| row.version != name);
                return;
            }
            _ if begun_by_baseline && success => self.baseline = self.baseline.take().max(parts(version)),
            _ => {}
        }
        // A marker of `flyway baseline` has no file, and a baseline's contents are not those of the migration of its
        // version.
        if kind == "BASELINE" || begun_by_baseline && known.is_none() && success {
            return;
        }
        let same =
            known.is_none_or(|known| begun_by_baseline == (role_of(&known.file) == Some(Role::Baseline)));
        let checksum = checksum.filter(|_| same).map(str::to_owned);
        self.applied.retain(|row| row.version != name);
        self.applied.push(Applied { version: name, checksum, success });
    }

    /// The migration that a row is about. Versions that are written differently can be one.
    fn known(&self, version: &str) -> Option<&'a Migration> {
        let numbers = parts(version);
        let same = |migration: &&&'a Migration| {
            let own = migration.version.as_str();
            own == version || numbers.is_some() && parts(own) == numbers
        };
        self.migrations.iter().find(same).copied()
    }

    /// Older migrations than a baseline that was applied are never run. Where the directory itself begins with a
    /// baseline, a database that is beyond it has no use for it, nor for a file of what it has of before.
    fn stand_for_older(&mut self) {
        let first = self.migrations.iter().find(|migration| role_of(&migration.file) == Some(Role::Baseline));
        if let Some(first) = first.and_then(|first| parts(first.version.as_str())) {
            let newest = self
                .applied
                .iter()
                .filter(|row| row.success)
                .filter_map(|row| parts(row.version.as_str()))
                .max();
            if newest.is_some_and(|newest| newest >= first) {
                let kept = |row: &Applied| {
                    !row.success || parts(row.version.as_str()).is_none_or(|own| own >= first)
                };
                self.applied.retain(kept);
                self.baseline = self.baseline.take().max(Some(first));
            }
        }
        let Some(baseline) = &self.baseline else { return };
        let applied: Vec<Version> = self.applied.iter().map(|row| row.version.clone()).collect();
        let older =
            self.migrations.iter().filter(|m| parts(m.version.as_str()).is_some_and(|own| own <= *baseline));
        let missing = older.filter(|m| !applied.contains(&m.version));
        let stood_for =
            missing.map(|m| Applied { version: m.version.clone(), checksum: None, success: true });
        self.applied.extend(stood_for.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{File, flyway::files::parse};

    fn migrations(names: &[&str]) -> Vec<Migration> {
        let files: Vec<File> =
            names.iter().map(|n| File { name: (*n).into(), content: "x".into() }).collect();
        parse(&files).unwrap()
    }

    /// Rows of version, type and success, each with the checksum 7; what is read of them as text.
    fn reads(names: &[&str], rows: &[(&str, &str, bool)]) -> Vec<String> {
        let own = migrations(names);
        let row = |(version, kind, success): &(&str, &str, bool)| {
            let success = if *success { "1" } else { "0" };
            [version, &"7", &success, kind].map(|text| Some((*text).to_owned())).to_vec()
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        let show = |a: Applied| {
            let checksum = a.checksum.unwrap_or_else(|| "-".into());
            format!("{} {checksum} {}", a.version, if a.success { "done" } else { "begun" })
        };
        read(&rows, &own.iter().collect::<Vec<_>>()).into_iter().map(show).collect()
    }

    #[test]
    fn rows_are_of_the_migrations_whose_numbers_they_have() {
        let rows =
            [("R__<<_Flyway_Schema_Creation_>>", "SCHEMA", true), ("1", "SQL", true), ("2.0", "JDBC", false)];
        assert_eq!(reads(&["V001__a.sql", "V2__b.sql"], &rows), ["001 7 done", "2 7 begun"]);
        assert_eq!(reads(&["V1__a.sql"], &[("9", "SQL", true)]), ["9 7 done"]);
    }

    #[test]
    fn the_last_row_about_a_migration_counts() {
        let names = ["V1__a.sql", "V2__b.sql", "R__v.sql"];
        let twice = [("1", "SQL", true), ("R__v", "SQL", true), ("2", "SQL", true), ("R__v", "SQL", false)];
        assert_eq!(reads(&names, &twice), ["1 7 done", "2 7 done", "R__v 7 begun"]);
        let gone = [("1", "SQL", true), ("2", "SQL", true), ("2", "DELETE", true), ("1", "UNDO_SQL", true)];
        assert!(reads(&names, &gone).is_empty());
        let again = [("2", "SQL", true), ("2", "DELETE", true), ("2", "SQL", true)];
        assert_eq!(reads(&names, &again), ["2 7 done"]);
        assert_eq!(reads(&names, &[("2", "SQL", true), ("2", "UNDO_SQL", false)]), ["2 7 begun"]);
    }

    #[test]
    fn a_baseline_stands_for_all_before_it() {
        let names = ["V1__a.sql", "V2__b.sql", "V3__c.sql"];
        assert_eq!(reads(&names, &[("2", "BASELINE", true)]), ["1 - done", "2 - done"]);
        assert_eq!(reads(&names, &[("1.5", "BASELINE", true)]), ["1 - done"]);
        assert_eq!(
            reads(&names, &[("2", "SQL_BASELINE", true), ("3", "SQL", true)]),
            ["2 - done", "3 7 done", "1 - done"]
        );
    }

    #[test]
    fn a_directory_that_begins_with_a_baseline_asks_for_nothing_before_it() {
        let names = ["B2__ab.sql", "V3__c.sql"];
        assert_eq!(reads(&names, &[("2", "SQL_BASELINE", true)]), ["2 7 done"]);
        assert_eq!(reads(&names, &[("1", "SQL", true), ("2", "SQL", true)]), ["2 - done"]);
        assert_eq!(reads(&names, &[("1", "SQL", true), ("3", "SQL", true)]), ["3 7 done", "2 - done"]);
        // It would run over what is there of before: that the file is missing stops it.
        assert_eq!(reads(&names, &[("1", "SQL", true)]), ["1 7 done"]);
        assert!(reads(&names, &[]).is_empty());
    }
}
