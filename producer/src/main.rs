//! `tenantry`: the operator's commands.
//!
//! `cli` says what can be asked for, `commands` does it, `output` shows it. Only `output` prints. Tenants' databases
//! are reached through the worker library alone.

mod app;
mod cli;
mod commands;
mod output;

use std::process::ExitCode;

use tenantry_shared::{exit::Exit, log};
use tenantry_worker::runtime;

use crate::{cli::Cli, output::Output};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(unread) => return output::unread(&unread).into(),
    };
    let output = Output::new(&cli.global);
    log::start(&cli.global.log_filter(), cli.global.log_format.into(), output.colored_errors());
    let exit: Exit = runtime::run(commands::run(cli, &output)).unwrap_or_else(|fault| {
        output.fault(&fault);
        fault.exit
    });
    exit.into()
}
