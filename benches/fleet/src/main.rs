//! How fast Tenantry is, over fleets of each kind, as a ratio to the floor: the least work that gives the same result, at
//! its best concurrency, interleaved with ours in one run. `docs/performance.md` tells how to read it.

mod alone;
mod bundle;
mod count;
mod fleet;
mod floor;
mod home;
mod house;
mod meter;
mod peers;
mod places;
mod program;
mod proxy;
mod ratio;
mod registry;
mod report;
mod score;
mod server;
mod turns;
mod whole;

use std::{path::PathBuf, time::Instant};

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    places::Kind,
    registry::{Kept, Registries},
    report::Report,
};

/// Measures the release build against the floor.
#[derive(Clone, Parser)]
struct Args {
    /// What to do to each tenant
    #[arg(long, value_delimiter = ',', default_value = "noop,s1,s10")]
    cases: Vec<Case>,
    /// What the tenants are
    #[arg(long, value_delimiter = ',', default_value = "schemas,databases,mariadb,sqlite")]
    fleets: Vec<Kind>,
    /// How many tenants, one size after the other [default: 300, or what the case says]
    #[arg(long, value_delimiter = ',')]
    tenants: Vec<usize>,
    /// How often floor and ours take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrencies to choose the best of, at the first size, for each that is measured
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
    /// The whole of docs/performance.md; of the other flags, --program, --json, --markdown and --tenants are looked at
    #[arg(long)]
    all: bool,
    /// A file for the figures as JSON Lines
    #[arg(long)]
    json: Option<PathBuf>,
    /// A file for the tables
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Whether round trips are counted
    #[arg(skip = true)]
    proxy: bool,
    /// Be the floor, and do what the standard input says
    #[arg(long, hide = true)]
    floor: bool,
}

impl Args {
    /// How many tenants a case has that knows one size only.
    fn tenants(&self, usual: usize) -> usize {
        self.tenants.first().copied().unwrap_or(usual)
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
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
    /// Time per tenant of 10,000 as against 1,000, where the floor shows how much of it is the server's
    Scale,
    /// One slow tenant among 200 quick ones
    Tail,
}

impl Case {
    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

fn main() {
    let args = Args::parse();
    if args.floor {
        return floor::main();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(until_signaled(args));
}

/// What is measured blocks threads of its own runtime, so that this one hears signals.
async fn until_signaled(mut args: Args) {
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
    let mut report = Report::new(args.json.as_deref(), args.markdown.as_deref());
    report.say(&format!("{} · {} · medians of rounds in turns", whole::facts(), args.program.display()));
    let parts = if args.all { whole::parts(args) } else { vec![args.clone()] };
    let mut registries = Registries::default();
    for part in parts {
        let begun = Instant::now();
        cases(&part, &mut registries, &mut report).await;
        report.note(&format!("all of that took {:.0} s", begun.elapsed().as_secs_f64()));
    }
}

async fn cases(args: &Args, registries: &mut Registries, report: &mut Report) {
    if args.peers {
        peers::name_missing(&args.fleets, report);
    }
    let (over_fleets, alone): (Vec<Case>, Vec<Case>) =
        args.cases.iter().partition(|case| matches!(case, Case::Noop | Case::S1 | Case::S10));
    if !over_fleets.is_empty() {
        ratio::measure(args, &over_fleets, registries, report).await;
    }
    for case in alone {
        match case {
            Case::Enqueue => alone::enqueue::measure(args, registries, report).await,
            Case::Queue => alone::queue::measure(args, registries, report).await,
            Case::Start => alone::start::measure(args, report).await,
            Case::Million => alone::growth::measure(args, registries, report).await,
            Case::Tail => alone::tail::measure(args, report).await,
            Case::Scale => ratio::scale(args, registries, report).await,
            Case::Noop | Case::S1 | Case::S10 => {}
        }
    }
}
