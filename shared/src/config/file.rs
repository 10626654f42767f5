//! The configuration file as it is written.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, Env, Flags, WorkerConfig, read_secret,
    sets::{Arrangement, RawCentral, RawCommand, RawSet, RawSets},
    source::RawSource,
};
use crate::{clock::millis, plan::Order, run::Policy};

/// The configuration file that is named, or found in the usual places; none is fine.
pub(super) fn find(flags: &Flags, env: Env<'_>) -> Result<(Option<PathBuf>, Raw, Arrangement), ConfigError> {
    if let Some(path) = &flags.config {
        return read(path).map(|(raw, sets)| (Some(path.clone()), raw, sets));
    }
    let home = env("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    let candidates = [
        Some("tenantry.toml".into()),
        home.map(|h| h.join("tenantry/config.toml")),
        Some("/etc/tenantry/config.toml".into()),
    ];
    match candidates.into_iter().flatten().find(|path: &PathBuf| path.is_file()) {
        Some(path) => read(&path).map(|(raw, sets)| (Some(path), raw, sets)),
        None => with_sets(Raw::default(), Path::new(""), "").map(|(raw, sets)| (None, raw, sets)),
    }
}

fn read(path: &Path) -> Result<(Raw, Arrangement), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })?;
    let raw = toml::from_str(&text).map_err(|e| ConfigError::Invalid {
        path: path.to_path_buf(),
        reason: without_values(e.to_string().trim_end()),
    })?;
    with_sets(raw, path, &text)
}

fn with_sets(mut raw: Raw, path: &Path, text: &str) -> Result<(Raw, Arrangement), ConfigError> {
    let sets = RawSets {
        migrations: raw.migrations.take(),
        format: raw.format.take(),
        files: raw.files.take(),
        table: raw.table.take(),
        preamble: raw.preamble.take(),
        command: raw.command.take(),
        sets: raw.sets.take(),
        central: raw.central.take(),
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let invalid = |reason: String| ConfigError::Invalid { path: path.to_path_buf(), reason };
    let arranged = sets.arranged(base, text).map_err(invalid)?;
    Ok((raw, arranged))
}

/// The parser's words without what stands in quotes in the line that it shows: that may be a password, where only its
/// key is misspelled.
fn without_values(words: &str) -> String {
    let shown =
        |line: &str| line.split_once(" | ").is_some_and(|(number, _)| number.trim().parse::<u32>().is_ok());
    let line = |line: &str| match line.find(['"', '\'']).filter(|_| shown(line)) {
        Some(quote) => format!("{}…", &line[..=quote]),
        None => line.to_owned(),
    };
    words.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Raw {
    pub(super) registry_url: Option<Source>,
    pub(super) queue_url: Option<Source>,
    pub(super) master_key: Option<Source>,
    migrations: Option<PathBuf>,
    format: Option<String>,
    files: Option<String>,
    table: Option<String>,
    preamble: Option<String>,
    command: Option<RawCommand>,
    sets: Option<BTreeMap<Spanned<String>, RawSet>>,
    central: Option<Spanned<RawCentral>>,
    pub(super) run: RawRun,
    pub(super) worker: RawWorker,
    pub(super) source: Option<RawSource>,
    pub(super) sources: BTreeMap<String, RawSource>,
}

/// A value written down, or where to find it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Source {
    Text(String),
    Env { env: String },
    File { file: PathBuf },
}

impl Source {
    pub(super) fn resolve(
        self,
        setting: &'static str,
        base: &Path,
        env: Env<'_>,
    ) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Env { env: name } => env(&name).ok_or(ConfigError::Unset { name, setting }),
            Self::File { file } => read_secret(&base.join(file)),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawRun {
    retries: Option<u32>,
    backoff_base: Option<Span>,
    backoff_cap: Option<Span>,
    connect_timeout: Option<Span>,
    lock_timeout: Option<Span>,
    statement_timeout: Option<Span>,
    order: Option<Order>,
    fingerprint: Option<bool>,
}

impl RawRun {
    pub(super) fn policy(self) -> Policy {
        let default = Policy::default();
        let span = |value: Option<Span>, default: u64| value.map_or(default, |span| millis(span.0));
        Policy {
            max_attempts: self.retries.unwrap_or(default.max_attempts),
            backoff_base_ms: span(self.backoff_base, default.backoff_base_ms),
            backoff_cap_ms: span(self.backoff_cap, default.backoff_cap_ms),
            connect_timeout_ms: span(self.connect_timeout, default.connect_timeout_ms),
            lock_timeout_ms: span(self.lock_timeout, default.lock_timeout_ms),
            statement_timeout_ms: span(self.statement_timeout, default.statement_timeout_ms),
            order: self.order.unwrap_or(default.order),
            fingerprint: self.fingerprint.unwrap_or(default.fingerprint),
            rollout: default.rollout,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawWorker {
    concurrency: Option<usize>,
    drain_timeout: Option<Span>,
    lease: Option<Span>,
}

impl RawWorker {
    pub(super) fn merged(self) -> WorkerConfig {
        let default = WorkerConfig::default();
        WorkerConfig {
            concurrency: self.concurrency.unwrap_or(default.concurrency).max(1),
            drain_timeout: self.drain_timeout.map_or(default.drain_timeout, |span| span.0),
            lease: self.lease.map_or(default.lease, |span| span.0),
        }
    }
}

/// A duration such as `5s` or `1m 30s`; `0` is none.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self)
    }
}

/// Reads a duration such as `500ms`, `5s`, `10m` or `1h 30m`; `0` is none.
///
/// # Errors
/// For anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("'{text}' is not a duration (such as 500ms, 5s, 10m or 1h 30m)"))
}
