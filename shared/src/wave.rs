//! Waves: how a run's tenants are let in, a few first, and what stops it before it reaches all of them. Pure.
//!
//! The central database, where a run begins with it, is wave 0. Tenants are in the waves from 1 on, each in exactly one.
//! A wave opens when all targets of those before it are final, not too many of the last one failed, and it has soaked.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::selector::Selector;

/// How many waves a run may have besides its canary.
pub const MAX_WAVES: usize = 20;

/// How many tenants must fail for one cause, before any succeeds, to stop a run that says nothing else.
pub const SAME_CAUSE: u32 = 5;

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

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

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

impl From<Canary> for String {
    fn from(canary: Canary) -> Self {
        canary.to_string()
    }
}

impl TryFrom<String> for Canary {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['=', '(']) {
            let share: Share = text.parse()?;
            let nobody = || format!("a canary of {text} is nobody");
            return if share.is_nobody() { Err(nobody()) } else { Ok(Self::Some(share)) };
        }
        text.parse().map(Self::Labels).map_err(|e: crate::selector::SelectorError| {
            format!("{e}; a canary is a number of tenants, a percentage, or a selector")
        })
    }
}

/// Where the waves end, each with all before it: `1%,10%,100%`. The last one is everybody, said or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waves(Vec<Share>);

impl fmt::Display for Waves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

impl From<Waves> for String {
    fn from(waves: Waves) -> Self {
        waves.to_string()
    }
}

impl TryFrom<String> for Waves {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

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

/// Something, or the word `none`: that takes back what was said elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|said| Self(Some(said))) }
    }
}

/// How a run is let in, and what stops it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// The first wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The waves after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waves: Option<Waves>,
    /// How long a wave that went well is watched before the next one opens, in milliseconds.
    pub soak_ms: u64,
    /// How many tenants of a wave may fail. None said: nobody where there are waves, and anybody where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<Share>,
    /// So many tenants that failed for good with one cause, before any succeeded, stop the run; 0 is never.
    pub same_cause: u32,
    /// How long after it was written the run is stopped, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { same_cause: SAME_CAUSE, ..Self::unlimited() }
    }
}

impl Rollout {
    /// All at once, to the end.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { canary: None, waves: None, soak_ms: 0, max_failures: None, same_cause: 0, deadline_ms: None }
    }

    /// Whether tenants wait for other tenants.
    #[must_use]
    pub fn has_waves(&self) -> bool {
        self.canary.is_some() || self.waves.is_some()
    }

    /// How many tenants of a wave of this size may fail; none is without limit.
    #[must_use]
    pub fn may_fail(&self, size: u64) -> Option<u64> {
        let unsaid = self.has_waves().then_some(Share::Count(0));
        self.max_failures.or(unsaid).map(|share| share.down(size))
    }

    /// The sizes of the waves of so many tenants. `first`: so many are in the canary already, because of their labels.
    /// No wave is empty.
    #[must_use]
    pub fn sizes(&self, total: u64, first: u64) -> Vec<u64> {
        let canary = match &self.canary {
            Some(Canary::Some(share)) => share.up(total),
            Some(Canary::Labels(_)) => first.min(total),
            None => 0,
        };
        let ends = self.waves.iter().flat_map(|waves| &waves.0).map(|share| share.up(total));
        let (mut sizes, mut before) = (Vec::new(), 0);
        for end in std::iter::once(canary).chain(ends).chain([total]) {
            if end > before {
                sizes.push(end - before);
                before = end;
            }
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rollout(canary: Option<&str>, waves: Option<&str>) -> Rollout {
        let (canary, waves) = (canary.map(|c| c.parse().unwrap()), waves.map(|w| w.parse().unwrap()));
        Rollout { canary, waves, ..Rollout::default() }
    }

    #[test]
    fn waves_are_shares_of_all_and_each_holds_those_before_it() {
        assert_eq!(rollout(None, Some("1%,10%,100%")).sizes(1_000, 0), [10, 90, 900]);
        assert_eq!(rollout(Some("5"), Some("10%")).sizes(1_000, 0), [5, 95, 900]);
        assert_eq!(rollout(Some("5"), None).sizes(200, 0), [5, 195]);
        assert_eq!(rollout(Some("1%"), None).sizes(30, 0), [1, 29]);
        assert_eq!(rollout(Some("tier=beta"), None).sizes(200, 7), [7, 193]);
        assert_eq!(rollout(Some("20"), Some("10%,50%")).sizes(100, 0), [20, 30, 50]);
        assert_eq!(rollout(None, Some("1%,10%,100%")).sizes(3, 0), [1, 2]);
        assert_eq!(Rollout::default().sizes(3, 0), [3]);
    }

    #[test]
    fn failures_are_counted_against_the_size_of_the_wave() {
        let with = |canary, max: Option<&str>| Rollout {
            max_failures: max.map(|max| max.parse().unwrap()),
            ..rollout(canary, None)
        };
        assert_eq!(with(None, None).may_fail(100), None);
        assert_eq!(with(Some("5"), None).may_fail(100), Some(0));
        assert_eq!(with(None, Some("1%")).may_fail(250), Some(2));
        assert_eq!(with(Some("5"), Some("3")).may_fail(250), Some(3));
    }

    #[test]
    fn what_is_no_share_is_named() {
        for bad in ["", "x", "-1", "1.5", "%", "101%", "1.234%", "1%%", "+1", "1.%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        for bad in ["10%,1%", "1%,1%", "0", "0%,5%", "1%,,2%", "5,3", &"1,".repeat(30)] {
            assert!(bad.parse::<Waves>().is_err(), "{bad}");
        }
        for bad in ["0", "0%", "5x", "", "a,,b"] {
            assert!(bad.parse::<Canary>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rollout_is_read_as_it_is_written() {
        for (canary, waves) in
            [(Some("0.5%"), Some("1%,25,100%")), (Some("tier=beta,!old"), None), (None, None)]
        {
            let rollout = rollout(canary, waves);
            let text = serde_json::to_string(&rollout).unwrap();
            assert_eq!(serde_json::from_str::<Rollout>(&text).unwrap(), rollout);
        }
        assert_eq!(serde_json::from_str::<Rollout>("{}").unwrap(), Rollout::default());
    }

    proptest! {
        #[test]
        fn every_tenant_is_in_exactly_one_wave(
            total in 0_u64..100_000, count in proptest::option::of(1_u64..200), matched in 0_u64..200, labels: bool,
            ends in proptest::collection::btree_set(1_u64..=10_000, 0..6),
        ) {
            let canary = count.map(|count| Canary::Some(Share::Count(count)));
            let canary = if labels { Some("a=b".parse().unwrap()) } else { canary };
            let waves = Waves(ends.into_iter().map(Share::Percent).collect());
            let sizes = Rollout { canary, waves: Some(waves), ..Rollout::default() }.sizes(total, matched);
            prop_assert_eq!(sizes.iter().sum::<u64>(), total);
            prop_assert!(sizes.iter().all(|size| *size > 0));
            prop_assert!(sizes.len() <= 8);
            if labels && matched > 0 && total > 0 {
                prop_assert_eq!(sizes[0], matched.min(total));
            }
        }

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

        /// A gate holds while not more failed than may: with fewer tenants or a stricter limit never more may.
        #[test]
        fn more_failures_never_open_a_gate(
            share in prop_oneof![(0_u64..300).prop_map(Share::Count), (0_u64..=10_000).prop_map(Share::Percent)],
            size in 0_u64..1_000, smaller in 0_u64..1_000, waves: bool,
        ) {
            let canary = waves.then_some(Canary::Some(Share::Count(1)));
            let rollout = |max_failures| Rollout { canary: canary.clone(), max_failures, ..Rollout::default() };
            let may = rollout(Some(share)).may_fail(size).unwrap();
            prop_assert!(rollout(Some(share)).may_fail(smaller.min(size)).unwrap() <= may);
            prop_assert!(rollout(Some(Share::Count(0))).may_fail(size) == Some(0));
            prop_assert_eq!(rollout(None).may_fail(size), waves.then_some(0));
        }
    }
}
