//! Arguments of `rehearse`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use tenantry_shared::{config::parse_duration, plan::Order};

use super::{
    DedicatedArgs, How, NoTenants, SelectionArgs, examples,
    how::{Target, parse_target},
};

#[derive(Args)]
#[command(after_help = examples::REHEARSE)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Only so many of them (20), or such a part (5%): spread evenly over their ids, and the same ones each time
    #[arg(long, value_name = "N|P%", requires = "pick", help_heading = "Selection, narrower")]
    pub(crate) sample: Option<Sample>,
    /// Stop at this version, which must be there [default: the newest]
    #[arg(long, visible_alias = "to", value_name = "VERSION", value_parser = parse_target, help_heading = "What")]
    target: Option<Target>,
    /// Directory of the migrations, where no sets are configured [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
    #[arg(long, value_name = "DIR", help_heading = "What")]
    source: Option<PathBuf>,
    /// Only these of the configured sets, separated by commas or by more of this flag
    #[arg(long = "set", value_name = "NAME", value_delimiter = ',', help_heading = "What")]
    sets: Vec<String>,
    /// A pending migration older than an applied one: linear refuses the tenant, skip leaves it out, any applies it
    #[arg(long, value_name = "HOW", help_heading = "What")]
    order: Option<Order>,
    /// Longest wait for a lock in a tenant, which somebody else may need more
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s", help_heading = "How")]
    lock_timeout: Duration,
    /// Longest run of one statement, 0 for no limit [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    statement_timeout: Option<Duration>,
    /// How many tenants to rehearse in at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    pub(crate) concurrency: Option<u16>,
    #[command(flatten)]
    pub(crate) dedicated: DedicatedArgs,
    /// What to do when the selection chooses nobody
    #[arg(long, value_name = "WHAT", default_value = "fail", help_heading = "Control")]
    pub(crate) no_tenants: NoTenants,
}

impl RehearseArgs {
    /// The same for what attempts and rehearsals share: there is no second attempt, and nothing to take a fingerprint of.
    pub(crate) fn how(&self) -> How {
        How {
            target: self.target.clone(),
            source: self.source.clone(),
            sets: self.sets.clone(),
            order: self.order,
            retries: Some(1),
            lock_timeout: Some(self.lock_timeout),
            statement_timeout: self.statement_timeout,
            no_fingerprint: true,
        }
    }
}

/// How many of some tenants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sample {
    Count(usize),
    Percent(f64),
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a sample (such as 20, or 5%)");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                let possible = percent > 0.0 && percent <= 100.0;
                possible.then_some(Self::Percent(percent)).ok_or_else(wrong)
            }
            None => {
                let count: usize = text.parse().map_err(|_| wrong())?;
                (count > 0).then_some(Self::Count(count)).ok_or_else(wrong)
            }
        }
    }
}

impl Sample {
    /// Whether it takes the one at this place, counted from 0, of so many: spread evenly. A part of some is one at least.
    pub(crate) fn takes(self, at: u64, total: u64) -> bool {
        let wanted = match self {
            Self::Count(count) => (count as u64).min(total),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a number of tenants is one again"
            )]
            Self::Percent(percent) => ((total as f64 * percent / 100.0).ceil() as u64).min(total),
        };
        let before = |at: u64| (u128::from(at) * u128::from(wanted)).checked_div(u128::from(total));
        before(at + 1) > before(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sample: Sample, total: usize) -> Vec<usize> {
        (0..total).filter(|at| sample.takes(*at as u64, total as u64)).collect()
    }

    #[test]
    fn a_sample_is_as_large_as_asked_for_and_spread_evenly() {
        for total in 0..60_usize {
            for wanted in 1..70 {
                let sample = of(Sample::Count(wanted), total);
                assert_eq!(sample.len(), wanted.min(total));
                let steps: Vec<usize> = sample.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let uneven = steps.iter().max().zip(steps.iter().min()).is_some_and(|(a, b)| a - b > 1);
                assert!(!uneven, "{sample:?} of {total}");
            }
        }
        assert_eq!(of(Sample::Percent(5.0), 40), [19, 39]);
        assert_eq!(of(Sample::Percent(1.0), 1), [0]);
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for text in ["", "0", "-1", "0%", "101%", "x%", "NaN%", "1.5", "%"] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
        assert_eq!("20".parse(), Ok(Sample::Count(20)));
        assert_eq!("2.5%".parse(), Ok(Sample::Percent(2.5)));
    }
}
