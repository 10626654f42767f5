//! What was seen of histories in a file, and whether that still holds: the plan was made of a history that was read without
//! the write lock. Nothing needs to be read again where nobody else has written to the file since.

use std::collections::HashMap;

use tenantry_shared::{
    failure::{Class, Failure},
    site::Row,
};

use super::{failure::fail, file::File};
use crate::engine::Select;

/// Tells another number once anybody else has written to the file. In a transaction it takes the read lock at once: without
/// that each look at a table that is not there would have a lock, and a moment, of its own.
const DATA_VERSION: &str = "PRAGMA data_version";

/// What was seen of all histories.
#[derive(Default)]
pub(super) struct AllSeen {
    histories: HashMap<String, Seen>,
    /// The file's data version when it was last asked for.
    version: i64,
    /// What has made a history table.
    made: Option<String>,
}

/// What a history was, and by which data version.
struct Seen {
    version: i64,
    rows: Option<Vec<Row>>,
}

impl AllSeen {
    /// This history is so, by the version that was asked for before it was read.
    pub(super) fn is(&mut self, select: &str, rows: Option<Vec<Row>>) {
        self.histories.insert(select.to_owned(), Seen { version: self.version, rows });
    }

    /// SQL that makes a history table has run.
    pub(super) fn is_made(&mut self, create: &str) {
        self.made = Some(create.to_owned());
    }

    /// Whether it has, the table was there afterwards, and nobody else has written since.
    pub(super) fn made(&self, create: &str, select: &str) -> bool {
        let is_there = |seen: &Seen| seen.version == self.version && seen.rows.is_some();
        self.made.as_deref() == Some(create) && self.histories.get(select).is_some_and(is_there)
    }
}

impl File {
    pub(super) fn seen_are(&mut self, selects: &[Select], rows: &[Option<Vec<Row>>]) {
        for (select, rows) in selects.iter().zip(rows) {
            self.seen.is(&select.sql, rows.clone());
        }
    }

    pub(super) fn ask_version(&mut self) -> Result<(), Failure> {
        let version = self.connection.query_row(DATA_VERSION, [], |row| row.get(0));
        self.seen.version = version.map_err(|error| fail(&error))?;
        Ok(())
    }

    /// Refuses to go on where a history is not what was seen of it. Others may have written to other tables meanwhile.
    pub(super) fn nobody_came_between(&mut self, select: &str) -> Result<(), Failure> {
        self.ask_version()?;
        let Some(seen) = self.seen.histories.get(select) else { return Ok(()) };
        if seen.version == self.seen.version || seen.rows == self.rows(select)? {
            return Ok(());
        }
        Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: &str = "SELECT CAST(version AS TEXT) FROM history";
    const CREATE: &str = "CREATE TABLE IF NOT EXISTS history (version)";

    fn apply(file: &mut File, number: u32) -> Result<(), Failure> {
        let script = format!("CREATE TABLE t{number} (id)");
        file.begin_change(SELECT, CREATE, &script, &script)?;
        file.end_change(&format!("INSERT INTO history VALUES ({number})"), SELECT, None).map(|_| ())
    }

    #[test]
    fn a_history_that_somebody_else_has_written_to_is_noticed_and_another_table_is_not_taken_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let (mut file, other) = (File::at(&path), File::at(&path));
        file.read(SELECT).expect("a history");
        apply(&mut file, 1).expect("nobody came between");
        other.execute("CREATE TABLE theirs (id)").expect("theirs");
        apply(&mut file, 2).expect("it is another table");
        other.execute("INSERT INTO history VALUES (3)").expect("theirs");
        assert_eq!(apply(&mut file, 3).expect_err("a refusal").code, "locked");
        file.execute("ROLLBACK").expect("nothing was done");
        assert_eq!(file.rows("SELECT '1' FROM t3"), Ok(None));
    }

    #[test]
    fn a_history_table_that_was_taken_away_is_made_again_by_the_next_migration() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let (mut file, other) = (File::at(&path), File::at(&path));
        file.read(SELECT).expect("a history");
        apply(&mut file, 1).expect("it is made");
        other.execute("DROP TABLE history").expect("theirs");
        file.read(SELECT).expect("a history");
        apply(&mut file, 2).expect("it is made again");
        assert_eq!(file.rows(SELECT), Ok(Some(vec![vec![Some("2".into())]])));
    }
}
