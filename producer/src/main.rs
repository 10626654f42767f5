//! `tenantry`: the operator's commands.
//!
//! `cli` says what can be asked for, `commands` does it, `output` shows it. Only `output` prints. Tenants' databases
//! are reached through the worker library alone.

mod app;
mod cli;
mod commands;
mod output;

use std::{process::ExitCode, time::Duration};

use tenantry_shared::{exit::Exit, fault::Fault, log};

use crate::{cli::Cli, output::Output};

/// How long threads that wait for the system may take once all is done.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(unread) => return output::unread(&unread).into(),
    };
    let output = Output::new(&cli.global);
    log::start(&cli.global.log_filter(), cli.global.log_format.into(), output.colored_errors());
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(cli, &output));
            // A look-up of a name, say, that never returns does not keep the process.
            runtime.shutdown_timeout(LAST_WORDS);
            result
        }
        Err(error) => Err(Fault::from(error)),
    };
    let exit: Exit = result.unwrap_or_else(|fault| {
        output.fault(&fault);
        fault.exit
    });
    exit.into()
}
