//! The commands: each reads, decides and acts, and leaves the printing to `output`.

mod baseline;
mod control;
mod dedicated;
mod demo;
mod doctor;
mod each;
mod enqueue;
mod follow;
mod gate;
mod groups;
mod import;
mod logs;
mod look;
mod migrate;
mod new;
mod plan;
mod registry;
mod rehearse;
mod repair;
mod reset;
mod retry;
mod rollback;
mod runs;
mod schedule;
mod selection;
mod servers;
mod status;
mod sync;
mod tenants;
mod verify;
mod work;

use clap::CommandFactory as _;
use tenantry_shared::{exit::Exit, fault::Fault};

use crate::{
    app::App,
    cli::{Cli, Command, RegistryCommand},
    output::Output,
};

/// Does what was asked for, and says how the process should end.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<Exit, Fault> {
    let global = &cli.global;
    match cli.command {
        Command::Plan(args) => plan::run(global, args, output).await,
        Command::Rehearse(args) => rehearse::run(global, args, output).await,
        Command::Enqueue(args) => enqueue::run(global, args, output).await,
        Command::Wait(args) => follow::wait(&App::open(global).await?, &args, output).await,
        Command::Gate(args) => gate::run(&App::open(global).await?, &args, output).await,
        Command::Migrate(args) => migrate::run(global, args, output).await,
        Command::Status(args) => status::run(&App::open(global).await?, &args, output).await,
        Command::Runs(args) => runs::run(&App::open(global).await?, &args, output).await,
        Command::Retry(args) => retry::run(&App::open(global).await?, args, output).await,
        Command::Cancel(args) => control::cancel(&App::open(global).await?, &args, output).await,
        Command::Pause(args) => control::pause(&App::open(global).await?, &args, output).await,
        Command::Resume(args) => control::resume(&App::open(global).await?, &args, output).await,
        Command::Rollback(args) => rollback::run(global, args, output).await,
        Command::Reset(args) => reset::run(global, args, false, output).await,
        Command::Refresh(args) => reset::run(global, args, true, output).await,
        Command::Baseline(args) => baseline::run(global, args, output).await,
        Command::Repair(args) => repair::run(global, args, output).await,
        Command::Logs(args) => logs::run(&App::open(global).await?, &args, output).await,
        Command::Verify(args) => verify::run(global, args, output).await,
        Command::Schedule(args) => schedule::run(global, args.command, output).await,
        Command::New(command) => new::run(global, command, output),
        Command::Tenants(command) => tenants::run(&App::open(global).await?, command, output).await,
        Command::Servers { command } => servers::run(&App::open(global).await?, command, output).await,
        Command::Registry(RegistryCommand::Init) => registry::init(global, output).await,
        Command::Registry(RegistryCommand::Check) => registry::check(&App::open(global).await?, output).await,
        Command::Demo { dir, tenants, fix } => demo::run(&dir, tenants, fix, output).await,
        Command::Doctor => doctor::run(global, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tenantry", &mut script);
            output.data(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Ok)
        }
    }
}
