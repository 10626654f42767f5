//! Floor and ours in turns over one fleet: the cases in which tenants are migrated.

use std::{path::PathBuf, time::Duration};

use crate::{
    Args, Case,
    bundle::{self, Migration},
    fleet::Fleet,
    floor,
    home::Home,
    meter::{self, Took},
    peers::Peer,
    proxy,
    registry::Address,
    report::{Cell, Report},
};

/// How many tenants go through the proxy that counts.
const COUNTED: usize = 40;

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    Floor,
    Ours,
    Peer(Peer),
}

/// What somebody took, at the best of the concurrencies.
struct Score {
    runner: Runner,
    at: usize,
    rounds: Vec<Took>,
}

impl Score {
    fn median(&self, figure: impl Fn(&Took) -> Duration) -> Duration {
        meter::median(self.rounds.iter().map(figure))
    }

    fn least(&self) -> Duration {
        self.rounds.iter().map(|took| took.wall).min().unwrap_or_default()
    }
}

/// One case over one fleet.
struct Turns<'a> {
    fleet: &'a Fleet,
    case: Case,
    home: Home,
    migrations: Vec<Migration>,
    peers: Vec<Found>,
}

/// A peer that is installed.
struct Found {
    peer: Peer,
    program: PathBuf,
    files: PathBuf,
    /// Where it needs one.
    own_fleet: Option<Fleet>,
}

impl Found {
    fn new(peer: Peer, fleet: &Fleet, case: Case, migrations: &[Migration]) -> Option<Self> {
        let (program, files) = (peer.program()?, peer.write(migrations));
        Some(Self { peer, program, files, own_fleet: peer.own_fleet(fleet, &case.word()) })
    }
}

/// Measures one case and prints its line; gives the time that floor and ours took.
pub async fn measure(
    args: &Args,
    fleet: &Fleet,
    case: Case,
    address: Address,
    report: &mut Report,
) -> [Duration; 2] {
    let migrations = if case == Case::S10 { bundle::ten(fleet.kind) } else { bundle::one(fleet.kind) };
    let home = Home::new(&args.program, address);
    home.write(&migrations);
    home.import(fleet, fleet.count, None);
    let wanted = Peer::ALL.into_iter().filter(|peer| args.peers && peer.knows(fleet.kind));
    let peers = wanted.filter_map(|peer| Found::new(peer, fleet, case, &migrations)).collect();
    let turns = Turns { fleet, case, home, migrations, peers };
    if case == Case::Noop {
        turns.make_current().await;
    }
    let mut runners = vec![Runner::Floor, Runner::Ours];
    runners.extend(turns.peers.iter().map(|found| Runner::Peer(found.peer)));
    let scores = turns.play(args, &runners).await;
    let line = turns.line(args).await;
    report.line(&turns.cells(&scores[0], &scores[1], line));
    turns.compare(&scores, report);
    [&scores[0], &scores[1]].map(|score| score.median(|took| took.wall))
}

impl Turns<'_> {
    /// Each at the best of the concurrencies; who begins in one round is the last one in the next.
    async fn play(&self, args: &Args, runners: &[Runner]) -> Vec<Score> {
        let mut scores = Vec::new();
        for runner in runners {
            let mut tried = Vec::new();
            for at in &args.concurrency {
                tried.push((self.go(*runner, *at).await.wall, *at));
            }
            let at = tried.into_iter().min().expect("a concurrency").1;
            scores.push(Score { runner: *runner, at, rounds: Vec::new() });
        }
        for _ in 0..args.rounds {
            for score in &mut scores {
                let took = self.go(score.runner, score.at).await;
                score.rounds.push(took);
            }
            scores.reverse();
        }
        scores.sort_by_key(|score| runners.iter().position(|runner| *runner == score.runner));
        scores
    }

    /// One round, from an empty fleet to a counted result.
    async fn go(&self, runner: Runner, concurrency: usize) -> Took {
        let fleet = self.fleet_of(runner);
        if self.case != Case::Noop {
            fleet.empty().await;
        }
        fleet.settle().await;
        let first = self.fleet.server.as_ref().map(|server| server.pid());
        let server = || first.map(meter::server).unwrap_or_default();
        let before = server();
        let took = match runner {
            Runner::Floor => self.floor(concurrency).await,
            Runner::Ours => self.home.migrate(self.state(), concurrency),
            Runner::Peer(peer) => self.peer(peer, concurrency),
        };
        let took = Took { server: server().saturating_sub(before), ..took };
        match runner {
            Runner::Peer(peer) => self.verify(fleet, peer.history()).await,
            Runner::Floor | Runner::Ours => self.verify(fleet, "_sqlx_migrations").await,
        }
        took
    }

    fn peer(&self, peer: Peer, concurrency: usize) -> Took {
        let Found { program, files, .. } = self.found(peer);
        peer.migrate(program, self.fleet_of(Runner::Peer(peer)), files, concurrency)
    }

    fn found(&self, peer: Peer) -> &Found {
        self.peers.iter().find(|found| found.peer == peer).expect("a peer that was found")
    }

    fn fleet_of(&self, runner: Runner) -> &Fleet {
        match runner {
            Runner::Floor | Runner::Ours => self.fleet,
            Runner::Peer(peer) => self.found(peer).own_fleet.as_ref().unwrap_or(self.fleet),
        }
    }

    /// Has everything applied, by us and by each peer that keeps a history of its own, which finds the tables there unless
    /// it has a fleet of its own, too.
    async fn make_current(&self) {
        self.fleet.empty().await;
        self.home.migrate("applied", 8);
        for found in self.peers.iter().filter(|found| found.peer != Peer::Sqlx) {
            if let Some(fleet) = &found.own_fleet {
                fleet.empty().await;
                self.peer(found.peer, 8);
                continue;
            }
            let nothing = self
                .migrations
                .iter()
                .map(|migration| Migration { statements: vec!["SELECT 1".into()], ..migration.clone() });
            let files = found.peer.write(&nothing.collect::<Vec<_>>());
            found.peer.migrate(&found.program, self.fleet, &files, 8);
        }
    }

    async fn floor(&self, concurrency: usize) -> Took {
        let before = meter::own();
        let wall = if self.case == Case::Noop {
            let (wall, found) = floor::read(self.fleet, concurrency).await;
            assert_eq!(found, self.fleet.count * self.migrations.len(), "histories");
            wall
        } else {
            floor::apply(self.fleet, &self.migrations, concurrency).await
        };
        Took { wall, processor: meter::own().saturating_sub(before), ..Took::default() }
    }

    /// How each tenant ends.
    fn state(&self) -> &'static str {
        if self.case == Case::Noop { "current" } else { "applied" }
    }

    /// Counts what is applied, by other code than what has applied it.
    async fn verify(&self, fleet: &Fleet, history: &str) {
        let found = floor::count(fleet, history).await;
        assert_eq!(found, fleet.count * self.migrations.len(), "histories");
        let tables: Vec<&str> = self.migrations.iter().filter_map(Migration::table).collect();
        if let Some(found) = fleet.tables(&tables).await {
            assert_eq!(found, fleet.count * tables.len(), "tables");
        }
    }

    /// A line for each of us and the peers.
    fn compare(&self, scores: &[Score], report: &mut Report) {
        let ours = scores[1].median(|took| took.wall).as_secs_f64();
        for score in scores.iter().filter(|_| !self.peers.is_empty()) {
            let took = score.median(|took| took.wall).as_secs_f64();
            let who = match score.runner {
                Runner::Floor => "floor",
                Runner::Ours => "tenantry",
                Runner::Peer(peer) => peer.name(),
            };
            report.hold(vec![
                ("fleet", Cell::text(format!("{:?}", self.fleet.kind).to_lowercase())),
                ("case", Cell::text(self.case.word())),
                ("tenants", Cell::count(self.fleet.count)),
                ("by whom       ", Cell::text(who)),
                ("at once", Cell::count(score.at)),
                ("tenants/s", Cell::Number(self.fleet.count as f64 / took, 0)),
                ("we are faster by", Cell::Number(took / ours, 2)),
            ]);
        }
    }

    /// Round trips and bytes for each tenant, of some that go through a proxy.
    async fn line(&self, args: &Args) -> Option<(f64, f64)> {
        let url = &self.fleet.server.as_ref()?.url;
        let port = url.rsplit_once('/')?.0.rsplit_once(':')?.1.parse().ok()?;
        let (port, counts) = proxy::start(port).await;
        let home = Home::new(&args.program, Address::default());
        home.write(&self.migrations);
        let tenants = COUNTED.min(self.fleet.count);
        home.import(self.fleet, tenants, Some(port));
        if self.case != Case::Noop {
            self.fleet.empty().await;
        }
        let state = self.state();
        let migrated = tokio::task::spawn_blocking(move || home.migrate(state, 8));
        migrated.await.expect("the product");
        let (round_trips, bytes) = counts.take();
        Some((round_trips as f64 / tenants as f64, bytes as f64 / tenants as f64))
    }

    fn cells(&self, floor: &Score, ours: &Score, line: Option<(f64, f64)>) -> Vec<(&'static str, Cell)> {
        let rate = |score: &Score| {
            let rate = self.fleet.count as f64 / score.median(|took| took.wall).as_secs_f64();
            Cell::text(format!("{rate:.0}@{}", score.at))
        };
        let ratio =
            |floor: Duration, ours: Duration| Cell::Number(floor.as_secs_f64() / ours.as_secs_f64(), 2);
        let wall = |score: &Score| score.median(|took| took.wall);
        let memory = ours.rounds.iter().map(|took| took.memory).max();
        vec![
            ("fleet", Cell::text(format!("{:?}", self.fleet.kind).to_lowercase())),
            ("case", Cell::text(self.case.word())),
            ("tenants", Cell::count(self.fleet.count)),
            ("floor/s", rate(floor)),
            ("ours/s", rate(ours)),
            ("ratio", ratio(wall(floor), wall(ours))),
            ("best", ratio(floor.least(), ours.least())),
            ("floor cpu", Cell::ms(floor.median(|took| took.processor))),
            ("our cpu", Cell::ms(ours.median(|took| took.processor))),
            ("floor server", Cell::ms(floor.median(|took| took.server))),
            ("our server", Cell::ms(ours.median(|took| took.server))),
            ("MiB peak", Cell::mib(memory.unwrap_or_default())),
            ("trips/t", line.map_or(Cell::Nothing, |line| Cell::Number(line.0, 1))),
            ("B/t", line.map_or(Cell::Nothing, |line| Cell::Number(line.1, 0))),
        ]
    }
}
