//! Going back: what is reverted, in which order, what is refused, and what a failure leaves behind.

mod failed;
mod of_runs;

use std::process::Command;

use serde_json::Value;
use tenantry_tests::{Home, Ran, TenantDb, fleet::Kind};

use crate::site::{KINDS, Site};

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
