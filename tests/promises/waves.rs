//! Waves, gates and halts, and what an operator does to a run: nothing that is stopped reaches another tenant, and what
//! was not reached can be retried.

mod stops;

use serde_json::json;
use tenantry_tests::{Fleet, Home, fleet::Kind, wait::until};

use crate::stage::{ledger, targets};

const BROKEN: &str = "INSERT INTO nowhere VALUES (1);";
const SOUND: &str = "CREATE TABLE made (n INTEGER);";

/// A registry with so many SQLite tenants, and a migration.
async fn scene(home: &Home, tenants: usize, sql: &str) -> Fleet {
    let _ = home.run(&["registry", "init"]).exits(0);
    home.migration("1_first.sql", sql);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, tenants, home.path()).await;
    fleet.register(home);
    fleet
}

/// One home for each kind of registry, one of them with a queue of its own.
async fn homes() -> [Home; 3] {
    [
        Home::new(),
        Home::new().with_postgres_registry().await.with_redis_queue(),
        Home::new().with_mariadb_registry().await,
    ]
}

/// How many tenants began before all of the wave before theirs had ended.
const EARLY: &str = "SELECT count(*) FROM targets g WHERE g.started_at <
    (SELECT max(b.finished_at) FROM targets b WHERE b.run_id = g.run_id AND b.wave = g.wave - 1)";

async fn untouched(fleet: &Fleet) -> usize {
    let mut count = 0;
    for tenant in &fleet.tenants {
        count += usize::from(tenant.tables().await.is_empty());
    }
    count
}

async fn events(home: &Home, kind: &str) -> i64 {
    ledger(home).number(&format!("SELECT count(*) FROM events WHERE kind = '{kind}'")).await
}

#[tokio::test]
async fn a_migration_that_is_broken_everywhere_stops_after_the_canary_and_a_retry_takes_all() {
    let home = Home::new();
    let fleet = scene(&home, 200, BROKEN).await;
    let cautious = ["migrate", "--all", "--canary", "4", "--concurrency", "1", "--json"];
    let first = home.run(&cautious).exits(102).json();
    assert_eq!(
        (&first["counts"]["failed"], &first["counts"]["skipped"]),
        (&1.into(), &199.into()),
        "{first}"
    );
    let halted =
        home.run(&["migrate", "--all", "--retry-failed", "--canary", "4", "--max-failures", "3"]).exits(102);
    assert!(halted.stdout.contains("HALTED"), "{halted:?}");
    let why = "more than 3 of 4 tenants of wave 1 failed (--max-failures); 196 of 200 tenants not begun";
    assert!(halted.stderr.contains(&format!("error: stopped: {why}")), "{halted:?}");
    let run =
        home.run(&["status", "latest", "--state", "skipped", "--json", "--exit-code"]).exits(103).json();
    assert_eq!(
        (&run["state"], &run["exit_code"], &run["waves"]),
        (&"halted".into(), &102.into(), &json!([4, 196]))
    );
    assert_eq!((&run["counts"]["failed"], &run["counts"]["skipped"]), (&4.into(), &196.into()), "{run}");
    assert_eq!(run["stop"]["code"], "halted");
    assert_eq!(run["tenants"][0]["code"], "halted");
    assert!(
        run["tenants"][0]["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("not begun: more than 3 of 4 tenants"))
    );
    let _ = home.run(&["status", "--exit-code"]).exits(103);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM attempts").await, 1 + 4);
    assert_eq!(untouched(&fleet).await, 200);
    assert_eq!(events(&home, "run.halted").await, 2);

    home.migration("1_first.sql", SOUND);
    let cause = run["failures"][0]["fingerprint"].as_str().expect("a fingerprint");
    let words = ["retry", "--error", cause, "--source", "migrations", "--work", "--json"];
    let retried = home.run(&words).exits(0).json();
    assert_eq!(
        (&retried["counts"]["applied"], &retried["waves"]),
        (&200.into(), &json!([4, 196])),
        "{retried}"
    );
}

#[tokio::test]
async fn without_waves_one_cause_stops_a_run_in_which_nobody_succeeds() {
    let home = Home::new();
    let fleet = scene(&home, 60, BROKEN).await;
    let run = home.run(&["migrate", "--all", "--concurrency", "2", "--json"]).exits(102).json();
    let failed = run["counts"]["failed"].as_u64().expect("a number");
    assert!((5..=7).contains(&failed), "{run}");
    assert_eq!(run["counts"]["skipped"].as_u64(), Some(60 - failed));
    assert!(run["stop"]["reason"].as_str().is_some_and(|why| why.contains("for one cause")), "{run}");
    let all = home
        .run(&["migrate", "--all", "--retry-failed", "--halt-same-cause", "0", "--json"])
        .exits(100)
        .json();
    assert_eq!((&all["counts"]["failed"], &all["stop"]), (&60.into(), &json!(null)), "{all}");
    // One that succeeds shows that it is not broken everywhere.
    let first = fleet.tenants.iter().min_by_key(|tenant| &tenant.id).expect("a tenant");
    first.execute("CREATE TABLE nowhere (n INTEGER)").await;
    let first = first.id.as_str();
    let few = home
        .run(&["migrate", "--all", "--retry-failed", "--canary", "1", "--max-failures", "100%", "--json"])
        .exits(100)
        .json();
    assert_eq!(
        (&few["counts"]["applied"], &few["counts"]["failed"]),
        (&1.into(), &59.into()),
        "{first}: {few}"
    );
}

#[tokio::test]
async fn more_failures_than_may_be_stop_the_wave_that_runs() {
    for home in homes().await {
        let fleet = scene(&home, 20, "INSERT INTO special VALUES (1);").await;
        for tenant in fleet.tenants.iter().step_by(2) {
            tenant.execute("CREATE TABLE special (n INTEGER)").await;
        }
        let words = ["migrate", "--all", "--max-failures", "10%", "--concurrency", "1", "--json"];
        let run = home.run(&words).exits(102).json();
        assert_eq!(run["counts"]["failed"], 3, "{run}");
        assert!(run["counts"]["skipped"].as_u64().is_some_and(|skipped| skipped > 0), "{run}");
        assert!(
            run["stop"]["reason"]
                .as_str()
                .is_some_and(|why| why.starts_with("more than 2 of 20 tenants failed"))
        );
    }
}

#[tokio::test]
async fn two_workers_open_each_wave_only_when_all_before_it_have_ended() {
    for home in homes().await {
        let fleet = scene(&home, 30, SOUND).await;
        for tenant in &fleet.tenants[20..23] {
            let _ = home.run(&["tenants", "set", &tenant.id, "--label", "tier=beta"]).exits(0);
        }
        let _workers = [home.worker(&["--concurrency", "3"]), home.worker(&["--concurrency", "3"])];
        let _ = home
            .run(&["enqueue", "--all", "--canary", "tier=beta", "--waves", "20%,50%,100%", "--yes"])
            .exits(0);
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!((&run["waves"], &run["counts"]["applied"]), (&json!([3, 3, 9, 15]), &30.into()), "{run}");
        assert_eq!(ledger(&home).number(EARLY).await, 0);
        let beta = "SELECT count(*) FROM targets g JOIN tenant_labels l ON l.tenant_id = g.tenant_id WHERE l.name = 'tier' AND g.wave = 1";
        assert_eq!((ledger(&home).number(beta).await, targets(&home, "wave = 1").await), (3, 3));
        // In the order of their slugs.
        let order = "SELECT count(*) FROM targets g JOIN tenants t ON t.id = g.tenant_id JOIN targets h ON h.run_id = g.run_id AND h.wave > g.wave
            JOIN tenants u ON u.id = h.tenant_id WHERE g.wave > 1 AND u.slug < t.slug";
        assert_eq!(ledger(&home).number(order).await, 0);
        assert_eq!(targets(&home, "attempt <> 1").await, 0);
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_while_a_wave_soaks_is_followed_by_one_that_waits_for_its_end() {
    for home in homes().await {
        let _fleet = scene(&home, 6, SOUND).await;
        let killed = home.worker(&[]);
        let _ = home.run(&["enqueue", "--all", "--canary", "34%", "--soak", "3s", "--yes"]).exits(0);
        let soaking = "SELECT count(*) FROM runs WHERE soak_until IS NOT NULL AND wave = 1";
        until("the canary soaks", || async { ledger(&home).number(soaking).await == 1 }).await;
        killed.signal("KILL");
        assert_eq!(targets(&home, "wave = 2 AND state = 'pending' AND due_at IS NULL").await, 3);
        let _worker = home.worker(&[]);
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!((&run["waves"], &run["counts"]["applied"]), (&json!([3, 3]), &6.into()), "{run}");
        let soaked = "SELECT min(g.started_at) - (SELECT max(b.finished_at) FROM targets b WHERE b.wave = 1) FROM targets g WHERE g.wave = 2";
        assert!(ledger(&home).number(soaked).await >= 3_000);
    }
}

#[tokio::test]
async fn a_conductor_that_was_cut_off_while_it_opened_a_wave_is_followed_by_one_that_does_the_rest() {
    for home in homes().await {
        let _fleet = scene(&home, 5, SOUND).await;
        let killed = home.worker(&[]);
        let _ = home.run(&["enqueue", "--all", "--canary", "2", "--soak", "1h", "--yes"]).exits(0);
        let soaking = "SELECT count(*) FROM runs WHERE soak_until IS NOT NULL AND wave = 1";
        until("the canary soaks", || async { ledger(&home).number(soaking).await == 1 }).await;
        killed.signal("KILL");
        ledger(&home).execute("UPDATE runs SET soak_until = 1").await;
        ledger(&home).execute("UPDATE targets SET due_at = 1 WHERE wave = 2").await;
        let _worker = home.worker(&[]);
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!(
            (&run["wave"], &run["soak_until"], &run["counts"]["applied"]),
            (&2.into(), &json!(null), &5.into())
        );
        assert_eq!(targets(&home, "attempt <> 1").await, 0);
    }
}

/// Promise 1.
#[tokio::test]
async fn failures_whose_worker_died_before_it_could_count_them_stop_the_run_nevertheless() {
    for home in homes().await {
        let fleet = scene(&home, 5, SOUND).await;
        let _ = home.run(&["enqueue", "--all", "--canary", "2", "--yes"]).exits(0);
        let failed = "UPDATE targets SET state = 'failed', attempt = 1, due_at = NULL, finished_at = 1, class = 'permanent',
            code = 'x', message = 'y', refused = 0, fingerprint = '0' WHERE wave = 1";
        ledger(&home).execute(failed).await;
        let _worker = home.worker(&[]);
        let run = home.run(&["wait", "--json"]).exits(102).json();
        assert_eq!((&run["counts"]["failed"], &run["counts"]["skipped"]), (&2.into(), &3.into()), "{run}");
        assert_eq!(targets(&home, "state = 'skipped' AND fingerprint = '0' AND attempt = 0").await, 3);
        assert_eq!(untouched(&fleet).await, 5);
    }
}

/// Tenants of which the first two have a label, and a rollout that is configured.
async fn configured(count: usize) -> (Home, Fleet) {
    let home = Home::new();
    let mut fleet = scene(&home, count, SOUND).await;
    fleet.tenants.sort_by(|a, b| a.id.cmp(&b.id));
    for tenant in &fleet.tenants[..2] {
        let _ = home.run(&["tenants", "set", &tenant.id, "--label", "tier=beta"]).exits(0);
    }
    let file =
        "[run]\ncanary = 'tier=beta'\nwaves = ['50%']\nsoak = '10ms'\nmax-failures = 3\ndeadline = '1h'
        [profile.calm.run]\ncanary = 1\nwaves = 'none'\n";
    std::fs::write(home.path().join("tenantry.toml"), file).expect("a file");
    (home, fleet)
}

#[tokio::test]
async fn a_rollout_is_configured_once_and_each_flag_wins_over_it() {
    let (home, fleet) = configured(10).await;
    let waves = |words: &[&str]| home.run(words).exits(0).json()["waves"].clone();
    let plan = |more: &[&str]| waves(&[&["plan", "--all", "--json"], more].concat());
    assert_eq!(plan(&[]), json!([2, 3, 5]));
    assert_eq!(plan(&["--canary", "1"]), json!([1, 4, 5]));
    assert_eq!(plan(&["--canary", "none"]), json!([5, 5]));
    assert_eq!(plan(&["--waves", "none"]), json!([2, 8]));
    assert_eq!(plan(&["--waves", "none", "--canary", "none"]), json!([]));
    assert_eq!(plan(&["--profile", "calm"]), json!([1, 9]));
    assert_eq!(waves(&["enqueue", "--all", "--dry-run", "--canary", "3", "--json"]), json!([3, 2, 5]));
    assert_eq!(waves(&["migrate", "--all", "--dry-run", "--waves", "4", "--json"]), json!([2, 2, 6]));
    let text = home.run(&["plan", "--all"]).exits(0);
    assert!(text.stdout.starts_with("3 waves of 10 tenants: 2, 3, 5\n"), "{text:?}");
    let from_env =
        home.command("tenantry", &["plan", "--all", "--json"]).env("TENANTRY_RUN_CANARY", "4").output();
    let from_env: serde_json::Value =
        serde_json::from_slice(&from_env.expect("a plan").stdout).expect("JSON");
    assert_eq!(from_env["waves"], json!([4, 1, 5]));

    let started = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!(
        (&started["waves"], started["deadline_at"].is_string()),
        (&json!([2, 3, 5]), true),
        "{started}"
    );
    let free = home.run(&["migrate", "--all", "--deadline", "none", "--json"]).exits(0).json();
    assert_eq!(free["deadline_at"], json!(null));
    // A tenant that is not in the configured canary goes without it; a canary that was asked for has to be somebody.
    let last = fleet.tenants[9].id.as_str();
    let alone = home.run(&["migrate", "-t", last]).exits(0);
    assert!(alone.stderr.contains("no selected tenant is in the configured canary tier=beta"), "{alone:?}");
    let asked = home.run(&["migrate", "-t", last, "--canary", "tier=beta"]).exits(2);
    assert!(asked.stderr.contains("no selected tenant is in the canary tier=beta"), "{asked:?}");
    // Those that a limit leaves out are not in it, either.
    let limited = [fleet.tenants[0].id.as_str(), fleet.tenants[1].id.as_str()].join(",");
    assert_eq!(plan(&["-x", &limited, "--limit", "4"]), json!([2, 2]));
}

#[tokio::test]
async fn a_rollback_and_a_baseline_go_in_waves_too() {
    let (home, fleet) = configured(6).await;
    std::fs::remove_file(home.path().join("migrations/1_first.sql")).expect("a file");
    home.migration("1_first.up.sql", SOUND);
    home.migration("1_first.down.sql", "DROP TABLE made;");
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let foreseen = home.run(&["rollback", "--all", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(foreseen["waves"], json!([2, 1, 3]));
    let text = home.run(&["rollback", "--all", "--dry-run"]).exits(0).stdout;
    assert!(text.starts_with("3 waves of 6 tenants: 2, 1, 3\n"), "{text}");
    fleet.tenants[0].execute("DROP TABLE made").await;
    let words =
        ["rollback", "--all", "--work", "--json", "--waves", "none", "--fail-fast", "--concurrency", "1"];
    let back = home.run(&words).exits(102).json();
    assert_eq!((&back["waves"], &back["wave"]), (&json!([2, 4]), &1.into()), "{back}");
    assert_eq!((&back["counts"]["failed"], &back["stop"]["code"]), (&1.into(), &"halted".into()), "{back}");
    let at =
        targets(&home, "wave = 2 AND state = 'skipped' AND run_id IN (SELECT id FROM runs WHERE number = 2)")
            .await;
    assert_eq!(at, 4);
    let taken =
        home.run(&["baseline", "--all", "--to", "1", "--work", "--canary", "1", "--json"]).exits(0).json();
    assert_eq!(taken["waves"], json!([1, 2, 3]), "{taken}");
}

#[tokio::test]
async fn fail_fast_stops_after_the_first_failure() {
    let home = Home::new();
    let _fleet = scene(&home, 6, BROKEN).await;
    let run =
        home.run(&["migrate", "--all", "--fail-fast", "--concurrency", "1", "--json"]).exits(102).json();
    assert_eq!((&run["counts"]["failed"], &run["counts"]["skipped"]), (&1.into(), &5.into()), "{run}");
    let both = home.run(&["migrate", "--all", "--fail-fast", "--max-failures", "3"]).exits(2);
    assert!(both.stderr.contains("cannot be used with"), "{both:?}");
}

#[tokio::test]
async fn a_rollout_that_makes_no_sense_is_refused_and_changes_nothing() {
    let home = Home::new();
    let _fleet = scene(&home, 2, SOUND).await;
    let before = crate::state::of(&home).await;
    for (words, says) in [
        (vec!["--canary", "0"], "nobody"),
        (vec!["--canary", "101%"], "more than all"),
        (vec!["--canary", "5x"], "neither a number of tenants nor a percentage"),
        (vec!["--canary", "tier=beta"], "no selected tenant is in the canary tier=beta"),
        (vec!["--waves", "10%,1%"], "do not rise"),
        (vec!["--waves", ""], "neither a number of tenants nor a percentage"),
        (vec!["--max-failures", "some"], "neither a number of tenants nor a percentage"),
        (vec!["--soak", "1m"], "--canary"),
        (vec!["--canary", "1", "--deadline", "soon"], "not a duration"),
        (vec!["--deadline", "0"], "none is no deadline"),
    ] {
        let words: Vec<&str> = ["migrate", "--all"].into_iter().chain(words).collect();
        let refused = home.run(&words).exits(2);
        assert!(refused.stderr.contains(says), "{words:?}: {refused:?}");
    }
    let _ = home.run(&["cancel"]).exits(2);
    assert_eq!(crate::state::of(&home).await, before);
}
