//! How fast Tenantry is, over fleets of each kind, as a ratio to the floor: the least work that gives the same result, at
//! its best concurrency, interleaved with ours in one run. `docs/performance.md` tells how to read it.

mod bundle;
mod fleet;
mod floor;
mod house;
mod meter;
mod ours;
mod proxy;
mod report;
mod server;
mod turns;

use std::{path::PathBuf, sync::Arc};

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    fleet::{Fleet, Kind},
    report::Report,
    server::Server,
};

/// Measures the release build against the floor.
#[derive(Parser)]
struct Args {
    /// What to do to each tenant
    #[arg(long, value_delimiter = ',', default_value = "noop,s1,s10")]
    cases: Vec<Case>,
    /// What the tenants are
    #[arg(long, value_delimiter = ',', default_value = "schemas,databases,mariadb,sqlite")]
    fleets: Vec<Kind>,
    /// How many tenants
    #[arg(long, default_value_t = 500)]
    tenants: usize,
    /// How often floor and ours take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrencies to choose the best of, for the floor and for ours
    #[arg(long, value_delimiter = ',', default_value = "8,16")]
    concurrency: Vec<usize>,
    /// The registry's database
    #[arg(long, default_value = "sqlite")]
    registry: Registry,
    /// The program
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/tenantry"))]
    program: PathBuf,
    /// A file for the figures as JSON Lines
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Nothing: all is applied
    Noop,
    /// One migration: a table and an index
    S1,
    /// Ten ordinary migrations
    S10,
}

impl Case {
    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Registry {
    Sqlite,
    Postgres,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let measured = tokio::spawn(async move { all(&args).await });
    let mut terminate = signal(SignalKind::terminate()).expect("a signal");
    let status = tokio::select! {
        ended = measured => i32::from(ended.is_err()),
        _ = tokio::signal::ctrl_c() => 130,
        _ = terminate.recv() => 143,
    };
    if status >= 128 {
        std::panic::set_hook(Box::new(|_| ())); // whoever measures finds everything gone
    }
    house::clear();
    std::process::exit(status);
}

async fn all(args: &Args) {
    let mut report = Report::new(args.json.as_deref());
    report.say(&format!("{} · {} rounds, in turns · medians", args.program.display(), args.rounds));
    let mut registries = Registries::new(args.registry);
    for kind in &args.fleets {
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Mariadb => Some(Server::start("mariadb")),
            Kind::Schemas | Kind::Databases => Some(Server::start("postgres")),
        };
        let fleet = Fleet::new(*kind, args.tenants, server.map(Arc::new));
        for case in &args.cases {
            turns::measure(args, &fleet, *case, registries.another().await, &mut report).await;
        }
    }
}

/// New registries: files of the homes, or databases of one server.
struct Registries {
    server: Option<Server>,
    count: usize,
}

impl Registries {
    fn new(kind: Registry) -> Self {
        Self { server: (kind == Registry::Postgres).then(|| Server::start("postgres")), count: 0 }
    }

    /// The URL, where it is no file.
    async fn another(&mut self) -> Option<String> {
        let server = self.server.as_ref()?;
        self.count += 1;
        let name = format!("registry_{}", self.count);
        fleet::pg(&mut fleet::postgres(&server.url).await, &format!("CREATE DATABASE {name}")).await;
        Some(server.database(&name))
    }
}
