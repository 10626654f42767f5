//! Waves: how a run's tenants are let in, a few first, and what stops it before it reaches all of them. Pure.
//!
//! The central database, where a run begins with it, is wave 0. Tenants are in the waves from 1 on, each in exactly one.
//! A wave opens when all targets of those before it are final, not too many of the last one failed, and it has soaked.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value is kept as the text that a person gives it as.
macro_rules! kept_as_text {
    ($name:ident) => {
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}

mod order;
mod share;

pub use self::{
    order::{Canary, MAX_WAVES, Waves},
    share::Share,
};

/// How many tenants must fail for one cause, before any succeeds, to stop a run that says nothing else.
pub const SAME_CAUSE: u32 = 5;

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
