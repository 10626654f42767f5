//! What to apply, and how.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tenantry_shared::{config::parse_duration, plan::Order, version::Version};

// What to apply, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// Stop at this version, which must be there [default: the newest]
    #[arg(long, visible_alias = "to", value_name = "VERSION", value_parser = parse_target, help_heading = "What")]
    pub(crate) target: Option<Target>,
    /// Directory of the migrations, where no sets are configured [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
    #[arg(long, value_name = "DIR", help_heading = "What")]
    pub(crate) source: Option<PathBuf>,
    /// Only these of the configured sets, separated by commas or by more of this flag
    #[arg(long = "set", value_name = "NAME", value_delimiter = ',', help_heading = "What")]
    pub(crate) sets: Vec<String>,
    /// A pending migration older than an applied one: linear refuses the tenant, skip leaves it out, any applies it
    #[arg(long, value_name = "HOW", help_heading = "What")]
    pub(crate) order: Option<Order>,
    /// Attempts per tenant, the first one included; only failures that may heal are tried again
    #[arg(long, visible_alias = "max-attempts", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "How")]
    pub(crate) retries: Option<u32>,
    /// Longest wait for a lock in a tenant [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    pub(crate) lock_timeout: Option<Duration>,
    /// Longest run of one statement, 0 for no limit [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    pub(crate) statement_timeout: Option<Duration>,
    /// Do not read the schema of a tenant that was changed: `verify --schema` reads it then
    #[arg(long, help_heading = "How")]
    pub(crate) no_fingerprint: bool,
}

/// Where to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Latest,
    Version(Version),
}

pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    match text {
        "latest" => Ok(Target::Latest),
        "" => Err("'' is not a version (a migration's, or latest)".into()),
        _ => Ok(Target::Version(text.into())),
    }
}
