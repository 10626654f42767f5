//! The format of multi-tenant-migrate, as far as it is SQL: `tenant:<number>-<title>.sql` and `public:….sql`.
//!
//! The prefix says whether a file is for the tenants or for the database that all share. One directory is therefore two
//! sets: one with `files = "tenant*"`, and one with `files = "public*"` for the central database. Files are applied in
//! the order of their names, which are their versions. The table has no name of the tool's own: `migrations` is that of
//! its manual.

use std::time::Duration;

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, Rules, is_code, leading_digits, listed, sequelize,
};
use crate::site::{Row, Site};

const PREFIXES: [&str; 2] = ["tenant", "public"];

/// The rules of multi-tenant-migrate.
#[derive(Debug)]
pub struct MultiTenant;

impl Rules for MultiTenant {
    fn name(&self) -> &'static str {
        "multi-tenant-migrate"
    }

    fn table(&self) -> &'static str {
        "migrations"
    }

    fn suits(&self, files: &[File]) -> bool {
        let own = |name: &str| {
            let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        files.iter().any(|file| own(&file.name) && (file.name.ends_with(".sql") || is_code(&file.name)))
    }

    fn keeps(&self, name: &str) -> bool {
        name.ends_with(".sql") && !name.contains('/')
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let other = |file: &&File| {
            self.keeps(&file.name) && !PREFIXES.iter().any(|prefix| file.name.starts_with(prefix))
        };
        if let Some(other) = files.iter().find(other) {
            let reason = "its name must start with 'tenant:' or 'public:'".to_owned();
            return Err(FormatError::Name { file: other.name.clone(), reason });
        }
        sequelize::by_name(files, |name| self.keeps(name))
    }

    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.split_once(':').and_then(|(_, rest)| leading_digits(rest))
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        draft.files(&format!("tenant:{}-{}", draft.number, draft.words.replace('_', "-")), ".sql")
    }

    fn create(&self, site: &Site) -> String {
        format!("CREATE TABLE IF NOT EXISTS {} (filename VARCHAR(255) NOT NULL PRIMARY KEY)", site.table())
    }

    fn select(&self, site: &Site) -> String {
        listed::select(site, "filename")
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        listed::insert(site, "filename", entry)
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "filename", entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<File> {
        names.iter().map(|name| File { name: (*name).into(), content: "SELECT 1;".into() }).collect()
    }

    #[test]
    fn names_are_versions_and_public_ones_come_first() {
        let names = ["tenant:2-b.sql", "public:9-z.sql", "tenant:10-a.sql", "README.md"];
        let all = MultiTenant.parse(&files(&names)).unwrap();
        let versions: Vec<_> = all.iter().map(|m| m.version.as_str()).collect();
        assert_eq!(versions, ["public:9-z.sql", "tenant:10-a.sql", "tenant:2-b.sql"]);
        assert!(MultiTenant.suits(&files(&names)) && !MultiTenant.suits(&files(&["tenants.sql", "1_a.sql"])));
        assert_eq!(MultiTenant.digits("tenant:10-a.sql"), Some("10"));
    }

    #[test]
    fn what_belongs_to_nobody_or_cannot_run_is_named() {
        let refused = |name: &str| MultiTenant.parse(&files(&["tenant:1-a.sql", name])).unwrap_err();
        assert!(matches!(refused("other.sql"), FormatError::Name { .. }));
        assert_eq!(refused("public:1-a.js"), FormatError::Code { file: "public:1-a.js".into() });
    }
}
