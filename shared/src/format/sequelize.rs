//! The format of Sequelize and umzug, as far as it is SQL: every `.sql` file of a directory, in the order of their names.
//!
//! The history is the table `SequelizeMeta` with the names of the files. `x.down.sql` reverts `x.sql` or `x.up.sql`; it
//! is no migration of its own. Sequelize's usual migrations are programs: a directory that has one is refused.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, is_code, leading_digits, listed,
};
use crate::{
    place::Engine,
    site::{Row, Site},
};

/// The rules of Sequelize.
#[derive(Debug)]
pub struct Sequelize;

impl Rules for Sequelize {
    fn name(&self) -> &'static str {
        "sequelize"
    }

    fn table(&self) -> &'static str {
        "SequelizeMeta"
    }

    /// Its generator alone puts a `-` behind the 14 digits of a date and time.
    fn suits(&self, files: &[File]) -> bool {
        let behind = |name: &str, count: fn(usize) -> bool| {
            let digits = leading_digits(name).filter(|digits| count(digits.len()));
            digits.and_then(|digits| name[digits.len()..].chars().next())
        };
        let runs = |file: &&File| self.keeps(&file.name) || is_code(&file.name);
        let mut own = files.iter().filter(runs).map(|file| behind(&file.name, |digits| digits == 14));
        let mut other = files.iter().filter(runs).map(|file| behind(&file.name, |_| true));
        own.any(|sign| sign == Some('-')) && !other.any(|sign| sign == Some('_'))
    }

    fn holds_foreign_keys(&self) -> bool {
        true
    }

    fn keeps(&self, name: &str) -> bool {
        name.ends_with(".sql") && !name.contains('/')
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        by_name(files, |name| self.keeps(name))
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        draft.files(&format!("{}-{}", draft.number, draft.words.replace('_', "-")), ".sql")
    }

    fn create(&self, site: &Site) -> String {
        let rest = match site.engine {
            Engine::Postgres => "name VARCHAR(255) NOT NULL UNIQUE, PRIMARY KEY (name))",
            Engine::MySql => {
                "name VARCHAR(255) NOT NULL UNIQUE, PRIMARY KEY (name)) ENGINE = InnoDB DEFAULT CHARSET = utf8 COLLATE = utf8_unicode_ci"
            }
            Engine::Sqlite => "name VARCHAR(255) NOT NULL UNIQUE PRIMARY KEY)",
        };
        format!("CREATE TABLE IF NOT EXISTS {} ({rest}", site.table())
    }

    fn select(&self, site: &Site) -> String {
        listed::select(site, "name")
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        listed::insert(site, "name", entry)
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "name", entry)
    }
}

/// Files whose whole name is their version, in the order of their names.
pub(super) fn by_name(files: &[File], keeps: impl Fn(&str) -> bool) -> Result<Vec<Migration>, FormatError> {
    let code = |file: &&File| is_code(&file.name) && !file.name.contains('/');
    if let Some(code) = files.iter().find(code) {
        return Err(FormatError::Code { file: code.name.clone() });
    }
    let own: BTreeMap<&str, &File> =
        files.iter().filter(|file| keeps(&file.name)).map(|file| (file.name.as_str(), file)).collect();
    let down_of = |name: &str| own.get(format!("{}.down.sql", stem(name)).as_str()).copied();
    for name in own.keys() {
        if let Some(base) = name.strip_suffix(".down.sql") {
            let sides = [".sql", ".up.sql"].map(|end| own.contains_key(format!("{base}{end}").as_str()));
            if sides != [true, false] && sides != [false, true] {
                let reason = format!("it must belong to one file, {base}.sql or {base}.up.sql");
                return Err(FormatError::Name { file: (*name).to_owned(), reason });
            }
        }
    }
    let ups = own.values().filter(|file| !file.name.ends_with(".down.sql"));
    let migrations = ups.map(|file| whole(file, down_of(&file.name)));
    super::of_different_versions(migrations.collect())
}

/// A migration that is a whole file, and known by the name of it.
pub(super) fn whole(file: &File, down: Option<&File>) -> Migration {
    let stem = stem(&file.name);
    let title = stem.split_once(':').map_or(stem, |(_, title)| title);
    let words = title.trim_start_matches(|c: char| c.is_ascii_digit());
    Migration {
        version: file.name.as_str().into(),
        description: words.replace(['-', '_'], " ").trim().to_owned(),
        file: file.name.clone(),
        up: Some(Script::plain(&file.content)),
        down: down.map(|down| Script::plain(&down.content)),
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    }
}

fn stem(name: &str) -> &str {
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    stem.strip_suffix(".up").unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(names: &[&str]) -> Vec<File> {
        names.iter().map(|name| File { name: (*name).into(), content: "SELECT 1;".into() }).collect()
    }

    fn versions(names: &[&str]) -> Vec<String> {
        let all = Sequelize.parse(&files(names)).unwrap();
        all.iter().map(|m| m.version.to_string()).collect()
    }

    #[test]
    fn whole_names_are_versions_in_the_order_of_names() {
        let names = ["20240102000000-b.sql", "seed.sql", "20240101000000-a.sql", "README.md", "below/x.sql"];
        assert_eq!(versions(&names), ["20240101000000-a.sql", "20240102000000-b.sql", "seed.sql"]);
        assert_eq!(Sequelize.parse(&files(&names)).unwrap()[0].description, "a");
    }

    #[test]
    fn a_down_file_is_no_migration() {
        let all =
            Sequelize.parse(&files(&["1.up.sql", "1.down.sql", "2.sql", "2.down.sql", "3.sql"])).unwrap();
        let seen: Vec<_> = all.iter().map(|m| (m.version.as_str(), m.down.is_some())).collect();
        assert_eq!(seen, [("1.up.sql", true), ("2.sql", true), ("3.sql", false)]);
        for lone in [&["1.sql", "2.down.sql"][..], &["1.sql", "1.up.sql", "1.down.sql"]] {
            assert!(matches!(Sequelize.parse(&files(lone)), Err(FormatError::Name { .. })), "{lone:?}");
        }
    }

    #[test]
    fn a_program_among_them_is_named() {
        for name in ["20260219000006-add.js", "x.ts", "x.cjs", "x.cts"] {
            let refused = Sequelize.parse(&files(&["1.sql", name])).unwrap_err();
            assert_eq!(refused, FormatError::Code { file: name.into() });
        }
        assert_eq!(versions(&["1.sql", "types.d.ts"]), ["1.sql"]);
    }

    #[test]
    fn its_own_way_to_write_a_time_tells_it_from_others() {
        for own in ["20260219000006-add.js", "20260219000006-add.sql"] {
            assert!(Sequelize.suits(&files(&[own])), "{own}");
        }
        assert!(!Sequelize.suits(&files(&["20260219000006-add.sql", "1_a.sql"])));
        for other in ["20260219000006_add.sql", "1704067200001_add.js", "20260219000006-add.md"] {
            assert!(!Sequelize.suits(&files(&[other])), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_names_keep_their_order(names in proptest::collection::btree_set("[a-zA-Z0-9_-]{1,12}", 1..9)) {
            let mut sorted: Vec<String> = names.iter().map(|name| format!("{name}.sql")).collect();
            sorted.sort();
            let shuffled: Vec<&str> = sorted.iter().rev().map(String::as_str).collect();
            prop_assert_eq!(versions(&shuffled), sorted);
        }
    }
}
