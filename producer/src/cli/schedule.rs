//! Arguments of `schedule`, and what a schedule in the configuration may say.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tenantry_shared::config::parse_duration;

use super::{How, RolloutArgs, SelectionArgs, examples};

#[derive(Args)]
#[command(after_help = examples::SCHEDULE)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

#[derive(Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Start runs when they are due, until a signal comes
    Run {
        /// Start what is due now, and end
        #[arg(long)]
        once: bool,
    },
    /// List the schedules: when each is due, and the last run that it started
    List,
    /// Print the next times
    Next {
        /// Only those of this schedule
        name: Option<String>,
        /// How many of each
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Start a schedule's run now, whenever it is due; prints the run's number
    Trigger {
        /// The schedule
        name: String,
        /// Follow the run until it ends, and end with its result
        #[arg(long)]
        wait: bool,
        /// With --wait: give up waiting after this long and end with 124; the run goes on
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
        timeout: Option<Duration>,
    },
}

/// What a schedule says of its runs: flags of `enqueue`, by their names.
#[derive(Clone, Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(crate) struct Scheduled {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    /// Try those, too, that failed for good before
    #[arg(long, requires = "pick")]
    pub(crate) retry_failed: bool,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// First make the registry list what its sources list
    #[arg(long, requires = "pick")]
    pub(crate) sync: bool,
}

impl Scheduled {
    /// Reads them.
    ///
    /// # Errors
    /// When one is unknown or wrong: in one line.
    pub(crate) fn read(flags: &[String]) -> Result<Self, String> {
        Self::try_parse_from(flags).map_err(|error| {
            let text = error.to_string();
            let line = |line: &str| line.trim().trim_start_matches("error: ").to_owned();
            let told = text.lines().take_while(|line| !line.starts_with("Usage")).map(line);
            told.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<Scheduled, String> {
        Scheduled::read(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_of_enqueue_are_read() {
        let read = read(&["--all", "--canary=1%", "--retries=3", "--sync", "--exclude=a,b"]).unwrap();
        assert!(read.sync && read.selection.all && read.how.retries == Some(3));
        assert_eq!(read.selection.exclude.len(), 2);
    }

    #[test]
    fn what_is_no_flag_of_a_schedule_is_told_in_a_line() {
        for (flags, says) in [
            (&["--all", "--canry=1%"][..], "a similar argument exists: '--canary'"),
            (&["--all", "--wait"], "unexpected argument '--wait'"),
            (&["--all", "--canary=0"], "0"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}
