//! A source's own URL, and the URLs of tenants on its server. Pure; shows no secret.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{
    place::{DatabaseUrl, Engine, UrlError},
    secret::redact,
};

/// What stands for itself in any part of a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parts of a tenant's URL that a row gives.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) database: Option<&'a str>,
}

impl Parts<'_> {
    pub(super) fn are_none(&self) -> bool {
        let network = self.host.or(self.port).or(self.user).or(self.password);
        network.or(self.database).is_none()
    }
}

/// The database or server of a source. Unlike a tenant's URL it may name no database.
#[derive(Clone, Debug)]
pub(super) struct Address {
    engine: Engine,
    text: SecretString,
}

impl Address {
    /// Reads a URL. A relative SQLite path is taken from `base`.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Malformed)?;
        let engine: Engine = scheme.parse()?;
        let canonical = match engine {
            Engine::Sqlite => DatabaseUrl::parse(text, base)?.expose().to_owned(),
            Engine::Postgres | Engine::MySql => {
                let scheme = if engine == Engine::Postgres { "postgres" } else { "mysql" };
                let url = format!("{scheme}:{rest}");
                Url::parse(&url).map_err(|_| UrlError::Malformed)?;
                url
            }
        };
        Ok(Self { engine, text: canonical.into() })
    }

    /// The address of SQLite files, each named by its whole path.
    pub(super) fn of_files() -> Self {
        Self { engine: Engine::Sqlite, text: "sqlite:///".into() }
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// The URL itself, for the driver.
    pub(super) fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// A text without the password in it.
    pub(super) fn redacted(&self, text: &str) -> String {
        let Ok(url) = Url::parse(self.expose()) else { return text.to_owned() };
        let decoded = url.password().map(|raw| percent_decode_str(raw).decode_utf8_lossy().into_owned());
        let query =
            url.query_pairs().find(|(name, _)| name == "password").map(|(_, value)| value.into_owned());
        [decoded, query].iter().fold(text.to_owned(), |text, password| redact(&text, password.as_deref()))
    }

    /// The URL of a tenant: what is not given is as it is here.
    ///
    /// # Errors
    /// The part that cannot be in a URL, and never its value.
    pub(super) fn with(&self, parts: &Parts<'_>) -> Result<String, String> {
        match self.engine {
            Engine::Sqlite => {
                let directory = self.directory();
                let path = directory.join(parts.database.unwrap_or_default());
                Ok(format!("sqlite://{}", sqlite_encoded(&path.display().to_string())))
            }
            Engine::Postgres | Engine::MySql => self.network(parts).map_err(str::to_owned),
        }
    }

    fn directory(&self) -> PathBuf {
        let url = self.expose();
        let path = url.strip_prefix("sqlite://").unwrap_or(url);
        let path = Path::new(path.split('?').next().unwrap_or_default());
        path.parent().unwrap_or(Path::new("/")).to_path_buf()
    }

    fn network(&self, parts: &Parts<'_>) -> Result<String, &'static str> {
        let mut url = Url::parse(self.expose()).map_err(|_| "the source's URL cannot be read")?;
        if let Some(host) = parts.host {
            let host =
                if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.into() };
            drop_options(&mut url, &["host", "hostaddr", "socket"]);
            url.set_host(Some(&host)).map_err(|_| "its host is not a host's name or address")?;
        }
        if let Some(port) = parts.port {
            drop_options(&mut url, &["port"]);
            let port = port.parse().map_err(|_| "its port is not a port's number")?;
            url.set_port(Some(port)).map_err(|()| "its port needs a host")?;
        }
        if let Some(user) = parts.user {
            drop_options(&mut url, &["user"]);
            url.set_username(user).map_err(|()| "its user needs a host")?;
        }
        if let Some(password) = parts.password {
            drop_options(&mut url, &["password"]);
            url.set_password(Some(&encoded(password))).map_err(|()| "its password needs a host")?;
        }
        if let Some(database) = parts.database {
            drop_options(&mut url, &["dbname"]);
            url.set_path(&format!("/{}", encoded(database)));
        }
        Ok(url.into())
    }
}

/// Takes options out of a URL that would win over the same thing in front of them.
fn drop_options(url: &mut Url, names: &[&str]) {
    let all: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let kept: Vec<_> = all.iter().filter(|(name, _)| !names.contains(&name.as_str())).collect();
    if kept.len() == all.len() {
        return;
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
}

/// A value as it stands in any part of a URL.
pub(super) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, PLAIN).to_string()
}

/// A path as it stands in an SQLite URL.
pub(super) fn sqlite_encoded(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(base: &str, parts: &Parts<'_>) -> Result<String, String> {
        Address::parse(base, Path::new("/base")).unwrap().with(parts)
    }

    #[test]
    fn what_a_row_does_not_give_is_as_in_the_sources_url() {
        let base = "mariadb://app:s3cret@db1:3307/central?ssl-mode=required";
        let database = Parts { database: Some("acme"), ..Parts::default() };
        assert_eq!(with(base, &database).unwrap(), "mysql://app:s3cret@db1:3307/acme?ssl-mode=required");
        let all = Parts {
            host: Some("::1"),
            port: Some("3308"),
            user: Some("a@b"),
            password: Some("p/?@%"),
            database: Some("a b"),
        };
        let url = with(base, &all).unwrap();
        assert_eq!(url, "mysql://a%40b:p%2F%3F%40%25@[::1]:3308/a%20b?ssl-mode=required");
        let read = DatabaseUrl::parse(&url, Path::new("/")).unwrap();
        assert_eq!(
            (read.password().as_deref(), read.place(None).unwrap().database.as_str()),
            (Some("p/?@%"), "a b")
        );
    }

    #[test]
    fn an_option_of_the_source_does_not_win_over_a_row() {
        let base = "postgres://app@db1/central?dbname=central&password=old&sslmode=require";
        let parts = Parts { database: Some("acme"), password: Some("new"), ..Parts::default() };
        assert_eq!(with(base, &parts).unwrap(), "postgres://app:new@db1/acme?sslmode=require");
    }

    #[test]
    fn a_file_is_taken_from_the_directory_of_the_source() {
        let parts = |database| Parts { database: Some(database), ..Parts::default() };
        assert_eq!(with("sqlite:data/central.db", &parts("a%.db")).unwrap(), "sqlite:///base/data/a%25.db");
        assert_eq!(with("sqlite:central.db", &parts("/srv/a.db")).unwrap(), "sqlite:///srv/a.db");
    }

    #[test]
    fn what_cannot_be_in_a_url_is_named_without_its_value() {
        for parts in [
            Parts { host: Some("a b"), ..Parts::default() },
            Parts { port: Some("many"), ..Parts::default() },
        ] {
            let error = with("mysql://app@db1/central", &parts).unwrap_err();
            assert!(error.starts_with("its ") && !error.contains("many"), "{error}");
        }
    }

    #[test]
    fn a_password_is_taken_out_wherever_it_stands_in_the_url() {
        for url in ["postgres://app:p%40ss@h/d", "postgres://app@h/d?password=p%40ss"] {
            let address = Address::parse(url, Path::new("/")).unwrap();
            assert_eq!(address.redacted("no p@ss and no p%40ss"), "no *** and no ***");
            assert!(!format!("{address:?}").contains("ss@"));
        }
    }
}
