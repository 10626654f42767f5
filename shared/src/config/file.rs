//! The configuration file as it is written.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, Env, Flags,
    central::RawCentral,
    run::{RawRun, RawServer},
    schedule::RawSchedule,
    sets::{Arrangement, RawCommand, RawSet, RawSets},
    setting::Source,
    source::RawSource,
    worker::RawWorker,
};

/// How like a known name an unknown one must be for it to be meant: 1 is the same.
const LIKE: f64 = 0.8;

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
        reason: with_suggestion(without_values(e.to_string().trim_end())),
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

/// The parser's words with the known name that is most like the unknown one.
fn with_suggestion(words: String) -> String {
    let Some((_, rest)) = words.split_once("unknown field `") else { return words };
    let mut names = rest.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    match likest(unknown, &names.collect::<Vec<_>>()) {
        Some(like) => format!("{words}\ndid you mean `{like}`?"),
        None => words,
    }
}

/// The name that somebody meant who wrote this one.
fn likest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let rated = known.iter().map(|name| (strsim::jaro_winkler(wrong, name), *name));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > LIKE).map(|(_, name)| name)
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
    pub(super) servers: BTreeMap<String, RawServer>,
    profile: BTreeMap<String, RawProfile>,
    pub(super) schedule: Vec<RawSchedule>,
}

/// What is other in one environment. A profile is chosen by its name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawProfile {
    registry_url: Option<Source>,
    queue_url: Option<Source>,
    master_key: Option<Source>,
    run: RawRun,
    worker: RawWorker,
}

impl Raw {
    /// The same with what a profile says over it.
    pub(super) fn with_profile(mut self, name: &str, path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(profile) = self.profile.remove(name) else {
            let known: Vec<&str> = self.profile.keys().map(String::as_str).collect();
            let reason = match likest(name, &known) {
                Some(like) => format!("there is no profile {name}; did you mean {like}?"),
                None if path.is_none() => format!("there is no profile {name}, and no configuration file"),
                None if known.is_empty() => format!("there is no profile {name}, nor any other"),
                None => format!("there is no profile {name} (there are {})", known.join(", ")),
            };
            let place = path.map(|path| format!("{}: ", path.display())).unwrap_or_default();
            return Err(ConfigError::Profile(format!("{place}{reason}")));
        };
        self.registry_url = profile.registry_url.or(self.registry_url);
        self.queue_url = profile.queue_url.or(self.queue_url);
        self.master_key = profile.master_key.or(self.master_key);
        self.run = profile.run.over(self.run);
        self.worker = profile.worker.over(self.worker);
        Ok(self)
    }
}

/// A duration such as `5s` or `1m 30s`; `0` is none.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

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

/// Reads how long something may last at all.
///
/// # Errors
/// For what is no duration, and for `0`: that would stop it before it begins.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => {
            Err(format!("a deadline of {text} stops a run before it begins; none is no deadline"))
        }
        after => Ok(after),
    }
}
