//! Arguments of the commands that migrate, or tell what migrating would do.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tenantry_shared::{
    config::parse_duration,
    run::{RunRef, parse_key},
    tenant::Slug,
};

use super::{DedicatedArgs, How, NoTenants, RolloutArgs, SelectionArgs, examples};

// What becomes of a request that was made before, and of one that another run is in the way of.
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

// What a run is asked for with, whoever works it.
#[derive(Args)]
pub(crate) struct RequestArgs {
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
}

#[derive(Args)]
#[command(after_help = examples::ENQUEUE)]
pub(crate) struct EnqueueArgs {
    #[command(flatten)]
    pub(crate) request: RequestArgs,
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
        Self::of(args.request, DedicatedArgs::default(), None, args.no_tenants)
    }
}

impl From<MigrateArgs> for PlanArgs {
    fn from(args: MigrateArgs) -> Self {
        Self::of(args.request, args.dedicated, args.concurrency, args.no_tenants)
    }
}

impl PlanArgs {
    fn of(
        request: RequestArgs,
        dedicated: DedicatedArgs,
        concurrency: Option<u16>,
        no_tenants: NoTenants,
    ) -> Self {
        let RequestArgs { selection, how, rollout, retry_failed, .. } = request;
        let (sql, exit_code) = (false, false);
        Self { selection, how, rollout, dedicated, concurrency, retry_failed, sql, exit_code, no_tenants }
    }
}

#[derive(Args)]
#[command(after_help = examples::MIGRATE)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) dedicated: DedicatedArgs,
    /// How many tenants to migrate at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "How")]
    pub(crate) concurrency: Option<u16>,
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
