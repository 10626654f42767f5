//! Poison: a migration that ends the process that works it. It costs its neighbors no attempt, and it comes to an end.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tenantry_tests::{Fleet, Home, TenantDb};

use crate::stage::{ledger, scripted, targets, with_every_set_up};

const GOOD: usize = 40;

/// So many workers die of one poison: two while they work others beside it, and three while they work it alone.
const DEATHS: u32 = 5;

/// A worker that is begun again whenever it dies.
const WORKER: [&str; 5] = ["run", "--lease", "2s", "--concurrency", "4"];

with_every_set_up! {
    a_migration_that_kills_its_worker_costs_its_neighbors_no_attempt,
}

/// Tenants that a script migrates, of which one kills the worker that has started it.
async fn poisoned(home: &Home) -> (Fleet, TenantDb) {
    let fleet =
        scripted(home, GOOD + 1, "[ -e poison-$1 ] || exec sleep 1; echo killed >> deaths; kill -9 $PPID")
            .await;
    let poison = fleet.tenants[GOOD / 2].clone();
    std::fs::write(home.path().join(format!("poison-{}", poison.id)), "").expect("a file");
    (fleet, poison)
}

/// Does `work` beside so many workers, each begun again when it dies. Gives how many have died.
fn supervised(home: &Home, workers: usize, work: impl FnOnce()) -> u32 {
    let (over, deaths) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for number in 0..workers {
            let (over, deaths) = (&over, &deaths);
            scope.spawn(move || supervise(home, number, over, deaths));
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    deaths.into_inner()
}

fn supervise(home: &Home, number: usize, over: &AtomicBool, deaths: &AtomicU32) {
    let file = |what: &str| home.path().join(format!("worker-{number}.{what}"));
    let log = std::fs::File::options().create(true).append(true).open(file("log")).expect("a log");
    while !over.load(Ordering::Relaxed) {
        let mut command = home.command("tenantry-worker", &WORKER);
        command.env("TENANTRY_HEALTH_FILE", file("health")).stderr(log.try_clone().expect("a log"));
        let mut worker = command.spawn().expect("a worker");
        while worker.try_wait().expect("a child").is_none() && !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        if over.load(Ordering::Relaxed) {
            let _ = worker.kill();
        } else {
            deaths.fetch_add(1, Ordering::Relaxed);
        }
        worker.wait().expect("its end");
    }
}

/// All but the poison ended well and lost no attempt that counts; the poison ended with the reason.
async fn only_the_poison_failed(home: &Home, poison: &TenantDb) {
    let good = i64::try_from(GOOD).expect("a number");
    let well = "state = 'applied' AND attempt - uncounted = 1 AND lapses <= 2";
    assert_eq!(targets(home, well).await, good, "good tenants");
    let id = format!("(SELECT id FROM tenants WHERE slug = '{}')", poison.id);
    let reason = "its worker died 3 times while it ran this tenant alone";
    let blamed = format!(
        "tenant_id = {id} AND state = 'failed' AND class = 'permanent' AND code = 'worker-lost' AND lapses = {DEATHS} AND message = '{reason}' AND version IS NOT NULL"
    );
    assert_eq!(targets(home, &blamed).await, 1, "the poison");
    let killed = std::fs::read_to_string(home.path().join("deaths")).expect("a file");
    assert_eq!(killed.lines().count(), DEATHS as usize);
    // What ran beside it while it ran alone would have lost its worker with it.
    let alone = format!("SELECT min(started_at) FROM attempts WHERE tenant_id = {id} AND number > 2");
    let lost = format!(
        "SELECT count(*) FROM attempts WHERE code = 'worker-lost' AND tenant_id <> {id} AND started_at >= ({alone})"
    );
    assert_eq!(ledger(home).number(&lost).await, 0, "neighbors that were lost with it");
}

/// Promise 3.
async fn a_migration_that_kills_its_worker_costs_its_neighbors_no_attempt(home: Home) {
    let (_fleet, poison) = poisoned(&home).await;
    let deaths = supervised(&home, 3, || {
        let run = home.run(&["enqueue", "--all", "--yes", "--wait", "--json"]).exits(100).json();
        assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&GOOD.into(), &1.into()), "{run}");
        assert_eq!(run["failures"][0]["code"], "worker-lost", "{run}");
    });
    assert_eq!(deaths, DEATHS);
    only_the_poison_failed(&home, &poison).await;
}

#[tokio::test]
async fn a_run_whose_migrate_was_killed_by_a_migration_is_ended_by_the_next_worker() {
    let home = Home::new();
    let (_fleet, poison) = poisoned(&home).await;
    let ran = home.run(&["migrate", "--all", "--json"]);
    assert_eq!(ran.code, -1, "{ran:?}");
    let deaths = supervised(&home, 1, || {
        let _ = home.run(&["wait", "--json"]).exits(100);
    });
    assert_eq!(deaths, DEATHS - 1);
    only_the_poison_failed(&home, &poison).await;
}
