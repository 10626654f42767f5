//! The table, line by line as it is measured.
#![expect(clippy::print_stdout, reason = "this is what the program is for")]

use std::{path::Path, time::Duration};

/// One case over one fleet; durations and memory are medians and peaks of the rounds.
pub struct Measured {
    pub fleet: String,
    pub case: String,
    pub tenants: usize,
    pub floor: Duration,
    pub floor_at: usize,
    pub ours: Duration,
    pub ours_at: usize,
    pub processor: Duration,
    pub server: Duration,
    pub memory: u64,
    pub line: Option<(f64, f64)>,
}

/// What was measured, and the names of the columns.
pub fn head(program: &Path, rounds: usize) {
    println!("{} · {rounds} rounds, floor and ours in turns · medians", program.display());
    println!(
        "{:<10} {:<5} {:>8} {:>10} {:>10} {:>7} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "fleet",
        "case",
        "tenants",
        "floor/s",
        "ours/s",
        "ratio",
        "cpu ms",
        "server ms",
        "MiB peak",
        "trips/t",
        "B/t"
    );
}

/// One line.
pub fn line(m: &Measured) {
    let rate = |took: Duration| m.tenants as f64 / took.as_secs_f64();
    let (trips, bytes) = m.line.map_or_else(
        || ("-".into(), "-".into()),
        |(trips, bytes)| (format!("{trips:.1}"), format!("{bytes:.0}")),
    );
    println!(
        "{:<10} {:<5} {:>8} {:>10} {:>10} {:>7.2} {:>9} {:>9} {:>9.1} {:>9} {:>7}",
        m.fleet,
        m.case,
        m.tenants,
        format!("{:.0}@{}", rate(m.floor), m.floor_at),
        format!("{:.0}@{}", rate(m.ours), m.ours_at),
        m.floor.as_secs_f64() / m.ours.as_secs_f64(),
        m.processor.as_millis(),
        m.server.as_millis(),
        m.memory as f64 / 1_048_576.0,
        trips,
        bytes
    );
}

/// The one in the middle.
pub fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}
