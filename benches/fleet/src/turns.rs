//! Floor and ours in turns over one fleet: the cases in which tenants are migrated.

use std::path::PathBuf;

use crate::{
    Args, Case,
    bundle::{self, Migration},
    count,
    fleet::Fleet,
    floor,
    home::Home,
    meter::{self, Took},
    peers::Peer,
    places::Places,
    proxy,
    registry::Address,
    score::{Measured, Runner, Score},
};

/// How many tenants go through the proxy that counts.
const COUNTED: usize = 40;

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

/// Measures one case over one fleet, at these concurrencies where somebody has found them to be the best already.
pub async fn measure(
    args: &Args,
    fleet: &Fleet,
    case: Case,
    address: Address,
    best: Option<Vec<usize>>,
) -> Measured {
    let Places { kind, count, .. } = fleet.places;
    let migrations = if case == Case::S10 { bundle::ten(kind) } else { bundle::one(kind) };
    let home = Home::new(&args.program, address);
    home.write(&migrations);
    home.import(fleet, count, None);
    let wanted = Peer::ALL.into_iter().filter(|peer| args.peers && peer.knows(kind));
    let peers = wanted.filter_map(|peer| Found::new(peer, fleet, case, &migrations)).collect();
    let turns = Turns { fleet, case, home, migrations, peers };
    if case == Case::Noop {
        turns.make_current().await;
    }
    let mut runners = vec![Runner::Floor, Runner::Ours];
    runners.extend(turns.peers.iter().map(|found| Runner::Peer(found.peer)));
    let best = match best {
        Some(best) => best,
        None => turns.best(&args.concurrency, &runners).await,
    };
    let scores = turns.play(args.rounds, &runners, &best).await;
    let line = if args.proxy { turns.line(args).await } else { None };
    Measured { kind, case, tenants: count, scores, line }
}

impl Turns<'_> {
    /// The best of the concurrencies for each: one round of each is enough to see, and of one alone nothing.
    async fn best(&self, concurrencies: &[usize], runners: &[Runner]) -> Vec<usize> {
        if let [only] = concurrencies {
            return vec![*only; runners.len()];
        }
        let mut best = Vec::new();
        for runner in runners {
            let mut tried = Vec::new();
            for at in concurrencies {
                tried.push((self.go(*runner, *at).await.wall, *at));
            }
            best.push(tried.into_iter().min().expect("a concurrency").1);
        }
        best
    }

    /// In turns: who begins in one round is the last one in the next.
    async fn play(&self, rounds: usize, runners: &[Runner], best: &[usize]) -> Vec<Score> {
        let score = |(runner, at): (&Runner, &usize)| Score { runner: *runner, at: *at, rounds: Vec::new() };
        let mut scores: Vec<Score> = runners.iter().zip(best).map(score).collect();
        for _ in 0..rounds {
            for score in &mut scores {
                let took = self.go(score.runner, score.at).await;
                score.rounds.push(took);
            }
            scores.reverse();
        }
        scores.sort_by_key(|score| runners.iter().position(|runner| *runner == score.runner));
        scores
    }

    /// One round, from an empty fleet to a counted result. Where nothing is to be done, all have turns over the same
    /// fleet, and floor and ours write nothing to it.
    async fn go(&self, runner: Runner, concurrency: usize) -> Took {
        let fleet = self.fleet_of(runner);
        let only_reads = self.case == Case::Noop && !matches!(runner, Runner::Peer(_));
        let written = if only_reads { count::writes(&fleet.places).await } else { 0 };
        if self.case != Case::Noop {
            fleet.empty().await;
            self.home.forget().await;
        }
        fleet.settle().await;
        let first = self.fleet.server.as_ref().map(|server| server.pid());
        let server = || first.map(meter::server).unwrap_or_default();
        let before = server();
        let took = match runner {
            Runner::Floor => self.floor(concurrency),
            Runner::Ours => self.home.migrate(self.state(), concurrency),
            Runner::Peer(peer) => self.peer(peer, concurrency),
        };
        let took = Took { server: server().saturating_sub(before), ..took };
        match runner {
            Runner::Peer(peer) => self.verify(fleet, peer.history()).await,
            Runner::Floor | Runner::Ours => self.verify(fleet, "_sqlx_migrations").await,
        }
        assert!(!only_reads || count::writes(&fleet.places).await == written, "something was written");
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
        let before = count::writes(&self.fleet.places).await;
        self.home.migrate("applied", 8);
        assert_ne!(count::writes(&self.fleet.places).await, before, "who counts what is written sees it");
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

    fn floor(&self, concurrency: usize) -> Took {
        let migrations = if self.case == Case::Noop { Vec::new() } else { self.migrations.clone() };
        let task = floor::Task { places: self.fleet.places.clone(), migrations, concurrency };
        let (took, found) = task.run();
        let all = self.fleet.places.count * self.migrations.len();
        assert!(self.case != Case::Noop || found == all, "histories: {found} of {all}");
        took
    }

    /// How each tenant ends.
    fn state(&self) -> &'static str {
        if self.case == Case::Noop { "current" } else { "applied" }
    }

    /// Counts what is applied, by other code than what has applied it.
    async fn verify(&self, fleet: &Fleet, history: &str) {
        let found = count::rows(&fleet.places, history).await;
        assert_eq!(found, fleet.places.count * self.migrations.len(), "histories");
        let tables: Vec<&str> = self.migrations.iter().filter_map(Migration::table).collect();
        if let Some(found) = fleet.tables(&tables).await {
            assert_eq!(found, fleet.places.count * tables.len(), "tables");
        }
    }

    /// Round trips and bytes for each tenant, of some that go through a proxy.
    async fn line(&self, args: &Args) -> Option<(f64, f64)> {
        let url = &self.fleet.server.as_ref()?.url;
        let port = url.rsplit_once('/')?.0.rsplit_once(':')?.1.parse().ok()?;
        let (port, counts) = proxy::start(port).await;
        let home = Home::new(&args.program, Address::default());
        home.write(&self.migrations);
        let tenants = COUNTED.min(self.fleet.places.count);
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
}
