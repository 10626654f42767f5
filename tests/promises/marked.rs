//! MariaDB, where a migration's mark and what is to be seen in the database are all that tells how far it came: its worker
//! dies at each of its messages to the tenant, and the next attempt does the rest, and nothing twice.

use std::process::Stdio;

use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tenantry_tests::{
    Fleet, Home, TenantDb,
    fleet::Kind,
    home::finish,
    teller::{Moment, Teller},
    wait::until,
};

use crate::site::Site;

/// More messages than it may take.
const ENOUGH: u64 = 60;

const FILES: [(&str, &str); 3] = [
    (
        "1_accounts.sql",
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(20));\nCREATE INDEX accounts_name ON accounts (name);\nUPDATE counter SET n = n + 1;\nALTER TABLE accounts ADD COLUMN email VARCHAR(20);\n",
    ),
    ("2_data.sql", "UPDATE counter SET n = n + 10;\n"),
    (
        "3_more.sql",
        "DROP TABLE IF EXISTS old;\nCREATE TABLE more (id INTEGER);\nALTER TABLE more ADD COLUMN name INTEGER;\nUPDATE counter SET n = n + 100;\n",
    ),
];

fn home() -> Home {
    let home = Home::new();
    for (name, sql) in FILES {
        home.migration(name, sql);
    }
    let _ = home.run(&["registry", "init"]).exits(0);
    home
}

/// Migrates a tenant by a program that dies at this message to it. Gives its exit code; -1 when it died.
fn killed_at(tenant: &TenantDb, number: u64, moment: Moment) -> i32 {
    let (home, teller) = (home(), Teller::start(&tenant.url, number, moment));
    let line = serde_json::json!({ "id": tenant.id, "url": teller.url }).to_string();
    let _ = home.run_with_input(&["tenants", "import", "-", "--format", "jsonl"], &line).exits(0);
    let mut command = home.command("tenantry", &["migrate", "--all", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("tenantry");
    teller.program(child.id());
    finish(child).code
}

const COLUMNS: &str = "SELECT count(*) FROM information_schema.columns WHERE table_schema = database() AND table_name IN ('accounts', 'more')";
const INDEXES: &str = "SELECT count(*) FROM information_schema.statistics WHERE table_schema = database() AND index_name = 'accounts_name'";

async fn each_death_is_healed(moment: Moment) {
    let (mut fleet, mut deaths) = (Fleet::default(), 0);
    let home = home();
    for number in 1..ENOUGH {
        fleet.add(Kind::MariaDb, 1, home.path()).await;
        let tenant = fleet.tenants.last().expect("a tenant");
        tenant.execute("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)").await;
        if killed_at(tenant, number, moment) == 0 {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 8 && deaths < ENOUGH - 1, "it died {deaths} times");
    fleet.register(&home);
    let _ = home.run(&["migrate", "--all", "--json"]).exits(0);
    for (number, tenant) in (1..).zip(&fleet.tenants) {
        let at = format!("killed at message {number}, {moment:?}");
        assert_eq!(tenant.versions().await, [1, 2, 3], "{at}");
        assert_eq!(tenant.number("SELECT n FROM counter").await, 111, "{at}");
        assert_eq!((tenant.number(COLUMNS).await, tenant.number(INDEXES).await), (5, 1), "{at}");
        assert!(!tenant.tables().await.contains_key("_tenantry_progress"), "{at}");
    }
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_worker_that_dies_before_any_message_leaves_what_the_next_one_finishes() {
    each_death_is_healed(Moment::Before).await;
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_worker_that_dies_after_any_message_leaves_what_the_next_one_finishes() {
    each_death_is_healed(Moment::After).await;
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_table_that_was_there_before_is_never_taken_for_the_migrations_own() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let tenant = site.tenant();
    tenant.execute("CREATE TABLE made (other INTEGER)").await;
    site.home.migration("1_first.sql", "CREATE TABLE made (n INTEGER);\nCREATE TABLE more (n INTEGER);");
    for _ in 0..2 {
        let cause = site.fails(100, &[]);
        assert_eq!((&cause["code"], &cause["statement"]), (&"1050".into(), &1.into()), "{cause}");
        assert!(tenant.versions().await.is_empty());
    }
    site.home.migration(
        "1_first.sql",
        "CREATE TABLE a (n INTEGER);\nINSERT INTO a VALUES (1);\nCREATE TABLE made (n INTEGER);\nINSERT INTO a VALUES (2);",
    );
    for _ in 0..2 {
        let cause = site.fails(100, &[]);
        assert_eq!((&cause["code"], &cause["statement"]), (&"1050".into(), &3.into()), "{cause}");
        assert!(cause["hint"].as_str().is_some_and(|hint| hint.contains("statements 1 to 2 are done")));
    }
    tenant.execute("DROP TABLE made").await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(tenant.number("SELECT count(*) FROM a").await, 2);
    assert!(!tenant.tables().await.contains_key("_tenantry_progress"));
}

/// A tenant whose only attempt lost its connection in the second of these statements.
async fn cut_in_the_second(first: &str) -> Site {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let tenant = site.tenant();
    tenant.execute("CREATE TABLE slow (id INTEGER); INSERT INTO slow VALUES (1)").await;
    site.home.migration("1_slow.sql", &format!("{first};\nSELECT SLEEP(60) FROM slow;"));
    let child = site.start(&["--retries", "1"]);
    let sleeper = "SELECT CAST(coalesce(max(id), 0) AS SIGNED) FROM information_schema.processlist WHERE db = database() AND state = 'User sleep'";
    until("the slow statement runs", async || tenant.number(sleeper).await > 0).await;
    tenant.execute(&format!("DELETE FROM slow; KILL {}", tenant.number(sleeper).await)).await;
    assert_eq!(finish(child).code, 100);
    site
}

#[tokio::test]
async fn a_file_that_is_changed_after_its_mariadb_migration_was_cut_is_refused_until_it_is_as_it_was() {
    let site = cut_in_the_second("CREATE TABLE made (n INTEGER)").await;
    let script = "CREATE TABLE made (n INTEGER);\nSELECT SLEEP(60) FROM slow;";
    site.home.migration("1_slow.sql", &script.replace("(n INTEGER)", "(n BIGINT)"));
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["code"], &cause["refused"]), (&"dirty".into(), &true.into()), "{cause}");
    site.home.migration("1_slow.sql", script);
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1]);
}

#[tokio::test]
async fn a_mariadb_migration_that_was_cut_is_mended_like_any_other() {
    let site = cut_in_the_second("CREATE TABLE made (n INTEGER)").await;
    let told = site.home.run(&["repair", "--all"]).exits(0);
    assert!(told.stdout.contains("--finished or --undone"), "{told:?}");
    site.tenant().execute("DROP TABLE made").await;
    let _ = site.home.run(&["repair", "--all", "--undone"]).exits(0);
    assert!(!site.tenant().tables().await.contains_key("_tenantry_progress"));
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1]);
    assert!(site.tenant().tables().await.contains_key("made"));
}

/// The session that waits for a table's definition.
const WAITING: &str = "SELECT CAST(coalesce(max(id), 0) AS SIGNED) FROM information_schema.processlist WHERE db = database() AND state LIKE 'Waiting for table%'";

/// Somebody who reads a table, `held`, in a transaction that is left open.
async fn reader_of_held(tenant: &TenantDb) -> MySqlConnection {
    tenant.execute("CREATE TABLE held (n INTEGER)").await;
    let mut reader = MySqlConnection::connect(&tenant.url).await.expect("a connection");
    reader.execute(sqlx::raw_sql("START TRANSACTION; SELECT count(*) FROM held")).await.expect("a read");
    reader
}

/// Promise 2.
#[tokio::test]
async fn statements_that_a_mariadb_server_went_on_with_after_their_worker_was_killed_are_not_run_again() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let tenant = site.tenant();
    let reader = reader_of_held(tenant).await;
    let script = "ALTER TABLE held ADD COLUMN a INTEGER;\nCREATE TABLE more (n INTEGER);\n";
    site.home.migration("1_more.sql", script);
    let mut child = site.start(&[]);
    until("the first statement waits", async || tenant.number(WAITING).await > 0).await;
    child.kill().expect("a kill");
    let _ = finish(child);
    reader.close().await.expect("the end of the read");
    until("the server is at the end", async || tenant.tables().await.contains_key("more")).await;
    assert!(tenant.versions().await.is_empty());
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(tenant.versions().await, [1]);
    assert!(!tenant.tables().await.contains_key("_tenantry_progress"));
}

/// Promise 2.
#[tokio::test]
async fn a_mariadb_connection_that_is_lost_between_statements_of_one_message_is_resumed_there() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let tenant = site.tenant();
    let reader = reader_of_held(tenant).await;
    let script = "CREATE TABLE more (n INTEGER);\nALTER TABLE held ADD COLUMN a INTEGER;\nCREATE TABLE last (n INTEGER);\n";
    site.home.migration("1_more.sql", script);
    let child = site.start(&["--retries", "3"]);
    until("the second statement waits", async || tenant.number(WAITING).await > 0).await;
    assert!(tenant.tables().await.contains_key("more"));
    tenant.execute(&format!("KILL {}", tenant.number(WAITING).await)).await;
    reader.close().await.expect("the end of the read");
    let run = finish(child).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1.into(), &1.into()), "{run}");
    assert_eq!(tenant.versions().await, [1]);
    assert!(tenant.tables().await.contains_key("last"));
}

#[tokio::test]
async fn a_statement_over_its_limit_ends_its_message_on_mariadb() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let slow = "CREATE TABLE slow AS WITH RECURSIVE numbers AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM numbers WHERE seq < 60) SELECT seq, SLEEP(1) AS s FROM numbers";
    let script = format!("CREATE TABLE more (n INTEGER);\n{slow};\nCREATE TABLE late (n INTEGER);\n");
    site.home.migration("1_slow.sql", &script);
    let cause = site.fails(100, &["--statement-timeout", "1s", "--retries", "2"]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"statement-timeout".into(), &2.into()), "{cause}");
    assert!(cause["hint"].as_str().is_some_and(|hint| hint.contains("statement 1 is done")), "{cause}");
    let tables = site.tenant().tables().await;
    let there = ["more", "slow", "late"].map(|table| tables.contains_key(table));
    assert_eq!(there, [true, false, false]);
}
