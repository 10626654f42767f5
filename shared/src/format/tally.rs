//! How far a migration came, as one number in its mark: for a tool that ignores a number there. Pure.

/// Scripts of more statements keep no tally.
const LIMIT: u32 = 1_000_000;

/// What a mark tells beyond that a migration was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many statements are done for sure, from the first on.
    pub done: u32,
    /// Of those up to this one nothing was to be seen in the database when this was written: what is there now of them is
    /// this migration's doing. Behind it nothing was begun.
    pub looked: u32,
}

impl Tally {
    /// The number, which is below any that a tool itself writes. None: there are too many statements.
    #[must_use]
    pub fn number(self) -> Option<i64> {
        let fits = self.done <= self.looked && self.looked < LIMIT;
        fits.then(|| -(i64::from(self.done) + 1) * i64::from(LIMIT) - i64::from(self.looked))
    }

    /// What a number tells. None: it is not one of ours.
    #[must_use]
    pub fn of(number: i64) -> Option<Self> {
        let limit = i64::from(LIMIT);
        let positive = number.checked_neg().filter(|positive| *positive >= limit)?;
        let tally = Self {
            done: u32::try_from(positive / limit - 1).ok()?,
            looked: u32::try_from(positive % limit).ok()?,
        };
        (tally.done <= tally.looked).then_some(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_what_was_put_into_it() {
        for (done, looked) in [(0, 0), (0, 2), (3, 3), (999_999, 999_999)] {
            let tally = Tally { done, looked };
            assert_eq!(tally.number().and_then(Tally::of), Some(tally));
        }
        assert_eq!(Tally { done: 0, looked: LIMIT }.number(), None);
    }

    #[test]
    fn what_a_tool_writes_is_no_tally() {
        for number in [-1, 0, 1, i64::MAX, i64::MIN, -999_999, -4_000_001] {
            assert_eq!(Tally::of(number), None, "{number}");
        }
    }
}
