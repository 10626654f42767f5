//! Who goes first, and where the waves after that end.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Share;
use crate::selector::{Selector, SelectorError};

/// How many waves a run may have besides its canary.
pub const MAX_WAVES: usize = 20;

/// Who goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Canary {
    /// So many, in the order of their slugs.
    Some(Share),
    /// Those whose labels match.
    Labels(Selector),
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Some(share) => share.fmt(f),
            Self::Labels(selector) => selector.fmt(f),
        }
    }
}

kept_as_text!(Canary);

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['=', '(']) {
            let share: Share = text.parse()?;
            let nobody = || format!("a canary of {text} is nobody");
            return if share.is_nobody() { Err(nobody()) } else { Ok(Self::Some(share)) };
        }
        text.parse().map(Self::Labels).map_err(|e: SelectorError| {
            format!("{e}; a canary is a number of tenants, a percentage, or a selector")
        })
    }
}

/// Where the waves end, each with all before it: `1%,10%,100%`. The last one is everybody, said or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waves(pub(super) Vec<Share>);

impl fmt::Display for Waves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

kept_as_text!(Waves);

impl FromStr for Waves {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shares = text.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<Share>, _>>()?;
        if shares.len() > MAX_WAVES {
            return Err(format!("{} waves are more than {MAX_WAVES}", shares.len()));
        }
        let nobody = shares.first().is_some_and(|first| first.is_nobody());
        if nobody || shares.windows(2).any(|pair| !rises(pair[0], pair[1])) {
            return Err(format!("the waves {text} do not rise: each holds all before it, as in 1%,10%,100%"));
        }
        Ok(Self(shares))
    }
}

/// Of a number and a share nobody knows yet which is more.
fn rises(one: Share, next: Share) -> bool {
    match (one, next) {
        (Share::Count(one), Share::Count(next)) | (Share::Percent(one), Share::Percent(next)) => one < next,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_that_do_not_rise_and_canaries_that_are_nobody_are_errors() {
        for bad in ["10%,1%", "1%,1%", "0", "0%,5%", "1%,,2%", "5,3", &"1,".repeat(30)] {
            assert!(bad.parse::<Waves>().is_err(), "{bad}");
        }
        for bad in ["0", "0%", "5x", "", "a,,b"] {
            assert!(bad.parse::<Canary>().is_err(), "{bad}");
        }
    }
}
