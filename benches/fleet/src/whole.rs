//! All that `docs/performance.md` shows, one after the other: about twelve minutes on four quiet cores.

use std::process::Command;

use crate::{Args, Case, fleet::Kind};

const PEERS: &[Case] = &[Case::Noop, Case::S1, Case::S10];

/// Cases, fleets, tenants where not the cases' own, rounds, and whether with peers.
type Part = (&'static [Case], &'static [Kind], Option<usize>, usize, bool);

/// What is measured.
const WHOLE: &[Part] = &[
    (&[Case::S1, Case::S10], &[Kind::Schemas, Kind::Sqlite], Some(500), 3, false),
    (&[Case::S1, Case::S10], &[Kind::Databases, Kind::Mariadb], Some(200), 3, false),
    (&[Case::Noop], &[Kind::Schemas, Kind::Mariadb, Kind::Sqlite], Some(2000), 5, false),
    (&[Case::Noop], &[Kind::Databases], Some(500), 3, false),
    (PEERS, &[Kind::Schemas, Kind::Databases, Kind::Mariadb, Kind::Sqlite], Some(100), 2, true),
    (&[Case::Start, Case::Tail, Case::Enqueue], &[], None, 3, false),
    (&[Case::Queue], &[], Some(20_000), 3, false),
    (&[Case::Scale], &[], None, 2, false),
    (&[Case::Million], &[], None, 1, false),
];

/// The parts of the whole, each as its own flags would say it.
pub fn parts(args: &Args) -> Vec<Args> {
    let part = |(cases, fleets, tenants, rounds, peers): &Part| Args {
        cases: cases.to_vec(),
        fleets: fleets.to_vec(),
        tenants: *tenants,
        rounds: *rounds,
        peers: *peers,
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
