//! The merged configuration: flag, then environment, then profile, then file, then default. The only room that reads the
//! environment; it is an argument here, so that tests give their own.
//!
//! Paths in a configuration file are relative to that file, paths in flags and variables to the working
//! directory.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::{run::Policy, store::sqlite_path};

mod central;
mod dedicated;
mod error;
mod file;
mod key;
mod run;
mod schedule;
mod sets;
mod setting;
mod source;
mod worker;

#[cfg(test)]
mod tests;

pub use central::CentralConfig;
pub use dedicated::dedicated_url;
pub use error::ConfigError;
pub use file::{parse_deadline, parse_duration};
pub use run::Caps;
pub use schedule::ScheduleConfig;
pub use sets::SetConfig;
pub use setting::Setting;
pub use source::{Columns, FileFormat, ServerList, SourceConfig, SourceKind};
pub use worker::WorkerConfig;

use self::{
    key::KeySource,
    setting::{Source, of_environment},
};

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
        let registry_url = registry_url(flags.registry_url.as_deref(), raw.registry_url, &base, env)?;
        let queue_url = match said(flags.queue_url.as_deref(), &QUEUE, env)? {
            Some(url) => Some(url),
            None => raw.queue_url.map(|source| source.resolve("queue-url", &base, env)).transpose()?,
        };
        let named_directory = env("TENANTRY_MIGRATIONS").map(PathBuf::from);
        let migrations = named_directory.clone().unwrap_or_else(|| arrangement.first_directory());
        let key = KeySource::find(raw.master_key, &base, &registry_url, env)?;
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
}

const REGISTRY: [&str; 2] = ["TENANTRY_REGISTRY_URL", "TENANT_REGISTRY_DB_URL"];
const QUEUE: [&str; 1] = ["TENANTRY_QUEUE_URL"];

/// What a flag says, or else the environment. A flag may have come from a variable, and one that is empty counts as not
/// set.
fn said(flag: Option<&str>, names: &[&str], env: Env<'_>) -> Result<Option<String>, ConfigError> {
    match flag.filter(|url| !url.is_empty()) {
        Some(url) => Ok(Some(url.to_owned())),
        None => of_environment(env, names),
    }
}

fn registry_url(
    flag: Option<&str>,
    written: Option<Source>,
    base: &Path,
    env: Env<'_>,
) -> Result<String, ConfigError> {
    let url = match said(flag, &REGISTRY, env)? {
        Some(url) => url,
        None => match written {
            Some(source) => relative_sqlite(source.resolve("registry-url", base, env)?, base),
            None => format!("sqlite:{}", base.join(DEFAULT_REGISTRY).display()),
        },
    };
    let no_file = |path: &Path| path.as_os_str().is_empty() || path == Path::new(":memory:");
    match sqlite_path(&url) {
        Some(path) if no_file(&path) => Err(ConfigError::NoRegistryFile),
        _ => Ok(url),
    }
}

fn relative_sqlite(url: String, base: &Path) -> String {
    match sqlite_path(&url) {
        Some(path) if path.is_relative() => format!("sqlite:{}", base.join(path).display()),
        _ => url,
    }
}
