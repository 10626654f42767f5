//! The sets of migrations that the configuration file names. Checked when the file is read; their directories are looked
//! at when they are needed.

use std::path::PathBuf;

use super::CentralConfig;
use crate::{
    bundle::{Scope, SetSpec},
    format,
    selector::Selector,
};

mod written;

pub(super) use written::{RawCommand, RawSet, RawSets};

/// A set of migrations as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetConfig {
    /// What belongs to its files.
    pub spec: SetSpec,
    /// Its directories.
    pub directories: Vec<PathBuf>,
    /// Where in the configuration file it is, counted from 1; none for the only set that has no name of its own.
    pub line: Option<usize>,
}

/// The sets, in the order of the file, and the central database.
#[derive(Clone, Debug)]
pub(super) struct Arrangement {
    pub(super) sets: Vec<SetConfig>,
    pub(super) named: bool,
    pub(super) central: Option<CentralConfig>,
}

impl Arrangement {
    /// Where a new migration belongs.
    pub(super) fn first_directory(&self) -> PathBuf {
        let first = self.sets.iter().find(|set| set.spec.scope == Scope::Tenants);
        first.and_then(|set| set.directories.first()).cloned().unwrap_or_else(|| "migrations".into())
    }
}

/// Whether what a set says fits together by itself.
fn checked(spec: &SetSpec) -> Result<(), String> {
    if let Some(name) = spec.format.as_deref().filter(|name| format::named(name).is_none()) {
        let known = format::ALL.iter().map(|rules| rules.name()).collect::<Vec<_>>().join(", ");
        return Err(format!("there is no format '{name}' (known: {known})"));
    }
    if let Some(command) = &spec.command {
        command.clone().completed().map_err(|error| error.to_string())?;
    }
    match (&spec.when, spec.scope) {
        (Some(_), Scope::Central) => {
            Err("`when` chooses among tenants, and the set is for the central database".into())
        }
        (Some(when), Scope::Tenants) => when.parse::<Selector>().map(|_| ()).map_err(|e| e.to_string()),
        (None, _) => Ok(()),
    }
}

/// Whether the sets fit together, and with the central database.
fn belongs_together(sets: &[SetConfig], central_line: Option<usize>) -> Result<(), String> {
    let central = sets.iter().find(|set| set.spec.scope == Scope::Central);
    match (central, central_line) {
        (Some(set), None) => {
            return Err(format!(
                "line {}: set {} is for the central database, and there is no [central] with its url",
                set.line.unwrap_or(1),
                set.spec.name
            ));
        }
        (None, Some(line)) => {
            return Err(format!(
                "line {line}: [central] names a database, and no set is for it (for = \"central\")"
            ));
        }
        _ => {}
    }
    if sets.iter().all(|set| set.spec.scope == Scope::Central) {
        return Err("[sets] has no set for the tenants".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::Meaning,
        config::{Config, Flags},
    };

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tenantry.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Config::load(&flags, &|_| None).map_err(|e| e.to_string())
    }

    const SEVERAL: &str = r#"
[sets.zeta]
migrations = ["migrations/tenant", "migrations/both"]
format = "sqlx"
files = "*.sql"
table = "zeta_history"
preamble = "SET x = 1"
[sets.alpha]
migrations = "plugins/alpha"
when = "plugin.alpha=on"
[sets.central]
migrations = "migrations/central"
for = "central"
[central]
url = { env = "CENTRAL_DATABASE_URL" }
schema = "plans"
"#;

    #[test]
    fn sets_are_in_the_order_of_the_file() {
        let config = load(SEVERAL).unwrap();
        let names: Vec<&str> = config.sets.iter().map(|set| set.spec.name.as_str()).collect();
        assert_eq!((names, config.has_sets), (vec!["zeta", "alpha", "central"], true));
        assert_eq!(config.sets.iter().map(|set| set.line).collect::<Vec<_>>(), [Some(2), Some(8), Some(11)]);
        let ends = |at: usize, path: &str| config.sets[0].directories[at].ends_with(path);
        assert!(ends(0, "migrations/tenant") && ends(1, "migrations/both"));
        let spec = &config.sets[0].spec;
        assert_eq!((spec.preamble.as_deref(), spec.files.as_deref()), (Some("SET x = 1"), Some("*.sql")));
        assert_eq!(config.sets[2].spec.scope, Scope::Central);
        let written_inline = "sets.b.migrations = 'b'\nsets.a = { migrations = 'a' }\n";
        let names: Vec<String> =
            load(written_inline).unwrap().sets.into_iter().map(|set| set.spec.name).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn without_sets_there_is_one() {
        let config = load("migrations = 'm'\ntable = 'h'\npreamble = 'SET FOREIGN_KEY_CHECKS=0'").unwrap();
        assert!(!config.has_sets && config.sets.len() == 1 && config.sets[0].directories[0].ends_with("m"));
        assert_eq!(
            (config.sets[0].spec.name.as_str(), config.sets[0].spec.table.as_deref()),
            ("main", Some("h"))
        );
    }

    #[test]
    fn a_set_may_be_migrated_by_a_program() {
        let text = "[sets.app]\nmigrations = 'app'\n[sets.app.command]\npreset = 'django'\ndirectory = 'srv'\ntimeout = '10m'\nexit-codes = { 3 = 'retry' }\n";
        let command = load(text).unwrap().sets.remove(0).spec.command.unwrap();
        assert_eq!((command.preset.as_deref(), command.timeout_ms), (Some("django"), 600_000));
        assert_eq!(command.exit_codes["3"], Meaning::Retry);
        assert!(command.directory.is_some_and(|path| path.starts_with('/') && path.ends_with("/srv")));
        let blind = "[sets.app]\nformat = 'none'\ncommand = { run = ['migrate'] }\n";
        assert!(load(blind).unwrap().sets[0].directories.is_empty());
        let alone = load("migrations = 'm'\n[command]\nrun = ['migrate', '{tenant}']\n").unwrap();
        assert_eq!(alone.sets[0].spec.command.as_ref().unwrap().run, ["migrate", "{tenant}"]);
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_its_line() {
        let core = "[sets.core]\nmigrations = 'core'\n";
        let bad = [
            (format!("migrations = 'm'\n{core}"), "line 2: there are `migrations` and [sets]"),
            (format!("table = 'h'\n{core}"), "line 2: there are `table` and [sets]"),
            (format!("{core}table_name = 'x'\n"), "line 3"),
            ("[sets.core]\ntable = 'x'\n".into(), "line 1: set core: `migrations` names no directory"),
            ("[sets.core]\nmigrations = []\n".into(), "line 1: set core: `migrations` names no directory"),
            ("[sets.core]\nmigrations = 3\n".into(), "expected a directory, or a list of directories"),
            ("[sets]\n".into(), "no set for the tenants"),
            ("[sets.'a/b']\nmigrations = 'm'\n".into(), "line 1: 'a/b' is not a name of a set"),
            (format!("{core}format = 'sqlxx'\n"), "line 1: set core: there is no format 'sqlxx' (known: "),
            ("format = 'sqlxx'\n".into(), "there is no format 'sqlxx' (known: "),
            (format!("{core}when = 'a in x'\n"), "line 1: set core: 'a in x' is not a label condition"),
            (format!("{core}[central]\nurl = 'sqlite:c.db'\n"), "line 3: [central] names a database"),
            (
                format!("{core}[sets.c]\nmigrations = 'c'\nfor = 'central'\n"),
                "line 3: set c is for the central database, and there is no [central]",
            ),
            (
                "[sets.c]\nmigrations = 'c'\nfor = 'central'\n[central]\nurl = 'sqlite:c.db'\n".into(),
                "no set for the tenants",
            ),
            (
                format!(
                    "{core}[sets.c]\nmigrations = 'c'\nfor = 'central'\nwhen = 'a'\n[central]\nurl = 'x'\n"
                ),
                "line 3: set c: `when` chooses among tenants",
            ),
            (format!("{core}command = {{ run = [] }}\n"), "line 1: set core: its command says neither"),
            (format!("{core}command = {{ preset = 'ant' }}\n"), "line 1: set core: there is no preset 'ant'"),
            (format!("{core}for = 'everyone'\n"), "line 3"),
            (format!("{core}[central]\nurl = {{ env = 'X', file = 'y' }}\n"), "line 4"),
        ];
        for (text, expected) in bad {
            let error = load(&text).unwrap_err();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
