//! The record of a migration that goes statement by statement: one row beside the tenant's history, as SQL.

use tenantry_shared::{place::Engine, plan::Progress, site::Site};

/// The table of the row.
pub(crate) const PROGRESS_TABLE: &str = "_tenantry_progress";

/// `doubt` of a statement that runs alone.
pub(super) const DOUBT: &str = "1";

/// The same of one whose trace was there before it.
pub(crate) const TRACELESS: &str = "2";

/// `doubt` when there is none.
pub(super) const SURE: &str = "0";

/// The SQL that says how the statement in doubt ended.
pub(crate) fn settled(site: Site, progress: &Progress, done: bool) -> String {
    let row = Row { site, progress: progress.clone() };
    let number = u32::try_from(progress.fingerprints.len()).unwrap_or(u32::MAX);
    if done {
        row.advance(progress.done, number, &progress.fingerprints)
    } else {
        row.doubt(SURE, progress.done, &progress.fingerprints)
    }
}

/// The SQL that takes the record of a progress away. The second one ends a transaction on MySQL.
pub(crate) fn cleared(site: Site) -> [String; 2] {
    let row = Row { site, progress: Progress::default() };
    [row.forget(), row.drop_table()]
}

/// The SQL that begins a record of a progress that was known otherwise. The first one ends a transaction on MySQL.
pub(crate) fn written_down(site: Site, progress: &Progress) -> [String; 2] {
    let row = Row { site, progress: progress.clone() };
    [row.create_table(), row.insert()]
}

/// The SQL of the row.
pub(super) struct Row {
    pub(super) site: Site,
    pub(super) progress: Progress,
}

impl Row {
    pub(super) fn create_table(&self) -> String {
        // A TEXT of MySQL holds the fingerprints of 3,855 statements.
        let text = if self.site.engine == Engine::MySql { "LONGTEXT" } else { "TEXT" };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (history VARCHAR(200) NOT NULL, version VARCHAR(500) NOT NULL, down INT NOT NULL,
                done INT NOT NULL, doubt INT NOT NULL, fingerprints {text} NOT NULL, only_one INT NOT NULL UNIQUE)",
            self.site.table()
        )
    }

    pub(super) fn insert(&self) -> String {
        let Progress { table, version, down, done, doubt, traceless, fingerprints } = &self.progress;
        let doubt = if !doubt {
            SURE
        } else if *traceless {
            TRACELESS
        } else {
            DOUBT
        };
        format!(
            "INSERT INTO {} (history, version, down, done, doubt, fingerprints, only_one) VALUES ({}, {}, {}, {done}, {doubt}, '{}', 1)",
            self.site.table(),
            self.site.text(table),
            self.site.text(version.as_str()),
            i32::from(*down),
            fingerprints.join(" "),
        )
    }

    pub(super) fn advance(&self, from: u32, to: u32, fingerprints: &[String]) -> String {
        format!(
            "UPDATE {} SET done = {to}, doubt = 0, fingerprints = '{}' WHERE {}",
            self.site.table(),
            fingerprints[..(to as usize).min(fingerprints.len())].join(" "),
            self.of_it(from)
        )
    }

    /// Changes nothing, and touches the row if so many statements of this very migration are done.
    pub(super) fn hold(&self, done: u32) -> String {
        format!("UPDATE {} SET done = {done} WHERE {}", self.site.table(), self.of_it(done))
    }

    fn of_it(&self, done: u32) -> String {
        let Progress { table, version, down, .. } = &self.progress;
        let (table, version) = (self.site.text(table), self.site.text(version.as_str()));
        format!("done = {done} AND history = {table} AND version = {version} AND down = {}", i32::from(*down))
    }

    /// With the fingerprint of the doubtful statement as the last.
    pub(super) fn doubt(&self, doubt: &str, done: u32, fingerprints: &[String]) -> String {
        let (table, fingerprints, of_it) = (self.site.table(), fingerprints.join(" "), self.of_it(done));
        format!("UPDATE {table} SET doubt = {doubt}, fingerprints = '{fingerprints}' WHERE {of_it}")
    }

    pub(super) fn forget(&self) -> String {
        format!("DELETE FROM {}", self.site.table())
    }

    pub(super) fn drop_table(&self) -> String {
        format!("DROP TABLE {}", self.site.table())
    }
}
