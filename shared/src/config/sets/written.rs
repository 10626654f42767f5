//! Sets as they are written in the file, and where each of them begins.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    super::{central::RawCentral, file::Span},
    Arrangement, SetConfig, belongs_together, checked,
};
use crate::{
    bundle::{ONLY_SET, Scope, SetSpec},
    clock::millis,
    command::{CommandSpec, Meaning},
};

/// The format of a command without a history: it needs no files.
const NOTHING: &str = "none";

/// The keys of the configuration file that are about sets.
#[derive(Debug, Default)]
pub(in crate::config) struct RawSets {
    pub(in crate::config) migrations: Option<PathBuf>,
    pub(in crate::config) format: Option<String>,
    pub(in crate::config) files: Option<String>,
    pub(in crate::config) table: Option<String>,
    pub(in crate::config) preamble: Option<String>,
    pub(in crate::config) command: Option<RawCommand>,
    pub(in crate::config) sets: Option<BTreeMap<Spanned<String>, RawSet>>,
    pub(in crate::config) central: Option<Spanned<RawCentral>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RawSet {
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
pub(in crate::config) struct RawCommand {
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

impl RawSets {
    /// Checks what can be checked without looking at any directory. An error is one line that begins with its place.
    pub(in crate::config) fn arranged(mut self, base: &Path, text: &str) -> Result<Arrangement, String> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let central_line = self.central.as_ref().map(|central| line(central.span().start));
        let central = self.central.take().map(|central| central.into_inner().merged(base));
        let named = self.sets.is_some();
        let sets = match self.sets.take() {
            None => vec![self.only(base)],
            Some(sets) => {
                self.is_nothing_beside(sets.keys().map(|name| line(name.span().start)).min())?;
                in_order(sets, base, line)?
            }
        };
        for set in &sets {
            checked(&set.spec).map_err(|reason| match set.line {
                Some(line) => format!("line {line}: set {}: {reason}", set.spec.name),
                None => reason,
            })?;
        }
        belongs_together(&sets, central_line)?;
        Ok(Arrangement { sets, named, central })
    }

    /// The only set, which has no name of its own.
    fn only(self, base: &Path) -> SetConfig {
        let spec = SetSpec {
            name: ONLY_SET.into(),
            format: self.format,
            files: self.files,
            table: self.table,
            preamble: self.preamble,
            command: self.command.map(|command| command.spec(base)),
            ..SetSpec::default()
        };
        let directory = base.join(self.migrations.unwrap_or_else(|| "migrations".into()));
        SetConfig { spec, directories: vec![directory], line: None }
    }

    /// Where sets have names, all that is about a set is in one of them. `first`: the line of the first.
    fn is_nothing_beside(&self, first: Option<usize>) -> Result<(), String> {
        let beside = [
            ("migrations", self.migrations.is_some()),
            ("format", self.format.is_some()),
            ("files", self.files.is_some()),
            ("table", self.table.is_some()),
            ("preamble", self.preamble.is_some()),
            ("command", self.command.is_some()),
        ];
        let Some((key, _)) = beside.iter().find(|(_, given)| *given) else { return Ok(()) };
        let first = first.unwrap_or(1);
        Err(format!(
            "line {first}: there are `{key}` and [sets]: `{key}` of the file is for a single set without a name, so put it into a set"
        ))
    }
}

/// The sets in the order of the file.
fn in_order(
    sets: BTreeMap<Spanned<String>, RawSet>,
    base: &Path,
    line: impl Fn(usize) -> usize,
) -> Result<Vec<SetConfig>, String> {
    let mut sets: Vec<(Spanned<String>, RawSet)> = sets.into_iter().collect();
    sets.sort_by_key(|(name, _)| name.span().start);
    let set = |(name, raw): (Spanned<String>, RawSet)| {
        let line = line(name.span().start);
        raw.set(name.into_inner(), line, base).map_err(|reason| format!("line {line}: {reason}"))
    };
    sets.into_iter().map(set).collect()
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
