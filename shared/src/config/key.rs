//! Where the master key comes from: the environment, the configuration file, or a file beside the registry.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Config, ConfigError, Env,
    setting::{Source, read_secret},
};
use crate::{secret::MasterKey, store::sqlite_path};

const KEY: [&str; 2] = ["TENANTRY_MASTER_KEY", "MASTER_ENCRYPTION_KEY"];

/// Where the master key is. It is read when somebody needs it.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    Text { origin: String, text: SecretString },
    File { path: PathBuf },
    Beside { path: PathBuf },
    None,
}

impl KeySource {
    /// What the environment says, or else the file; a file beside an SQLite registry where neither says anything.
    pub(super) fn find(
        raw: Option<Source>,
        base: &Path,
        registry_url: &str,
        env: Env<'_>,
    ) -> Result<Self, ConfigError> {
        for name in KEY {
            if let Some(text) = env(name) {
                return Ok(Self::Text { origin: name.to_owned(), text: text.into() });
            }
            if let Some(path) = env(&format!("{name}_FILE")) {
                return Ok(Self::File { path: path.into() });
            }
        }
        match raw {
            Some(Source::File { file }) => Ok(Self::File { path: base.join(file) }),
            Some(source) => {
                let text = source.resolve("master-key", base, env)?.into();
                Ok(Self::Text { origin: "master-key".into(), text })
            }
            None => Ok(sqlite_path(registry_url)
                .map_or(Self::None, |path| Self::Beside { path: path.with_file_name("key") })),
        }
    }
}

impl Config {
    /// The master key.
    ///
    /// # Errors
    /// When there is none, or it is no key.
    pub fn master_key(&self) -> Result<MasterKey, ConfigError> {
        let (origin, text) = match &self.key {
            KeySource::Text { origin, text } => (origin.clone(), text.clone()),
            KeySource::File { path } => (path.display().to_string(), read_secret(path)?.into()),
            KeySource::Beside { path } if path.exists() => {
                (path.display().to_string(), read_secret(path)?.into())
            }
            KeySource::Beside { .. } | KeySource::None => return Err(ConfigError::NoKey),
        };
        MasterKey::parse(text.expose_secret()).map_err(|source| ConfigError::Key { origin, source })
    }

    /// Where a key file belongs that `registry init` may make: beside an SQLite registry, where no other key is configured.
    #[must_use]
    pub fn own_key_file(&self) -> Option<&Path> {
        match &self.key {
            KeySource::Beside { path } => Some(path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn a_missing_or_malformed_key_is_an_error_that_shows_no_key() {
        let postgres = Flags { registry_url: Some("postgres://h/d".into()), ..Flags::default() };
        assert!(matches!(Config::load(&postgres, &|_| None).unwrap().master_key(), Err(ConfigError::NoKey)));
        let env = |name: &str| (name == "MASTER_ENCRYPTION_KEY").then(|| "not-a-key".to_owned());
        let error = Config::load(&postgres, &env).unwrap().master_key().unwrap_err();
        assert!(
            error.to_string().starts_with("MASTER_ENCRYPTION_KEY:")
                && !error.to_string().contains("not-a-key")
        );
    }
}
