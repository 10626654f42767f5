//! A source as it is written in the file, and whether its keys fit together.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{
    super::{
        file::Span,
        setting::{Setting, Source},
    },
    Columns, FileFormat, ServerList, SourceConfig, SourceKind,
};
use crate::tenant::is_label_key;

/// The keys that say what kind of source it is.
const KINDS: &str = "query, file, endpoint or discover";

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Discover {
    Schemas,
    Databases,
    Files,
}

/// A source as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(in crate::config) struct RawSource {
    url: Option<Source>,
    query: Option<String>,
    file: Option<PathBuf>,
    format: Option<FileFormat>,
    endpoint: Option<Source>,
    headers: BTreeMap<String, Source>,
    items: Option<String>,
    next: Option<String>,
    discover: Option<Discover>,
    directory: Option<PathBuf>,
    pattern: Option<String>,
    exclude: Vec<String>,
    columns: Columns,
    tenant_url: Option<String>,
    secrets: BTreeMap<String, Source>,
    active_values: Option<Vec<String>>,
    timeout: Option<Span>,
}

impl RawSource {
    pub(super) fn merged(self, name: String, base: &Path) -> Result<SourceConfig, String> {
        self.keys_fit()?;
        if let Some(key) = self.columns.labels.keys().find(|key| !is_label_key(key)) {
            return Err(format!("'{key}' is not a label's name"));
        }
        if self.active_values.is_some() && self.columns.status.is_none() {
            return Err("active-values needs columns.status".into());
        }
        let setting = |name, source| Setting { name, base: base.to_path_buf(), source };
        let secrets =
            self.secrets.iter().map(|(name, s)| (name.clone(), setting("source.secrets", s.clone())));
        Ok(SourceConfig {
            name,
            columns: self.columns.clone(),
            tenant_url: self.tenant_url.clone(),
            secrets: secrets.collect(),
            active_values: self.active_values.clone(),
            timeout: self.timeout.map_or(TIMEOUT, |span| span.0),
            base: base.to_path_buf(),
            kind: self.kind(base)?,
        })
    }

    /// The one kind that is given.
    fn given(&self) -> Result<&'static str, String> {
        let kinds: [(&'static str, bool); 4] = [
            ("query", self.query.is_some()),
            ("file", self.file.is_some()),
            ("endpoint", self.endpoint.is_some()),
            ("discover", self.discover.is_some()),
        ];
        let given: Vec<&'static str> =
            kinds.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
        match given[..] {
            [one] => Ok(one),
            [] => Err(format!("it does not say what kind of source it is: give {KINDS}")),
            _ => Err(format!("{} are given, and a source is of one kind: give {KINDS}", given.join(" and "))),
        }
    }

    /// Every key that is given belongs to the kind.
    fn keys_fit(&self) -> Result<(), String> {
        let kind = self.given()?;
        let keys: [(&str, bool, &[&str]); 8] = [
            ("url", self.url.is_some(), &["query", "discover"]),
            ("format", self.format.is_some(), &["file"]),
            ("headers", !self.headers.is_empty(), &["endpoint"]),
            ("items", self.items.is_some(), &["endpoint"]),
            ("next", self.next.is_some(), &["endpoint"]),
            ("directory", self.directory.is_some(), &["discover"]),
            ("pattern", self.pattern.is_some(), &["discover"]),
            ("exclude", !self.exclude.is_empty(), &["discover"]),
        ];
        match keys.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
            Some((key, ..)) => Err(format!("{key} has no meaning beside {kind}")),
            None => Ok(()),
        }
    }

    fn kind(self, base: &Path) -> Result<SourceKind, String> {
        let setting = |name, source| Setting { name, base: base.to_path_buf(), source };
        let url = self.url.map(|url| setting("source.url", url));
        if let Some(query) = self.query {
            return Ok(SourceKind::Sql { url: url.ok_or("query needs url: the database to ask")?, query });
        }
        if let Some(file) = self.file {
            let format = self.format.unwrap_or_else(|| FileFormat::of(&file));
            return Ok(SourceKind::File { path: base.join(file), format });
        }
        if let Some(endpoint) = self.endpoint {
            let headers =
                self.headers.into_iter().map(|(name, text)| (name, setting("source.headers", text)));
            let (endpoint, headers) = (setting("source.endpoint", endpoint), headers.collect());
            return Ok(SourceKind::Http { endpoint, headers, items: self.items, next: self.next });
        }
        let pattern = self.pattern.ok_or("discover needs pattern: \"tenant_*\", or \"*\" for all")?;
        let exclude = self.exclude;
        let list = match self.discover {
            Some(Discover::Schemas) => ServerList::Schemas,
            Some(Discover::Databases) => ServerList::Databases,
            Some(Discover::Files) | None if url.is_some() => {
                return Err("discover = \"files\" takes directory, and no url".into());
            }
            Some(Discover::Files) | None => {
                let path = self.directory.ok_or("discover = \"files\" needs directory")?;
                return Ok(SourceKind::Directory { path: base.join(path), pattern, exclude });
            }
        };
        if self.directory.is_some() {
            return Err("directory is for discover = \"files\"".into());
        }
        let url = url.ok_or("discover needs url: the server to look at")?;
        Ok(SourceKind::Server { url, list, pattern, exclude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SourceConfig, String> {
        let raw: RawSource = toml::from_str(text).map_err(|e| e.to_string())?;
        raw.merged("default".into(), Path::new("/base"))
    }

    #[test]
    fn a_source_is_of_one_kind() {
        assert!(matches!(
            read("url = 'mysql://h/d'\nquery = 'SELECT 1'").unwrap().kind,
            SourceKind::Sql { .. }
        ));
        for (text, says) in [
            ("", "it does not say what kind"),
            ("file = 'a.csv'\nquery = 'SELECT 1'", "query and file are given"),
            ("query = 'SELECT 1'", "query needs url"),
            ("url = 'x'\nfile = 'a.csv'", "url has no meaning beside file"),
            ("file = 'a.csv'\nitems = 'data'", "items has no meaning beside file"),
            ("discover = 'schemas'\nurl = 'postgres://h/d'", "discover needs pattern"),
            ("discover = 'schemas'\npattern = '*'", "discover needs url"),
            ("discover = 'files'\npattern = '*'", "needs directory"),
            ("discover = 'tables'\npattern = '*'", "unknown variant"),
            ("file = 'a.csv'\nactive-values = ['x']", "active-values needs columns.status"),
            ("file = 'a.csv'\n[columns]\nname = 'x'", "unknown field"),
            ("file = 'a.csv'\n[columns.labels]\n'a b' = 'x'", "'a b' is not a label's name"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_is_looked_up_when_it_is_needed_and_shown_by_nothing() {
        let config = read("url = { env = 'CENTRAL' }\nquery = 'SELECT 1'\n[secrets]\np = 'hush'").unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let SourceKind::Sql { url, .. } = &config.kind else { panic!() };
        let error = url.resolve(&|_| None).unwrap_err().to_string();
        assert_eq!(error, "the variable CENTRAL is not set, and source.url is taken from it");
        assert!(url.resolve(&|_| Some("mysql://h/d".into())).is_ok());
    }
}
