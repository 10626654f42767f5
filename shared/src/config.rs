//! The merged configuration: flag, then environment, then profile, then file, then default. The only room that reads the
//! environment; it is an argument here, so that tests give their own.
//!
//! Paths in a configuration file are relative to that file, paths in flags and variables to the working
//! directory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    place::UrlError,
    run::Policy,
    secret::{MasterKey, SecretError},
    store::sqlite_path,
};
use secrecy::{ExposeSecret as _, SecretString};

mod dedicated;
mod file;
mod run;
mod schedule;
mod sets;
mod source;

pub use dedicated::dedicated_url;
pub use file::{parse_deadline, parse_duration};
pub use schedule::ScheduleConfig;
pub use sets::{CentralConfig, SetConfig};
pub use source::{Columns, FileFormat, ServerList, Setting, SourceConfig, SourceKind};

use self::file::Source;

/// Where the embedded registry is when nothing else is said.
pub const DEFAULT_REGISTRY: &str = ".tenantry/registry.db";

/// A variable's value by its name.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// This process's environment. A variable that is set and empty counts as not set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room that the rule names")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is set and empty, as `docker compose` sets what it is given no value for.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room that the rule names")]
pub fn is_empty_variable(name: &std::ffi::OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named, or is meant to hold a secret, cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No profile has the name that was asked for: with the file, and those there are.
    #[error("{0}")]
    Profile(String),
    /// The configuration file is not what it must be. Shows line, column and what was expected.
    #[error("{path} is not a valid configuration\n{reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// A variable that stands for a setting is not what that must be.
    #[error("{name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that the file refers to is not set.
    #[error("the variable {name} is not set, and {setting} is taken from it")]
    Unset {
        /// The variable.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// An SQLite registry without a file.
    #[error("the registry URL names no file (expected sqlite:PATH, postgres://… or mysql://…)")]
    NoRegistryFile,
    /// A tenant source is not what it must be.
    #[error("{table}: {reason}")]
    Source {
        /// Its table in the file.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A schedule is not what it must be.
    #[error("[[schedule]] {name}: {reason}")]
    Schedule {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No key is configured.
    #[error("there is no master key, and tenants' URLs are kept encrypted")]
    NoKey,
    /// The key is of no use.
    #[error("{origin}: {source}")]
    Key {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// The central database's URL is of no use.
    #[error("the url of [central]: {0}")]
    Central(UrlError),
    /// The connection variables of one database do not fit together.
    #[error("{0}")]
    Dedicated(String),
}

impl ConfigError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey => Some(
                "set TENANTRY_MASTER_KEY or TENANTRY_MASTER_KEY_FILE; `openssl rand -hex 32` makes one, and `tenantry registry init` makes a key file for an SQLite registry",
            ),
            Self::Key { .. } => {
                Some("give 32 bytes as 64 hexadecimal digits or base64: `openssl rand -hex 32`")
            }
            Self::Schedule { .. } => Some("docs/schedule.md has examples"),
            Self::Source { .. } => Some("docs/sources.md has an example of each kind of source"),
            _ => None,
        }
    }
}

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--registry-url`.
    pub registry_url: Option<String>,
    /// `--queue-url`.
    pub queue_url: Option<String>,
    /// `--profile`.
    pub profile: Option<String>,
}

/// The merged configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// The registry.
    pub registry_url: SecretString,
    /// The queue; none is the registry itself.
    pub queue_url: Option<SecretString>,
    /// The directory of migrations, the first one of the first set for tenants where there are several.
    pub migrations: PathBuf,
    /// The sets of migrations, in the order in which they are worked. One at least is for tenants.
    pub sets: Vec<SetConfig>,
    /// Whether they have names, and no other directory can stand for theirs.
    pub has_sets: bool,
    /// The directory that `TENANTRY_MIGRATIONS` names in place of the configured one.
    pub named_directory: Option<PathBuf>,
    /// The central database, where a set is for it.
    pub central: Option<CentralConfig>,
    /// How runs are worked.
    pub policy: Policy,
    /// How many tenants of one server are worked at once.
    pub caps: Caps,
    /// How workers work.
    pub worker: WorkerConfig,
    /// Where tenants are listed, by name.
    pub sources: Vec<SourceConfig>,
    /// When runs start by themselves.
    pub schedules: Vec<ScheduleConfig>,
    key: KeySource,
}

/// How many tenants of one server may be migrated at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// On every server that is not named.
    pub per_server: Option<u32>,
    /// On servers by their address.
    pub servers: BTreeMap<String, u32>,
}

impl Caps {
    /// On the server of this address; none is no cap.
    #[must_use]
    pub fn of(&self, address: &str) -> Option<u32> {
        self.servers.get(address).copied().or(self.per_server)
    }
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Tenants at once.
    pub concurrency: usize,
    /// How long a drain waits for running migrations.
    pub drain_timeout: Duration,
    /// How long a claim is good without being renewed. A killed worker's tenants start again after it.
    pub lease: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { concurrency: 8, drain_timeout: Duration::from_mins(5), lease: Duration::from_secs(15) }
    }
}

#[derive(Clone, Debug)]
enum KeySource {
    Text { origin: String, text: SecretString },
    File { path: PathBuf },
    Beside { path: PathBuf },
    None,
}

impl Config {
    /// Merges flags, environment, file and defaults.
    ///
    /// # Errors
    /// When the file is not valid, or a secret it refers to is not there.
    pub fn load(flags: &Flags, env: Env<'_>) -> Result<Self, ConfigError> {
        let (file, raw, arrangement) = file::find(flags, env)?;
        let raw = match flags.profile.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => raw.with_profile(name, file.as_deref())?,
            None => raw,
        };
        let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
        // A flag may have come from a variable, and one that is empty counts as not set.
        let said = |flag: &Option<String>| flag.clone().filter(|url| !url.is_empty());
        let registry_url =
            match said(&flags.registry_url).map_or_else(|| env_text(env, &REGISTRY), |url| Ok(Some(url)))? {
                Some(url) => url,
                None => match raw.registry_url {
                    Some(source) => relative_sqlite(source.resolve("registry-url", &base, env)?, &base),
                    None => format!("sqlite:{}", base.join(DEFAULT_REGISTRY).display()),
                },
            };
        if sqlite_path(&registry_url).is_some_and(|p| p.as_os_str().is_empty() || p == Path::new(":memory:"))
        {
            return Err(ConfigError::NoRegistryFile);
        }
        let queue_url =
            match said(&flags.queue_url).map_or_else(|| env_text(env, &QUEUE), |url| Ok(Some(url)))? {
                Some(url) => Some(url),
                None => raw.queue_url.map(|source| source.resolve("queue-url", &base, env)).transpose()?,
            };
        let named_directory = env("TENANTRY_MIGRATIONS").map(PathBuf::from);
        let migrations = named_directory.clone().unwrap_or_else(|| arrangement.first_directory());
        let key = key_source(raw.master_key, &base, &registry_url, env)?;
        let sources = source::all(raw.source, raw.sources, &base)?;
        let run = run::RawRun::of_environment(env)?.over(raw.run);
        Ok(Self {
            file,
            registry_url: registry_url.into(),
            queue_url: queue_url.map(Into::into),
            migrations,
            sets: arrangement.sets,
            has_sets: arrangement.named,
            named_directory,
            central: arrangement.central,
            caps: run.caps(&raw.servers),
            policy: run.policy(),
            worker: raw.worker.merged(),
            sources,
            schedules: schedule::all(raw.schedule)?,
            key,
        })
    }

    /// The master key.
    ///
    /// # Errors
    /// When there is none, or it is no key.
    pub fn master_key(&self) -> Result<MasterKey, ConfigError> {
        let (origin, text) = match &self.key {
            KeySource::Text { origin, text } => (origin.clone(), text.clone()),
            KeySource::File { path } => (path.display().to_string(), read_secret(path)?.into()),
            KeySource::Beside { path } if path.exists() => {
                (path.display().to_string(), read_secret(path)?.into())
            }
            KeySource::Beside { .. } | KeySource::None => return Err(ConfigError::NoKey),
        };
        MasterKey::parse(text.expose_secret()).map_err(|source| ConfigError::Key { origin, source })
    }

    /// Where a key file belongs that `registry init` may make: beside an SQLite registry, where no other key is configured.
    #[must_use]
    pub fn own_key_file(&self) -> Option<&Path> {
        match &self.key {
            KeySource::Beside { path } => Some(path),
            _ => None,
        }
    }
}

const REGISTRY: [&str; 2] = ["TENANTRY_REGISTRY_URL", "TENANT_REGISTRY_DB_URL"];
const QUEUE: [&str; 1] = ["TENANTRY_QUEUE_URL"];
const KEY: [&str; 2] = ["TENANTRY_MASTER_KEY", "MASTER_ENCRYPTION_KEY"];

/// The first of these variables that is set, or the content of the file that `<name>_FILE` names.
fn env_text(env: Env<'_>, names: &[&str]) -> Result<Option<String>, ConfigError> {
    for name in names {
        if let Some(text) = env(name) {
            return Ok(Some(text));
        }
        if let Some(path) = env(&format!("{name}_FILE")) {
            return read_secret(Path::new(&path)).map(Some);
        }
    }
    Ok(None)
}

fn key_source(
    raw: Option<Source>,
    base: &Path,
    registry_url: &str,
    env: Env<'_>,
) -> Result<KeySource, ConfigError> {
    for name in KEY {
        if let Some(text) = env(name) {
            return Ok(KeySource::Text { origin: name.to_owned(), text: text.into() });
        }
        if let Some(path) = env(&format!("{name}_FILE")) {
            return Ok(KeySource::File { path: path.into() });
        }
    }
    match raw {
        Some(Source::File { file }) => Ok(KeySource::File { path: base.join(file) }),
        Some(source) => {
            let text = source.resolve("master-key", base, env)?.into();
            Ok(KeySource::Text { origin: "master-key".into(), text })
        }
        None => Ok(sqlite_path(registry_url)
            .map_or(KeySource::None, |path| KeySource::Beside { path: path.with_file_name("key") })),
    }
}

fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })?;
    Ok(text.trim().to_owned())
}

fn relative_sqlite(url: String, base: &Path) -> String {
    match sqlite_path(&url) {
        Some(path) if path.is_relative() => format!("sqlite:{}", base.join(path).display()),
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Order;

    fn env_of(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    fn file(text: &str) -> (tempdir::Dir, Flags) {
        let dir = tempdir::Dir::new();
        let path = dir.0.join("tenantry.toml");
        std::fs::write(&path, text).unwrap();
        (dir, Flags { config: Some(path), ..Flags::default() })
    }

    mod tempdir {
        pub(super) struct Dir(pub(super) std::path::PathBuf);
        impl Dir {
            pub(super) fn new() -> Self {
                let path = std::env::temp_dir().join(crate::id::RunId::new().to_string());
                std::fs::create_dir_all(&path).unwrap();
                Self(path)
            }
        }
        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let (_dir, mut flags) = file("registry-url = 'sqlite:file.db'\nqueue-url = { env = 'Q' }");
        let none = env_of(&[("Q", "redis://q")]);
        let from_file = Config::load(&flags, &none).unwrap();
        assert!(from_file.registry_url.expose_secret().ends_with("/file.db"));
        assert_eq!(from_file.queue_url.unwrap().expose_secret(), "redis://q");
        let env = env_of(&[("Q", "redis://q"), ("TENANT_REGISTRY_DB_URL", "postgres://env/r")]);
        assert_eq!(Config::load(&flags, &env).unwrap().registry_url.expose_secret(), "postgres://env/r");
        flags.registry_url = Some("postgres://flag/r".into());
        assert_eq!(Config::load(&flags, &env).unwrap().registry_url.expose_secret(), "postgres://flag/r");
    }

    #[test]
    fn an_unknown_setting_is_shown_with_its_line() {
        let (_dir, flags) = file("[run]\nlock_timeout = '5s'\n");
        let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("lock-timeout"), "{error}");
    }

    #[test]
    fn a_misspelled_key_does_not_show_its_secret() {
        for text in
            ["urll = 'mysql://u:hush@h/d'", "source.headres = { a = \"hush\" }", "registry_url = \"hush"]
        {
            let (_dir, flags) = file(&format!("\n{text}\n"));
            let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_unknown_setting_is_told_with_the_one_that_was_meant() {
        for (text, meant) in [
            ("[run]\nmax_failures = 1", "max-failures"),
            ("[run]\ncanry = 1", "canary"),
            ("[profile.live.run]\nwave = 1", "waves"),
            ("[rum]", "run"),
        ] {
            let (_dir, flags) = file(text);
            let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean `{meant}`?")), "{error}");
        }
        let (_dir, flags) = file("[run]\nxyz = 1");
        assert!(!Config::load(&flags, &env_of(&[])).unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn the_environment_wins_over_the_profile_and_that_over_the_file() {
        let text = "[run]\ncanary = 5\nwaves = ['10%', 50]\nsoak = '1m'\nmax-failures = '1%'\nhalt-same-cause = 9
            deadline = '2h'\nretries = 2\n[profile.live]\nregistry-url = 'postgres://live/r'\n[profile.live.run]
            canary = 'tier=beta'\nwaves = 'none'\nsoak = '5m'\n[profile.live.worker]\nconcurrency = 3";
        let (_dir, mut flags) = file(text);
        let env = env_of(&[
            ("TENANTRY_RUN_SOAK", "7m"),
            ("TENANTRY_RUN_RETRIES", "4"),
            ("TENANTRY_RUN_FINGERPRINT", "false"),
        ]);
        let rollout = Config::load(&flags, &env_of(&[])).unwrap().policy.rollout;
        assert_eq!((rollout.canary, rollout.waves), ("5".parse().ok(), "10%,50".parse().ok()));
        assert_eq!((rollout.soak_ms, rollout.same_cause, rollout.deadline_ms), (60_000, 9, Some(7_200_000)));
        assert_eq!(rollout.max_failures, "1%".parse().ok());
        flags.profile = Some("live".into());
        let live = Config::load(&flags, &env).unwrap();
        assert_eq!((live.worker.concurrency, live.registry_url.expose_secret()), (3, "postgres://live/r"));
        assert_eq!((live.policy.max_attempts, live.policy.fingerprint), (4, false));
        let rollout = live.policy.rollout;
        assert_eq!((rollout.canary, rollout.waves), ("tier=beta".parse().ok(), None));
        assert_eq!((rollout.soak_ms, rollout.same_cause), (420_000, 9));
        flags.profile = Some("life".into());
        let error = Config::load(&flags, &env).unwrap_err().to_string();
        assert!(error.ends_with(": there is no profile life; did you mean live?"), "{error}");
        let error = Config::load(&Flags { config: None, ..flags }, &env_of(&[])).unwrap_err().to_string();
        assert_eq!(error, "there is no profile life, and no configuration file");
    }

    #[test]
    fn a_rollout_that_makes_no_sense_is_shown_with_its_line_or_its_variable() {
        for (text, says) in [
            ("[run]\ncanary = '0%'", "nobody"),
            ("[run]\nwaves = '10%,1%'", "do not rise"),
            ("[run]\nmax-failures = true", "a text, a whole number or a list"),
            ("[run]\ndeadline = 'soon'", "not a duration"),
            ("[run]\ndeadline = '0'", "none is no deadline"),
        ] {
            let (_dir, flags) = file(text);
            let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(says), "{error}");
        }
        for (name, value, says) in [
            ("TENANTRY_RUN_CANARY", "101%", "more than all"),
            ("TENANTRY_RUN_RETRIES", "many", "u32"),
            ("TENANTRY_RUN_DEADLINE", "soon", "not a duration"),
        ] {
            let env = move |wanted: &str| (wanted == name).then(|| value.to_owned());
            let error = Config::load(&Flags::default(), &env).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")) && error.contains(says), "{error}");
        }
    }

    #[test]
    fn durations_and_policy_are_read() {
        let (_dir, flags) =
            file("[run]\nretries = 2\nlock-timeout = '1m 30s'\norder = 'any'\n[worker]\nconcurrency = 3");
        let config = Config::load(&flags, &env_of(&[])).unwrap();
        assert_eq!(
            (config.policy.max_attempts, config.policy.lock_timeout_ms, config.policy.order),
            (2, 90_000, Order::Any)
        );
        assert_eq!(config.worker.concurrency, 3);
    }

    #[test]
    fn a_server_has_the_cap_of_its_address_or_that_of_all() {
        let caps = |text: &str| {
            let (_dir, flags) = file(text);
            Config::load(&flags, &env_of(&[])).map(|config| config.caps)
        };
        let named = caps("[run]\nper-server = 8\n[servers.'db1:5432']\ncap = 4").unwrap();
        assert_eq!((named.of("db1:5432"), named.of("db2:5432")), (Some(4), Some(8)));
        assert_eq!(caps("[run]\nper-host = 8").unwrap().of("db1:5432"), Some(8));
        assert_eq!(caps("").unwrap().of("db1:5432"), None);
        for wrong in
            ["[run]\nper-server = 0", "[servers.'db1:5432']\ncap = -1", "[servers.'db1:5432']\nmax = 1"]
        {
            assert!(matches!(caps(wrong), Err(ConfigError::Invalid { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_missing_or_malformed_key_is_an_error_that_shows_no_key() {
        let postgres = Flags { registry_url: Some("postgres://h/d".into()), ..Flags::default() };
        assert!(matches!(
            Config::load(&postgres, &env_of(&[])).unwrap().master_key(),
            Err(ConfigError::NoKey)
        ));
        let env = env_of(&[("MASTER_ENCRYPTION_KEY", "not-a-key")]);
        let error = Config::load(&postgres, &env).unwrap().master_key().unwrap_err();
        assert!(
            error.to_string().starts_with("MASTER_ENCRYPTION_KEY:")
                && !error.to_string().contains("not-a-key")
        );
    }
}
