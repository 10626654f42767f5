//! Arguments of the commands about runs.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tenantry_shared::{
    config::parse_duration,
    ledger::GroupBy,
    plan::Order,
    run::{RunRef, TargetState, parse_key},
    selector::Selector,
    tenant::Slug,
    version::Version,
};

use super::{DedicatedArgs, RolloutArgs, examples};

/// Which tenants.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection (one is required)")]
pub(crate) struct SelectionArgs {
    /// Every active tenant
    #[arg(long, group = "pick")]
    pub(crate) all: bool,
    /// These tenants, separated by commas or by more of this flag; an unknown or inactive one is an error
    #[arg(short, long = "tenant", value_name = "ID", value_delimiter = ',', group = "pick")]
    pub(crate) tenants: Vec<Slug>,
    /// The tenants in this file, one id a line; '-' is standard input
    #[arg(long, value_name = "FILE", group = "pick")]
    pub(crate) tenants_file: Option<PathBuf>,
    /// Active tenants by label, as kubectl does it: plan=pro,region in (eu,us),!beta
    #[arg(short = 'l', long, value_name = "EXPR", group = "pick")]
    pub(crate) selector: Option<Selector>,
    /// Tenants that failed in this run: its number, its UUID, latest or latest-failed
    #[arg(long, value_name = "RUN", group = "pick")]
    pub(crate) failed_in: Option<RunRef>,
    /// Leave these tenants out; an unknown one is an error
    #[arg(
        short = 'x',
        long,
        value_name = "ID",
        value_delimiter = ',',
        requires = "pick",
        help_heading = "Selection, narrower"
    )]
    pub(crate) exclude: Vec<Slug>,
    /// Not more than so many, in the order of their ids
    #[arg(long, value_name = "N", requires = "pick", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Selection, narrower")]
    pub(crate) limit: Option<u32>,
}

/// What to apply, and how.
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

/// What becomes of a request that was made before, and of one that another run is in the way of.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Control")]
pub(crate) struct OnceArgs {
    /// Your name for this request: asked for again under it, it is the same run and not a second one
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(crate) idempotency_key: Option<String>,
    /// Start it even if another run has not ended with some of these tenants; without it, that is refused, and the same
    /// request is that run
    #[arg(long)]
    pub(crate) overlap: bool,
}

impl OnceArgs {
    /// Whether any of it was said.
    pub(crate) fn is_given(&self) -> bool {
        self.idempotency_key.is_some() || self.overlap
    }
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

/// What to do when the selection chooses nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoTenants {
    /// End with 4
    Fail,
    /// Say so and end with 0
    Warn,
    /// End with 0
    Pass,
}

#[derive(Args)]
#[command(after_help = examples::ENQUEUE)]
pub(crate) struct EnqueueArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Try those, too, that failed for good in a migration which has not changed since; without it they are listed as failed
    #[arg(long, requires = "pick", help_heading = "Control")]
    pub(crate) retry_failed: bool,
    /// Why, in your words [default: the CI job's URL, where there is one]
    #[arg(long, value_name = "TEXT", help_heading = "Control")]
    pub(crate) reason: Option<String>,
    /// Follow the run until it ends, and end with its result
    #[arg(long, help_heading = "Control")]
    pub(crate) wait: bool,
    /// With --wait: give up waiting after this long and end with 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait", help_heading = "Control")]
    pub(crate) timeout: Option<Duration>,
    /// What to do when the selection chooses nobody
    #[arg(long, value_name = "WHAT", default_value = "fail", help_heading = "Control")]
    pub(crate) no_tenants: NoTenants,
    /// First make the registry list what its sources list, as `tenants sync` does
    #[arg(long, help_heading = "Control")]
    pub(crate) sync: bool,
    /// Start nothing, and print what would be done: as plan
    #[arg(long, conflicts_with_all = ["wait", "timeout", "sync"], help_heading = "Control")]
    pub(crate) dry_run: bool,
    /// Do not ask before starting
    #[arg(short, long, help_heading = "Control")]
    pub(crate) yes: bool,
}

#[derive(Args)]
#[command(after_help = examples::PLAN)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) dedicated: DedicatedArgs,
    /// How many tenants to look at at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    pub(crate) concurrency: Option<u16>,
    /// As if those were tried, too, that failed for good in a migration which has not changed since
    #[arg(long, requires = "pick", help_heading = "Control")]
    pub(crate) retry_failed: bool,
    /// Print the SQL that would run, in order; with --tenant for each tenant by itself
    #[arg(long, help_heading = "Output")]
    pub(crate) sql: bool,
    /// End with 103 when something is pending
    #[arg(long, help_heading = "Output")]
    pub(crate) exit_code: bool,
    /// What to do when the selection chooses nobody
    #[arg(long, value_name = "WHAT", default_value = "fail", help_heading = "Control")]
    pub(crate) no_tenants: NoTenants,
}

impl From<EnqueueArgs> for PlanArgs {
    fn from(args: EnqueueArgs) -> Self {
        let EnqueueArgs { selection, how, rollout, retry_failed, no_tenants, .. } = args;
        let (dedicated, concurrency) = (DedicatedArgs::default(), None);
        let (sql, exit_code) = (false, false);
        Self { selection, how, rollout, dedicated, concurrency, retry_failed, sql, exit_code, no_tenants }
    }
}

impl From<MigrateArgs> for PlanArgs {
    fn from(args: MigrateArgs) -> Self {
        let MigrateArgs { selection, how, rollout, retry_failed, dedicated, concurrency, .. } = args;
        let (sql, exit_code, no_tenants) = (false, false, args.no_tenants);
        Self { selection, how, rollout, dedicated, concurrency, retry_failed, sql, exit_code, no_tenants }
    }
}

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
#[command(after_help = examples::MIGRATE)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Try those, too, that failed for good in a migration which has not changed since; without it they are listed as failed
    #[arg(long, requires = "pick", help_heading = "Control")]
    pub(crate) retry_failed: bool,
    #[command(flatten)]
    pub(crate) dedicated: DedicatedArgs,
    /// How many tenants to migrate at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    pub(crate) concurrency: Option<u16>,
    /// Why, in your words [default: the CI job's URL, where there is one]
    #[arg(long, value_name = "TEXT", help_heading = "Control")]
    pub(crate) reason: Option<String>,
    /// What to do when the selection chooses nobody
    #[arg(long, value_name = "WHAT", default_value = "fail", help_heading = "Control")]
    pub(crate) no_tenants: NoTenants,
    /// First make the registry list what its sources list, as `tenants sync` does
    #[arg(long, requires = "pick", help_heading = "Control")]
    pub(crate) sync: bool,
    /// Do not ask before a sync changes something; nothing else is asked here
    #[arg(short, long, help_heading = "Control")]
    pub(crate) yes: bool,
    /// Change nothing, and print what would be done: as plan
    #[arg(long, conflicts_with = "sync", help_heading = "Control")]
    pub(crate) dry_run: bool,
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
#[command(after_help = examples::VERIFY)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Directory of the migrations [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
    #[arg(long, value_name = "DIR", help_heading = "What")]
    pub(crate) source: Option<PathBuf>,
    /// Compare the schemas of tenants that should be alike, too, and tell what migrations made outside of them
    #[arg(long, help_heading = "What")]
    pub(crate) schema: bool,
    /// With --schema: what was made outside belongs there and is not told again
    #[arg(long, requires = "schema", help_heading = "What")]
    pub(crate) accept_outside: bool,
    /// How many tenants to look at at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    pub(crate) concurrency: Option<u16>,
}

#[derive(Args)]
pub(crate) struct RunsArgs {
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Args)]
#[command(after_help = examples::RETRY)]
pub(crate) struct RetryArgs {
    /// The run whose failed tenants to try again: its number, its UUID, latest or latest-failed
    #[arg(default_value = "latest-failed")]
    pub(crate) run: RunRef,
    /// Only these tenants, which must have failed in the run
    #[arg(short, long = "tenant", value_name = "ID", value_delimiter = ',')]
    pub(crate) tenants: Vec<Slug>,
    /// Only tenants that failed for this cause: its fingerprint in the summary, such as 3f9c2a17
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) error: Option<String>,
    /// Use the migrations in this directory [default: exactly those of the run that failed]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Follow the new run until it ends, and end with its result
    #[arg(long, conflicts_with = "work")]
    pub(crate) wait: bool,
    /// Work the new run in this process and end with its result: no worker is needed
    #[arg(long)]
    pub(crate) work: bool,
    /// With --wait: give up waiting after this long and end with 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
    /// Why, in your words [default: the CI job's URL, where there is one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Do not ask before starting
    #[arg(short, long)]
    pub(crate) yes: bool,
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
