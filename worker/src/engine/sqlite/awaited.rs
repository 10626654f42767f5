//! One wait for the disk for all migrations of a file that has a log (`journal_mode = WAL`). A log is written in its order: what the
//! last one commits survives a power failure only together with all before it, so those commit without a wait. Where the last one
//! does not come, the log is waited for when the file is closed, before anybody is told that they were applied.

use std::{fs, io::ErrorKind};

use tenantry_shared::failure::Failure;

use super::file::File;

const MODE: &str = "PRAGMA journal_mode";
const LOG: &str = "wal";

/// Waits for the disk with each commit.
const EACH: &str = "PRAGMA synchronous = FULL";

/// Waits for it when a log is written back, and never with a commit. Without a log it would be less than safe.
const LATER: &str = "PRAGMA synchronous = NORMAL";

/// What the disk is asked for.
pub(super) struct Disk {
    /// Whether commits wait for it.
    waits: bool,
    /// Whether one has not, and none since has.
    owes: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self { waits: true, owes: false }
    }
}

impl File {
    /// Makes the next commits wait for the disk, or not where the file has a log.
    pub(super) fn wait(&mut self, waits: bool) -> Result<(), Failure> {
        let waits = waits || !self.has_log()?;
        if waits != self.disk.waits {
            self.run(if waits { EACH } else { LATER })?;
            self.disk.waits = waits;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        self.run("COMMIT")?;
        self.disk.owes = !self.disk.waits;
        Ok(())
    }

    fn has_log(&self) -> Result<bool, Failure> {
        let rows = self.rows(MODE)?.unwrap_or_default();
        Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some(LOG))
    }

    /// Has all of the log written.
    fn await_log(&self) {
        let Some(path) = self.connection.path() else { return };
        let written = fs::File::open(format!("{path}-wal")).and_then(|log| log.sync_data());
        // One that is not there any more was written back.
        if let Err(error) = written
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "the disk may not have what was applied before a failure");
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.disk.owes {
            self.await_log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: &str = "SELECT CAST(n AS TEXT) FROM history";
    const CREATE: &str = "CREATE TABLE IF NOT EXISTS history (n)";

    fn open(mode: &str) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").expect("a file");
        let file = File::at(&path);
        file.execute(&format!("PRAGMA journal_mode = {mode}")).expect("a mode");
        (dir, file)
    }

    /// How the commit of a migration waits, and whether the disk owes it afterwards.
    fn applied(file: &mut File, waits: bool, record: &str) -> (String, bool) {
        file.read(SELECT).expect("a history");
        file.wait(waits).expect("a mode");
        file.begin_change(SELECT, CREATE, "", "").expect("a transaction");
        if file.end_change(record, SELECT, None).is_err() {
            file.execute("ROLLBACK").expect("a transaction");
        }
        let rows = file
            .rows("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous")
            .expect("a mode")
            .expect("a mode");
        (rows[0][0].clone().expect("a mode"), file.disk.owes)
    }

    #[test]
    fn with_a_log_only_the_last_migration_waits_and_pays_for_all() {
        const RECORD: &str = "INSERT INTO history VALUES (1)";
        let (_dir, mut file) = open("WAL");
        let (normal, full) = (String::from("1"), String::from("2"));
        assert_eq!(applied(&mut file, true, RECORD), (full.clone(), false));
        assert_eq!(applied(&mut file, false, RECORD), (normal.clone(), true));
        assert_eq!(applied(&mut file, true, "INSERT INTO nowhere VALUES (1)"), (full.clone(), true));
        assert_eq!(applied(&mut file, false, RECORD), (normal, true));
        assert_eq!(applied(&mut file, true, RECORD), (full.clone(), false));
        let (_dir, mut file) = open("DELETE");
        assert_eq!(applied(&mut file, false, RECORD), (full, false));
    }
}
