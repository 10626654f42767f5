//! Bundles: from a directory into the registry, and from there to every worker.

use std::path::Path;

use super::{Registry, RegistryError};
use crate::{
    bundle::{Bundle, Digest, SetFiles},
    config::SetConfig,
    format::File,
    store::Row,
};

/// Directories of what others wrote, or of what was built.
const PACKAGES: [&str; 4] = ["__pycache__", "node_modules", "target", "vendor"];

/// Reads the migrations of a directory as a bundle of one set.
///
/// # Errors
/// When the directory cannot be read, a migration is not UTF-8, or they are not valid together.
pub fn read_directory(path: &Path) -> Result<Bundle, RegistryError> {
    let path_shown = path.display().to_string();
    Bundle::new(read_files(path)?).map_err(|source| RegistryError::Format { path: path_shown, source })
}

/// Reads the migrations of all configured sets as one bundle.
///
/// # Errors
/// When a directory cannot be read, a migration is not UTF-8, or they are not valid together. Where there is one set
/// without a name, the error names its directory; elsewhere, the set and its line in the configuration file.
pub fn read_sets(sets: &[SetConfig]) -> Result<Bundle, RegistryError> {
    let given = sets.iter().map(|set| read_set(set).map_err(|source| in_set(set, source)));
    Bundle::of_sets(given.collect::<Result<_, _>>()?).map_err(|source| match sets {
        [SetConfig { line: None, directories, .. }] => {
            let path = directories.first().map(|path| path.display().to_string());
            RegistryError::Format { path: path.unwrap_or_default(), source }
        }
        _ => RegistryError::Sets(source),
    })
}

fn read_set(set: &SetConfig) -> Result<SetFiles, RegistryError> {
    let mut files = Vec::new();
    for directory in &set.directories {
        files.extend(read_files(directory)?);
    }
    Ok(SetFiles { spec: set.spec.clone(), files })
}

fn in_set(set: &SetConfig, source: RegistryError) -> RegistryError {
    match set.line {
        None => source,
        Some(line) => RegistryError::Set {
            set: format!("{} (line {line} of the configuration)", set.spec.name),
            source: source.into(),
        },
    }
}

/// Reads the files of a directory and of those below it, but for hidden ones and installed packages.
///
/// # Errors
/// When it cannot be read, or an SQL file is not UTF-8.
pub fn read_files(path: &Path) -> Result<Vec<File>, RegistryError> {
    let mut files = Vec::new();
    read_below(path, "", &mut files)?;
    files.sort_by(|a: &File, b: &File| a.name.cmp(&b.name));
    Ok(files)
}

fn read_below(path: &Path, prefix: &str, files: &mut Vec<File>) -> Result<(), RegistryError> {
    let unreadable = |reason: String| RegistryError::Directory { path: path.display().to_string(), reason };
    for entry in std::fs::read_dir(path).map_err(|e| unreadable(e.to_string()))? {
        let entry = entry.map_err(|e| unreadable(e.to_string()))?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let name = format!("{prefix}{own}");
        if entry.path().is_dir() {
            if !own.starts_with('.') && !PACKAGES.contains(&own.as_str()) {
                read_below(&entry.path(), &format!("{name}/"), files)?;
            }
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(|e| unreadable(format!("{own}: {e}")))?;
        match String::from_utf8(bytes) {
            Ok(content) => files.push(File { name, content }),
            Err(_) if name.ends_with(".sql") => {
                return Err(RegistryError::Text(entry.path().display().to_string()));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

impl Registry {
    /// Stores a bundle by its digest. One that is there already is left as it is.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn put_bundle(&self, bundle: &Bundle) -> Result<(), RegistryError> {
        let known = self.store.query("SELECT digest FROM bundles WHERE digest = $1");
        if known.bind(bundle.digest().as_str()).fetch_optional(self.store.pool()).await?.is_some() {
            return Ok(()); // nobody waits for a lock
        }
        let mut tx = self.store.begin().await?;
        let insert = self.store.query("INSERT INTO bundles (digest, created_at) VALUES ($1, {now})");
        if insert.bind(bundle.digest().as_str()).insert(&mut *tx).await? {
            for file in bundle.files() {
                self.store
                    .query("INSERT INTO bundle_files (digest, name, content) VALUES ($1, $2, $3)")
                    .bind(bundle.digest().as_str().to_owned())
                    .bind(file.name.clone())
                    .bind(file.content.clone())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Fetches a bundle and proves that it is the one the digest names.
    ///
    /// # Errors
    /// When it is not there, is damaged, or the registry cannot be reached.
    pub async fn bundle(&self, digest: &Digest) -> Result<Bundle, RegistryError> {
        let rows = self
            .store
            .query("SELECT name, content FROM bundle_files WHERE digest = $1")
            .bind(digest.as_str().to_owned())
            .fetch_all(self.store.pool())
            .await?;
        let file = |row: &Row| Ok(File { name: row.try_get(0)?, content: row.try_get(1)? });
        let files = rows.iter().map(file).collect::<Result<Vec<_>, sqlx::Error>>()?;
        match Bundle::stored(files) {
            Ok(bundle) if bundle.digest() == digest => Ok(bundle),
            _ => Err(RegistryError::Bundle(digest.to_string())),
        }
    }
}
