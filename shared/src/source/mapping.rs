//! From a row of named values to a tenant. Pure, but for the secrets that are looked up once, before the first row.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr as _};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Trouble,
    address::{Address, Parts, encoded, sqlite_encoded},
    listed::Listed,
    row::Row,
    template::Template,
};
use crate::{
    config::{Columns, ConfigError, Env, SourceConfig},
    place::{DatabaseUrl, Engine},
    tenant::{Slug, Status, is_label_key},
};

/// What says which value of a row is what.
pub(super) struct Mapping {
    columns: Columns,
    template: Option<Template>,
    /// Whether the template makes SQLite's URLs, which are encoded in another way.
    files: bool,
    secrets: BTreeMap<String, SecretString>,
    active: Option<Vec<String>>,
    base: Option<Address>,
    directory: PathBuf,
}

impl Mapping {
    /// The mapping of a source, with the secrets that it names.
    pub(super) fn new(config: &SourceConfig, env: Env<'_>) -> Result<Self, Trouble> {
        let wrong = |reason: String| ConfigError::Source { table: config.table(), reason };
        let template = config.tenant_url.as_deref().map(Template::parse).transpose();
        let template = template.map_err(|why| wrong(format!("tenant-url: {why}")))?;
        let engine =
            match config.tenant_url.as_deref().map(|text| text.split(':').next().unwrap_or_default()) {
                Some(scheme) => {
                    let engine = Engine::from_str(scheme);
                    Some(engine.map_err(|_| {
                        wrong("tenant-url must begin with postgres:, mysql: or sqlite:".into())
                    })?)
                }
                None => None,
            };
        if let Some(key) = explicit_parts(&config.columns).filter(|_| template.is_some()) {
            return Err(
                wrong(format!("tenant-url and columns.{key} are given: one of them makes the URL")).into()
            );
        }
        let secrets = config.secrets.iter().map(|(name, s)| Ok((name.clone(), s.resolve(env)?)));
        Ok(Self {
            columns: config.columns.clone(),
            template,
            files: engine == Some(Engine::Sqlite),
            secrets: secrets.collect::<Result<_, ConfigError>>()?,
            active: config.active_values.clone(),
            base: None,
            directory: absolute(config),
        })
    }

    /// From now on, what a row does not give is as in this URL of the source.
    pub(super) fn based_on(&mut self, url: &SecretString, config: &SourceConfig) -> Result<Address, Trouble> {
        let address = Address::parse(url.expose_secret(), &self.directory).map_err(|error| {
            ConfigError::Source { table: config.table(), reason: format!("url: {error}") }
        })?;
        self.base = Some(address.clone());
        Ok(address)
    }

    /// From now on, a database is an SQLite file.
    pub(super) fn of_files(&mut self) {
        self.base = Some(Address::of_files());
    }

    /// The columns that rows must have: those that the configuration names, and the id's.
    pub(super) fn columns(&self) -> Vec<&str> {
        let c = &self.columns;
        let named = [&c.url, &c.host, &c.port, &c.user, &c.password, &c.database, &c.schema, &c.status];
        let named = named.into_iter().flatten().map(String::as_str);
        let in_template =
            self.template.iter().flat_map(Template::names).filter(|name| !self.secrets.contains_key(*name));
        let labels = c.labels.values().map(String::as_str);
        std::iter::once(column(c.id.as_ref(), "id")).chain(named).chain(labels).chain(in_template).collect()
    }

    /// The tenant of a row.
    ///
    /// # Errors
    /// What is wrong with it; of its values only the id and the status are repeated.
    pub(super) fn tenant(&self, row: &Row) -> Result<Listed, String> {
        let c = &self.columns;
        let id = column(c.id.as_ref(), "id");
        let slug = row.get(id).ok_or_else(|| format!("it has no id (column '{id}' is empty)"))?;
        let slug = Slug::from_str(slug).map_err(|e| e.to_string())?;
        let of_tenant = |why: String| format!("tenant '{slug}': {why}");
        let schema = row.get(column(c.schema.as_ref(), "schema"));
        let text = self.url(row, schema).map_err(of_tenant)?;
        let url = DatabaseUrl::parse(&text, &self.directory).map_err(|e| of_tenant(e.to_string()))?;
        let place = url.place(schema).map_err(|e| of_tenant(e.to_string()))?;
        let status = self.status(row).map_err(of_tenant)?;
        let labels = self.labels(row).map_err(of_tenant)?;
        Ok(Listed { slug, url, place, status, labels })
    }

    fn url(&self, row: &Row, schema: Option<&str>) -> Result<String, String> {
        let c = &self.columns;
        if let Some(template) = &self.template {
            return self.filled(template, row);
        }
        if let Some(url) = row.get(column(c.url.as_ref(), "url")) {
            return Ok(url.to_owned());
        }
        let named = |column: &Option<String>| column.as_deref().and_then(|name| row.get(name));
        let parts = Parts {
            host: named(&c.host),
            port: named(&c.port),
            user: named(&c.user),
            password: named(&c.password),
            database: row.get(column(c.database.as_ref(), "database")),
        };
        let Some(base) = &self.base else {
            return Err("it has no URL (map the column with columns.url, or give tenant-url)".into());
        };
        let by_schema = schema.is_some() && base.engine() == Engine::Postgres;
        if parts.are_none() && !by_schema {
            return Err(
                "nothing says where it is (map columns.database, schema or url, or give tenant-url)".into()
            );
        }
        base.with(&parts)
    }

    fn filled(&self, template: &Template, row: &Row) -> Result<String, String> {
        let encode = if self.files { sqlite_encoded } else { encoded };
        let value = |name: &str| match self.secrets.get(name) {
            Some(secret) => Some(encode(secret.expose_secret())),
            None => row.get(name).map(encode),
        };
        template.fill(value).map_err(|name| format!("column '{name}', which tenant-url needs, is empty"))
    }

    fn status(&self, row: &Row) -> Result<Status, String> {
        let value = row.get(column(self.columns.status.as_ref(), "status"));
        match (&self.active, value) {
            (Some(active), value) => {
                let is_active = active.iter().any(|wanted| value.unwrap_or_default() == wanted);
                Ok(if is_active { Status::Active } else { Status::Suspended })
            }
            (None, None) => Ok(Status::Active),
            (None, Some(value)) => Status::from_str(value)
                .map_err(|why| format!("{why}; active-values says which values mean active")),
        }
    }

    fn labels(&self, row: &Row) -> Result<BTreeMap<String, Option<String>>, String> {
        let value = |column: &str| row.get(column).map(str::to_owned);
        let mut labels: BTreeMap<_, _> =
            self.columns.labels.iter().map(|(name, column)| (name.clone(), value(column))).collect();
        for column in row.names() {
            let own = column.strip_prefix("label.").or_else(|| column.strip_prefix("labels."));
            if let Some(name) = own {
                if !is_label_key(name) {
                    return Err(format!("'{name}' is not a label's name"));
                }
                labels.entry(name.to_owned()).or_insert_with(|| value(column));
            }
        }
        Ok(labels)
    }
}

/// The column that is named, or the one of the usual name.
fn column<'a>(named: Option<&'a String>, otherwise: &'a str) -> &'a str {
    named.map_or(otherwise, String::as_str)
}

/// The first part of a URL that the configuration maps.
fn explicit_parts(c: &Columns) -> Option<&'static str> {
    let parts = [
        ("url", &c.url),
        ("host", &c.host),
        ("port", &c.port),
        ("user", &c.user),
        ("password", &c.password),
        ("database", &c.database),
    ];
    parts.into_iter().find(|(_, column)| column.is_some()).map(|(key, _)| key)
}

/// The configuration's directory, as workers elsewhere on this machine find it.
fn absolute(config: &SourceConfig) -> PathBuf {
    std::path::absolute(&config.base)
        .or_else(|_| std::env::current_dir())
        .unwrap_or_else(|_| config.base.clone())
}

#[cfg(test)]
mod tests;
