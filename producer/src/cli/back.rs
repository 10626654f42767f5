//! Arguments of the commands that go back, and of those that mend histories.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tenantry_shared::{config::parse_duration, plan::mend::Mend, run::RunRef, version::Version};

use super::{DedicatedArgs, How, NoTenants, OnceArgs, RolloutArgs, SelectionArgs, examples};

// Where the migrations are, and how long to wait.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Directory of the migrations [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
    #[arg(long, value_name = "DIR", help_heading = "What")]
    pub(crate) source: Option<PathBuf>,
    /// Attempts per tenant, the first one included; only failures that may heal are tried again
    #[arg(long, visible_alias = "max-attempts", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "How")]
    retries: Option<u32>,
    /// Longest wait for a lock in a tenant [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    lock_timeout: Option<Duration>,
    /// Longest run of one statement, 0 for no limit [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "How")]
    statement_timeout: Option<Duration>,
    /// Do not read the schema of a tenant that was changed: `verify --schema` reads it then
    #[arg(long, help_heading = "How")]
    no_fingerprint: bool,
}

impl From<&Limits> for How {
    fn from(limits: &Limits) -> Self {
        Self {
            target: None,
            source: limits.source.clone(),
            order: None,
            retries: limits.retries,
            lock_timeout: limits.lock_timeout,
            statement_timeout: limits.statement_timeout,
            no_fingerprint: limits.no_fingerprint,
            sets: Vec::new(),
        }
    }
}

// Who works the run, and who waits for it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Control")]
pub(crate) struct Follow {
    /// Follow the run until it ends, and end with its result
    #[arg(long, conflicts_with = "work")]
    pub(crate) wait: bool,
    /// Work the run in this process and end with its result: no worker is needed
    #[arg(long)]
    pub(crate) work: bool,
    /// With --work: how many tenants at once [default: the configured number, or 8]
    #[arg(long, value_name = "N", requires = "work", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: Option<u16>,
    /// With --wait: give up waiting after this long and end with 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
    /// Why, in your words [default: the CI job's URL, where there is one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// What to do when the selection chooses nobody
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    pub(crate) no_tenants: NoTenants,
}

#[derive(Args)]
#[command(after_help = examples::ROLLBACK)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Revert the newest so many migrations of each tenant [default: 1]
    #[arg(long, value_name = "N", group = "back", value_parser = clap::value_parser!(u32).range(1..), help_heading = "What")]
    pub(crate) steps: Option<u32>,
    /// Revert all that is newer than this version, which stays; 0 (or zero) reverts everything
    #[arg(long, value_name = "VERSION", group = "back", value_parser = parse_to, help_heading = "What")]
    pub(crate) to: Option<To>,
    /// Revert exactly what this run applied, tenant by tenant, with the files that it had: its number, its UUID or latest
    #[arg(long, value_name = "RUN", group = "back", conflicts_with = "url_env", help_heading = "What")]
    pub(crate) run: Option<RunRef>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) dedicated: DedicatedArgs,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Show what would be reverted in each tenant, and change nothing
    #[arg(long, conflicts_with_all = ["wait", "work"], help_heading = "Control")]
    pub(crate) dry_run: bool,
    /// Do not ask before starting
    #[arg(short, long, help_heading = "Control")]
    pub(crate) yes: bool,
}

/// What stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct To(pub(crate) Option<Version>);

#[expect(clippy::unnecessary_wraps, reason = "clap asks for it")]
fn parse_to(text: &str) -> Result<To, String> {
    Ok(To(Some(text).filter(|text| !matches!(*text, "0" | "zero")).map(Version::from)))
}

#[derive(Args)]
#[command(after_help = examples::RESET)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) follow: Follow,
    /// Do not ask for the number of tenants to be typed; always needed for more than 20 tenants
    #[arg(long, help_heading = "Control")]
    pub(crate) yes_really: bool,
}

#[derive(Args)]
#[command(after_help = examples::BASELINE)]
pub(crate) struct BaselineArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The newest migration that the tenants have already
    #[arg(long, value_name = "VERSION", help_heading = "What")]
    pub(crate) to: Version,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Do not ask before starting
    #[arg(short, long, help_heading = "Control")]
    pub(crate) yes: bool,
}

#[derive(Args)]
#[command(after_help = examples::REPAIR)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) what: MendArgs,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Do not ask before writing
    #[arg(short, long, help_heading = "Control")]
    pub(crate) yes: bool,
}

// One thing to mend; without any, what is wrong is only told.
#[derive(Args, Clone, Debug)]
#[group(id = "mend", multiple = false)]
#[command(next_help_heading = "One thing to mend")]
pub(crate) struct MendArgs {
    /// Accept files that changed after they had been applied, as they are now
    #[arg(long)]
    checksums: bool,
    /// Forget that this version was applied
    #[arg(long, value_name = "VERSION")]
    forget: Option<Version>,
    /// Record this migration as applied, without running it
    #[arg(long, value_name = "VERSION")]
    mark_applied: Option<Version>,
    /// The statement of which nobody knows how it ended is done
    #[arg(long)]
    done: bool,
    /// The statement of which nobody knows how it ended is not done
    #[arg(long)]
    not_done: bool,
    /// The migration that was begun and not finished has been undone by hand
    #[arg(long)]
    undone: bool,
    /// The migration that was begun and not finished has been finished by hand
    #[arg(long)]
    finished: bool,
}

impl MendArgs {
    /// What is asked for.
    pub(crate) fn mend(&self) -> Option<Mend> {
        let flags = [
            (self.checksums, Mend::Checksums),
            (self.done, Mend::Done),
            (self.not_done, Mend::NotDone),
            (self.undone, Mend::Undone),
            (self.finished, Mend::Finished),
        ];
        let flag = flags.into_iter().find_map(|(given, mend)| given.then_some(mend));
        let forget = self.forget.clone().map(Mend::Forget);
        flag.or(forget).or_else(|| self.mark_applied.clone().map(Mend::MarkApplied))
    }
}
