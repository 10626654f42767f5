//! Going back: what is reverted, in which order, what is refused, and what a failure leaves behind.

use std::process::Command;

use serde_json::Value;
use tenantry_tests::{Home, Ran, TenantDb, fleet::Kind};

use crate::{
    site::{KINDS, Site},
    stage::{ALL_KINDS, COUNTED, Gates, gated, ledger, until_at_their_gates},
};

const PROGRESS: &str = "_tenantry_progress";
const DIRTY: &str = "SELECT count(*) FROM _sqlx_migrations WHERE NOT success";

/// Three migrations, each with its way back.
fn three(home: &Home) {
    reversible(home, "1_users", "CREATE TABLE users (id INTEGER PRIMARY KEY);", "DROP TABLE users;");
    reversible(home, "2_posts", "CREATE TABLE posts (id INTEGER);", "DROP TABLE posts;");
    reversible(
        home,
        "3_name",
        "ALTER TABLE users ADD COLUMN name VARCHAR(100);",
        "ALTER TABLE users DROP COLUMN name;",
    );
}

fn reversible(home: &Home, stem: &str, up: &str, down: &str) {
    home.migration(&format!("{stem}.up.sql"), up);
    home.migration(&format!("{stem}.down.sql"), down);
}

/// Tenants of these kinds with all three applied.
async fn at_three(kinds: &[Kind]) -> Site {
    let site = Site::new(kinds, 1).await;
    three(&site.home);
    let _ = site.migrate(&[]).exits(0);
    site
}

/// Reverts in all tenants, in one process.
fn rollback(site: &Site, flags: &[&str]) -> Ran {
    site.home.run(&[&["rollback", "--all", "--work", "--json"], flags].concat())
}

/// The same where the one cause of failure is expected.
fn fails(site: &Site, exit: i32, flags: &[&str]) -> Value {
    let run = rollback(site, flags).exits(exit).json();
    assert_eq!(run["failures"].as_array().map(Vec::len), Some(1), "{run}");
    run["failures"][0].clone()
}

async fn all_are_at(site: &Site, versions: &[i64]) {
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, versions, "{}", tenant.id);
    }
}

/// What `sqlx migrate` says with these words.
fn sqlx(home: &Home, tenant: &TenantDb, word: &str) -> (bool, String) {
    let mut command = Command::new("sqlx");
    command.args(["migrate", word, "--source", "migrations"]).current_dir(home.path());
    let output = command.env("DATABASE_URL", &tenant.url).output().expect("sqlx");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

#[tokio::test]
async fn the_newest_migrations_are_reverted_and_the_sqlx_program_agrees() {
    let site = at_three(&KINDS).await;
    let run = rollback(&site, &[]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["action"]["steps"]), (&4.into(), &1.into()), "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2], "{}", tenant.id);
        assert_eq!(tenant.tables().await["users"], "id", "{}", tenant.id);
        let step = &site.attempts(tenant)[0]["applied"][0];
        assert_eq!((&step["version"], &step["direction"]), (&"3".into(), &"down".into()), "{step}");
        let status = site.home.run(&["status", "-t", &tenant.id]).exits(0);
        assert!(status.stdout.contains("at 2"), "{status:?}");
        if tenant.kind != Kind::PostgresSchema {
            let info = sqlx(&site.home, tenant, "info").1;
            assert_eq!(info, "1/installed users\n2/installed posts\n3/pending name\n", "{}", tenant.id);
        }
    }
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;
    let _ = rollback(&site, &["--steps", "2"]).exits(0);
    all_are_at(&site, &[1]).await;
}

#[tokio::test]
async fn a_tenant_goes_back_to_a_version_or_to_nothing_and_forth_again() {
    let site = at_three(&KINDS).await;
    let _ = rollback(&site, &["--to", "1"]).exits(0);
    all_are_at(&site, &[1]).await;
    let run = rollback(&site, &["--to", "1"]).exits(0).json();
    assert_eq!((&run["counts"]["current"], &run["counts"]["applied"]), (&4.into(), &0.into()), "{run}");
    let _ = site.migrate(&[]).exits(0);
    let ran = site.home.run(&["rollback", "--all", "--work", "--to", "zero"]).exits(0);
    assert!(ran.stderr.contains("back to 0: 4 tenants: 4 reverted, 0 current, 0 failed"), "{ran:?}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [0_i64; 0]);
        assert_eq!(tenant.tables().await.into_keys().collect::<Vec<_>>(), ["_sqlx_migrations"]);
    }
    let run = rollback(&site, &["--to", "0"]).exits(0).json();
    assert_eq!(run["counts"]["current"], 4, "{run}");
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn workers_revert_what_is_enqueued() {
    let site = at_three(&[Kind::PostgresDatabase, Kind::Sqlite]).await;
    let _worker = site.home.worker(&[]);
    let run = site.home.run(&["rollback", "--all", "--wait", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
    all_are_at(&site, &[1, 2]).await;
}

#[tokio::test]
async fn one_migration_without_a_down_script_refuses_and_nothing_changes_anywhere() {
    let site = at_three(&KINDS).await;
    std::fs::rename(
        site.home.path().join("migrations/2_posts.up.sql"),
        site.home.path().join("migrations/2_posts.sql"),
    )
    .expect("another name");
    std::fs::remove_file(site.home.path().join("migrations/2_posts.down.sql")).expect("a file");
    let mut before = Vec::new();
    for tenant in &site.fleet.tenants {
        before.push(tenant.tables().await);
    }
    let cause = fails(&site, 104, &["--to", "1"]);
    assert_eq!((&cause["code"], &cause["count"]), (&"no-down".into(), &4.into()), "{cause}");
    assert!(cause["message"].as_str().is_some_and(|m| m.contains("2_posts.sql")), "{cause}");
    for (tenant, before) in site.fleet.tenants.iter().zip(before) {
        assert_eq!(tenant.tables().await, before);
    }
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn a_history_that_does_not_agree_with_the_files_is_refused() {
    let site = at_three(&[Kind::PostgresDatabase]).await;
    let changed = "CREATE TABLE users (id BIGINT PRIMARY KEY);";
    site.home.migration("1_users.up.sql", changed);
    assert_eq!(fails(&site, 104, &[])["code"], "checksum");
    for file in ["3_name.up.sql", "3_name.down.sql"] {
        std::fs::remove_file(site.home.path().join("migrations").join(file)).expect("a file");
    }
    assert_eq!(fails(&site, 104, &[])["code"], "missing");
    site.tenant().execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await;
    assert_eq!(fails(&site, 104, &[])["code"], "dirty");
    assert_eq!(site.tenant().versions().await, [1, 3]);
}

/// The second of three statements names this table.
fn down_over(table: &str) -> String {
    format!("DROP TABLE posts;\nALTER TABLE {table} DROP COLUMN name;\nDROP TABLE more;")
}

/// A fourth migration, whose way back fails at its second statement.
async fn with_a_failing_down(kinds: &[Kind]) -> Site {
    let site = at_three(kinds).await;
    reversible(&site.home, "4_more", "CREATE TABLE more (id INTEGER);", &down_over("nowhere"));
    let _ = site.migrate(&[]).exits(0);
    site
}

#[tokio::test]
async fn a_down_that_fails_in_a_transaction_changes_nothing() {
    let site = with_a_failing_down(&[Kind::PostgresDatabase, Kind::PostgresSchema, Kind::Sqlite]).await;
    let run = rollback(&site, &[]).exits(100).json();
    for cause in run["failures"].as_array().expect("causes") {
        assert_eq!(
            (&cause["migration"], &cause["statement"], &cause["line"]),
            (&"4".into(), &2.into(), &2.into()),
            "{cause}"
        );
    }
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.tables().await.len(), 4, "{}", tenant.id);
        let to = &site.target(tenant).expect("a target")["to"];
        assert_eq!(to, "4", "{}", tenant.id);
    }
    all_are_at(&site, &[1, 2, 3, 4]).await;
    reversible(&site.home, "4_more", "CREATE TABLE more (id INTEGER);", &down_over("users"));
    let _ = rollback(&site, &[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn a_down_that_fails_on_mariadb_says_where_and_goes_on_there() {
    let site = with_a_failing_down(&[Kind::MariaDb]).await;
    let tenant = site.tenant();
    let cause = fails(&site, 100, &[]);
    assert_eq!(
        (&cause["migration"], &cause["statement"], &cause["line"]),
        (&"4".into(), &2.into(), &2.into())
    );
    assert!(cause["hint"].as_str().is_some_and(|hint| hint.contains("statement 1 is done")), "{cause}");

    // Its history tells the truth, to the sqlx program too.
    assert_eq!((tenant.versions().await, tenant.number(DIRTY).await), (vec![1, 2, 3], 1));
    assert!(!tenant.tables().await.contains_key("posts"));
    let (went_on, said) = sqlx(&site.home, tenant, "run");
    assert!(!went_on && said.contains("partially applied"), "{said}");
    let refused = site.fails(104, &[]);
    assert_eq!(refused["code"], "half-reverted", "{refused}");
    // What stays is not what is half reverted.
    assert_eq!(fails(&site, 104, &["--to", "4"])["code"], "half-reverted");

    reversible(&site.home, "4_more", "CREATE TABLE more (id INTEGER);", &down_over("users"));
    let _ = rollback(&site, &[]).exits(0);
    assert_eq!((tenant.versions().await, tenant.number(DIRTY).await), (vec![1, 2, 3], 0));
    assert_eq!(tenant.tables().await["users"], "id");
    assert!(!tenant.tables().await.contains_key("more") && !tenant.tables().await.contains_key(PROGRESS));
}

#[tokio::test]
async fn a_down_that_fails_at_its_first_statement_leaves_a_clean_history() {
    let site = at_three(&[Kind::MariaDb]).await;
    reversible(
        &site.home,
        "4_more",
        "CREATE TABLE more (id INTEGER);",
        "DROP TABLE nothing;\nDROP TABLE more;",
    );
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(fails(&site, 100, &[])["statement"], 1);
    assert_eq!((site.tenant().versions().await, site.tenant().number(DIRTY).await), (vec![1, 2, 3, 4], 0));
    assert!(!site.tenant().tables().await.contains_key(PROGRESS));
}

#[tokio::test]
async fn a_down_outside_a_transaction_goes_on_where_it_failed() {
    let site = at_three(&[Kind::PostgresDatabase, Kind::PostgresSchema]).await;
    let up = "CREATE INDEX users_name ON users (name);\nCREATE TABLE seen (n INTEGER);";
    let down =
        |table: &str| format!("-- no-transaction\nDROP INDEX CONCURRENTLY users_name;\nDROP TABLE {table};");
    reversible(&site.home, "4_index", up, &down("nowhere"));
    let _ = site.migrate(&[]).exits(0);
    let cause = fails(&site, 100, &[]);
    assert_eq!(
        (&cause["code"], &cause["statement"], &cause["line"]),
        (&"42P01".into(), &2.into(), &3.into())
    );
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.versions().await, tenant.number(DIRTY).await), (vec![1, 2, 3], 1));
    }
    reversible(&site.home, "4_index", up, &down("seen"));
    let _ = rollback(&site, &[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.versions().await, tenant.number(DIRTY).await), (vec![1, 2, 3], 0));
        assert!(!tenant.tables().await.contains_key("seen") && !tenant.tables().await.contains_key(PROGRESS));
    }
}

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

/// Two tenants that differ, a third one that has nothing, and a run that brought all of them to three.
async fn that_differed(kinds: &[Kind]) -> Site {
    let site = Site::new(kinds, 3).await;
    three(&site.home);
    for (at, tenant) in site.fleet.tenants.iter().enumerate().filter(|(at, _)| at % 3 < 2) {
        let target = (at % 3 + 1).to_string();
        let _ = site.home.run(&["migrate", "-t", &tenant.id, "--target", &target]).exits(0);
    }
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;
    site
}

fn latest(site: &Site) -> String {
    site.home.run(&["runs", "--limit", "1", "--json"]).exits(0).json()["runs"][0]["number"].to_string()
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

#[tokio::test]
async fn a_dry_run_shows_what_would_be_reverted_and_changes_nothing() {
    let site = that_differed(&[Kind::PostgresSchema]).await;
    let before = latest(&site);
    let shown =
        site.home.run(&["rollback", "--all", "--run", "latest", "--dry-run", "--json"]).exits(0).json();
    let files = |at: usize| -> Vec<&str> {
        let all = shown["tenants"][at]["migrations"].as_array().expect("migrations");
        all.iter().filter_map(|m| m["file"].as_str()).collect()
    };
    assert_eq!(files(0), ["3_name.up.sql", "2_posts.up.sql"], "{shown}");
    assert_eq!((files(1), files(2).len()), (vec!["3_name.up.sql"], 3), "{shown}");
    let text = site.home.run(&["rollback", "--all", "--to", "2", "--dry-run"]).exits(0);
    assert_eq!(
        text.stdout.lines().filter(|line| line.ends_with("would revert 3_name.up.sql")).count(),
        3,
        "{text:?}"
    );
    std::fs::rename(site.home.path().join("migrations/3_name.down.sql"), site.home.path().join("kept.sql"))
        .expect("another name");
    let refused = site.home.run(&["rollback", "--all", "--dry-run"]).exits(104);
    assert!(refused.stdout.contains("would fail: no-down"), "{refused:?}");
    all_are_at(&site, &[1, 2, 3]).await;
    assert_eq!(latest(&site), before);
}

#[tokio::test]
async fn one_database_is_reverted_without_a_registry() {
    for kind in KINDS {
        let home = Home::new().without("TENANTRY_MASTER_KEY");
        three(&home);
        let mut fleet = tenantry_tests::Fleet::default();
        fleet.add(kind, 1, home.path()).await;
        let tenant = &fleet.tenants[0];
        let schema: Vec<&str> = tenant.schema.as_deref().map(|s| vec!["--schema", s]).unwrap_or_default();
        let home = home.with("ACME_URL", &tenant.url);
        let with = |words: &[&str]| home.run(&[words, &["--url-env", "ACME_URL"], &schema[..]].concat());
        let _ = with(&["migrate"]).exits(0);
        let ran = with(&["rollback"]).exits(0);
        assert!(ran.stdout.starts_with("reverted  3_name.up.sql"), "{ran:?}");
        assert!(ran.stdout.contains("is at 2 (1 reverted"), "{ran:?}");
        assert_eq!(tenant.versions().await, [1, 2]);
        let document = with(&["rollback", "--to", "0", "--json"]).exits(0).json();
        assert_eq!((&document["from"], &document["to"]), (&"2".into(), &"0".into()), "{document}");
        assert_eq!(document["applied"][0]["direction"], "down", "{document}");
        assert_eq!(tenant.versions().await, [0_i64; 0]);
        assert!(!home.path().join(".tenantry").exists(), "a registry was made");
    }
}

#[tokio::test]
async fn everything_is_reverted_only_on_a_clear_word() {
    let site = at_three(&KINDS).await;
    for words in [["reset", "--all", "--work"], ["refresh", "--all", "--work"]] {
        let refused = site.home.run(&words).exits(2);
        assert!(refused.stderr.contains("--yes-really"), "{refused:?}");
    }
    all_are_at(&site, &[1, 2, 3]).await;
    let _ = site.home.run(&["reset", "--all", "--work", "--yes-really"]).exits(0);
    all_are_at(&site, &[]).await;
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        tenant.execute("INSERT INTO posts VALUES (1)").await;
    }
    let ran = site.home.run(&["refresh", "--all", "--work", "--yes-really"]).exits(0);
    assert!(ran.stderr.contains("4 reverted") && ran.stderr.contains("4 applied"), "{ran:?}");
    all_are_at(&site, &[1, 2, 3]).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM posts").await, 0, "{}", tenant.id);
    }
    let _ = std::fs::remove_file(site.home.path().join("migrations/1_users.down.sql"));
    let refused = site.home.run(&["refresh", "--all", "--work", "--yes-really"]).exits(104);
    assert!(refused.stderr.contains("no-down"), "{refused:?}");
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_writes_no_run() {
    let site = at_three(&[Kind::Sqlite]).await;
    let id = site.tenant().id.clone();
    let before = latest(&site);
    for (words, exit, says) in [
        (&["rollback"][..], 2, "neither tenants nor a database"),
        (&["rollback", "--run", "1"], 2, "no tenants are selected"),
        (&["rollback", "--all", "--to", "7"], 2, "there is no migration 7"),
        (&["rollback", "--all", "--run", "77"], 2, "there is no run 77"),
        (&["rollback", "--all", "--steps", "0"], 2, "invalid value '0'"),
        (&["rollback", "--all", "--steps", "1", "--to", "1"], 2, "cannot be used with"),
        (&["rollback", "-t", "nobody"], 2, "'nobody'"),
        (&["rollback", "--all", "--url-env", "X"], 2, "cannot be used with"),
        (&["rollback", "-t", &id, "-x", &id], 4, "no tenant matched"),
        (&["reset"], 2, "no tenants are selected"),
        (&["baseline", "--all", "--to", "9"], 2, "there is no migration 9"),
    ] {
        let ran = site.home.run(words).exits(exit);
        assert!(ran.stderr.contains(says), "{words:?}: {ran:?}");
    }
    assert_eq!(latest(&site), before);
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn what_would_be_reverted_is_told_in_the_order_of_the_tenants_however_long_each_takes() {
    let home = Home::new();
    reversible(&home, "1_users", "CREATE TABLE users (id INTEGER PRIMARY KEY);", "DROP TABLE users;");
    std::fs::write(home.path().join("tenantry.toml"), "[run]\nconnect-timeout = '2s'\n").expect("a file");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = tenantry_tests::Fleet::default();
    fleet.add(Kind::Sqlite, 12, home.path()).await;
    fleet.register(&home);
    // One that takes a connection and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("postgres://app@{}/x?sslmode=disable", silent.local_addr().expect("its address"));
    let _ = home.run_with_input(&["tenants", "add", "aaa", "--url-stdin"], &url).exits(0);
    let foreseen = home.run(&["rollback", "--all", "--dry-run", "--json"]).exits(100).json();
    let tenants = foreseen["tenants"].as_array().expect("tenants").iter();
    let names: Vec<&str> = tenants.map(|tenant| tenant["tenant"].as_str().expect("a name")).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!((names[0], names.len(), &names), ("aaa", 13, &sorted));
}
