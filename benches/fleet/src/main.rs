//! How fast Tenantry is, over fleets of each kind, as a ratio to the floor: the least work that gives the same result, at
//! its best concurrency, interleaved with ours in one run. `docs/performance.md` tells how to read it.

mod bundle;
mod fleet;
mod floor;
mod meter;
mod ours;
mod proxy;
mod report;
mod server;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{
    bundle::Migration,
    fleet::{Fleet, Kind},
    ours::{Home, Took},
    report::{Measured, median},
    server::Server,
};

/// How many tenants go through the proxy that counts.
const COUNTED: usize = 40;

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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Registry {
    Sqlite,
    Postgres,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let kind = |kind: &Kind| if *kind == Kind::Mariadb { "mariadb" } else { "postgres" };
    report::head(&args.program, args.rounds);
    let registry = (args.registry == Registry::Postgres).then(|| Server::start("postgres"));
    for fleet in &args.fleets {
        let server = (*fleet != Kind::Sqlite).then(|| Arc::new(Server::start(kind(fleet))));
        let dir = tempfile::tempdir().expect("a directory");
        let fleet = Fleet::new(*fleet, args.tenants, server, dir.path());
        for case in &args.cases {
            let registry = match &registry {
                Some(server) => Some(database(server).await),
                None => None,
            };
            report::line(&measure(&args, &fleet, *case, registry).await);
        }
    }
}

/// A new database for a registry.
async fn database(server: &Server) -> String {
    let mut connection = fleet::postgres(&server.url).await;
    fleet::pg(&mut connection, "DROP DATABASE IF EXISTS registry WITH (FORCE)").await;
    fleet::pg(&mut connection, "CREATE DATABASE registry").await;
    server.database("registry")
}

/// One case over one fleet.
struct Bench<'a> {
    fleet: &'a Fleet,
    case: Case,
    home: Home,
    migrations: Vec<Migration>,
}

async fn measure(args: &Args, fleet: &Fleet, case: Case, registry: Option<String>) -> Measured {
    let migrations = if case == Case::S10 { bundle::ten(fleet.kind) } else { bundle::one(fleet.kind) };
    let home = Home::new(&args.program, registry);
    bundle::write(&home.migrations(), &migrations);
    home.import(fleet, fleet.count, None);
    let bench = Bench { fleet, case, home, migrations };
    if case == Case::Noop {
        fleet.empty().await;
        bench.home.migrate("applied", 8);
    }
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for concurrency in &args.concurrency {
        floors.push((bench.floor(*concurrency).await, *concurrency));
        ours.push((bench.ours(*concurrency).await.0, *concurrency));
    }
    let best = |tried: Vec<(Duration, usize)>| tried.into_iter().min().expect("a concurrency").1;
    let floor_at = best(floors);
    let ours_at = best(ours.into_iter().map(|(took, at)| (took.wall, at)).collect());
    let (mut floors, mut ours, mut servers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        floors.push(bench.floor(floor_at).await);
        let (took, server) = bench.ours(ours_at).await;
        ours.push(took);
        servers.push(server);
    }
    Measured {
        fleet: format!("{:?}", fleet.kind).to_lowercase(),
        case: format!("{case:?}").to_uppercase(),
        tenants: fleet.count,
        floor: median(floors),
        floor_at,
        ours: median(ours.iter().map(|took| took.wall).collect()),
        ours_at,
        processor: median(ours.iter().map(|took| took.processor).collect()),
        server: median(servers),
        memory: ours.iter().map(|took| took.memory).max().unwrap_or(0),
        line: bench.line(args).await,
    }
}

impl Bench<'_> {
    async fn floor(&self, concurrency: usize) -> Duration {
        if self.case == Case::Noop {
            let (took, found) = floor::read(self.fleet, concurrency).await;
            assert_eq!(found, self.fleet.count * self.migrations.len(), "histories");
            return took;
        }
        self.fleet.empty().await;
        let took = floor::apply(self.fleet, &self.migrations, concurrency).await;
        self.verify().await;
        took
    }

    /// What our command took, and the processor time of the server meanwhile.
    async fn ours(&self, concurrency: usize) -> (Took, Duration) {
        let state = if self.case == Case::Noop { "current" } else { "applied" };
        if self.case != Case::Noop {
            self.fleet.empty().await;
        }
        let server = self.fleet.server.as_ref().map(|server| server.pid());
        let before = server.map(meter::group);
        let took = self.home.migrate(state, concurrency);
        let spent = server.zip(before).map(|(server, before)| meter::group(server).saturating_sub(before));
        self.verify().await;
        (took, spent.unwrap_or_default())
    }

    /// Counts what is applied, by other code than what has applied it.
    async fn verify(&self) {
        let (_, found) = floor::read(self.fleet, 4).await;
        assert_eq!(found, self.fleet.count * self.migrations.len(), "histories");
    }

    /// Round trips and bytes for each tenant, of some that go through a proxy.
    async fn line(&self, args: &Args) -> Option<(f64, f64)> {
        let url = &self.fleet.server.as_ref()?.url;
        let port = url.rsplit_once('/')?.0.rsplit_once(':')?.1.parse().ok()?;
        let (port, counts) = proxy::start(port).await;
        let home = Home::new(&args.program, None);
        bundle::write(&home.migrations(), &self.migrations);
        let tenants = COUNTED.min(self.fleet.count);
        home.import(self.fleet, tenants, Some(port));
        let state = if self.case == Case::Noop { "current" } else { "applied" };
        if self.case != Case::Noop {
            self.fleet.empty().await;
        }
        let migrated = tokio::task::spawn_blocking(move || home.migrate(state, 8));
        migrated.await.expect("the product");
        let (round_trips, bytes) = counts.take();
        Some((round_trips as f64 / tenants as f64, bytes as f64 / tenants as f64))
    }
}
