//! A tenant that failed for good is listed as failing by every run that nobody has named it for, and is not tried with the
//! same bytes until somebody asks for it.

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, fleet::Kind};

use crate::stage::{ledger, on_each_registry, targets};

const BROKEN: &str = "CREATE UNIQUE INDEX users_name ON users (name);";

/// A home for each kind of registry with so many SQLite tenants, of which the first has data that the second migration
/// fails on. The second migration is not there yet.
async fn scenes(tenants: usize) -> Vec<(Home, Fleet)> {
    on_each_registry(async |home| scene(home, tenants).await).await
}

async fn scene(home: &Home, tenants: usize) -> Fleet {
    home.migration("1_users.sql", "CREATE TABLE users (name TEXT);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, tenants, home.path()).await;
    fleet.register(home);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    fleet.tenants[0].execute("INSERT INTO users VALUES ('ann'), ('ann')").await;
    fleet
}

async fn mend(fleet: &Fleet) {
    fleet.tenants[0].execute("DELETE FROM users").await;
}

fn migrate(home: &Home, more: &[&str], code: i32) -> Value {
    home.run(&[&["migrate", "--json"], more].concat()).exits(code).json()
}

async fn attempts(home: &Home) -> i64 {
    ledger(home).number("SELECT count(*) FROM attempts WHERE outcome = 'failed'").await
}

/// Promise 4.
#[tokio::test]
async fn a_tenant_that_failed_for_good_is_reported_and_not_tried_until_it_is_asked_for() {
    for (home, fleet) in scenes(3).await {
        let broken = fleet.tenants[0].id.as_str();
        home.migration("2_unique.sql", BROKEN);
        assert_eq!(migrate(&home, &["--all"], 100)["counts"]["held"], 0);
        for more in [&["--all"][..], &["-l", "kind=Sqlite"]] {
            let run = migrate(&home, more, 100);
            let counts = &run["counts"];
            assert_eq!(
                (&counts["current"], &counts["failed"], &counts["held"]),
                (&2.into(), &1.into(), &1.into()),
                "{run}"
            );
            let cause = &run["failures"][0];
            assert_eq!(
                (&cause["held"], &cause["failed_in"], &cause["migration"]),
                (&1.into(), &2.into(), &"2".into())
            );
            assert_eq!((&cause["tenants"][0], &cause["refused"]), (&broken.into(), &false.into()));
        }
        assert_eq!(attempts(&home).await, 1);
        let listed = home.run(&["status", "4", "--state", "failed", "--json"]).exits(0).json();
        let target = &listed["tenants"][0];
        assert_eq!(
            (&target["held"], &target["failed_in"], &target["attempts"]),
            (&true.into(), &2.into(), &0.into())
        );
        let hint = format!(
            "not tried again: failed in run #2; once it is mended: tenantry retry 4 --tenant {broken}"
        );
        assert_eq!(target["hint"], hint, "{listed}");
        let told = home.run(&["wait", "4"]).exits(100);
        assert!(told.stdout.contains("1 failed (1 not tried again)"), "{told:?}");
        assert!(told.stdout.contains("not tried again: failed in run #2"), "{told:?}");
        // It is tried when its run is retried, when it is named, and when those that failed are asked for.
        let _ = home.run(&["retry", "4", "--work"]).exits(100);
        assert_eq!(migrate(&home, &["-t", broken], 100)["counts"]["held"], 0);
        assert_eq!(migrate(&home, &["--all", "--retry-failed"], 100)["counts"]["held"], 0);
        assert_eq!(attempts(&home).await, 4);
        assert_eq!(migrate(&home, &["--all"], 100)["failures"][0]["failed_in"], 7);
        // Not on the way to the version before.
        assert_eq!(migrate(&home, &["--all", "--target", "1"], 0)["counts"]["held"], 0);
        mend(&fleet).await;
        assert_eq!(migrate(&home, &["--all"], 100)["counts"]["held"], 1);
        let _ = home.run(&["retry", "--work"]).exits(0);
        let after = migrate(&home, &["--all"], 0);
        assert_eq!(
            (&after["counts"]["current"], &after["counts"]["held"]),
            (&3.into(), &0.into()),
            "{after}"
        );
        assert_eq!(ledger(&home).number("SELECT count(*) FROM held").await, 0);
    }
}

#[tokio::test]
async fn a_new_migration_does_not_release_a_tenant_and_a_mended_one_does() {
    for (home, _) in scenes(2).await {
        home.migration("2_unique.sql", BROKEN);
        let _ = migrate(&home, &["--all"], 100);
        home.migration("3_more.sql", "CREATE TABLE more (n INTEGER);");
        let run = migrate(&home, &["--all"], 100);
        assert_eq!((&run["counts"]["applied"], &run["counts"]["held"]), (&1.into(), &1.into()), "{run}");
        // Who has the old file refuses the new one.
        home.migration("2_unique.sql", "CREATE INDEX users_name ON users (name);");
        let run = migrate(&home, &["--all"], 100);
        assert_eq!((&run["counts"]["applied"], &run["counts"]["held"]), (&1.into(), &0.into()), "{run}");
    }
}

#[tokio::test]
async fn what_is_refused_by_reading_is_looked_at_every_time() {
    let home = Home::new();
    let fleet = scene(&home, 2).await;
    fleet.tenants[0].execute("UPDATE _sqlx_migrations SET checksum = x'00'").await;
    for _ in 0..2 {
        let run = migrate(&home, &["--all"], 104);
        assert_eq!(
            (&run["counts"]["held"], &run["failures"][0]["refused"]),
            (&0.into(), &true.into()),
            "{run}"
        );
    }
    assert_eq!(attempts(&home).await, 2);
}

#[tokio::test]
async fn a_plan_tells_who_would_not_be_tried_and_where_that_failed() {
    for (home, fleet) in scenes(3).await {
        let broken = fleet.tenants[0].id.as_str();
        home.migration("2_unique.sql", BROKEN);
        let _ = migrate(&home, &["--all"], 100);
        home.migration("3_more.sql", "CREATE TABLE more (n INTEGER);");
        for args in [&["plan", "--all"][..], &["enqueue", "--all", "--dry-run"]] {
            let plan = home.run(&[args, &["--json", "--canary", "1"]].concat()).exits(100).json();
            let (counts, held) = (&plan["counts"], &plan["groups"][1]);
            assert_eq!((&counts["pending"], &counts["held"]), (&2.into(), &1.into()), "{plan}");
            assert_eq!(plan["waves"], json!([1, 1]), "{plan}");
            assert_eq!((&held["state"], &held["failed_in"]), (&"held".into(), &2.into()), "{plan}");
            assert_eq!((&held["tenants"], &held["error"]["migration"]), (&json!([broken]), &"2".into()));
        }
        let text = home.run(&["plan", "--all"]).exits(100);
        assert!(text.stdout.contains("1 tenant held: 2_unique.sql statement 1: "), "{text:?}");
        assert!(text.stdout.contains("failed in run #2; once it is mended: --retry-failed"), "{text:?}");
        // The run says the same.
        assert_eq!(migrate(&home, &["--all"], 100)["counts"]["held"], 1);
        let logs = home.run(&["logs", "3", "-t", broken]).exits(0).stderr;
        assert!(logs.contains(&format!("failed in run #2: see tenantry logs 2 -t {broken}")), "{logs}");
        for args in [&["--all", "--retry-failed"][..], &["-t", broken], &["--all", "--target", "1"]] {
            let plan = home.run(&[&["plan", "--json"], args].concat()).exits(0).json();
            assert_eq!(plan["counts"]["held"], 0, "{plan}");
        }
        mend(&fleet).await;
        let _ = migrate(&home, &["-t", broken], 0);
        assert_eq!(home.run(&["plan", "--all", "--json"]).exits(0).json()["counts"]["current"], 3);
    }
}

#[tokio::test]
async fn a_mend_by_hand_releases_a_tenant() {
    for (home, fleet) in scenes(2).await {
        home.migration("2_unique.sql", BROKEN);
        let _ = migrate(&home, &["--all"], 100);
        let words = ["repair", "-t", &fleet.tenants[0].id, "--mark-applied", "2", "--yes"];
        let _ = home.run(&words).exits(0);
        assert_eq!(migrate(&home, &["--all"], 0)["counts"]["current"], 2);
    }
}

#[tokio::test]
async fn a_run_of_which_nobody_is_left_to_be_tried_ends_at_once_without_workers() {
    for (home, fleet) in scenes(2).await {
        home.migration("2_unique.sql", BROKEN);
        let _ = migrate(&home, &["--all"], 100);
        let only = fleet.tenants[1].id.as_str();
        let words = ["enqueue", "--all", "-x", only, "--wait", "--canary", "1", "--deadline", "1h"];
        let ended = home.run(&words).exits(100);
        assert!(ended.stderr.contains("1 failed (1 not tried again)"), "{ended:?}");
        assert!(!ended.stderr.contains("no worker is alive"), "{ended:?}");
        assert!(ended.stderr.contains("tenantry logs 2 -t"), "{ended:?}");
        assert_eq!(targets(&home, "state IN ('pending', 'running', 'retryable')").await, 0);
    }
}

#[tokio::test]
async fn held_tenants_count_for_no_gate_and_take_no_place_in_a_wave() {
    for (home, fleet) in scenes(12).await {
        let mut tenants: Vec<_> = fleet.tenants.iter().collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        for tenant in &tenants[..6] {
            tenant.execute("INSERT INTO users VALUES ('bob'), ('bob')").await;
        }
        let broken = targets(&home, "1 = 1").await;
        home.migration("2_unique.sql", BROKEN);
        let first = migrate(&home, &["--all", "--halt-same-cause", "0"], 100);
        let failed = first["counts"]["failed"].as_u64().expect("a number");
        assert!((6..=7).contains(&failed), "{broken}: {first}");
        home.migration("3_more.sql", "CREATE TABLE more (n INTEGER);");
        let waves = ["--all", "--canary", "2", "--max-failures", "0", "--halt-same-cause", "1"];
        let run = migrate(&home, &waves, 100);
        let counts = &run["counts"];
        assert_eq!((&counts["applied"], &counts["held"]), (&(12 - failed).into(), &failed.into()), "{run}");
        assert_eq!(run["waves"], serde_json::json!([2, 10 - failed]), "{run}");
        assert_eq!(run["stop"], Value::Null);
        let labelled = migrate(&home, &["--all", "--canary", "kind=Sqlite"], 100);
        assert_eq!(
            (&labelled["counts"]["current"], &labelled["waves"]),
            (&(12 - failed).into(), &serde_json::json!([12 - failed]))
        );
    }
}
