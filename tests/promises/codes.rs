//! Error codes, each from the real server: what may heal is tried again, all else costs one attempt.

use serde_json::Value;
use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, unique},
    home::finish,
    server::with_database,
    wait::until,
};

use crate::site::{Site, Stranger, quick_home, with_account};

/// Runs migrations in tenants prepared like this, of which each fails in all of them, and makes sure of what the
/// ledger says.
async fn each_costs_one_attempt(kinds: &[Kind], prepared: &str, cases: &[(&str, &str)]) {
    let site = Site::new(kinds, 1).await;
    for tenant in &site.fleet.tenants {
        tenant.execute(prepared).await;
    }
    let before = site.tenant().tables().await;
    for (code, sql) in cases {
        site.home.migration("1_fail.sql", sql);
        let cause = site.fails(100, &["--retries", "3"]);
        permanent(&site, &cause, code);
        assert_eq!((&cause["migration"], &cause["count"]), (&"1".into(), &kinds.len().into()), "{cause}");
        let mut after = site.tenant().tables().await;
        after.remove("_sqlx_migrations");
        assert_eq!(after, before, "{code}");
    }
}

fn permanent(site: &Site, cause: &Value, code: &str) {
    let attempts = site.attempts(site.tenant());
    assert_eq!((&cause["code"], &cause["class"]), (&code.into(), &"permanent".into()), "{cause}");
    assert_eq!((attempts.len(), &attempts[0]["code"]), (1, &code.into()), "{attempts:?}");
    assert_eq!(site.target(site.tenant()).map(|t| t["state"].clone()), Some("failed".into()));
}

fn transient(site: &Site, cause: &Value, code: &str, retries: usize) {
    let attempts = site.attempts(site.tenant());
    assert_eq!((&cause["code"], &cause["class"]), (&code.into(), &"transient".into()), "{cause}");
    assert_eq!(attempts.len(), retries, "{attempts:?}");
    assert!(attempts.iter().all(|attempt| attempt["code"] == code), "{attempts:?}");
}

const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100) NOT NULL); INSERT INTO users VALUES (1, 'ann');";

#[tokio::test]
async fn permanent_codes_of_postgres_cost_one_attempt() {
    let cases = [
        ("42601", "CREATE TABLE;"),
        ("42P07", "CREATE TABLE users (id INTEGER);"),
        ("42703", "CREATE INDEX i ON users (nothing);"),
        ("42P01", "DROP TABLE nothing;"),
        ("23505", "INSERT INTO users VALUES (1, 'bob');"),
        ("23502", "INSERT INTO users (id) VALUES (2);"),
        ("22001", "INSERT INTO users VALUES (2, repeat('x', 101));"),
    ];
    each_costs_one_attempt(&[Kind::PostgresDatabase, Kind::PostgresSchema], USERS, &cases).await;
}

#[tokio::test]
async fn permanent_codes_of_mariadb_cost_one_attempt() {
    let cases = [
        ("1064", "CREATE TABLE;\nSELECT 1;"),
        ("1050", "CREATE TABLE users (id INTEGER);"),
        ("1054", "UPDATE users SET nothing = 1;"),
        ("1146", "INSERT INTO nothing VALUES (1);"),
        ("1062", "INSERT INTO users VALUES (1, 'bob');"),
        ("1048", "INSERT INTO users VALUES (2, NULL);"),
    ];
    each_costs_one_attempt(&[Kind::MariaDb], USERS, &cases).await;
}

#[tokio::test]
async fn permanent_codes_of_sqlite_cost_one_attempt() {
    let users = format!("{USERS} CREATE UNIQUE INDEX users_email ON users (email);");
    let cases = [
        ("1", "CREATE TABLE;"),
        ("1555", "INSERT INTO users VALUES (1, 'bob');"),
        ("2067", "INSERT INTO users VALUES (2, 'ann');"),
        ("1299", "INSERT INTO users (id) VALUES (2);"),
    ];
    each_costs_one_attempt(&[Kind::Sqlite], &users, &cases).await;
}

/// A tenant whose URL was changed, with a migration that would work.
async fn elsewhere(kind: Kind, change: impl FnOnce(&mut TenantDb)) -> Site {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(kind, 1, home.path()).await;
    change(&mut fleet.tenants[0]);
    let site = Site::of(home, fleet);
    site.home.migration("1_create.sql", "CREATE TABLE a (id INTEGER);");
    site
}

#[tokio::test]
async fn a_tenant_that_cannot_be_opened_costs_one_attempt_and_has_a_hint() {
    let nowhere = unique("nowhere");
    for (kind, code) in [(Kind::PostgresDatabase, "28P01"), (Kind::MariaDb, "1045")] {
        let site = elsewhere(kind, |t| t.url = with_account(&t.url, "tenantry", "wrong-s3cret")).await;
        let cause = site.fails(100, &[]);
        permanent(&site, &cause, code);
        assert!(cause["hint"].is_string() && !cause.to_string().contains("wrong-s3cret"), "{cause}");
    }
    for (kind, code) in [(Kind::PostgresDatabase, "3D000"), (Kind::MariaDb, "1049")] {
        let site = elsewhere(kind, |t| t.url = with_database(&t.url, &nowhere)).await;
        let cause = site.fails(100, &[]);
        permanent(&site, &cause, code);
        assert!(cause["hint"].is_string(), "{cause}");
    }
    let site = elsewhere(Kind::PostgresSchema, |t| t.schema = Some(nowhere.clone())).await;
    let cause = site.fails(100, &[]);
    permanent(&site, &cause, "3F000");
    assert!(cause["hint"].is_string(), "{cause}");

    let site = elsewhere(Kind::Sqlite, |t| t.url = format!("{}.nowhere", t.url)).await;
    let cause = site.fails(100, &[]);
    permanent(&site, &cause, "14");
    assert!(cause["hint"].is_string(), "{cause}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    for kind in [Kind::PostgresDatabase, Kind::MariaDb] {
        let site = elsewhere(kind, |t| {
            let (start, database) = t.url.rsplit_once('/').expect("a URL");
            let (start, _) = start.rsplit_once(':').expect("a port");
            t.url = format!("{start}:1/{database}");
        })
        .await;
        transient(&site, &site.fails(100, &["--retries", "2"]), "connection", 2);
    }
}

#[tokio::test]
async fn a_lock_of_somebody_else_is_tried_again_as_often_as_asked() {
    for (kind, code, hold) in [
        (Kind::PostgresDatabase, "55P03", "BEGIN; LOCK TABLE users"),
        (Kind::PostgresSchema, "55P03", "BEGIN; LOCK TABLE users"),
        (Kind::MariaDb, "1205", "START TRANSACTION; UPDATE users SET email = 'bob'"),
        (Kind::Sqlite, "5", "BEGIN IMMEDIATE"),
        (Kind::Sqlite, "5", "BEGIN; SELECT * FROM users"),
    ] {
        let site = Site::new(&[kind], 1).await;
        site.tenant().execute(USERS).await;
        site.home.migration("1_update.sql", "UPDATE users SET email = 'eve';");
        let stranger = Stranger::that_runs(site.tenant(), hold).await;
        transient(&site, &site.fails(100, &["--retries", "2", "--lock-timeout", "200ms"]), code, 2);
        drop(stranger);
        assert_eq!(site.tenant().versions().await, [] as [i64; 0], "{kind:?}");
        let _ = site.home.run(&["retry", "--json"]).exits(0);
    }
}

#[tokio::test]
async fn a_canceled_statement_is_tried_again() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.tenant().execute(USERS).await;
    site.home.migration("1_slow.sql", "SELECT pg_sleep(60) FROM users;");
    let child = site.start(&["--retries", "3"]);
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    until("the statement was canceled", async || site.tenant().number(cancel).await == 1).await;
    until("it was tried again", async || site.target(site.tenant()).is_some_and(|t| t["code"] == "57014"))
        .await;
    site.tenant().execute("DELETE FROM users").await;
    until("the statement is canceled or over", async || {
        site.tenant().number(cancel).await;
        site.target(site.tenant()).is_some_and(|t| t["state"] == "applied")
    })
    .await;
    let run = finish(child).exits(0).json();
    assert_eq!(run["counts"]["retried"], 1, "{run}");
}

#[tokio::test]
async fn a_deadlock_with_somebody_else_is_tried_again() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    let tenant = site.tenant();
    tenant.execute("CREATE TABLE a (id INTEGER); CREATE TABLE b (id INTEGER)").await;
    site.home.migration("1_both.sql", "LOCK TABLE a;\nLOCK TABLE b;\nINSERT INTO b VALUES (1);");
    let mut stranger = Stranger::that_runs(tenant, "SET deadlock_timeout = '60s'; BEGIN; LOCK TABLE b").await;
    let child = site.start(&["--lock-timeout", "60s", "--retries", "100"]);
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass";
    until("we wait for the stranger", async || tenant.number(waits).await == 1).await;
    // Now each waits for the other, until the server ends our migration and the stranger gets its lock.
    stranger.runs("LOCK TABLE a").await;
    until("the deadlock is in the ledger", async || {
        site.target(tenant).is_some_and(|t| t["code"] == "40P01")
    })
    .await;
    drop(stranger);
    let run = finish(child).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1.into(), &1.into()), "{run}");
    assert_eq!(tenant.number("SELECT count(*) FROM b").await, 1);
}

#[tokio::test]
async fn an_error_of_syntax_is_found_by_its_line() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration("1_fail.sql", "CREATE TABLE ä (id INTEGER);\r\nSELECT 1;\r\nSELEC 2;\r\n");
    let cause = site.fails(100, &[]);
    assert_eq!(
        (&cause["code"], &cause["line"], &cause["statement"]),
        (&"42601".into(), &3.into(), &3.into())
    );
    site.home.migration("1_fail.sql", "CREATE TABLE ä (id INTEGER);\r\nSELECT\r\n nothing;\r\n");
    let cause = site.fails(100, &[]);
    assert_eq!(
        (&cause["code"], &cause["line"], &cause["statement"]),
        (&"42703".into(), &3.into(), &2.into())
    );
}

#[tokio::test]
async fn a_message_of_several_lines_is_told_in_one() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    site.home.migration("1_fail.sql", "CREATE TABLE users (\n  id INTEGER\n  name TEXT\n);");
    let cause = site.fails(100, &[]);
    assert_eq!(cause["code"], "1064");
    assert!(cause["message"].as_str().is_some_and(|text| !text.contains('\n')), "{cause}");
}
