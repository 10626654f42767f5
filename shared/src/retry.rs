//! How long to wait before the next attempt: exponential backoff with full jitter. Pure.

use std::time::Duration;

/// The delay after attempt number `attempt` (counted from 1): `chance`, from 0 to 1, of
/// `base · 2^(attempt−1)`, which is never more than `cap`.
#[must_use]
pub fn delay(attempt: u32, base: Duration, cap: Duration, chance: f64) -> Duration {
    let doubled = base.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(cap).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceiling =
            |attempt| delay(attempt, Duration::from_secs(1), Duration::from_secs(60), 1.0).as_secs();
        assert_eq!([1, 2, 3, 4, 7, 40, 4000].map(ceiling), [1, 2, 4, 8, 60, 60, 60]);
    }

    proptest! {
        #[test]
        fn the_delay_is_within_its_ceiling(attempt in 0_u32..10_000, base in 0_u64..100_000, cap in 0_u64..100_000, chance in 0.0_f64..=1.0) {
            let delay = delay(attempt, Duration::from_millis(base), Duration::from_millis(cap), chance);
            prop_assert!(delay <= Duration::from_millis(cap));
        }

        #[test]
        fn a_later_attempt_never_waits_less_by_the_same_chance(
            attempt in 0_u32..100, base in 0_u64..100_000, cap in 0_u64..100_000, chance in 0.0_f64..=1.0,
        ) {
            let after = |attempt| delay(attempt, Duration::from_millis(base), Duration::from_millis(cap), chance);
            prop_assert!(after(attempt) <= after(attempt + 1));
        }
    }
}
