//! `[central]` of the configuration: the central database. Its URL is looked up when a run needs it; workers do not.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{
    ConfigError, Env,
    setting::{Setting, Source},
};
use crate::place::{DatabaseUrl, Place};

/// The central database as the configuration names it.
#[derive(Clone, Debug)]
pub struct CentralConfig {
    url: Setting,
    schema: Option<String>,
    base: PathBuf,
}

impl CentralConfig {
    /// Its URL, and where that points. A relative SQLite path is taken from the configuration file's directory, which
    /// is taken from `working`.
    ///
    /// # Errors
    /// When the variable or the file that holds it is not there, or it is no URL of a database.
    pub fn resolve(&self, env: Env<'_>, working: &Path) -> Result<(DatabaseUrl, Place), ConfigError> {
        let text = self.url.resolve(env)?;
        let url = DatabaseUrl::parse(text.expose_secret(), &working.join(&self.base));
        let url = url.map_err(ConfigError::Central)?;
        let place = url.place(self.schema.as_deref()).map_err(ConfigError::Central)?;
        Ok((url, place))
    }
}

/// The same as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawCentral {
    url: Source,
    schema: Option<String>,
}

impl RawCentral {
    pub(super) fn merged(self, base: &Path) -> CentralConfig {
        let url = Setting { name: "central.url", base: base.to_path_buf(), source: self.url };
        CentralConfig { url, schema: self.schema, base: base.to_path_buf() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    fn load(central: &str) -> CentralConfig {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tenantry.toml");
        let sets = "[sets.a]\nmigrations = 'a'\n[sets.c]\nmigrations = 'c'\nfor = 'central'\n";
        std::fs::write(&path, format!("{sets}[central]\n{central}\n")).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Config::load(&flags, &|_| None).unwrap().central.unwrap()
    }

    #[test]
    fn the_central_database_is_looked_up_when_it_is_needed() {
        let central = load("url = { env = 'CENTRAL_DATABASE_URL' }\nschema = 'plans'");
        let unset = central.resolve(&|_| None, Path::new("/w")).unwrap_err().to_string();
        assert_eq!(unset, "the variable CENTRAL_DATABASE_URL is not set, and central.url is taken from it");
        let url = |_: &str| Some("postgres://u:s3cret@h/plans".to_owned());
        let (_, place) = central.resolve(&url, Path::new("/w")).unwrap();
        assert_eq!((place.database.as_str(), place.schema.as_deref()), ("plans", Some("plans")));
        let mysql = |_: &str| Some("mysql://u:s3cret@h/plans".to_owned());
        let elsewhere = central.resolve(&mysql, Path::new("/w")).unwrap_err().to_string();
        assert!(elsewhere.contains("schema") && !elsewhere.contains("s3cret"), "{elsewhere}");
        assert!(!format!("{:?}", load("url = 'postgres://u:s3cret@h/d'")).contains("s3cret"));
    }
}
