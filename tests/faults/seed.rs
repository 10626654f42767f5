//! One seed from its first number to its last check.

use std::{
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    bundle::Bundle,
    checker::{self, Known},
    dice::Dice,
    disk::Disk,
    fleet::Fleet,
    producer::{self, Followed},
    report::Outcome,
    scene::{LONGEST, Scene},
    script::{Event, Fault, Script},
    stand::Stand,
    strike::strike,
};

const WORKERS: usize = 3;

/// Retries come soon, so that a seed is played in little time.
const CONFIG: &str = "[sets.base]
migrations = \"migrations/base\"
[sets.concurrent]
migrations = \"migrations/concurrent\"
when = \"concurrent=on\"
[run]
backoff-base = \"100ms\"
backoff-cap = \"1s\"
connect-timeout = \"3s\"
lock-timeout = \"2s\"
";

/// Plays a seed.
pub(crate) async fn play(seed: u64, stand: Arc<Stand>) -> Outcome {
    let begun = Instant::now();
    let mut dice = Dice::new(seed);
    let script = Script::roll(seed, &mut dice);
    let mut scene = Scene::set(&script, stand).await;
    if script.has(Fault::FillDisk) {
        scene.small_disk =
            Disk::mount("4m").inspect_err(|why| scene.note(format!("no small disk: {why}"))).ok();
    }
    let bundle = Bundle::roll(&mut dice);
    let small = scene.small_disk.as_ref().map(Disk::path);
    scene.note(format!("{:?} registry {}", scene.setup, scene.rollout.join(" ")));
    let fleet = Fleet::make(&mut dice, &scene.stand, scene.home.path(), small).await;
    scene.note("the fleet is made");
    let scene = Arc::new(scene);
    prepare(&scene, &bundle, &fleet);
    let fleet = Arc::new(fleet);
    scene.note("the faults begin");
    let mut followed = chaos(&scene, &fleet, script.events).await;
    scene.note("the faults have ceased");
    scene.stand.calm();
    scene.supervise();
    if ended(&scene).await {
        check(&scene, &bundle, &fleet, &followed, &[]).await;
    }
    let mut fleet = Arc::into_inner(fleet).expect("nobody else has it");
    if scene.violations().is_empty() {
        fleet = aftermath(&scene, &bundle, fleet, &mut followed, script.last).await;
    }
    scene.supervise();
    scene.inspect_logs();
    scene.end();
    fleet.drop_databases(&scene.stand).await;
    outcome(seed, &scene, fleet.tenants.len(), begun.elapsed())
}

fn prepare(scene: &Scene, bundle: &Bundle, fleet: &Fleet) {
    bundle.write(scene.home.path());
    std::fs::write(scene.home.path().join("tenantry.toml"), CONFIG).expect("a configuration");
    let _ = scene.home.run(&["registry", "init"]).exits(0);
    let lines = fleet.lines(&scene.stand);
    let _ = scene.home.run_with_input(&["tenants", "import", "-", "--format", "jsonl"], &lines).exits(0);
    scene.note(format!("{} tenants are registered", fleet.tenants.len()));
}

/// Everything goes wrong while a run is worked. What was followed to an end is given back.
async fn chaos(scene: &Arc<Scene>, fleet: &Arc<Fleet>, events: Vec<Event>) -> Vec<Followed> {
    for _ in 0..WORKERS {
        scene.add_worker(&[]);
    }
    let watched = tokio::spawn(watch(scene.clone()));
    let mut all: JoinSet<Vec<Followed>> = JoinSet::new();
    let main = scene.clone();
    all.spawn(async move { producer::enqueue(&main).await.into_iter().collect() });
    for event in events {
        all.spawn(strike(scene.clone(), fleet.clone(), event));
    }
    let mut followed = Vec::new();
    while let Some(ended) = all.join_next().await {
        match ended {
            Ok(more) => followed.extend(more),
            Err(error) => scene.violated(format!("the script broke: {error}")),
        }
    }
    watched.abort();
    let _ = watched.await;
    followed
}

/// Tells how far the runs are.
async fn watch(scene: Arc<Scene>) {
    let sql = "SELECT count(*), count(finished_at), (SELECT count(*) FROM runs WHERE state IN ('pending', 'running')) FROM targets";
    loop {
        scene.supervise();
        let row = &scene.ask(sql).await[0];
        let [all, ended, open] = [0, 1, 2].map(|at| row[at].parse::<u64>().expect("a count"));
        let now = if all > 0 && open == 0 { 1000 } else { ended * 999 / all.max(1) };
        scene.progress.send_if_modified(|before| std::mem::replace(before, now.max(*before)) < now);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until every run has ended: the faults have ceased, and workers are there.
async fn ended(scene: &Arc<Scene>) -> bool {
    let begun = Instant::now();
    let open = "SELECT number, state FROM runs WHERE state IN ('pending', 'running')";
    while !scene.ask(open).await.is_empty() {
        if begun.elapsed() > LONGEST {
            let left =
                "SELECT state, code, count(*) FROM targets WHERE finished_at IS NULL GROUP BY state, code";
            scene.violated(format!("runs do not end: {:?}", scene.ask(left).await));
            return false;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    true
}

async fn check(scene: &Scene, bundle: &Bundle, fleet: &Fleet, followed: &[Followed], retries: &[i64]) {
    let mended = !retries.is_empty();
    checker::check(scene, &Known { bundle, fleet, followed, retries, mended }).await;
    let most = scene.ask("SELECT max(lapses), max(attempt), count(*) FROM targets").await;
    scene.note(format!(
        "checked: at most {} lost workers and {} attempts of {} targets",
        most[0][0], most[0][1], most[0][2]
    ));
}

/// What was broken is mended and tried again; then everybody is current.
async fn aftermath(
    scene: &Arc<Scene>,
    bundle: &Bundle,
    mut fleet: Fleet,
    followed: &mut Vec<Followed>,
    last: Event,
) -> Fleet {
    fleet.mend().await;
    let fleet = Arc::new(fleet);
    let failed = scene.ask("SELECT max(number) FROM runs WHERE state IN ('failed', 'halted')").await;
    let mut retries = vec![0];
    if let Some(failed) = failed.first().map(|row| row[0].clone()).filter(|run| !run.is_empty()) {
        let words = ["retry", &failed, "--yes", "--wait", "--json"].map(str::to_owned);
        if let Some(retried) = producer::start(scene, &words).await {
            retries.push(retried.run["number"].as_i64().unwrap_or_default());
            ends_well(scene, &retried, "a retry of mended tenants");
            followed.push(retried);
        }
    }
    if let Some(last) = again(scene, &fleet, last).await {
        ends_well(scene, &last, "a run when all is done");
        let (total, current) = (&last.run["counts"]["total"], &last.run["counts"]["current"]);
        if total != current {
            scene.violated(format!("{current} of {total} tenants are current after everything"));
        }
        followed.push(last);
    }
    let before = scene.violations().len();
    check(scene, bundle, &fleet, &followed[followed.len().saturating_sub(2)..], &retries).await;
    if scene.violations().len() > before {
        scene.note("these are of the second check, after a mend");
    }
    Arc::into_inner(fleet).expect("nobody else has it")
}

/// A run of tenants that are all current, while one more thing goes wrong: nothing is changed, and many are looked at at
/// once.
async fn again(scene: &Arc<Scene>, fleet: &Arc<Fleet>, last: Event) -> Option<Followed> {
    let watched = tokio::spawn(watch(scene.clone()));
    let (followed, _) = tokio::join!(producer::enqueue(scene), strike(scene.clone(), fleet.clone(), last));
    watched.abort();
    let _ = watched.await;
    scene.stand.calm();
    followed
}

fn ends_well(scene: &Scene, followed: &Followed, what: &str) {
    if followed.code != 0 {
        scene.violated(format!("{what} ended with {}: {}", followed.code, followed.run["failures"]));
    }
}

fn outcome(seed: u64, scene: &Scene, tenants: usize, took: Duration) -> Outcome {
    let (violations, timeline, struck) = (scene.violations(), scene.notes(), scene.struck());
    let logs = (!violations.is_empty()).then(|| keep(seed, scene));
    Outcome { seed, setup: scene.setup, tenants, took, struck, violations, timeline, logs }
}

/// Copies all logs to where nobody takes them away.
fn keep(seed: u64, scene: &Scene) -> PathBuf {
    let kept = std::env::temp_dir().join(format!("tenantry-seed-{seed}-{}", std::process::id()));
    let copied = Command::new("cp").arg("-r").arg(scene.home.path()).arg(&kept).status();
    if !copied.is_ok_and(|copied| copied.success()) {
        return scene.home.path().to_path_buf();
    }
    let Stand { postgres, mariadb, registry, redis, .. } = &*scene.stand;
    let servers = [("postgres", postgres), ("mariadb", mariadb), ("registry", registry), ("redis", redis)];
    for (name, server) in servers {
        let _ = std::fs::copy(server.log(), kept.join(format!("server-{name}.log")));
    }
    let _ = std::fs::write(kept.join("timeline.txt"), scene.notes().join("\n"));
    kept
}
