//! Tenant sources: what lists tenants outside of the registry. The only room that connects to a source, and only to read.
//!
//! A source gives rows of named values (`sql`, `file`, `http`, `discovery`), the mapping makes tenants of them, and the
//! comparison finds in what those differ from the registry's. A bad row names itself and spoils all: half a source is no source.
//! Whoever syncs may call it; it writes nothing.

pub mod comparison;
pub mod difference;
mod address;
mod discovery;
pub mod file;
mod http;
mod listed;
mod mapping;
mod row;
mod sql;
mod template;

use std::{collections::BTreeSet, time::Duration};

pub use listed::{Listed, Tenants};

use self::{mapping::Mapping, row::Row};
use crate::config::{ConfigError, Env, SourceConfig, SourceKind};

/// How many bad rows are told one by one.
const TOLD: usize = 10;

/// Why a source gives no tenants. No variant repeats a URL or a value of a row but an id.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing answers there, or not in time.
    #[error("source {name} cannot be reached: {reason}")]
    Unreachable {
        /// The source.
        name: String,
        /// Why.
        reason: String,
    },
    /// It answers, and not with tenants.
    #[error("source {name} cannot be read: {reason}")]
    Unreadable {
        /// The source.
        name: String,
        /// Why.
        reason: String,
    },
    /// The configuration names a column that no row has.
    #[error("source {name} has no column '{column}' (there are: {there})")]
    UnknownColumn {
        /// The source.
        name: String,
        /// The column.
        column: String,
        /// Those that are there.
        there: String,
    },
    /// Some rows are no tenants.
    #[error("source {name}: {first}{}", more(*.count))]
    BadRows {
        /// The source.
        name: String,
        /// The first of them, and what is wrong with it.
        first: String,
        /// How many there are.
        count: u64,
    },
}

fn more(bad: u64) -> String {
    if bad > 1 { format!(" (and {} more bad rows)", bad - 1) } else { String::new() }
}

/// What is in the way of reading rows, before it is known by the source's name.
enum Trouble {
    /// It may pass.
    Away(String),
    /// It will not.
    Wrong(String),
    /// The configuration.
    Config(ConfigError),
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl Trouble {
    fn of(self, name: &str) -> SourceError {
        let name = name.to_owned();
        match self {
            Self::Away(reason) => SourceError::Unreachable { name, reason },
            Self::Wrong(reason) => SourceError::Unreadable { name, reason },
            Self::Config(error) => error.into(),
        }
    }
}

/// What a source lists now.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its tenants, each once.
    pub tenants: Tenants,
    /// What is wrong with the first bad rows.
    pub bad: Vec<String>,
    /// How many rows are bad.
    pub bad_count: u64,
    columns: BTreeSet<String>,
}

impl Listing {
    fn take(&mut self, mapping: &Mapping, row: &Row) {
        for name in row.names() {
            if !self.columns.contains(name) {
                self.columns.insert(name.to_owned());
            }
        }
        let listed = mapping.tenant(row).and_then(|tenant| self.tenants.add(tenant));
        if let Err(why) = listed {
            self.bad_count += 1;
            if self.bad.len() < TOLD {
                self.bad.push(format!("{}: {why}", row.at()));
            }
        }
    }

    /// The first column of the mapping that no row had.
    fn missing<'a>(&self, mapping: &'a Mapping) -> Option<&'a str> {
        let empty = self.tenants.is_empty() && self.bad_count == 0;
        mapping.columns().into_iter().find(|column| !empty && !self.columns.contains(*column))
    }

    /// Its tenants, if all rows are.
    ///
    /// # Errors
    /// [`SourceError::BadRows`] when one is not.
    pub fn tenants_of(self, name: &str) -> Result<Tenants, SourceError> {
        match self.bad.into_iter().next() {
            Some(first) => Err(SourceError::BadRows { name: name.to_owned(), first, count: self.bad_count }),
            None => Ok(self.tenants),
        }
    }
}

/// Reads all that a source lists.
///
/// # Errors
/// When it cannot be reached or read, a secret of it is not there, or a column that is named is not. Bad rows are in the
/// listing.
pub async fn read(config: &SourceConfig, env: Env<'_>) -> Result<Listing, SourceError> {
    rows(config, env).await.map_err(|trouble| trouble.of(&config.name)).and_then(|(listing, mapping)| {
        match listing.missing(&mapping) {
            Some(column) => Err(SourceError::UnknownColumn {
                name: config.name.clone(),
                column: column.to_owned(),
                there: listing.columns.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            }),
            None => Ok(listing),
        }
    })
}

async fn rows(config: &SourceConfig, env: Env<'_>) -> Result<(Listing, Mapping), Trouble> {
    let mut mapping = Mapping::new(config, env)?;
    let mut listing = Listing::default();
    match &config.kind {
        SourceKind::Sql { url, query } => {
            let base = mapping.based_on(&url.resolve(env)?, config)?;
            in_time(config.timeout, sql::rows(&base, query, |row| listing.take(&mapping, &row))).await?;
        }
        SourceKind::Server { url, list, pattern, exclude } => {
            let base = mapping.based_on(&url.resolve(env)?, config)?;
            let names = discovery::Names::new(&config.table(), pattern, exclude)?;
            let each = |row| listing.take(&mapping, &row);
            in_time(config.timeout, discovery::server(&base, *list, &names, each)).await?;
        }
        SourceKind::Directory { path, pattern, exclude } => {
            mapping.of_files();
            let names = discovery::Names::new(&config.table(), pattern, exclude)?;
            discovery::directory(path, &names, |row| listing.take(&mapping, &row))?;
        }
        SourceKind::File { path, format } => {
            file::read(path, *format, |row| listing.take(&mapping, &row)).map_err(Trouble::Wrong)?;
        }
        SourceKind::Http { endpoint, headers, items, next } => {
            let pages =
                http::Pages::new(config, env, endpoint, headers)?.at(items.as_deref(), next.as_deref());
            pages.rows(|row| listing.take(&mapping, &row)).await?;
        }
    }
    Ok((listing, mapping))
}

async fn in_time(limit: Duration, reading: impl Future<Output = Result<(), Trouble>>) -> Result<(), Trouble> {
    let late = || Trouble::Away(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(late()))
}
