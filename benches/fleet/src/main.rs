//! How fast Tenantry is, over fleets of each kind, as a ratio to the floor: the least work that gives the same result, at
//! its best concurrency, interleaved with ours in one run. `docs/performance.md` tells how to read it.

mod alone;
mod bundle;
mod fleet;
mod floor;
mod home;
mod house;
mod meter;
mod peers;
mod program;
mod proxy;
mod registry;
mod report;
mod server;
mod turns;
mod whole;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    fleet::{Fleet, Kind},
    registry::{Kept, Registries},
    report::Report,
};

/// How many tenants a fleet has.
const TENANTS: usize = 500;

/// Measures the release build against the floor.
#[derive(Clone, Parser)]
struct Args {
    /// What to do to each tenant
    #[arg(long, value_delimiter = ',', default_value = "noop,s1,s10")]
    cases: Vec<Case>,
    /// What the tenants are
    #[arg(long, value_delimiter = ',', default_value = "schemas,databases,mariadb,sqlite")]
    fleets: Vec<Kind>,
    /// How many tenants [default: 500, or what the case says]
    #[arg(long)]
    tenants: Option<usize>,
    /// How often floor and ours take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrencies to choose the best of, for the floor and for ours
    #[arg(long, value_delimiter = ',', default_value = "8,16")]
    concurrency: Vec<usize>,
    /// The registry's database
    #[arg(long, default_value = "sqlite")]
    registry: Kept,
    /// The program
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/tenantry"))]
    program: PathBuf,
    /// Also let sqlx-cli, dbmate and django-tenants do it, where tests/tools has installed them
    #[arg(long)]
    peers: bool,
    /// The whole of docs/performance.md; other flags but --program, --json and --registry are not looked at
    #[arg(long)]
    all: bool,
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
    /// `tenantry enqueue --all` alone, of 100,000 tenants
    Enqueue,
    /// Jobs that do nothing, 50,000, through the full ledger
    Queue,
    /// The time that small commands take
    Start,
    /// Memory and time per tenant with up to 1,000,000 simulated tenants
    Million,
    /// Time per tenant of 10,000 SQLite files as against 1,000
    Scale,
    /// One slow tenant among 200 quick ones
    Tail,
}

impl Case {
    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// What is measured blocks threads of its own runtime, so that this one hears signals.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = Args::parse();
    args.program = std::path::absolute(&args.program).expect("a path"); // it is run in other directories
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(all(&args));
    });
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
    report.say(&format!("{} · {} · medians of rounds in turns", whole::facts(), args.program.display()));
    let parts = if args.all { whole::parts(args) } else { vec![args.clone()] };
    for part in parts {
        cases(&part, &mut report).await;
    }
}

async fn cases(args: &Args, report: &mut Report) {
    if args.peers {
        let wanted =
            peers::Peer::ALL.into_iter().filter(|peer| args.fleets.iter().any(|kind| peer.knows(*kind)));
        for peer in wanted.filter(|peer| peer.program().is_none()) {
            report.say(&format!("{} is missing (hint: tests/tools install {})", peer.name(), peer.package()));
        }
    }
    let mut registries = Registries::default();
    let (over_fleets, alone): (Vec<Case>, Vec<Case>) =
        args.cases.iter().partition(|case| matches!(case, Case::Noop | Case::S1 | Case::S10));
    for kind in args.fleets.iter().filter(|_| !over_fleets.is_empty()) {
        let fleet = Fleet::with_server(*kind, args.tenants.unwrap_or(TENANTS));
        for case in &over_fleets {
            turns::measure(args, &fleet, *case, registries.another(args.registry).await, report).await;
        }
    }
    report.release();
    for case in alone {
        match case {
            Case::Enqueue => alone::enqueue::measure(args, &mut registries, report).await,
            Case::Queue => alone::queue::measure(args, &mut registries, report).await,
            Case::Start => alone::start::measure(args, report).await,
            Case::Million => alone::growth::measure(args, &mut registries, report).await,
            Case::Tail => alone::tail::measure(args, report).await,
            Case::Scale => scale(args, &mut registries, report).await,
            Case::Noop | Case::S1 | Case::S10 => {}
        }
    }
}

/// Time per tenant of ten times as many. Files: no server's catalog grows with them, so what grows is ours.
async fn scale(args: &Args, registries: &mut Registries, report: &mut Report) {
    let many = args.tenants.unwrap_or(10_000);
    for case in [Case::Noop, Case::S1] {
        let mut each = Vec::new();
        for tenants in [many / 10, many] {
            let fleet = Fleet::with_server(Kind::Sqlite, tenants);
            let took =
                turns::measure(args, &fleet, case, registries.another(args.registry).await, report).await;
            each.push(took.map(|took| took.as_secs_f64() / tenants as f64));
        }
        let growth = |who: usize| each[1][who] / each[0][who];
        report.say(&format!(
            "{} at {many}: {:.2} of the time per tenant at {}; the floor {:.2}",
            case.word(),
            growth(1),
            many / 10,
            growth(0)
        ));
    }
}
