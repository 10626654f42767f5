//! A bundle: an ordered, immutable set of migrations, named by the digest of its files, so that every worker
//! on every machine applies the same bytes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::format::{File, FormatError, Migration, sqlx};

/// SHA-256 over the names and contents of a bundle's files, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of files, whatever order they come in. Lengths are hashed too, so that no two different
    /// sets of files feed the same bytes.
    #[must_use]
    pub fn of(files: &[File]) -> Self {
        let mut sorted: Vec<&File> = files.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for file in sorted {
            for part in [file.name.as_bytes(), file.content.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Self(hex(&hash.finalize()))
    }

    /// The whole of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An ordered set of migrations. It holds at least one.
#[derive(Clone, Debug)]
pub struct Bundle {
    digest: Digest,
    files: Vec<File>,
    migrations: Vec<Migration>,
}

impl Bundle {
    /// Reads files into a bundle. Files that are no migrations are not part of it.
    ///
    /// # Errors
    /// As [`sqlx::parse`].
    pub fn new(files: Vec<File>) -> Result<Self, FormatError> {
        let migrations = sqlx::parse(&files)?;
        let files: Vec<File> = files.into_iter().filter(|f| sqlx::version_of(&f.name).is_some()).collect();
        Ok(Self { digest: Digest::of(&files), files, migrations })
    }

    /// Its name.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The files it was made of.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Its migrations, by ascending version.
    #[must_use]
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// The migration of a version.
    #[must_use]
    pub fn get(&self, version: i64) -> Option<&Migration> {
        self.migrations.binary_search_by_key(&version, |m| m.version).ok().map(|at| &self.migrations[at])
    }

    /// Its newest migration.
    #[must_use]
    pub fn latest(&self) -> &Migration {
        &self.migrations[self.migrations.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect()
    }

    #[test]
    fn the_digest_depends_on_names_and_bytes_and_not_on_order() {
        let a = Digest::of(&files(&[("1_a.sql", "x"), ("2_b.sql", "y")]));
        assert_eq!(a, Digest::of(&files(&[("2_b.sql", "y"), ("1_a.sql", "x")])));
        assert_ne!(a, Digest::of(&files(&[("1_a.sql", "x"), ("2_b.sql", "z")])));
        assert_ne!(a, Digest::of(&files(&[("1_a.sqlx", ""), ("2_b.sql", "y")])));
    }

    #[test]
    fn a_readme_does_not_change_the_digest() {
        let plain = Bundle::new(files(&[("1_a.sql", "x")])).unwrap();
        let with = Bundle::new(files(&[("1_a.sql", "x"), ("README.md", "hello")])).unwrap();
        assert_eq!(plain.digest(), with.digest());
        assert_eq!((with.latest().version, with.get(1).is_some(), with.get(2).is_none()), (1, true, true));
    }
}
