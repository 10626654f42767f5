//! What can be asked for on the command line. Types only; `commands` does it.

mod back;
mod dedicated;
mod examples;
mod gate;
mod global;
mod how;
mod migrate;
mod rehearse;
mod rollout;
mod runs;
mod schedule;
mod selection;
mod servers;
mod tenants;
mod unread;

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tenantry_shared::{config::environment, exit::Exit};
use tenantry_worker::variables::without_empty_variable;

pub(crate) use back::{BaselineArgs, Follow, Limits, RepairArgs, ResetArgs, RollbackArgs, To};
pub(crate) use dedicated::DedicatedArgs;
pub(crate) use gate::GateArgs;
pub(crate) use global::{Color, Global, Progress};
pub(crate) use how::{How, Target};
pub(crate) use migrate::{EnqueueArgs, MigrateArgs, OnceArgs, PlanArgs, RetryArgs, VerifyArgs};
pub(crate) use rehearse::{RehearseArgs, Sample};
pub(crate) use rollout::RolloutArgs;
pub(crate) use runs::{CancelArgs, LogsArgs, PauseArgs, RunsArgs, StatusArgs, WaitArgs};
pub(crate) use schedule::{ScheduleArgs, ScheduleCommand, Scheduled};
pub(crate) use selection::{NoTenants, SelectionArgs};
pub(crate) use servers::ServersCommand;
pub(crate) use tenants::{ImportFormat, TenantsCommand, UrlSource};
pub(crate) use unread::Unread;

/// Keeps a fleet of tenant databases on the same schema.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_long_help = after_help(), infer_subcommands = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

impl Cli {
    /// What was asked for. An empty variable counts as not set: variables stand only for the flags of all commands.
    ///
    /// # Errors
    /// When that cannot be read, or it is help that was asked for.
    pub(crate) fn read() -> Result<Self, Unread> {
        let matches = Self::command().mut_args(without_empty_variable).try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).map_err(|error| {
            let words: Vec<_> =
                std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            Unread::new(error, &words, environment("TENANTRY_OUTPUT").as_deref())
        })
    }
}

#[derive(Subcommand)]
#[command(defer = true)] // only the command that was asked for is described at all
pub(crate) enum Command {
    /// Print what a run would do to whom, and change nothing
    Plan(PlanArgs),
    /// Run what is pending in a transaction that is rolled back, and tell in whom it would fail
    ///
    /// Each tenant's pending migrations run in one transaction, which holds its locks until it is rolled back: what needs
    /// them waits that long. Numbers of sequences advance, and messages to other servers are sent.
    Rehearse(RehearseArgs),
    /// Start a run: one job per selected tenant; prints the run's number
    Enqueue(EnqueueArgs),
    /// Follow a run until it ends, and end with its result
    Wait(WaitArgs),
    /// Tell whether enough tenants are at a version, from what the registry knows: 102 when they are not
    ///
    /// Without a selection it is about every active tenant. No tenant is connected to.
    Gate(GateArgs),
    /// Enqueue, work and wait in this one process; or migrate the one database that DATABASE_URL names
    Migrate(MigrateArgs),
    /// Status of the fleet, of a run or of a tenant
    Status(StatusArgs),
    /// List runs, the newest first
    Runs(RunsArgs),
    /// Try the failed tenants of a run again, and those that were not begun, in a run of their own
    Retry(RetryArgs),
    /// Stop a run: tenants that are not begun are left out, and those that are being migrated come to their end
    Cancel(CancelArgs),
    /// Begin no more tenants of a run until it is resumed
    Pause(PauseArgs),
    /// Go on with a paused run
    Resume(PauseArgs),
    /// Revert migrations: the newest ones, those above a version, or what a run applied
    ///
    /// A migration without a down script is refused before any change. The central database is left as it is.
    Rollback(RollbackArgs),
    /// Revert everything, for development: asks for the number of tenants to be typed
    Reset(ResetArgs),
    /// Revert everything and migrate again, for development
    Refresh(ResetArgs),
    /// Record migrations as applied without running them, for tenants that have them and no history yet
    Baseline(BaselineArgs),
    /// Tell what is wrong with tenants' histories, and mend one thing at a time
    Repair(RepairArgs),
    /// Print a tenant's attempts: what was applied, how long it took, why it failed
    Logs(LogsArgs),
    /// Compare tenants with the migrations, and their schemas with each other; changes nothing in them
    Verify(VerifyArgs),
    /// Start runs by the clock: what [[schedule]] in tenantry.toml says
    #[command(visible_alias = "cron")]
    Schedule(ScheduleArgs),
    /// Make an empty migration
    #[command(subcommand)]
    New(NewCommand),
    /// List, add and change tenants
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// List database servers, and set how many of a server's tenants may be migrated at once
    #[command(args_conflicts_with_subcommands = true, after_help = examples::SERVERS)]
    Servers {
        #[command(subcommand)]
        command: Option<ServersCommand>,
    },
    /// Make and check the registry: the database that lists the tenants and keeps the runs
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Make a fleet of 200 SQLite tenants, one of them broken, and migrate it
    Demo {
        /// Directory to make it in
        #[arg(long, value_name = "DIR", default_value = "tenantry-demo")]
        dir: PathBuf,
        /// How many tenants
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=10_000))]
        tenants: u32,
        /// Mend the broken tenant's data, and do nothing else
        #[arg(long)]
        fix: bool,
    },
    /// Check configuration, registry, key, queue, workers, migrations and one tenant per server
    Doctor,
    /// Print a shell's completion script
    ///
    /// For bash: source <(tenantry completions bash)
    Completions {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum NewCommand {
    /// Make an empty migration; prints its path
    Migration {
        /// What it does, in words: add_email
        name: String,
        /// Make two files, ….up.sql and ….down.sql; the second one reverts it
        #[arg(long)]
        reversible: bool,
        /// Mark it to run outside a transaction, as CREATE INDEX CONCURRENTLY must
        #[arg(long)]
        no_transaction: bool,
        /// Number it one after the newest (0002), not by date and time (20261121103012)
        #[arg(long)]
        sequential: bool,
        /// Directory of the migrations [default: TENANTRY_MIGRATIONS, the configured one, or ./migrations]
        #[arg(long, value_name = "DIR")]
        source: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum RegistryCommand {
    /// Make the registry, or bring it up to this program's version; doing it again changes nothing
    ///
    /// For an SQLite registry without a configured key it makes a key file beside it, too.
    Init,
    /// Check that the registry is there, has the right version and opens with the key
    Check,
}

fn after_help() -> String {
    let lines = Exit::ALL.map(|(exit, name, meaning)| format!("  {:>3}  {name:<16}  {meaning}", exit.code()));
    format!("Exit codes:\n{}\n\n{}\n\nFirst steps: tenantry demo", lines.join("\n"), examples::ENVIRONMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// clap takes the doc comment of arguments that commands share for what the command is about: they have plain comments.
    #[test]
    fn what_a_command_is_about_is_told_by_its_own_help_as_by_the_list_of_all() {
        fn look(listed: &clap::Command, built: &clap::Command) {
            let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
            assert_eq!(about(built), about(listed), "{}", listed.get_name());
            for listed in listed.get_subcommands() {
                look(listed, built.find_subcommand(listed.get_name()).expect("the command"));
            }
        }
        let mut built = Cli::command();
        built.build();
        look(&Cli::command(), &built);
    }

    #[test]
    fn no_command_has_a_variable_for_a_flag_of_its_own() {
        fn look(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| !arg.is_global_set()) {
                assert_eq!(arg.get_env(), None, "{} of {}", arg.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        let mut command = Cli::command();
        command.build();
        command.get_subcommands().for_each(look);
    }
}
