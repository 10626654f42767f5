//! What is told of a seed, and of many.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::scene::Setup;

/// How a seed went.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) tenants: usize,
    pub(crate) took: Duration,
    pub(crate) struck: BTreeMap<&'static str, usize>,
    pub(crate) violations: Vec<String>,
    pub(crate) timeline: Vec<String>,
    /// Where its logs are kept, if it failed.
    pub(crate) logs: Option<PathBuf>,
}

/// No more violations of one seed than these are printed: the first ones tell most.
const SHOWN: usize = 40;

impl Outcome {
    pub(crate) fn held(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.struck.values().sum();
        let result = if self.held() { "held" } else { "FAILED" };
        let (seed, setup, tenants, took) = (self.seed, self.setup, self.tenants, self.took.as_secs_f64());
        writeln!(f, "seed {seed}: {setup:?}, {tenants} tenants, {faults} faults, {took:.1} s: {result}")?;
        if self.held() {
            return Ok(());
        }
        for line in &self.timeline {
            writeln!(f, "    {line}")?;
        }
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "  ! {violation}")?;
        }
        let logs = self.logs.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default();
        writeln!(f, "  {} violations; logs: {logs}", self.violations.len())?;
        writeln!(f, "  again: tests/soak --seed {seed} --minutes 0")
    }
}

/// Many seeds.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) seeds: usize,
    pub(crate) failed: Vec<u64>,
    tenants: usize,
    pub(crate) struck: BTreeMap<&'static str, usize>,
}

impl Total {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.tenants += outcome.tenants;
        if !outcome.held() {
            self.failed.push(outcome.seed);
        }
        for (fault, times) in &outcome.struck {
            *self.struck.entry(fault).or_default() += times;
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.struck.values().sum();
        writeln!(f, "{} seeds, {} tenants, {faults} faults", self.seeds, self.tenants)?;
        for (fault, times) in &self.struck {
            writeln!(f, "  {times:5}  {fault}")?;
        }
        match self.failed.as_slice() {
            [] => write!(f, "every seed held"),
            failed => write!(f, "failed: {failed:?}"),
        }
    }
}
