//! Rollbacks as runs: what they keep, and the rollback of what a run applied.

use tenantry_tests::{Home, fleet::Kind};

use super::{PROGRESS, all_are_at, at_three, fails, latest, reversible, rollback, that_differed, three};
use crate::{
    site::{KINDS, Site},
    stage::{ALL_KINDS, COUNTED, Gates, gated, ledger, until_at_their_gates},
};

#[tokio::test]
async fn a_rollback_whose_worker_is_killed_reverts_as_many_as_were_asked_for() {
    const FLAGS: [&str; 4] = ["--lease", "5s", "--concurrency", "4"];
    let home = Home::new();
    let fleet = gated(&home, &ALL_KINDS).await;
    std::fs::remove_file(home.path().join("migrations").join(COUNTED.0)).expect("a file");
    reversible(&home, "1_a", "CREATE TABLE a (n INTEGER);", "DROP TABLE a;");
    let down = "UPDATE counter SET n = n + 1;\nDROP TABLE b;\nUPDATE gate SET n = n + 1;\n";
    reversible(&home, "2_b", "CREATE TABLE b (n INTEGER);", down);
    reversible(&home, "3_c", "CREATE TABLE c (n INTEGER);", "DROP TABLE c;");
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let gates = Gates::close(&fleet.tenants).await;
    let killed = home.worker(&FLAGS);
    let _ = home.run(&["rollback", "--all", "--steps", "2", "--lock-timeout", "60s"]).exits(0);
    until_at_their_gates(&fleet.tenants).await;
    killed.signal("KILL");
    gates.open().await;
    let _worker = home.worker(&FLAGS);
    let run = home.run(&["wait", "--json"]).exits(0).json();
    // PostgreSQL may have had the commit from the killed worker already, and is found as it should be then.
    let well = run["counts"]["applied"].as_u64().zip(run["counts"]["current"].as_u64());
    assert_eq!(well.map(|(applied, current)| applied + current), Some(4), "{run}");
    for tenant in &fleet.tenants {
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
        assert_eq!(tenant.number("SELECT n FROM counter").await, 1, "{}", tenant.id);
        let tables = tenant.tables().await;
        assert!(
            tables.contains_key("a") && !tables.contains_key("b") && !tables.contains_key("c"),
            "{tables:?}"
        );
        assert!(!tables.contains_key(PROGRESS), "{tables:?}");
    }
}

#[tokio::test]
async fn a_retry_of_a_rollback_does_not_count_its_steps_anew() {
    let site = at_three(&KINDS).await;
    reversible(&site.home, "2_posts", "CREATE TABLE posts (id INTEGER);", "DROP TABLE nowhere;");
    let run = rollback(&site, &["--steps", "2"]).exits(100).json();
    assert_eq!(run["counts"]["failed"], 4, "{run}");
    all_are_at(&site, &[1, 2]).await;
    reversible(&site.home, "2_posts", "CREATE TABLE posts (id INTEGER);", "DROP TABLE posts;");
    let retried = site.home.run(&["retry", "--work", "--json", "--source", "migrations"]).exits(0).json();
    assert_eq!(
        (&retried["action"]["steps"], &retried["counts"]["applied"]),
        (&2.into(), &4.into()),
        "{retried}"
    );
    all_are_at(&site, &[1]).await;
}

#[tokio::test]
async fn a_registry_in_postgres_keeps_what_is_to_be_reverted() {
    is_kept(Home::new().with_postgres_registry().await.with_redis_queue()).await;
}

#[tokio::test]
async fn a_registry_in_mariadb_keeps_what_is_to_be_reverted() {
    is_kept(Home::new().with_mariadb_registry().await).await;
}

async fn is_kept(home: Home) {
    let mut fleet = tenantry_tests::Fleet::default();
    fleet.add(Kind::PostgresDatabase, 2, home.path()).await;
    let site = Site::of(home, fleet);
    three(&site.home);
    let _ = site.home.run(&["migrate", "-t", &site.tenant().id, "--target", "2"]).exits(0);
    let _ = site.migrate(&[]).exits(0);
    reversible(&site.home, "2_posts", "CREATE TABLE posts (id INTEGER);", "DROP TABLE nowhere;");
    let _ = rollback(&site, &["--steps", "2"]).exits(100);
    reversible(&site.home, "2_posts", "CREATE TABLE posts (id INTEGER);", "DROP TABLE posts;");
    let _ = site.home.run(&["retry", "--work", "--source", "migrations"]).exits(0);
    all_are_at(&site, &[1]).await;

    let _ = site.home.run(&["migrate", "-t", &site.tenant().id, "--target", "2"]).exits(0);
    let _ = site.migrate(&[]).exits(0);
    let _ = rollback(&site, &["--run", "latest"]).exits(0);
    assert_eq!(site.tenant().versions().await, [1, 2]);
    assert_eq!(site.fleet.tenants[1].versions().await, [1]);
}

#[tokio::test]
async fn exactly_what_a_run_applied_is_reverted_with_the_files_that_it_had() {
    let site = that_differed(&KINDS).await;
    let run = latest(&site);
    // The directory is that of an older release by now.
    for file in ["2_posts.up.sql", "2_posts.down.sql", "3_name.up.sql", "3_name.down.sql"] {
        std::fs::remove_file(site.home.path().join("migrations").join(file)).expect("a file");
    }
    let reverted = rollback(&site, &["--run", "latest"]).exits(0).json();
    assert_eq!(reverted["counts"]["applied"], 12, "{reverted}");
    for (at, tenant) in site.fleet.tenants.iter().enumerate() {
        let left: &[i64] = [&[1][..], &[1, 2], &[]][at % 3];
        assert_eq!(tenant.versions().await, left, "{}", tenant.id);
    }
    let again = rollback(&site, &["--run", &run]).exits(0).json();
    assert_eq!(again["counts"]["current"], 12, "{again}");
    let refused = rollback(&site, &["--run", "latest"]).exits(2);
    assert!(refused.stderr.contains("did not apply anything"), "{refused:?}");
}

#[tokio::test]
async fn a_tenant_in_which_something_newer_was_applied_since_is_refused() {
    let site = that_differed(&[Kind::PostgresDatabase]).await;
    let run = latest(&site);
    reversible(&site.home, "4_more", "CREATE TABLE more (id INTEGER);", "DROP TABLE more;");
    let _ = site.home.run(&["migrate", "-t", &site.tenant().id]).exits(0);
    let cause = fails(&site, 100, &["--run", &run]);
    assert_eq!((&cause["code"], &cause["refused"]), (&"newer".into(), &true.into()), "{cause}");
    assert_eq!(cause["tenants"], serde_json::json!([site.tenant().id]));
    assert_eq!(site.tenant().versions().await, [1, 2, 3, 4]);
    assert_eq!(site.fleet.tenants[1].versions().await, [1, 2]);

    // What a later run applied again is not that run's.
    let _ = site.migrate(&[]).exits(0);
    let cause = fails(&site, 104, &["--run", &run, "-x", &site.tenant().id]);
    assert_eq!(cause["code"], "newer", "{cause}");
    assert_eq!(site.fleet.tenants[1].versions().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_a_run_did_that_was_cut_short_is_not_guessed() {
    let site = that_differed(&[Kind::Sqlite]).await;
    let tenant = &site.tenant().id;
    ledger(&site.home)
        .execute(&format!(
            "INSERT INTO attempts (run_id, tenant_id, number, worker, started_at, finished_at, outcome, steps, code)
             SELECT r.id, t.id, 7, 'lost', 0, 0, 'interrupted', '[]', 'worker-lost' FROM runs r, tenants t
             WHERE t.slug = '{tenant}' ORDER BY r.number DESC LIMIT 1"
        ))
        .await;
    let cause = fails(&site, 100, &["--run", "latest"]);
    assert_eq!((&cause["code"], &cause["count"]), (&"unsure".into(), &1.into()), "{cause}");
    assert_eq!(site.tenant().versions().await, [1, 2, 3]);
}
