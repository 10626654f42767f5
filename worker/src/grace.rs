//! The grace of a conductor that was cut off from the registry: others were, too, and a lease that could not be renewed
//! tells nothing of its worker. Pure; all times are milliseconds since 1970 by the registry's clock.

use std::time::Duration;

use tenantry_shared::clock::millis;

/// A shorter time between two looks cuts off no lease of a length that is in use.
const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// A connection is tried again within two seconds, however short the lease.
const SHORTEST_GRACE: Duration = Duration::from_secs(3);

/// What one process has seen of the registry.
#[derive(Debug)]
pub(crate) struct Grace {
    /// A lease is renewed at each third of it: half of it without the registry may be too long.
    gap: i64,
    grace: i64,
    last: Option<i64>,
    /// The last look before the registry was away, and the end of the grace.
    away: Option<(i64, i64)>,
}

impl Grace {
    /// For claims with leases of this length. A process that has seen nothing yet was not cut off.
    pub(crate) fn of(lease: Duration) -> Self {
        let ms = |duration: Duration| i64::try_from(millis(duration)).unwrap_or(i64::MAX / 4);
        let (gap, grace) = (ms(SHORTEST_GAP.max(lease / 2)), ms(SHORTEST_GRACE.max(lease)));
        Self { gap, grace, last: None, away: None }
    }

    /// Notes a look, and gives until when a lease must have lapsed to be held against its worker: now, but after a gap
    /// for the time of the grace the last look before it. What lapsed while the registry was there is held against it
    /// however often it is away.
    pub(crate) fn lapsed_until(&mut self, now: i64) -> i64 {
        if let Some(last) = self.last.replace(now).filter(|last| now - last > self.gap) {
            self.away = Some((last, now + self.grace));
        }
        match self.away {
            Some((last, end)) if now < end => last,
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(lease_s: u64, at: &[i64]) -> Vec<i64> {
        let mut grace = Grace::of(Duration::from_secs(lease_s));
        at.iter().map(|now| grace.lapsed_until(*now)).collect()
    }

    #[test]
    fn without_a_gap_every_lapsed_lease_counts() {
        assert_eq!(looks(10, &[1_000, 1_200, 6_200]), [1_000, 1_200, 6_200]);
    }

    #[test]
    fn after_a_gap_what_lapsed_in_it_has_one_lease_to_be_renewed() {
        let at = [1_000, 61_000, 61_200, 66_000, 70_999, 71_000, 71_200];
        assert_eq!(looks(10, &at), [1_000, 1_000, 1_000, 1_000, 1_000, 71_000, 71_200]);
    }

    #[test]
    fn looks_that_are_always_late_delay_a_rescue_by_one_of_them() {
        assert_eq!(looks(10, &[0, 6_000, 12_000, 18_000]), [0, 0, 6_000, 12_000]);
    }

    #[test]
    fn the_grace_of_a_short_lease_is_long_enough_for_a_connection() {
        assert_eq!(looks(1, &[0, 1_100, 4_099, 4_100]), [0, 0, 1_100, 1_100]);
    }
}
