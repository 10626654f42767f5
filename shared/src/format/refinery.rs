//! The format of refinery: `V1__create_users.sql` and `U2__add_index.sql`, in a directory and those below it.
//!
//! Rules from refinery 0.10 (`refinery-core/src/util.rs`, `runner.rs`, `traits/mod.rs`). The version is a whole number.
//! The checksum is SipHash-1-3 of name, version and text, as Rust's own `Hash` feeds them. What the standard library's
//! hasher does is not promised, so it is the crate that refinery itself uses. Nothing is written of a migration that was
//! begun and not finished.
//!
//! refinery is built for versions of four bytes or of eight, and its checksums and its table differ. These are two
//! formats here. Files whose versions need eight bytes are the second; others are, where the application says so.
//! `U` marks what is applied although a newer one was applied already.

use std::{
    hash::{Hash as _, Hasher as _},
    time::Duration,
};

use siphasher::sip::SipHasher13;

use super::{Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, leading_digits};
use crate::{
    place::Engine,
    site::{Row, Site},
};

/// The rules of refinery as it is built by default.
pub const INT4: Refinery = Refinery { wide: false };

/// The rules of refinery with the feature `int8-versions`.
pub const INT8: Refinery = Refinery { wide: true };

/// The rules of refinery.
#[derive(Debug)]
pub struct Refinery {
    /// Whether versions have eight bytes.
    wide: bool,
}

/// What only refinery's directories have: Rust, and its configuration.
pub(super) fn is_clear(files: &[File]) -> bool {
    let is_its = |file: &File| file.name.ends_with(".rs") || base(&file.name) == "refinery.toml";
    files.iter().any(is_its)
}

impl Rules for Refinery {
    fn name(&self) -> &'static str {
        if self.wide { "refinery-int8" } else { "refinery" }
    }

    fn tool(&self) -> &'static str {
        INT4.name()
    }

    fn table(&self) -> &'static str {
        "refinery_schema_history"
    }

    fn suits(&self, files: &[File]) -> bool {
        let versions = files.iter().filter_map(|file| parts(&file.name)?.version.parse::<i64>().ok());
        let newest = versions.max();
        is_clear(files) && newest.is_some_and(|newest| self.wide == (i32::try_from(newest).is_err()))
    }

    fn holds_foreign_keys(&self) -> bool {
        true
    }

    fn keeps(&self, name: &str) -> bool {
        parts(name).is_some_and(|parts| parts.ending == "sql")
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let named = files.iter().filter_map(|file| Some((file, parts(&file.name)?)));
        let mut found =
            named.map(|(file, parts)| self.migration(file, &parts)).collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|(version, _)| *version);
        super::of_different_versions(found.into_iter().map(|(_, migration)| migration).collect())
    }

    fn digits<'n>(&self, name: &'n str) -> Option<&'n str> {
        parts(name).and_then(|parts| leading_digits(parts.version))
    }

    fn counts(&self) -> bool {
        !self.wide
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let draft = Draft { reversible: false, ..*draft };
        draft.files(&format!("V{}__{}", draft.number, draft.words), ".sql")
    }

    fn create(&self, site: &Site) -> String {
        let version = if self.wide { "int8" } else { "int4" };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version {version} PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))",
            site.table()
        )
    }

    fn select(&self, site: &Site) -> String {
        format!("SELECT {}, {} FROM {}", site.as_text("version"), site.as_text("checksum"), site.table())
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        let applied = |row: &Row| match row.as_slice() {
            [Some(version), checksum] => {
                Some(Applied { version: version.as_str().into(), checksum: checksum.clone(), success: true })
            }
            _ => None,
        };
        rows.iter().filter_map(applied).collect()
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        let now = match site.engine {
            Engine::Postgres => {
                "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            }
            Engine::MySql => "DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')",
            Engine::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        };
        let Migration { version, file, checksum, .. } = entry.migration;
        let name = parts(file).map(|parts| parts.name).unwrap_or_default();
        format!(
            "INSERT INTO {} (version, name, applied_on, checksum) VALUES ({version}, {}, {now}, {})",
            site.table(),
            site.text(name),
            site.optional(checksum.as_deref()),
        )
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        format!("DELETE FROM {} WHERE version = {}", site.table(), entry.migration.version)
    }
}

impl Refinery {
    fn migration(&self, file: &File, parts: &Parts<'_>) -> Result<(i64, Migration), FormatError> {
        if parts.ending != "sql" {
            return Err(FormatError::Code { file: file.name.clone() });
        }
        let wrong = |reason: &str| FormatError::Name { file: file.name.clone(), reason: reason.to_owned() };
        let version =
            parts.version.parse::<i64>().map_err(|_| wrong("its version must be a whole number"))?;
        let narrow = i32::try_from(version).ok();
        if !self.wide && narrow.is_none() {
            return Err(wrong("its version has more than four bytes: set the format refinery-int8"));
        }
        let own = narrow.map(|narrow| checksum(parts.name, narrow, &file.content));
        let other = checksum(parts.name, version, &file.content);
        let (own, other) = if self.wide { (other, own) } else { (own.unwrap_or_default(), Some(other)) };
        let migration = Migration {
            version: version.into(),
            description: parts.name.replace('_', " "),
            file: file.name.clone(),
            up: Some(Script::plain(&file.content)),
            down: None,
            checksum: Some(own.to_string()),
            equivalents: other.into_iter().map(|other| other.to_string()).collect(),
            repeatable: false,
            after: base(&file.name).starts_with('U').then(Vec::new),
        };
        Ok((version, migration))
    }
}

fn checksum(name: &str, version: impl std::hash::Hash, sql: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    sql.hash(&mut hasher);
    hasher.finish()
}

/// A file's name, taken apart.
struct Parts<'a> {
    version: &'a str,
    name: &'a str,
    ending: &'a str,
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

fn parts(file: &str) -> Option<Parts<'_>> {
    let (stem, ending) = base(file).rsplit_once('.')?;
    let (version, name) = stem.strip_prefix(['U', 'V'])?.split_once("__")?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let dotted = version.split_once('.');
    let numbers = dotted.map_or_else(|| digits(version), |(whole, rest)| digits(whole) && digits(rest));
    let word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (numbers && word && matches!(ending, "sql" | "rs")).then_some(Parts { version, name, ending })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";

    fn parse(rules: &Refinery, names: &[&str]) -> Result<Vec<Migration>, FormatError> {
        let file = |name: &&str| File { name: (*name).into(), content: BODY.into() };
        rules.parse(&names.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn the_checksum_is_of_name_version_and_text() {
        let parsed = parse(&INT4, &["V1__create_t.sql"]).unwrap();
        assert_eq!(parsed[0].checksum.as_deref(), Some("3452240889207245955"));
        assert_eq!(checksum("create_u", 2_i32, "CREATE TABLE u (id int);\n"), 16_297_504_054_603_379_762);
        assert_eq!(checksum("create_w", 3_i32, "CREATE TABLE w (id int);\n"), 7_938_160_889_145_625_930);
    }

    #[test]
    fn versions_of_eight_bytes_have_other_checksums_and_either_is_believed() {
        let (narrow, wide) = (parse(&INT4, &["V1__a.sql"]).unwrap(), parse(&INT8, &["V1__a.sql"]).unwrap());
        assert_ne!(narrow[0].checksum, wide[0].checksum);
        assert!(narrow[0].is_what_was_applied(wide[0].checksum.as_deref()));
        assert!(wide[0].is_what_was_applied(narrow[0].checksum.as_deref()));
        assert!(!wide[0].is_what_was_applied(Some("1")));
        assert!(matches!(parse(&INT4, &["V20240101000001__a.sql"]), Err(FormatError::Name { .. })));
        assert_eq!(parse(&INT8, &["V20240101000001__a.sql"]).unwrap()[0].version, 20_240_101_000_001.into());
    }

    #[test]
    fn files_are_ordered_by_number_wherever_they_are() {
        let parsed =
            parse(&INT4, &["V10__c.sql", "x/U9__b.sql", "V01__a_b.sql", "README.md", "V1_a.sql"]).unwrap();
        assert_eq!(parsed.iter().map(|m| m.version.as_str()).collect::<Vec<_>>(), ["1", "9", "10"]);
        assert_eq!((parsed[0].description.as_str(), parsed[1].file.as_str()), ("a b", "x/U9__b.sql"));
    }

    #[test]
    fn what_is_marked_so_is_never_out_of_order() {
        let parsed = parse(&INT4, &["U1__a.sql", "V2__b.sql"]).unwrap();
        assert_eq!((parsed[0].after.as_deref(), parsed[1].after.as_deref()), (Some(&[][..]), None));
    }

    #[test]
    fn what_refinery_refuses_or_runs_itself_is_named() {
        assert_eq!(
            parse(&INT4, &["V1__a.sql", "V2__b.rs"]),
            Err(FormatError::Code { file: "V2__b.rs".into() })
        );
        assert!(matches!(parse(&INT4, &["V1.5__a.sql"]), Err(FormatError::Name { .. })));
        assert!(matches!(parse(&INT4, &["V1__a.sql", "U1__b.sql"]), Err(FormatError::Duplicate { .. })));
        assert_eq!(parse(&INT4, &["mod.rs"]), Err(FormatError::Empty));
    }
}
