//! `rehearse`: it tells who would fail, and changes nothing.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tenantry_tests::{TenantDb, fleet::Kind};

use crate::{
    site::{Site, Stranger},
    stage::ledger,
};

const TRANSACTIONAL: [Kind; 3] = [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::Sqlite];
const CREATE_USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100));
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob');";
const UNIQUE: &str = "CREATE UNIQUE INDEX users_email ON users (email);";
const INDEXES: &str = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema()";
const LITE_INDEXES: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'index'";

/// So many tenants of each of these kinds at migration 1.
async fn at_one(kinds: &[Kind], of_each: usize) -> Site {
    let site = Site::new(kinds, of_each).await;
    site.home.migration("1_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    site
}

/// Its tables, the versions in its history, its indexes and its users.
async fn all_of(tenant: &TenantDb) -> (BTreeMap<String, String>, Vec<i64>, i64, Option<String>) {
    let (indexes, users) = match tenant.kind {
        Kind::Sqlite => (LITE_INDEXES, "SELECT group_concat(id || email) FROM users"),
        Kind::MariaDb => (
            "SELECT count(*) FROM information_schema.statistics WHERE table_schema = database()",
            "SELECT CAST(group_concat(concat(id, email)) AS CHAR) FROM users",
        ),
        _ => (INDEXES, "SELECT string_agg(id || email, ',' ORDER BY id) FROM users"),
    };
    (tenant.tables().await, tenant.versions().await, tenant.number(indexes).await, tenant.text(users).await)
}

/// The same of the whole fleet, and every row of the registry.
async fn everything(site: &Site) -> Vec<String> {
    let mut all = Vec::new();
    for tenant in &site.fleet.tenants {
        all.push(format!("{} {:?}", tenant.id, all_of(tenant).await));
    }
    let registry = ledger(&site.home);
    let mut connection = SqliteConnection::connect(&registry.url).await.expect("the registry");
    for (table, columns) in registry.tables().await {
        let quoted: Vec<String> = columns.split(',').map(|column| format!("quote({column})")).collect();
        let select = format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || ',' || "));
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&mut connection).await.expect("rows");
        all.push(format!("{table} {rows:?}"));
    }
    all
}

fn rehearse(site: &Site, exit: i32, flags: &[&str]) -> Value {
    let words: Vec<&str> = ["rehearse", "--all", "--json"].iter().chain(flags).copied().collect();
    let document = site.home.run(&words).exits(exit).json();
    assert_eq!(
        (&document["schema"], &document["exit_code"]),
        (&"tenantry.rehearsal/v1".into(), &exit.into())
    );
    document
}

/// The one group in this state.
fn group<'a>(document: &'a Value, state: &str) -> &'a Value {
    let groups: Vec<&Value> = document["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .filter(|group| group["state"] == state)
        .collect();
    assert_eq!(groups.len(), 1, "{document}");
    groups[0]
}

#[tokio::test]
async fn the_one_tenant_of_ten_that_would_fail_is_named_and_nothing_is_changed() {
    for kind in TRANSACTIONAL {
        let site = at_one(&[kind], 10).await;
        let bad = &site.fleet.tenants[3];
        bad.execute("UPDATE users SET email = 'ann'").await;
        site.home.migration("2_unique.sql", UNIQUE);
        let before = everything(&site).await;
        let told = rehearse(&site, 100, &[]);
        assert_eq!((&told["counts"]["passed"], &told["counts"]["failed"]), (&9.into(), &1.into()), "{told}");
        let failed = group(&told, "failed");
        let code = if kind == Kind::Sqlite { "2067" } else { "23505" };
        assert_eq!(
            (&failed["tenants"], &failed["error"]["code"]),
            (&json!([bad.id]), &code.into()),
            "{told}"
        );
        assert_eq!((&failed["error"]["migration"], &failed["error"]["statement"]), (&"2".into(), &1.into()));
        assert_eq!(group(&told, "passed")["passed"], json!(["2"]), "{told}");
        assert_eq!(everything(&site).await, before);

        let text = site.home.run(&["rehearse", "--all"]).exits(100);
        assert!(text.stderr.ends_with("error: 1 of 10 tenants would fail\n"), "{text:?}");
        let line = failed["error"]["line"].as_u64().map(|line| format!(" line {line}")).unwrap_or_default();
        assert!(text.stdout.contains(&format!("2_unique.sql statement 1{line}: {code}")), "{text:?}");
        let cause = site.fails(100, &[]);
        assert_eq!(
            (&cause["tenants"], &cause["fingerprint"]),
            (&failed["tenants"], &failed["error"]["fingerprint"])
        );
    }
}

#[tokio::test]
async fn a_migration_that_needs_the_one_before_it_is_rehearsed_behind_it_in_fresh_tenants_too() {
    let site = Site::new(&TRANSACTIONAL, 2).await;
    site.home.migration("1_users.sql", CREATE_USERS);
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    site.home.migration("3_fill.sql", "UPDATE users SET name = email;");
    let told = rehearse(&site, 0, &[]);
    assert_eq!(group(&told, "passed")["count"], 6, "{told}");
    assert_eq!(group(&told, "passed")["passed"], json!(["1", "2", "3"]), "{told}");
    for tenant in &site.fleet.tenants {
        assert!(tenant.tables().await.is_empty(), "{}", tenant.id);
    }
    site.home.migration("4_bad.sql", "UPDATE users SET nothing = 1;");
    let told = rehearse(&site, 0, &["--to", "3"]);
    assert_eq!(told["counts"]["passed"], 6, "{told}");
    let told = rehearse(&site, 100, &[]);
    assert_eq!((&told["counts"]["failed"], &told["counts"]["passed"]), (&6.into(), &0.into()), "{told}");
}

#[tokio::test]
async fn what_no_transaction_can_hold_is_said_and_what_is_before_it_is_rehearsed() {
    let site = at_one(&[Kind::PostgresDatabase, Kind::PostgresSchema], 1).await;
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    site.home.migration("3_index.sql", "CREATE INDEX CONCURRENTLY users_name ON users (name);");
    site.home.migration("4_more.sql", "CREATE TABLE more (id INTEGER);");
    let before = everything(&site).await;
    let told = rehearse(&site, 0, &[]);
    let left = group(&told, "unrehearsed");
    assert_eq!((&left["count"], &left["passed"]), (&2.into(), &json!(["2"])), "{told}");
    assert_eq!(
        (&left["unrehearsed"]["file"], &left["unrehearsed"]["migrations"]),
        (&"3_index.sql".into(), &2.into())
    );
    assert_eq!((&told["counts"]["unrehearsed"], &told["counts"]["passed"]), (&2.into(), &0.into()), "{told}");
    let text = site.home.run(&["rehearse", "--all"]).exits(0);
    assert!(text.stdout.contains("2 not rehearsed to the end"), "{text:?}");
    assert!(text.stdout.contains("not rehearsed from 3_index.sql on"), "{text:?}");

    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN email VARCHAR(100);");
    assert_eq!(rehearse(&site, 100, &[])["counts"]["failed"], 2);
    for own in [
        "CREATE TABLE a (id INTEGER); COMMIT; CREATE TABLE b (id INTEGER);",
        "CREATE TABLE a (id INTEGER); PREPARE TRANSACTION 'mine';",
    ] {
        site.home.migration("2_name.sql", own);
        let told = rehearse(&site, 0, &[]);
        let reason = &group(&told, "unrehearsed")["unrehearsed"]["reason"];
        assert_eq!(reason, "it begins or ends transactions of its own", "{told}");
    }
    assert_eq!(everything(&site).await, before);
}

#[tokio::test]
async fn mariadb_is_not_rehearsed_and_is_counted() {
    let site = at_one(&[Kind::MariaDb, Kind::Sqlite], 3).await;
    let told = rehearse(&site, 0, &[]);
    assert_eq!(told["counts"]["current"], 6, "{told}");
    site.home.migration("2_unique.sql", UNIQUE);
    let before = everything(&site).await;
    let told = rehearse(&site, 0, &[]);
    let left = group(&told, "unrehearsed");
    assert_eq!((&left["count"], &left["passed"]), (&3.into(), &json!([])), "{told}");
    assert_eq!(left["unrehearsed"]["reason"], "DDL commits by itself in MySQL and MariaDB");
    assert_eq!(told["counts"]["passed"], 3, "{told}");
    assert_eq!(everything(&site).await, before);
}

#[tokio::test]
async fn a_tenant_whose_table_a_stranger_has_locked_is_told_soon() {
    for kind in TRANSACTIONAL {
        let site = at_one(&[kind], 3).await;
        site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
        let locked = &site.fleet.tenants[1];
        let lock = if kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN; LOCK TABLE users" };
        let _stranger = Stranger::that_runs(locked, lock).await;
        let begun = Instant::now();
        let told = rehearse(&site, 100, &["--lock-timeout", "300ms"]);
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
        let failed = group(&told, "failed");
        let code = if kind == Kind::Sqlite { "5" } else { "55P03" };
        assert_eq!(
            (&failed["error"]["code"], &failed["tenants"]),
            (&code.into(), &json!([locked.id])),
            "{told}"
        );
        assert_eq!(told["counts"]["passed"], 2, "{told}");
    }
}

#[tokio::test]
async fn what_only_a_commit_would_find_is_found() {
    let site = Site::new(&TRANSACTIONAL, 1).await;
    site.home.migration(
        "1_tables.sql",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100));
        CREATE TABLE posts (author INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED);",
    );
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_late.sql", "INSERT INTO posts VALUES (1); INSERT INTO users VALUES (1, 'ann');");
    site.home.migration("3_alter.sql", "ALTER TABLE posts ADD COLUMN title VARCHAR(10);");
    site.home.migration(
        "4_late.sql",
        "INSERT INTO posts (author) VALUES (2); INSERT INTO users VALUES (2, 'bob');",
    );
    assert_eq!(rehearse(&site, 0, &[])["counts"]["passed"], 3);
    site.home.migration("4_late.sql", "INSERT INTO posts (author) VALUES (7);");
    site.home.migration("5_mended.sql", "DELETE FROM posts;");
    let told = rehearse(&site, 100, &[]);
    assert_eq!(told["counts"]["failed"], 3, "{told}");
    for group in told["groups"].as_array().expect("groups") {
        assert_eq!(group["error"]["migration"], "4", "{told}");
    }
}

#[tokio::test]
async fn a_value_that_must_be_committed_first_is_no_failure() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration(
        "1_type.sql",
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE users (id INTEGER, mood mood);",
    );
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_value.sql", "ALTER TYPE mood ADD VALUE 'glad';");
    site.home.migration("3_use.sql", "INSERT INTO users VALUES (1, 'glad');");
    let told = rehearse(&site, 0, &[]);
    let left = group(&told, "unrehearsed");
    assert_eq!((&left["passed"], &left["unrehearsed"]["migration"]), (&json!(["2"]), &"3".into()), "{told}");
    let _ = site.migrate(&[]).exits(0);
}

#[tokio::test]
async fn a_tenant_that_would_be_refused_is_refused() {
    let site = at_one(&[Kind::PostgresSchema, Kind::Sqlite, Kind::MariaDb], 1).await;
    site.home.migration("1_users.sql", &CREATE_USERS.replace("bob", "eve"));
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    let told = rehearse(&site, 104, &[]);
    assert_eq!(
        (&told["counts"]["refused"], &group(&told, "refused")["count"]),
        (&3.into(), &3.into()),
        "{told}"
    );
}

#[tokio::test]
async fn a_sample_is_rehearsed_in_as_many_tenants_and_in_the_same_ones_each_time() {
    let site = at_one(&[Kind::Sqlite], 10).await;
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    let told = rehearse(&site, 0, &["--sample", "3"]);
    assert_eq!((&told["counts"]["total"], &told["counts"]["passed"]), (&3.into(), &3.into()), "{told}");
    assert_eq!(told["selection"], "all, a sample of 3 of 10 tenants");
    assert_eq!(rehearse(&site, 0, &["--sample", "3"]), told);
    assert_eq!(rehearse(&site, 0, &["--sample", "20%", "--limit", "5"])["counts"]["total"], 1);
    let _ = site.home.run(&["rehearse", "--all", "--sample", "0"]).exits(2);
}

#[tokio::test]
async fn one_dedicated_database_is_rehearsed_without_a_registry() {
    let site = at_one(&[Kind::PostgresDatabase, Kind::Sqlite], 1).await;
    site.home.migration("2_unique.sql", UNIQUE);
    let Site { mut home, fleet } = site;
    for tenant in &fleet.tenants {
        home = home.with("DATABASE_URL", &tenant.url).without("TENANTRY_MASTER_KEY");
        assert_eq!(home.run(&["rehearse", "--json"]).exits(0).json()["counts"]["passed"], 1);
        tenant.execute("UPDATE users SET email = 'ann'").await;
        let failed = home.run(&["rehearse"]).exits(100);
        assert!(failed.stderr.ends_with("error: it would fail\n"), "{failed:?}");
        assert_eq!(tenant.versions().await, [1]);
    }
}

#[tokio::test]
async fn a_program_is_not_started() {
    let site = at_one(&TRANSACTIONAL, 1).await;
    let config = "[command]\ndirectory = \".\"\nrun = [\"touch\", \"started\"]\n";
    std::fs::write(site.home.path().join("tenantry.toml"), config).expect("a configuration");
    assert_eq!(rehearse(&site, 0, &[])["counts"]["current"], 3);
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    let told = rehearse(&site, 0, &[]);
    let left = group(&told, "unrehearsed");
    assert_eq!(
        (&left["count"], &left["unrehearsed"]["reason"]),
        (&3.into(), &"a program applies it".into()),
        "{told}"
    );
    assert!(!site.home.path().join("started").exists());
}

#[tokio::test]
async fn settings_of_a_session_on_sqlite_end_what_can_be_rehearsed() {
    let site = at_one(&[Kind::Sqlite], 1).await;
    site.home
        .migration("2_temporary.sql", "CREATE TEMP TABLE t (id INTEGER); CREATE TABLE kept (id INTEGER);");
    site.home.migration("3_more.sql", "CREATE TABLE more (id INTEGER);");
    let told = rehearse(&site, 0, &[]);
    let left = group(&told, "unrehearsed");
    assert_eq!((&left["passed"], &left["unrehearsed"]["migration"]), (&json!(["2"]), &"3".into()), "{told}");
    assert!(!site.tenant().tables().await.contains_key("kept"));
}
