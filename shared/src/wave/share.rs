//! A part of the tenants: a number, or a percentage.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Hundredths of a percent in the whole.
const WHOLE: u64 = 10_000;

/// So many tenants, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// So many.
    Count(u64),
    /// So many hundredths of a percent.
    Percent(u64),
}

impl Share {
    /// How many that is at least, of so many: 1 % of 250 are 3.
    #[must_use]
    pub fn up(self, of: u64) -> u64 {
        match self {
            Self::Count(count) => count.min(of),
            Self::Percent(part) => scaled(of, part, WHOLE - 1),
        }
    }

    /// How many that is at most, of so many: 1 % of 250 are 2.
    #[must_use]
    pub fn down(self, of: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(part) => scaled(of, part, 0),
        }
    }

    /// Whether it is nobody, of however many.
    #[must_use]
    pub fn is_nobody(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

fn scaled(of: u64, part: u64, rounding: u64) -> u64 {
    let scaled = (u128::from(of) * u128::from(part) + u128::from(rounding)) / u128::from(WHOLE);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(part) if part % 100 == 0 => write!(f, "{}%", part / 100),
            Self::Percent(part) => {
                let text = format!("{}.{:02}", part / 100, part % 100);
                write!(f, "{}%", text.trim_end_matches('0'))
            }
        }
    }
}

kept_as_text!(Share);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is neither a number of tenants nor a percentage (such as 5, 1% or 0.5%)");
        let Some(percent) = text.strip_suffix('%') else {
            return digits(text).map(Self::Count).ok_or_else(wrong);
        };
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        let part = Some(part).filter(|part| part.len() <= 2).and_then(digits).ok_or_else(wrong)?;
        let tenths = percent.split_once('.').is_some_and(|(_, part)| part.len() == 1);
        let part = if tenths { part * 10 } else { part };
        let hundredths = digits(whole).ok_or_else(wrong)?.saturating_mul(100).saturating_add(part);
        if hundredths > WHOLE {
            Err(format!("'{text}' is more than all"))
        } else {
            Ok(Self::Percent(hundredths))
        }
    }
}

fn digits(text: &str) -> Option<u64> {
    Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_share_is_an_error() {
        for bad in ["", "x", "-1", "1.5", "%", "101%", "1.234%", "1%%", "+1", "1.%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_share_is_read_as_it_is_written(part in 0_u64..=10_000, count in 0_u64..1_000_000) {
            for share in [Share::Percent(part), Share::Count(count)] {
                prop_assert_eq!(share.to_string().parse(), Ok(share));
            }
        }

        #[test]
        fn more_never_fail_than_were_allowed_to(part in 0_u64..=10_000, size in 0_u64..1_000_000) {
            let share = Share::Percent(part);
            prop_assert!(share.down(size) <= share.up(size) && share.up(size) <= size);
            prop_assert!(share.down(size) * 10_000 <= size * part);
        }
    }
}
