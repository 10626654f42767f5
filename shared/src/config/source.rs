//! `[source]` and `[sources.NAME]`: where tenants are listed. The shape is checked with the file. A secret is looked up
//! only when the source is read: a command that does not read it needs none of its variables.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{ConfigError, Setting};
use crate::tenant::Slug;

mod written;

pub(super) use written::RawSource;

/// What the one source is called that needs no name.
const ONLY: &str = "default";

/// A source of tenants.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its name, which the registry keeps with each of its tenants.
    pub name: String,
    /// What lists them.
    pub kind: SourceKind,
    /// Which column says what.
    pub columns: Columns,
    /// A tenant's URL with `{column}` and `{secret}` in it.
    pub tenant_url: Option<String>,
    /// The secrets that `tenant-url` and headers name.
    pub secrets: BTreeMap<String, Setting>,
    /// Which values of the status column mean that runs take the tenant; all others suspend it.
    pub active_values: Option<Vec<String>>,
    /// How long reading all of it may take; of an endpoint, each page.
    pub timeout: Duration,
    /// The directory that relative paths begin at.
    pub base: PathBuf,
}

impl SourceConfig {
    /// Its table in the configuration file.
    #[must_use]
    pub fn table(&self) -> String {
        table(&self.name)
    }
}

/// What lists the tenants.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A query in a PostgreSQL, MySQL, MariaDB or SQLite database.
    Sql {
        /// The database.
        url: Setting,
        /// One row for each tenant.
        query: String,
    },
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// How it is written.
        format: FileFormat,
    },
    /// An HTTP endpoint that answers with JSON.
    Http {
        /// Its URL.
        endpoint: Setting,
        /// What to send with each request.
        headers: BTreeMap<String, Setting>,
        /// The path to the list in the answer; none is the answer itself.
        items: Option<String>,
        /// The path to the next page's URL in the answer.
        next: Option<String>,
    },
    /// All schemas or databases of a server that match.
    Server {
        /// The server.
        url: Setting,
        /// Which of the two.
        list: ServerList,
        /// What a name must match.
        pattern: String,
        /// What it must not.
        exclude: Vec<String>,
    },
    /// All SQLite files of a directory that match.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What a file's name must match.
        pattern: String,
        /// What it must not.
        exclude: Vec<String>,
    },
}

/// What of a server is a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerList {
    /// A schema of the one database.
    Schemas,
    /// A database.
    Databases,
}

/// How a file of tenants is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// With a heading.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl FileFormat {
    /// What a file's name says: JSON Lines for `.jsonl` and `.ndjson`, CSV for all others.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson") { Self::Jsonl } else { Self::Csv }
    }
}

/// Which column says what of a tenant. `id`, `url`, `database`, `schema` and `status` are taken from the columns of these names
/// where nothing else is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Columns {
    /// The tenant's id.
    pub id: Option<String>,
    /// Its whole URL.
    pub url: Option<String>,
    /// Its server's host.
    pub host: Option<String>,
    /// Its server's port.
    pub port: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Its database, or its SQLite file.
    pub database: Option<String>,
    /// Its PostgreSQL schema.
    pub schema: Option<String>,
    /// Whether runs take it.
    pub status: Option<String>,
    /// Its labels: column by label.
    pub labels: BTreeMap<String, String>,
}

/// All sources of a file: the one without a name, or those with names.
pub(super) fn all(
    only: Option<RawSource>,
    named: BTreeMap<String, RawSource>,
    base: &Path,
) -> Result<Vec<SourceConfig>, ConfigError> {
    if only.is_some() && !named.is_empty() {
        return Err(wrong("[source]", "there are [sources.NAME], too: give this one a name as well"));
    }
    let all = only.into_iter().map(|raw| (ONLY.to_owned(), raw)).chain(named);
    all.map(|(name, raw)| {
        let table = table(&name);
        if let Err(error) = name.parse::<Slug>() {
            return Err(wrong(&table, &error.to_string().replace("tenant id", "source's name")));
        }
        raw.merged(name, base).map_err(|reason| wrong(&table, &reason))
    })
    .collect()
}

fn table(name: &str) -> String {
    if name == ONLY { "[source]".into() } else { format!("[sources.{name}]") }
}

fn wrong(table: &str, reason: &str) -> ConfigError {
    ConfigError::Source { table: table.to_owned(), reason: reason.to_owned() }
}
