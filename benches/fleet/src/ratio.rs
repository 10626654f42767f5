//! Ours against the floor, over fleets of each kind and of several sizes.

use std::collections::BTreeMap;

use crate::{
    Args, Case,
    fleet::Fleet,
    house,
    peers::Peer,
    places::Kind,
    registry::Registries,
    report::{Cell, Report},
    score::Measured,
    turns,
};

/// How many tenants a fleet has.
const TENANTS: usize = 300;

/// How many tenants time per tenant is looked at with, and ten times fewer.
const MANY: usize = 10_000;

/// What the disk must have room for besides.
const SPARE: u64 = 2 << 30;

/// Each case over each fleet in each size. The best concurrencies of the first size are taken for the others.
pub async fn measure(args: &Args, cases: &[Case], registries: &mut Registries, report: &mut Report) {
    let sizes = if args.tenants.is_empty() { &[TENANTS][..] } else { &args.tenants };
    let mut faster = Vec::new();
    for kind in &args.fleets {
        let mut best = BTreeMap::new();
        for tenants in sizes {
            if !has_room(args, *kind, cases, *tenants, best.is_empty(), report) {
                continue;
            }
            let fleet = Fleet::with_server(*kind, *tenants);
            for case in cases {
                let address = registries.another(args.registry).await;
                let measured = turns::measure(args, &fleet, *case, address, best.remove(case)).await;
                best.insert(*case, measured.best());
                report.line(measured.ratio());
                faster.push(measured.faster());
            }
        }
    }
    for line in faster.into_iter().filter(|_| args.peers) {
        report.line(line);
    }
}

/// Time per tenant of ten times as many. What grows of the floor's is the server's catalogs and the file system's.
pub async fn scale(args: &Args, registries: &mut Registries, report: &mut Report) {
    const CASES: [Case; 2] = [Case::Noop, Case::S1];
    let many = args.tenants(MANY);
    let args = Args { proxy: false, peers: false, ..args.clone() };
    // A PostgreSQL database takes 8 MB with nothing in it.
    for kind in args.fleets.iter().filter(|kind| **kind != Kind::Databases) {
        let mut few = BTreeMap::new();
        for tenants in [many / 10, many] {
            if !has_room(&args, *kind, &CASES, tenants, few.is_empty(), report) {
                continue;
            }
            let fleet = Fleet::with_server(*kind, tenants);
            for case in CASES {
                let address = registries.another(args.registry).await;
                let before = few.remove(&case);
                let best = before.as_ref().map(Measured::best);
                let measured = turns::measure(&args, &fleet, case, address, best).await;
                if let Some(before) = before {
                    report.line(grown(*kind, case, [many / 10, many], [before.each(), measured.each()]));
                } else {
                    few.insert(case, measured);
                }
            }
        }
    }
}

fn grown(kind: Kind, case: Case, tenants: [usize; 2], each: [[f64; 2]; 2]) -> crate::report::Line {
    let micros = |size: usize, who: usize| Cell::Number(each[size][who] * 1e6, 0);
    let growth = |who: usize| Cell::Number(each[1][who] / each[0][who], 2);
    vec![
        ("fleet", Cell::text(kind.word())),
        ("case", Cell::text(case.word())),
        ("few", Cell::count(tenants[0])),
        ("many", Cell::count(tenants[1])),
        ("floor µs/t, few", micros(0, 0)),
        ("many ", micros(1, 0)),
        ("its growth", growth(0)),
        ("ours µs/t, few", micros(0, 1)),
        ("many  ", micros(1, 1)),
        ("our growth", growth(1)),
    ]
}

/// Whether the disk has room for all that is made until the fleet is given up; says so if not. In other sizes than the
/// first no concurrencies are tried.
fn has_room(
    args: &Args,
    kind: Kind,
    cases: &[Case],
    tenants: usize,
    first: bool,
    report: &mut Report,
) -> bool {
    let needs = (each_needs(args, kind, cases, first) * tenants) as u64;
    let room = house::room().saturating_sub(SPARE);
    if room < needs {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        report.say(&format!(
            "{tenants} {} are left out: they may take {:.1} GiB, and there are {:.1} to spare",
            kind.word(),
            gib(needs),
            gib(room)
        ));
    }
    room >= needs
}

/// About how many bytes of the disk a tenant takes at most. What was before is cut to nothing, but in MariaDB; and
/// a fleet of a peer's own is there in each case.
fn each_needs(args: &Args, kind: Kind, cases: &[Case], first: bool) -> usize {
    let tried = if first && args.concurrency.len() > 1 { args.concurrency.len() } else { 0 };
    let who = if args.peers { 2 + Peer::ALL.len() } else { 2 };
    let changes = |case: &Case| if *case == Case::Noop { 1 } else { who * (tried + args.rounds) + 1 };
    let bytes = |case: &Case| kind.bytes(*case == Case::S10);
    let most = cases.iter().map(bytes).max().unwrap_or_default();
    match kind {
        Kind::Mariadb => cases.iter().map(|case| bytes(case) * changes(case)).sum(),
        Kind::Schemas if args.peers => most + cases.iter().map(bytes).sum::<usize>(),
        _ => most,
    }
}
