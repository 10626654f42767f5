//! Where a tenant lives: its engine, server, database and schema, read from its URL without the secret in it.

use std::{fmt, path::Path, str::FromStr};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::pooling::{self, Pooling};

/// The kind of a tenant's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL: a database or a schema per tenant.
    Postgres,
    /// MySQL or MariaDB: a database per tenant.
    MySql,
    /// SQLite: a file per tenant.
    Sqlite,
}

impl Engine {
    /// The name in the registry and in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "postgres" | "postgresql" | "pgsql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
            Self::Sqlite => 0,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Engine {
    type Err = UrlError;

    fn from_str(name: &str) -> Result<Self, UrlError> {
        Self::of_scheme(name).ok_or(UrlError::Scheme)
    }
}

/// Why a text is not a tenant's URL. The text itself is never repeated: it may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("not a database URL (expected postgres://…, mysql://… or sqlite:PATH)")]
    Malformed,
    /// A URL of something else.
    #[error("unknown database scheme (expected postgres, mysql, mariadb or sqlite)")]
    Scheme,
    /// No database or file is named.
    #[error("the URL names no database (expected …/DATABASE at its end, or sqlite:PATH)")]
    NoDatabase,
    /// An in-memory database is gone with its connection.
    #[error("an in-memory SQLite database cannot be migrated: give a file")]
    InMemory,
    /// Schemas are PostgreSQL's.
    #[error("a schema can be given for PostgreSQL only")]
    SchemaElsewhere,
    /// A pooler in a URL that hands out something else.
    #[error("the URL's pooling is neither session nor transaction")]
    Pooling,
    /// An empty schema, or one with a NUL byte.
    #[error("not a schema name")]
    SchemaName,
}

/// Where a tenant lives, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its engine.
    pub engine: Engine,
    /// `host:port`, or the directory of an SQLite file: what one physical server is known by.
    pub server: String,
    /// The database's name, or the SQLite file's path.
    pub database: String,
    /// The schema, where a tenant is one schema of a PostgreSQL database.
    pub schema: Option<String>,
}

/// A database URL, password and all. Shown nowhere: `Debug` says only that there is one.
#[derive(Clone, Debug)]
pub struct DatabaseUrl {
    secret: SecretString,
    engine: Engine,
}

impl DatabaseUrl {
    /// Reads a URL. A relative SQLite path is taken from `base`, so that a worker elsewhere finds the same file.
    ///
    /// # Errors
    /// When the text is no URL of a database that can be migrated.
    pub fn parse(text: &str, base: &Path) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Malformed)?;
        let engine = Engine::of_scheme(scheme).ok_or(UrlError::Scheme)?;
        let canonical = match engine {
            Engine::Sqlite => {
                let (path, query) = sqlite_parts(rest)?;
                let path = base.join(path);
                let query = query.map(|q| format!("?{q}")).unwrap_or_default();
                format!("sqlite://{}{query}", path.display())
            }
            Engine::Postgres => format!("postgres:{rest}"),
            Engine::MySql => format!("mysql:{rest}"),
        };
        let url = Self { secret: canonical.into(), engine };
        url.place(None)?;
        if engine == Engine::Postgres {
            pooling::declared(url.expose()).map_err(|_| UrlError::Pooling)?;
        }
        Ok(url)
    }

    /// One that was read and kept: what it says is known to be right.
    ///
    /// # Errors
    /// When the text is none.
    pub fn kept(text: &str) -> Result<Self, UrlError> {
        match text.split_once(':').map(|(scheme, _)| (scheme, Engine::of_scheme(scheme))) {
            Some(("postgres" | "mysql", Some(engine))) => Ok(Self { secret: text.into(), engine }),
            _ => Self::parse(text, Path::new("/")),
        }
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The URL itself, for the driver or the cipher that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// What it says of a pooler before a PostgreSQL server. None: nothing.
    #[must_use]
    pub fn pooling(&self) -> Option<Pooling> {
        pooling::declared(self.expose()).ok().flatten().filter(|_| self.engine == Engine::Postgres)
    }

    /// The password in it, decoded, so that it can be taken out of other people's messages.
    #[must_use]
    pub fn password(&self) -> Option<String> {
        let url = Url::parse(self.expose()).ok()?;
        let raw = url.password()?;
        percent_decode_str(raw).decode_utf8().ok().map(|p| p.into_owned())
    }

    /// Where it points, together with a PostgreSQL schema.
    ///
    /// # Errors
    /// When no database is named, or a schema is given where there are none.
    pub fn place(&self, schema: Option<&str>) -> Result<Place, UrlError> {
        if let Some(name) = schema {
            if self.engine != Engine::Postgres {
                return Err(UrlError::SchemaElsewhere);
            }
            if name.is_empty() || name.contains('\0') {
                return Err(UrlError::SchemaName);
            }
        }
        let (server, database) = match self.engine {
            Engine::Sqlite => self.sqlite_place()?,
            engine => self.network_place(engine)?,
        };
        Ok(Place { engine: self.engine, server, database, schema: schema.map(str::to_owned) })
    }

    fn sqlite_place(&self) -> Result<(String, String), UrlError> {
        let rest = self.expose().strip_prefix("sqlite:").ok_or(UrlError::Malformed)?;
        let (path, _) = sqlite_parts(rest)?;
        let parent = Path::new(&path).parent().map(|p| p.display().to_string()).unwrap_or_default();
        Ok((parent, path))
    }

    fn network_place(&self, engine: Engine) -> Result<(String, String), UrlError> {
        let url = Url::parse(self.expose()).map_err(|_| UrlError::Malformed)?;
        let query = |key: &str| url.query_pairs().find(|(k, _)| k == key).map(|(_, v)| v.into_owned());
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host.to_owned(),
            _ => query("host").or_else(|| query("socket")).unwrap_or_else(|| "localhost".into()),
        };
        let port = url.port().unwrap_or_else(|| engine.default_port());
        let database =
            percent_decode_str(url.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let database = if database.is_empty() { query("dbname").unwrap_or_default() } else { database };
        if database.is_empty() {
            return Err(UrlError::NoDatabase);
        }
        Ok((format!("{host}:{port}"), database))
    }
}

/// Splits `//path?query` or `path?query` of an SQLite URL.
fn sqlite_parts(rest: &str) -> Result<(String, Option<&str>), UrlError> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if path == ":memory:" || query.is_some_and(|q| q.contains("mode=memory")) {
        return Err(UrlError::InMemory);
    }
    if path.is_empty() {
        return Err(UrlError::NoDatabase);
    }
    Ok((path.to_owned(), query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, UrlError> {
        DatabaseUrl::parse(url, Path::new("/base"))?.place(None)
    }

    #[test]
    fn a_place_is_read_without_the_secret() {
        let place = place("postgresql://app:s3cret@db1.internal/acme?sslmode=require").unwrap();
        assert_eq!(
            (place.engine, place.server.as_str(), place.database.as_str()),
            (Engine::Postgres, "db1.internal:5432", "acme")
        );
        assert!(!format!("{place:?}").contains("s3cret"));
    }

    #[test]
    fn a_url_is_never_shown_by_debug() {
        let url = DatabaseUrl::parse("mariadb://app:s3cret@h/d", Path::new("/")).unwrap();
        assert!(!format!("{url:?}").contains("s3cret"));
        assert_eq!(url.password().as_deref(), Some("s3cret"));
        assert!(url.expose().starts_with("mysql://"));
    }

    #[test]
    fn an_encoded_password_is_decoded() {
        let url = DatabaseUrl::parse("postgres://app:p%40ss%2Fword@h/d", Path::new("/")).unwrap();
        assert_eq!(url.password().as_deref(), Some("p@ss/word"));
    }

    #[test]
    fn a_relative_file_is_taken_from_the_base() {
        assert_eq!(place("sqlite:tenants/a.db").unwrap().database, "/base/tenants/a.db");
        assert_eq!(place("sqlite://tenants/a.db").unwrap().server, "/base/tenants");
        assert_eq!(place("sqlite:///var/a.db").unwrap().database, "/var/a.db");
    }

    #[test]
    fn what_cannot_be_migrated_is_refused() {
        assert_eq!(place("acme"), Err(UrlError::Malformed));
        assert_eq!(place("http://example.com/x"), Err(UrlError::Scheme));
        assert_eq!(place("mysql://h:3306/"), Err(UrlError::NoDatabase));
        assert_eq!(place("sqlite::memory:"), Err(UrlError::InMemory));
        assert_eq!(place("postgres://h/d?pooling=statement"), Err(UrlError::Pooling));
        let sqlite = DatabaseUrl::parse("sqlite:a.db", Path::new("/")).unwrap();
        assert_eq!(sqlite.place(Some("s")), Err(UrlError::SchemaElsewhere));
    }
}
