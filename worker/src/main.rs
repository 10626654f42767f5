//! `tenantry-worker`: a process that takes migration jobs and works them.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use secrecy::ExposeSecret as _;
use tenantry_shared::{
    config::{Config, Flags, environment, parse_duration},
    exit::Exit,
    fault::Fault,
    log::{self, LogFormat},
    queue::Queue,
    registry::Registry,
    store::Store,
};
use tenantry_worker::{
    health, runtime,
    signals::Signals,
    variables::without_empty_variables,
    worker::{Parts, Worker},
};

#[derive(Parser)]
#[command(
    version,
    about = "Takes migration jobs from the queue and works them, one tenant per slot",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Configuration file [default: ./tenantry.toml, then the user's, then /etc/tenantry/config.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "TENANTRY_CONFIG")]
    config: Option<PathBuf>,
    /// The part [profile.NAME] of the configuration file wins over its other parts
    #[arg(long, global = true, value_name = "NAME", env = "TENANTRY_PROFILE")]
    profile: Option<String>,
    /// Registry database: sqlite:PATH, postgres://… or mysql://… [default: sqlite:.tenantry/registry.db]
    #[arg(long, global = true, value_name = "URL", env = "TENANTRY_REGISTRY_URL", hide_env_values = true)]
    registry_url: Option<String>,
    /// Queue: redis://… or rediss://… [default: the registry itself]
    #[arg(long, global = true, value_name = "URL", env = "TENANTRY_QUEUE_URL", hide_env_values = true)]
    queue_url: Option<String>,
    /// What to log, in the notation of tracing's EnvFilter
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "TENANTRY_LOG",
        default_value = "info",
        hide = true
    )]
    log: String,
    /// How log lines look on standard error [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT", env = "TENANTRY_LOG_FORMAT")]
    log_format: Option<Format>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Take jobs until told to stop
    ///
    /// SIGTERM or Ctrl-C: takes no more, finishes running migrations up to --drain-timeout, then ends with 0.
    /// A second signal stops running migrations at once and ends with 130 or 143.
    Run {
        /// Tenants at once
        #[arg(long, value_name = "N", env = "TENANTRY_WORKER_CONCURRENCY")]
        concurrency: Option<usize>,
        /// How long a drain waits for running migrations
        #[arg(long, value_name = "DURATION", env = "TENANTRY_WORKER_DRAIN_TIMEOUT", value_parser = parse_duration)]
        drain_timeout: Option<Duration>,
        /// How long a claim is good without being renewed; a killed worker's tenants start again after it
        #[arg(long, value_name = "DURATION", env = "TENANTRY_WORKER_LEASE", value_parser = parse_duration)]
        lease: Option<Duration>,
        /// File to leave signs of life in
        #[arg(long, value_name = "FILE", env = "TENANTRY_HEALTH_FILE")]
        health_file: Option<PathBuf>,
    },
    /// End with 0 when the worker on this machine is alive, with 1 when not; asks no database
    Healthcheck {
        /// File that the worker leaves signs of life in
        #[arg(long, value_name = "FILE", env = "TENANTRY_HEALTH_FILE")]
        health_file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let command = without_empty_variables(Cli::command());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let for_a_person = terminal || matches!(cli.command, Command::Healthcheck { .. });
    let json = cli.global.log_format.map_or(!for_a_person, |format| matches!(format, Format::Json));
    log::start(&cli.global.log, if json { LogFormat::Json } else { LogFormat::Text }, terminal);
    runtime::run(dispatch(cli))
        .unwrap_or_else(|fault| {
            tracing::error!(hint = fault.hint, "{fault}");
            fault.exit
        })
        .into()
}

async fn dispatch(cli: Cli) -> Result<Exit, Fault> {
    match cli.command {
        Command::Healthcheck { health_file } => {
            let path = health_file.unwrap_or_else(health::default_path);
            match health::age(&path) {
                Some(age) if age < health::STALE => Ok(Exit::Ok),
                Some(age) => Err(Fault::new(
                    Exit::Error,
                    format!("the last sign of life in {} is {} s old", path.display(), age.as_secs()),
                )),
                None => {
                    Err(Fault::new(Exit::Error, format!("there is no sign of life in {}", path.display())))
                }
            }
        }
        Command::Run { concurrency, drain_timeout, lease, health_file } => {
            let flags = Flags {
                config: cli.global.config,
                registry_url: cli.global.registry_url,
                queue_url: cli.global.queue_url,
                profile: cli.global.profile,
            };
            let mut config = Config::load(&flags, &environment)?;
            config.worker.concurrency = concurrency.unwrap_or(config.worker.concurrency).max(1);
            config.worker.drain_timeout = drain_timeout.unwrap_or(config.worker.drain_timeout);
            config.worker.lease = lease.unwrap_or(config.worker.lease);
            run(config, health_file.unwrap_or_else(health::default_path)).await
        }
    }
}

async fn run(config: Config, health_file: PathBuf) -> Result<Exit, Fault> {
    let mut signals = Signals::listen()?;
    let key = config.master_key()?;
    let registry_url = config.registry_url.expose_secret();
    let registry = Registry::new(Store::open(registry_url).await?);
    registry.adopt_key(&key).await?;
    let identity = registry.identity().await?;
    let queue =
        Queue::open(config.queue_url.as_ref().map(|url| url.expose_secret()), registry_url, &identity)
            .await?;
    let (drain_timeout, concurrency) = (config.worker.drain_timeout, config.worker.concurrency);
    tracing::info!(concurrency, queue = queue.kind(), version = env!("CARGO_PKG_VERSION"), "worker started");
    let mut worker =
        Worker::start(Parts { registry, queue, key, config: config.worker, health_file: Some(health_file) });
    signals.next().await;
    tracing::info!(
        drain_timeout_ms = tenantry_shared::clock::millis(drain_timeout),
        "draining: finishing what runs"
    );
    worker.drain();
    let exit = tokio::select! {
        () = worker.ended() => Exit::Ok,
        exit = signals.next() => exit,
        () = tokio::time::sleep(drain_timeout) => Exit::Terminated,
    };
    if exit != Exit::Ok {
        tracing::warn!("stopping what runs at once");
        worker.abort();
        worker.ended().await;
    }
    tracing::info!("worker stopped");
    Ok(exit)
}
