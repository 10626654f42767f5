//! Arguments of `gate`.

use std::{path::PathBuf, time::Duration};

use clap::{Arg, Args};
use tenantry_shared::{config::parse_duration, run::RunRef, wave::Share};

use super::{
    SelectionArgs, examples,
    how::{Target, parse_target},
};

#[derive(Args)]
#[command(after_help = examples::GATE, mut_args(unasked))]
pub(crate) struct GateArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The version to be at, or beyond [default: the newest migration, or where there are none the latest run's target]
    #[arg(long, visible_alias = "to", value_name = "VERSION", value_parser = parse_target, help_heading = "What")]
    pub(crate) target: Option<Target>,
    /// Directory of the migrations, whose order tells what is beyond [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
    #[arg(long, value_name = "DIR", help_heading = "What")]
    pub(crate) source: Option<PathBuf>,
    /// Judge the tenants of this run instead: its number, its UUID, latest or latest-failed
    #[arg(long, value_name = "RUN", conflicts_with_all = ["pick", "target", "source", "max_age"], help_heading = "What")]
    pub(crate) run: Option<RunRef>,
    /// So many tenants at least, or such a share of them; a share is never rounded in favor of the gate
    #[arg(long, value_name = "N|P%", value_parser = parse_min, default_value = "100%", help_heading = "How")]
    pub(crate) min: Share,
    /// What was read longer ago than this is no proof [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    pub(crate) max_age: Option<Duration>,
    /// Name so many of the tenants that are missing
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32), help_heading = "Output")]
    pub(crate) show: u32,
}

/// Where nothing is selected, everybody is.
fn unasked(arg: Arg) -> Arg {
    match arg.get_help_heading() {
        Some("Selection (one is required)") => arg.help_heading("Selection (without one: --all)"),
        _ => arg,
    }
}

fn parse_min(text: &str) -> Result<Share, String> {
    let min: Share = text.parse()?;
    if min.is_nobody() { Err(format!("a gate of {text} always holds")) } else { Ok(min) }
}
