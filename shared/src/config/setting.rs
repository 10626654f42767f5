//! Values that may be secrets: written down, or in a variable or a file that is named instead.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, Env};

/// A value written down, or where to find it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Source {
    Text(String),
    Env { env: String },
    File { file: PathBuf },
}

impl Source {
    pub(super) fn resolve(
        self,
        setting: &'static str,
        base: &Path,
        env: Env<'_>,
    ) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Env { env: name } => env(&name).ok_or(ConfigError::Unset { name, setting }),
            Self::File { file } => read_secret(&base.join(file)),
        }
    }
}

/// A value of the configuration that may be a secret, looked up when it is needed.
#[derive(Clone)]
pub struct Setting {
    pub(super) name: &'static str,
    pub(super) base: PathBuf,
    pub(super) source: Source,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({})", self.name)
    }
}

impl Setting {
    /// Its value.
    ///
    /// # Errors
    /// When the variable is not set, or the file cannot be read.
    pub fn resolve(&self, env: Env<'_>) -> Result<SecretString, ConfigError> {
        self.source.clone().resolve(self.name, &self.base, env).map(Into::into)
    }

    /// The value where it is written down in the file itself.
    #[must_use]
    pub fn written(&self) -> Option<&str> {
        match &self.source {
            Source::Text(text) => Some(text),
            Source::Env { .. } | Source::File { .. } => None,
        }
    }
}

/// The first of these variables that is set, or the content of the file that `<name>_FILE` names.
pub(super) fn of_environment(env: Env<'_>, names: &[&str]) -> Result<Option<String>, ConfigError> {
    for name in names {
        if let Some(text) = env(name) {
            return Ok(Some(text));
        }
        if let Some(path) = env(&format!("{name}_FILE")) {
            return read_secret(Path::new(&path)).map(Some);
        }
    }
    Ok(None)
}

/// What is in a file that holds a secret and nothing else.
pub(super) fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })?;
    Ok(text.trim().to_owned())
}
