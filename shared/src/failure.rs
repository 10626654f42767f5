//! A failure of one attempt, and what to do about it. Decided where the cause is known, carried as a value.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{digest::hex, plan::Refusal, version::Version};

/// What kind of trouble it was, and so what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// It may heal by itself: the target is tried again, up to `max_attempts`.
    Transient,
    /// It will not heal by itself: the target fails at once.
    Permanent,
    /// The tenant is not to blame (shutdown, lost worker): tried again, and not counted as an attempt.
    Interrupted,
}

impl Class {
    /// The name in the ledger and in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why an attempt did not succeed. Holds no secret: the engines take passwords out before they make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// What to do about it.
    pub class: Class,
    /// The database's error code, or one of our own words (`checksum`, `connect`, …).
    pub code: String,
    /// One line for a person.
    pub message: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
    /// The migration that was running or refused.
    pub version: Option<Version>,
    /// Which of that migration's statements, counted from 1.
    pub statement: Option<u32>,
    /// The line in that migration's file, counted from 1, where the database tells it.
    pub line: Option<u32>,
    /// Whether it was refused before anything was changed.
    pub refused: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Failure {
    /// A failure outside any migration. A message of several lines becomes one.
    pub fn new(class: Class, code: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into().trim().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Self {
            class,
            code: code.into(),
            message,
            hint: None,
            version: None,
            statement: None,
            line: None,
            refused: false,
        }
    }

    /// The same failure with a way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure while this migration ran.
    #[must_use]
    pub fn in_migration(mut self, version: impl Into<Version>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Groups failures of one cause over many tenants: migration, statement, code and the message without its values.
    /// Eight hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let key = format!(
            "{:?}|{:?}|{}|{}",
            self.version.as_ref().map(Version::as_str),
            self.statement,
            self.code,
            without_values(&self.message)
        );
        hex(&Sha256::digest(key.as_bytes())[..4])
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Self::new(Class::Permanent, refusal.code(), refusal.to_string());
        Self { version: Some(refusal.version().clone()), refused: true, ..failure.with_hint(refusal.hint()) }
    }
}

/// A message with quoted text and numbers blanked: what two tenants' messages of one cause have in common.
fn without_values(message: &str) -> String {
    let (mut out, mut quoted, mut number) = (String::with_capacity(message.len()), None, false);
    for c in message.chars() {
        match (quoted, c) {
            (Some(open), c) if c == open => quoted = None,
            (Some(_), _) => continue,
            (None, '\'' | '`') => quoted = Some(c),
            (None, c) if c.is_ascii_digit() => {
                if !std::mem::replace(&mut number, true) {
                    out.push('0');
                }
                continue;
            }
            (None, c) => {
                number = false;
                out.push(c);
                continue;
            }
        }
        number = false;
        out.push('\'');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Failure {
        Failure::new(Class::Permanent, "1062", message).in_migration(3)
    }

    #[test]
    fn one_cause_in_many_tenants_has_one_fingerprint() {
        let a = failure("Duplicate entry 'ann@example.com' for key 'users.email' at row 17");
        let b = failure("Duplicate entry 'bob@example.com' for key 'users.email' at row 2");
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.fingerprint().len(), 8);
    }

    #[test]
    fn other_causes_have_other_fingerprints() {
        let a = failure("duplicate key value violates unique constraint \"users_email_key\"");
        assert_ne!(a.fingerprint(), failure("column \"x\" does not exist").fingerprint());
        assert_ne!(a.fingerprint(), a.clone().in_migration(4).fingerprint());
    }

    #[test]
    fn a_refusal_is_a_permanent_failure_that_changed_nothing() {
        let failure = Failure::from(Refusal::Missing { version: 7.into() });
        assert!(failure.refused && failure.class == Class::Permanent && failure.hint.is_some());
        assert_eq!((failure.code.as_str(), failure.version), ("missing", Some(7.into())));
    }
}
