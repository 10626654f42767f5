//! What a migration is called: a number, a date and time, a dotted version or a whole file name, as its tool has it.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of a migration in its history. Its order is the one people read: runs of digits count as numbers.
///
/// The order of a bundle's migrations is the format's, not this one. This one serves where only a history is at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<i64> for Version {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for Version {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let ((left, a_rest), (right, b_rest)) = match (part(a), part(b)) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(left), Some(right)) => (left, right),
        };
        let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(left) && digits(right) { by_number(left, right) } else { left.cmp(right) };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

/// The digits, or what is no digit, at the beginning, and the rest.
fn part(text: &str) -> Option<(&str, &str)> {
    let digit = text.chars().next()?.is_ascii_digit();
    Some(text.split_at(text.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(text.len())))
}

/// Numbers of any length.
fn by_number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_count_as_numbers() {
        let mut versions: Vec<Version> =
            ["10", "9", "1.10", "1.9", "1", "V4_101", "V4_9_2"].map(Version::from).into();
        versions.sort();
        let sorted: Vec<&str> = versions.iter().map(Version::as_str).collect();
        assert_eq!(sorted, ["1", "1.9", "1.10", "9", "10", "V4_9_2", "V4_101"]);
    }

    proptest! {
        #[test]
        fn whole_numbers_have_their_own_order(a in 0_i64.., b in 0_i64..) {
            prop_assert_eq!(Version::from(a).cmp(&Version::from(b)), a.cmp(&b));
        }

        #[test]
        fn only_the_same_text_is_equal(a in "[a0-9._]{0,8}", b in "[a0-9._]{0,8}") {
            let (x, y) = (Version::from(a.as_str()), Version::from(b.as_str()));
            prop_assert_eq!(x.cmp(&y) == Ordering::Equal, a == b);
            prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        }
    }
}
