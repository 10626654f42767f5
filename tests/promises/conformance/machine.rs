//! The state machine of runs and targets, driven through the real ledger by sequences of calls that chance writes: claims,
//! results (late and double ones, too), lapsed leases, lost messages, pauses, stops and waves in any order. After each
//! call the ledger must be what a model in memory says, and at the end every run must still come to its end.

mod chance;
mod glance;
mod model;
mod play;

use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tenantry_tests::Home;
use tokio::runtime::Runtime;

use self::{glance::Window, play::Play};
use super::bench::Bench;

/// A unit of the model's time: longer than a sequence takes.
const UNIT_MS: i64 = 600_000;

/// How many of the tenants are in the first run; the others are in the second one, which begins with the central database.
const IN_FIRST: usize = 4;
const TENANTS: usize = 7;

fn units(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("not long") / UNIT_MS
}

fn time(units: i64) -> Duration {
    Duration::from_millis(u64::try_from(units * UNIT_MS).expect("not negative"))
}

/// Plays so many sequences. `TENANTRY_TEST_SEED` plays those again that failed.
fn play(runtime: &Runtime, home: Home, count: u32) {
    let bench = runtime.block_on(Bench::new(home, false, TENANTS + 1));
    let mut window = runtime.block_on(Window::open(&bench));
    let central = format!("UPDATE tenants SET slug = 'central', central = 1 WHERE slug = 't{TENANTS:02}'");
    runtime.block_on(window.execute(&central));
    let seed = std::env::var("TENANTRY_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let since =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_micros() as u64;
    let seed: u64 = seed.unwrap_or_else(since);
    let config =
        Config { cases: count, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let window = RefCell::new(window);
    let played = runner.run(&(chance::shapes(), chance::sequences()), |(shape, events)| {
        let mut window = window.borrow_mut();
        runtime.block_on(async {
            let mut play = Play::begin(&bench, &mut window, &shape).await;
            for event in events {
                play.step(event).await;
            }
            play.finish().await;
        });
        Ok::<(), TestCaseError>(())
    });
    played.unwrap_or_else(|failure| panic!("TENANTRY_TEST_SEED={seed}: {failure}"));
}

/// Promise 1: every target ends in exactly one final state, whatever happens. Promise 2: a late result changes nothing.
#[test]
fn no_sequence_of_calls_leads_out_of_the_state_machine_of_an_sqlite_ledger() {
    let runtime = Runtime::new().expect("a runtime");
    play(&runtime, Home::new(), 250);
}

/// Promise 1. As on SQLite.
#[test]
fn no_sequence_of_calls_leads_out_of_the_state_machine_of_a_postgres_ledger() {
    let runtime = Runtime::new().expect("a runtime");
    let home = runtime.block_on(Home::new().with_postgres_registry());
    play(&runtime, home, 30);
}

/// Promise 1. As on SQLite.
#[test]
fn no_sequence_of_calls_leads_out_of_the_state_machine_of_a_mariadb_ledger() {
    let runtime = Runtime::new().expect("a runtime");
    let home = runtime.block_on(Home::new().with_mariadb_registry());
    play(&runtime, home, 30);
}
