//! A tenant as the registry knows it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{id::TenantId, place::Place, version::Version};

/// The name people use for a tenant: 1 to 128 letters, digits, `.`, `_` or `-`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Slug(String);

/// Longest slug, in bytes.
pub const MAX_SLUG_BYTES: usize = 128;

/// Why a text is no slug.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{0}' is not a tenant id (1 to {MAX_SLUG_BYTES} letters, digits, '.', '_' or '-', the first a letter or digit)"
)]
pub struct SlugError(String);

impl Slug {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, SlugError> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if first && rest && text.len() <= MAX_SLUG_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(SlugError(text.to_owned()))
        }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether runs take a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Runs take it.
    Active,
    /// Kept, and left out of runs for now.
    Suspended,
    /// Kept for the record only.
    Archived,
}

impl Status {
    /// The name in the registry and in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Archived => "archived",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            "archived" => Ok(Self::Archived),
            _ => Err(format!("'{text}' is not a status (active, suspended or archived)")),
        }
    }
}

/// Which databases something is for, or one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The tenants' databases.
    #[default]
    Tenants,
    /// The one central database.
    Central,
}

/// Labels of a tenant, by key.
pub type Labels = BTreeMap<String, String>;

/// Reads one `key=value` label.
///
/// # Errors
/// When there is no `=`, or the key is not made of letters, digits, `.`, `_`, `-` or `/`.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if is_label_key(key) => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is not a label (expected key=value)")),
    }
}

/// Whether a text can be a label's key.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

/// A tenant as the registry lists it: no secret in it.
#[derive(Clone, Debug, Serialize)]
pub struct Tenant {
    /// Its identity.
    #[serde(skip)]
    pub id: TenantId,
    /// Its name.
    #[serde(rename = "tenant")]
    pub slug: Slug,
    /// Whether runs take it.
    pub status: Status,
    /// Where it lives.
    #[serde(flatten)]
    pub place: Place,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is a tenant, or the central database.
    #[serde(skip)]
    pub scope: Scope,
    /// The version last proven by reading its history, and when that was (milliseconds since 1970).
    #[serde(skip)]
    pub version: Option<(Version, i64)>,
    /// The source that lists it; none: it was added by hand.
    pub source: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain_names() {
        for good in ["acme", "42", "acme.example-1_b", "A"] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "a b", "a/b", "é", &"x".repeat(129)] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_key_and_value() {
        assert_eq!(parse_label("plan=pro=1"), Ok(("plan".into(), "pro=1".into())));
        assert!(parse_label("plan").is_err());
        assert!(parse_label("=x").is_err());
    }
}
