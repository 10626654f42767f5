//! The sets of migrations that the configuration file names, and the central database. Checked when the file is
//! read; directories and variables are looked at when they are needed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, Env,
    file::{Source, Span},
    read_secret,
};
use crate::{
    bundle::{ONLY_SET, Scope, SetSpec},
    clock::millis,
    command::{CommandSpec, Meaning},
    format,
    place::{DatabaseUrl, Place},
    selector::Selector,
};

/// The format of a command without a history: it needs no files.
const NOTHING: &str = "none";

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

/// The central database as the configuration names it. Its URL is looked up when a run needs it: workers do not.
#[derive(Clone, Debug)]
pub struct CentralConfig {
    url: UrlSource,
    schema: Option<String>,
    base: PathBuf,
}

#[derive(Clone, Debug)]
enum UrlSource {
    Text(SecretString),
    Env(String),
    File(PathBuf),
}

impl CentralConfig {
    /// Its URL, and where that points. A relative SQLite path is taken from the configuration file's directory, which
    /// is taken from `working`.
    ///
    /// # Errors
    /// When the variable or the file that holds it is not there, or it is no URL of a database.
    pub fn resolve(&self, env: Env<'_>, working: &Path) -> Result<(DatabaseUrl, Place), ConfigError> {
        let text = match &self.url {
            UrlSource::Text(text) => text.expose_secret().to_owned(),
            UrlSource::Env(name) => {
                env(name).ok_or_else(|| ConfigError::Unset { name: name.clone(), setting: "central.url" })?
            }
            UrlSource::File(path) => read_secret(path)?,
        };
        let url = DatabaseUrl::parse(&text, &working.join(&self.base)).map_err(ConfigError::Central)?;
        let place = url.place(self.schema.as_deref()).map_err(ConfigError::Central)?;
        Ok((url, place))
    }
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

/// The keys of the configuration file that are about sets.
#[derive(Debug, Default)]
pub(super) struct RawSets {
    pub(super) migrations: Option<PathBuf>,
    pub(super) format: Option<String>,
    pub(super) files: Option<String>,
    pub(super) table: Option<String>,
    pub(super) preamble: Option<String>,
    pub(super) command: Option<RawCommand>,
    pub(super) sets: Option<BTreeMap<Spanned<String>, RawSet>>,
    pub(super) central: Option<Spanned<RawCentral>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSet {
    migrations: Option<Directories>,
    format: Option<String>,
    files: Option<String>,
    table: Option<String>,
    preamble: Option<String>,
    command: Option<RawCommand>,
    when: Option<String>,
    #[serde(default, rename = "for")]
    scope: Scope,
}

/// A program that migrates in place of our own engine.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawCommand {
    preset: Option<String>,
    run: Vec<String>,
    directory: Option<PathBuf>,
    timeout: Option<Span>,
    env: BTreeMap<String, String>,
    exit_codes: BTreeMap<String, Meaning>,
}

impl RawCommand {
    fn spec(self, base: &Path) -> CommandSpec {
        // Where the program is started there is no configuration file to be near to.
        let absolute = |directory: PathBuf| {
            let path = base.join(directory);
            std::path::absolute(&path).unwrap_or(path).display().to_string()
        };
        CommandSpec {
            preset: self.preset,
            run: self.run,
            directory: self.directory.map(absolute),
            timeout_ms: self.timeout.map_or(0, |span| millis(span.0)),
            env: self.env,
            exit_codes: self.exit_codes,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a directory, or a list of directories")]
enum Directories {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawCentral {
    url: Source,
    schema: Option<String>,
}

impl RawSets {
    /// Checks what can be checked without looking at any directory. An error is one line that begins with its place.
    pub(super) fn arranged(self, base: &Path, text: &str) -> Result<Arrangement, String> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let central_line = self.central.as_ref().map(|central| line(central.span().start));
        let named = self.sets.is_some();
        let sets = match self.sets {
            None => vec![SetConfig {
                spec: SetSpec {
                    name: ONLY_SET.into(),
                    format: self.format,
                    files: self.files,
                    table: self.table,
                    preamble: self.preamble,
                    command: self.command.map(|command| command.spec(base)),
                    ..SetSpec::default()
                },
                directories: vec![base.join(self.migrations.unwrap_or_else(|| "migrations".into()))],
                line: None,
            }],
            Some(sets) => {
                let beside = [
                    ("migrations", self.migrations.is_some()),
                    ("format", self.format.is_some()),
                    ("files", self.files.is_some()),
                    ("table", self.table.is_some()),
                    ("preamble", self.preamble.is_some()),
                    ("command", self.command.is_some()),
                ];
                let first = sets.keys().map(|name| line(name.span().start)).min().unwrap_or(1);
                if let Some((key, _)) = beside.iter().find(|(_, given)| *given) {
                    return Err(format!(
                        "line {first}: there are `{key}` and [sets]: `{key}` of the file is for a single set without a name, so put it into a set"
                    ));
                }
                let mut sets: Vec<(Spanned<String>, RawSet)> = sets.into_iter().collect();
                sets.sort_by_key(|(name, _)| name.span().start);
                let set = |(name, raw): (Spanned<String>, RawSet)| {
                    let line = line(name.span().start);
                    raw.set(name.into_inner(), line, base).map_err(|reason| format!("line {line}: {reason}"))
                };
                sets.into_iter().map(set).collect::<Result<_, _>>()?
            }
        };
        for set in &sets {
            checked(&set.spec).map_err(|reason| match set.line {
                Some(line) => format!("line {line}: set {}: {reason}", set.spec.name),
                None => reason,
            })?;
        }
        belongs_together(&sets, central_line)?;
        let central = self.central.map(|central| central.into_inner().central(base));
        Ok(Arrangement { sets, named, central })
    }
}

impl RawSet {
    fn set(self, name: String, line: usize, base: &Path) -> Result<SetConfig, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("'{name}' is not a name of a set (letters, digits, '-' and '_')"));
        }
        let directories = match self.migrations {
            None => Vec::new(),
            Some(Directories::One(path)) => vec![path],
            Some(Directories::Several(paths)) => paths,
        };
        if directories.is_empty() && self.format.as_deref() != Some(NOTHING) {
            return Err(format!("set {name}: `migrations` names no directory"));
        }
        let spec = SetSpec {
            name,
            format: self.format,
            files: self.files,
            table: self.table,
            scope: self.scope,
            when: self.when,
            preamble: self.preamble,
            command: self.command.map(|command| command.spec(base)),
        };
        let directories = directories.iter().map(|path| base.join(path)).collect();
        Ok(SetConfig { spec, directories, line: Some(line) })
    }
}

impl RawCentral {
    fn central(self, base: &Path) -> CentralConfig {
        let url = match self.url {
            Source::Text(text) => UrlSource::Text(text.into()),
            Source::Env { env } => UrlSource::Env(env),
            Source::File { file } => UrlSource::File(base.join(file)),
        };
        CentralConfig { url, schema: self.schema, base: base.to_path_buf() }
    }
}

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
    use crate::config::{Config, Flags};

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

    #[test]
    fn the_central_database_is_looked_up_when_it_is_needed() {
        let central = load(SEVERAL).unwrap().central.unwrap();
        let unset = central.resolve(&|_| None, Path::new("/w")).unwrap_err().to_string();
        assert!(unset.contains("CENTRAL_DATABASE_URL is not set"), "{unset}");
        let url = |_: &str| Some("postgres://u:s3cret@h/plans".to_owned());
        let (_, place) = central.resolve(&url, Path::new("/w")).unwrap();
        assert_eq!((place.database.as_str(), place.schema.as_deref()), ("plans", Some("plans")));
        let mysql = |_: &str| Some("mysql://u:s3cret@h/plans".to_owned());
        let elsewhere = central.resolve(&mysql, Path::new("/w")).unwrap_err().to_string();
        assert!(elsewhere.contains("schema") && !elsewhere.contains("s3cret"), "{elsewhere}");
        let written = SEVERAL.replace("{ env = \"CENTRAL_DATABASE_URL\" }", "'postgres://u:s3cret@h/d'");
        assert!(!format!("{:?}", load(&written).unwrap()).contains("s3cret"));
    }
}
