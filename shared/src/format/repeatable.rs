//! A format of our own: a directory of seed files that may run any number of times, and run again when they change.
//!
//! Every `.sql` file is one, those of directories below as well, in the order of their paths. Each must do no harm when
//! it runs again (`INSERT … ON CONFLICT DO NOTHING`, `CREATE OR REPLACE VIEW`). The history has the SHA-256 of what ran
//! last. A file that is taken away leaves its row, and nothing is done about it. This format is never found out: it has
//! to be named.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, is_code, listed, millis, sequelize};
use crate::{
    digest::hex,
    place::Engine,
    site::{Row, Site},
};

/// The rules of files that run again when they change.
#[derive(Debug)]
pub struct Repeatable;

impl Rules for Repeatable {
    fn name(&self) -> &'static str {
        "repeatable"
    }

    fn table(&self) -> &'static str {
        "_tenantry_repeatable"
    }

    fn suits(&self, _: &[File]) -> bool {
        false
    }

    fn holds_foreign_keys(&self) -> bool {
        true
    }

    fn keeps(&self, name: &str) -> bool {
        name.ends_with(".sql")
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        if let Some(code) = files.iter().find(|file| is_code(&file.name)) {
            return Err(FormatError::Code { file: code.name.clone() });
        }
        let mut own: Vec<&File> = files.iter().filter(|file| self.keeps(&file.name)).collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        let seed = |file: &File| Migration {
            checksum: Some(hex(&Sha256::digest(file.content.as_bytes()))),
            repeatable: true,
            ..sequelize::whole(file, None)
        };
        super::of_different_versions(own.into_iter().map(seed).collect())
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let draft = Draft { reversible: false, ..*draft };
        draft.files(&format!("{}_{}", draft.number, draft.words), ".sql")
    }

    fn create(&self, site: &Site) -> String {
        let time = match site.engine {
            Engine::Postgres => "TIMESTAMPTZ",
            Engine::MySql | Engine::Sqlite => "TIMESTAMP",
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name VARCHAR(255) NOT NULL PRIMARY KEY, checksum CHAR(64) NOT NULL, applied_at {time} NOT NULL DEFAULT CURRENT_TIMESTAMP, duration_ms BIGINT NOT NULL)",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!("SELECT {}, {} FROM {}", site.as_text("name"), site.as_text("checksum"), site.table())
    }

    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
        let known = |name: &str| migrations.iter().any(|m| m.version.as_str() == name);
        let applied = |row: &Row| match row.as_slice() {
            [Some(name), checksum] if known(name) => {
                Some(Applied { version: name.as_str().into(), checksum: checksum.clone(), success: true })
            }
            _ => None,
        };
        rows.iter().filter_map(applied).collect()
    }

    fn record(&self, site: &Site, entry: Entry<'_>, took: Duration, _: bool) -> String {
        let checksum = site.text(entry.migration.checksum.as_deref().unwrap_or_default());
        let (name, took) = (site.text(entry.migration.version.as_str()), millis(took));
        let again = match site.engine {
            Engine::Postgres | Engine::Sqlite => "ON CONFLICT (name) DO",
            Engine::MySql => "ON DUPLICATE KEY",
        };
        let set = if site.engine == Engine::MySql { "" } else { "SET " };
        format!(
            "INSERT INTO {} (name, checksum, duration_ms) VALUES ({name}, {checksum}, {took}) {again} UPDATE {set}checksum = {checksum}, applied_at = CURRENT_TIMESTAMP, duration_ms = {took}",
            site.table()
        )
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "name", entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> File {
        File { name: name.into(), content: content.into() }
    }

    #[test]
    fn paths_order_the_files_and_contents_make_them_new() {
        let files =
            [file("views/a.sql", "x"), file("10_b.sql", "x"), file("2_a.sql", "y"), file("notes.md", "")];
        let all = Repeatable.parse(&files).unwrap();
        let names: Vec<_> = all.iter().map(|m| m.version.as_str()).collect();
        assert_eq!(names, ["10_b.sql", "2_a.sql", "views/a.sql"]);
        assert!(all.iter().all(|m| m.repeatable));
        assert_eq!(all[0].checksum, all[2].checksum);
        assert_ne!(all[0].checksum, all[1].checksum);
    }

    #[test]
    fn a_row_whose_file_is_gone_is_left_alone() {
        let all = Repeatable.parse(&[file("a.sql", "x")]).unwrap();
        let row = |name: &str| vec![Some(name.to_owned()), Some("0".to_owned())];
        let applied = Repeatable.read(&[row("a.sql"), row("gone.sql")], &[&all[0]]);
        assert_eq!(applied, [Applied { version: "a.sql".into(), checksum: Some("0".into()), success: true }]);
    }

    #[test]
    fn a_program_among_them_is_named() {
        let refused = Repeatable.parse(&[file("a.sql", ""), file("b.py", "")]).unwrap_err();
        assert_eq!(refused, FormatError::Code { file: "b.py".into() });
    }
}
