//! What both programs do with the variables that stand for flags.

use tenantry_shared::config::is_empty_variable;

/// The same command, for which a variable that is set and empty counts as not set.
#[must_use]
pub fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(without_empty_variable).mut_subcommands(without_empty_variables)
}

/// The same flag, without its variable where that is empty.
#[must_use]
pub fn without_empty_variable(arg: clap::Arg) -> clap::Arg {
    if arg.get_env().is_some_and(is_empty_variable) { arg.env(None) } else { arg }
}
