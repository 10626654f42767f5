//! Floor and ours in turns over one fleet: the cases in which tenants are migrated.

use std::time::Duration;

use crate::{
    Args, Case,
    bundle::{self, Migration},
    fleet::Fleet,
    floor,
    meter::{self, Took},
    ours::Home,
    proxy,
    report::{Cell, Report},
};

/// How many tenants go through the proxy that counts.
const COUNTED: usize = 40;

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    Floor,
    Ours,
}

/// What somebody took, at the best of the concurrencies.
struct Score {
    runner: Runner,
    at: usize,
    rounds: Vec<Took>,
}

impl Score {
    /// The one in the middle.
    fn median(&self, figure: impl Fn(&Took) -> Duration) -> Duration {
        let mut figures: Vec<Duration> = self.rounds.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
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
}

/// Measures one case and prints its line.
pub async fn measure(args: &Args, fleet: &Fleet, case: Case, registry: Option<String>, report: &mut Report) {
    let migrations = if case == Case::S10 { bundle::ten(fleet.kind) } else { bundle::one(fleet.kind) };
    let home = Home::new(&args.program, registry);
    bundle::write(&home.migrations(), &migrations);
    home.import(fleet, fleet.count, None);
    let turns = Turns { fleet, case, home, migrations };
    if case == Case::Noop {
        fleet.empty().await;
        turns.home.migrate("applied", 8);
    }
    let scores = turns.play(args, &[Runner::Floor, Runner::Ours]).await;
    let line = turns.line(args).await;
    report.line(&turns.cells(&scores[0], &scores[1], line));
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
        if self.case != Case::Noop {
            self.fleet.empty().await;
        }
        self.fleet.settle().await;
        let first = self.fleet.server.as_ref().map(|server| server.pid());
        let server = || first.map(meter::server).unwrap_or_default();
        let before = server();
        let took = match runner {
            Runner::Floor => self.floor(concurrency).await,
            Runner::Ours => self.home.migrate(self.state(), concurrency),
        };
        let took = Took { server: server().saturating_sub(before), ..took };
        self.verify().await;
        took
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
