//! A gate of a pipeline: whether enough tenants are known to be at a version or beyond it. Pure.
//!
//! Nothing is ever rounded in favor of the gate: of 10,000 tenants, 9,996 are not 100 %.

use std::cmp::Ordering;

use crate::{bundle::Chain, version::Version, wave::Share};

/// How many of so many tenants a gate wants. A number is wanted even where there are fewer; a share is rounded up.
#[must_use]
pub fn needed(min: Share, of: u64) -> u64 {
    match min {
        Share::Count(count) => count,
        Share::Percent(_) => min.up(of),
    }
}

/// A share in hundredths of a percent, rounded down; all of nobody is everything.
#[must_use]
pub fn hundredths(part: u64, of: u64) -> u64 {
    let share = (u128::from(part) * 10_000).checked_div(u128::from(of));
    share.and_then(|share| u64::try_from(share).ok()).unwrap_or(10_000)
}

/// Whether a tenant at `version` has reached `target`, which the chain has.
///
/// The chain's own order decides. A version that it does not have, because other files brought the tenant there, is
/// compared as people read it where all of the chain reads so, and otherwise has not reached anything.
#[must_use]
pub fn reaches(chain: &Chain, version: &Version, target: &Version) -> bool {
    let place = |version: &Version| chain.position(version);
    match (place(version), place(target)) {
        (Some(at), Some(target)) => at >= target,
        _ => version == target || (reads_in_order(chain) && version.cmp(target) != Ordering::Less),
    }
}

/// Whether the order of the chain's versions is the one that people read.
fn reads_in_order(chain: &Chain) -> bool {
    let versioned = chain.links.iter().map(|link| &link.migration).filter(|m| !m.repeatable);
    versioned.clone().all(|migration| migration.after.is_none())
        && versioned.is_sorted_by(|a, b| a.version < b.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bundle::Bundle, format::File};
    use proptest::prelude::*;

    fn bundle(names: &[&str]) -> Bundle {
        let file = |name: &&str| File { name: (*name).to_owned(), content: "SELECT 1;".into() };
        Bundle::new(names.iter().map(file).collect()).unwrap()
    }

    #[test]
    fn a_number_is_wanted_even_where_there_are_fewer() {
        assert_eq!(needed(Share::Count(5), 3), 5);
        assert_eq!(needed("99.5%".parse().unwrap(), 201), 200);
        assert_eq!(needed("100%".parse().unwrap(), 201), 201);
    }

    #[test]
    fn the_order_of_the_files_decides_and_other_numbers_are_compared_as_numbers() {
        let bundle = bundle(&["1_a.sql", "2_b.sql", "10_c.sql"]);
        let at = |version: &str| reaches(bundle.main(), &version.into(), &"2".into());
        assert_eq!(["0", "1", "2", "10", "11", "1000"].map(at), [false, false, true, true, true, true]);
    }

    #[test]
    fn a_version_that_says_nothing_of_its_age_has_reached_nothing_but_itself() {
        let revision = |name: &str, down: &str| File {
            name: format!("{name}_x.py"),
            content: format!(
                "revision = '{name}'\ndown_revision = {down}\ndef upgrade():\n    op.execute('SELECT 1')\n"
            ),
        };
        let files = vec![revision("aa11", "None"), revision("0b22", "'aa11'")];
        let spec = crate::bundle::SetSpec {
            name: "main".into(),
            format: Some("alembic".into()),
            command: Some(crate::command::CommandSpec { run: vec!["alembic".into()], ..Default::default() }),
            ..Default::default()
        };
        let bundle = Bundle::of_sets(vec![crate::bundle::SetFiles { spec, files }]).unwrap();
        let at = |version: &str| reaches(bundle.main(), &version.into(), &"0b22".into());
        assert_eq!(["aa11", "0b22", "ff99"].map(at), [false, true, false]);
    }

    proptest! {
        #[test]
        fn only_all_are_all(of in 1_u64..2_000_000, missing in 1_u64..2_000_000) {
            let part = of.saturating_sub(missing);
            prop_assert!(hundredths(part, of) < 10_000);
            prop_assert_eq!(hundredths(of, of), 10_000);
            prop_assert!(part < needed(Share::Percent(10_000), of));
        }
    }
}
