//! Digests: what bytes are known by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// SHA-256 over the names and contents of a bundle's files, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of named contents, whatever order they come in. Lengths are hashed too, so that no two different
    /// sets of files feed the same bytes.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sorted: Vec<(&str, &str)> = files.into_iter().collect();
        sorted.sort_unstable();
        let mut hash = Sha256::new();
        for (name, content) in sorted {
            for part in [name.as_bytes(), content.as_bytes()] {
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
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_names_and_bytes_and_not_on_order() {
        let a = Digest::of([("1_a.sql", "x"), ("2_b.sql", "y")]);
        assert_eq!(a, Digest::of([("2_b.sql", "y"), ("1_a.sql", "x")]));
        assert_ne!(a, Digest::of([("1_a.sql", "x"), ("2_b.sql", "z")]));
        assert_ne!(a, Digest::of([("1_a.sqlx", ""), ("2_b.sql", "y")]));
    }
}
