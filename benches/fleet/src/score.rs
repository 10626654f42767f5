//! What floor, ours and other tools took, as lines of a table.

use std::time::Duration;

use crate::{
    Case,
    meter::{self, Took},
    peers::Peer,
    places::Kind,
    report::{Cell, Line},
};

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    Floor,
    Ours,
    Peer(Peer),
}

/// What somebody took, at the best of the concurrencies.
pub struct Score {
    pub runner: Runner,
    pub at: usize,
    pub rounds: Vec<Took>,
}

impl Score {
    fn median(&self, figure: impl Fn(&Took) -> Duration) -> Duration {
        meter::median(self.rounds.iter().map(figure))
    }

    fn seconds(&self) -> f64 {
        self.median(|took| took.wall).as_secs_f64()
    }

    fn memory(&self) -> u64 {
        self.rounds.iter().map(|took| took.memory).max().unwrap_or_default()
    }

    fn least(&self) -> Duration {
        self.rounds.iter().map(|took| took.wall).min().unwrap_or_default()
    }
}

/// One case that was measured.
pub struct Measured {
    pub kind: Kind,
    pub case: Case,
    pub tenants: usize,
    /// The floor first, then ours, then the peers.
    pub scores: Vec<Score>,
    /// Round trips and bytes for each tenant.
    pub line: Option<(f64, f64)>,
}

impl Measured {
    /// The concurrencies that were used.
    pub fn best(&self) -> Vec<usize> {
        self.scores.iter().map(|score| score.at).collect()
    }

    /// Seconds for each tenant, of the floor and of ours.
    pub fn each(&self) -> [f64; 2] {
        [0, 1].map(|who| self.scores[who].seconds() / self.tenants as f64)
    }

    /// The line that holds ours against the floor.
    pub fn ratio(&self) -> Line {
        let (floor, ours) = (&self.scores[0], &self.scores[1]);
        let rate = |score: &Score| {
            let rate = self.tenants as f64 / score.seconds();
            Cell::text(format!("{rate:.0}@{}", score.at))
        };
        let least = floor.least().as_secs_f64() / ours.least().as_secs_f64();
        let mut line = self.named();
        line.extend([
            ("floor/s", rate(floor)),
            ("ours/s", rate(ours)),
            ("ratio", Cell::Number(floor.seconds() / ours.seconds(), 2)),
            ("best", Cell::Number(least, 2)),
            ("floor cpu", Cell::ms(floor.median(|took| took.processor))),
            ("our cpu", Cell::ms(ours.median(|took| took.processor))),
            ("floor server", Cell::ms(floor.median(|took| took.server))),
            ("our server", Cell::ms(ours.median(|took| took.server))),
            ("floor MiB", Cell::mib(floor.memory())),
            ("our MiB", Cell::mib(ours.memory())),
            ("trips/t", self.line.map_or(Cell::Nothing, |line| Cell::Number(line.0, 1))),
            ("B/t", self.line.map_or(Cell::Nothing, |line| Cell::Number(line.1, 0))),
        ]);
        line
    }

    /// The line that holds ours against other tools, by how much it is faster.
    pub fn faster(&self) -> Line {
        let ours = self.scores[1].seconds();
        let mut line = self.named();
        line.push(("tenantry/s", Cell::Number(self.tenants as f64 / ours, 0)));
        for peer in Peer::ALL {
            let score = self.scores.iter().find(|score| score.runner == Runner::Peer(peer));
            let by = |score: &Score| Cell::text(format!("{:.2} @{}", score.seconds() / ours, score.at));
            line.push((peer.name(), score.map_or(Cell::Nothing, by)));
        }
        line
    }

    /// What was measured.
    fn named(&self) -> Line {
        vec![
            ("fleet", Cell::text(self.kind.word())),
            ("case", Cell::text(self.case.word())),
            ("tenants", Cell::count(self.tenants)),
        ]
    }
}
