//! Arguments of the commands about runs that are there.

use std::time::Duration;

use clap::Args;
use tenantry_shared::{
    config::parse_duration,
    ledger::GroupBy,
    run::{RunRef, TargetState},
    tenant::Slug,
};

use super::examples;

#[derive(Args)]
#[command(after_help = examples::WAIT)]
pub(crate) struct WaitArgs {
    /// The run: its number, its UUID, latest or latest-failed
    #[arg(default_value = "latest")]
    pub(crate) run: RunRef,
    /// Give up waiting after this long and end with 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// How often to look at the registry
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "500ms")]
    pub(crate) interval: Duration,
}

#[derive(Args)]
#[command(after_help = examples::STATUS)]
pub(crate) struct StatusArgs {
    /// A run: its number, its UUID, latest or latest-failed [default: the whole fleet]
    pub(crate) run: Option<RunRef>,
    /// Only this tenant: in the run, or by itself
    #[arg(short, long, value_name = "ID")]
    pub(crate) tenant: Option<Slug>,
    /// Only tenants in these states of the run: pending, running, retryable, applied, current, failed or skipped
    #[arg(long, value_name = "STATE", value_delimiter = ',', requires = "run")]
    pub(crate) state: Vec<TargetState>,
    /// Count the run's tenants in groups instead of listing them: error, label:KEY, server or wave
    #[arg(long, value_name = "WHAT", requires = "run", conflicts_with_all = ["tenant", "all_causes"])]
    pub(crate) group_by: Option<GroupBy>,
    /// Print every cause of failures in the run, and no tenants
    #[arg(long, requires = "run", conflicts_with_all = ["tenant", "state"])]
    pub(crate) all_causes: bool,
    /// At most so many tenants, or groups
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// End with 103 when a tenant is not where it should be
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Args)]
pub(crate) struct RunsArgs {
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Args)]
#[command(after_help = examples::CANCEL)]
pub(crate) struct CancelArgs {
    /// The run: its number, its UUID, latest or latest-failed
    #[arg(default_value = "latest")]
    pub(crate) run: RunRef,
    /// Stop the migrations that run, too: their statements are canceled in the databases
    #[arg(long)]
    pub(crate) force: bool,
    /// With --force: do not ask for the run's number to be typed
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
#[command(after_help = examples::PAUSE)]
pub(crate) struct PauseArgs {
    /// The run: its number, its UUID, latest or latest-failed
    #[arg(default_value = "latest")]
    pub(crate) run: RunRef,
}

#[derive(Args)]
#[command(after_help = examples::LOGS)]
pub(crate) struct LogsArgs {
    /// The run: its number, its UUID, latest or latest-failed
    #[arg(default_value = "latest")]
    pub(crate) run: RunRef,
    /// The tenant whose attempts to print
    #[arg(short, long, value_name = "ID")]
    pub(crate) tenant: Slug,
}
