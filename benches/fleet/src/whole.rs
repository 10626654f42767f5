//! All that `docs/performance.md` shows, one after the other: within half an hour on four quiet cores.

use std::process::Command;

use crate::{
    Args,
    Case::{self, Enqueue, Million, Noop, Queue, S1, S10, Scale, Start, Tail},
    places::Kind::{self, Databases, Mariadb, Schemas, Sqlite},
    registry::Kept,
};

/// What is measured together.
struct Part {
    cases: &'static [Case],
    fleets: &'static [Kind],
    /// None: the case's own.
    tenants: &'static [usize],
    rounds: usize,
    concurrency: &'static [usize],
    registry: Kept,
    peers: bool,
}

/// What most parts have in common.
const PART: Part = Part {
    cases: &[],
    fleets: &[],
    tenants: &[],
    rounds: 3,
    concurrency: &[8, 16],
    registry: Kept::Sqlite,
    peers: false,
};

/// What is measured. Small fleets first, where the best concurrencies are found.
const WHOLE: &[Part] = &[
    Part {
        cases: &[Noop],
        fleets: &[Schemas, Mariadb, Sqlite],
        tenants: &[300, 2000],
        rounds: 5,
        concurrency: &[4, 8, 16],
        ..PART
    },
    Part {
        cases: &[Noop],
        fleets: &[Databases],
        tenants: &[100, 500],
        rounds: 5,
        concurrency: &[4, 8, 16],
        ..PART
    },
    Part { cases: &[S1], fleets: &[Schemas, Sqlite], tenants: &[300, 2000], ..PART },
    Part { cases: &[S1], fleets: &[Databases], tenants: &[100, 300], concurrency: &[16], ..PART },
    Part { cases: &[S1], fleets: &[Mariadb], tenants: &[300, 1000], ..PART },
    Part { cases: &[S10], fleets: &[Schemas, Sqlite], tenants: &[300, 1000], ..PART },
    Part { cases: &[S10], fleets: &[Databases], tenants: &[100, 300], concurrency: &[16], ..PART },
    Part { cases: &[S10], fleets: &[Mariadb], tenants: &[300], ..PART },
    Part {
        cases: &[Noop, S1, S10],
        fleets: &[Schemas, Databases, Mariadb, Sqlite],
        tenants: &[100],
        rounds: 2,
        // To try several with each tool would take minutes.
        concurrency: &[16],
        peers: true,
        ..PART
    },
    Part { cases: &[Start, Tail, Enqueue], ..PART },
    Part { cases: &[Queue], concurrency: &[256], rounds: 2, ..PART },
    Part { cases: &[Scale], fleets: &[Schemas, Sqlite], rounds: 2, concurrency: &[16], ..PART },
    Part { cases: &[Scale], fleets: &[Mariadb], rounds: 1, concurrency: &[16], ..PART },
    Part { cases: &[Million], ..PART },
    Part { cases: &[Million], registry: Kept::Postgres, ..PART },
];

/// The parts of the whole, each as its own flags would say it. With sizes given, all is only as large as the first one.
pub fn parts(args: &Args) -> Vec<Args> {
    let part = |part: &Part| Args {
        cases: part.cases.to_vec(),
        fleets: part.fleets.to_vec(),
        tenants: if args.tenants.is_empty() { part.tenants.to_vec() } else { vec![args.tenants[0]] },
        rounds: part.rounds,
        concurrency: part.concurrency.to_vec(),
        registry: part.registry,
        peers: part.peers,
        ..args.clone()
    };
    WHOLE.iter().map(part).collect()
}

/// The machine and its servers in a line.
pub fn facts() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut facts = vec![format!("{cores} cores"), format!("Linux {}", kernel.trim())];
    for program in ["postgres", "mariadbd", "redis-server"] {
        let Ok(said) = Command::new(program).arg("--version").output() else { continue };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version =
            said.split_whitespace().find(|word| word.contains('.') && word.contains(char::is_numeric));
        facts.extend(version.map(|version| format!("{program} {}", version.trim_start_matches("v="))));
    }
    facts.join(", ")
}
