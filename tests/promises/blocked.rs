//! Who blocks: a failure for a lock names the session that holds it, without a value of its statements.

mod now;

use serde_json::Value;
use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, create_mariadb_database, unique},
    home::finish,
    server::{Private, is_mysql, sessions, with_database},
    wait::until,
};

use crate::site::{Site, Stranger, quick_home};

const POSTGRES: [Kind; 2] = [Kind::PostgresDatabase, Kind::PostgresSchema];
const OURS: [&str; 4] = ["--retries", "1", "--lock-timeout", "1s"];
const MY_PID: &str =
    "CREATE TABLE me AS SELECT pg_backend_pid() AS pid; SET application_name = 'nightly report';";

/// One tenant with users, and a migration that changes their table.
async fn with_users(kind: Kind) -> Site {
    let site = Site::new(&[kind], 1).await;
    users(&site);
    site
}

fn users(site: &Site) {
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100)); INSERT INTO users VALUES (1, 'ann');");
    let _ = site.migrate(&[]).exits(0);
    site.home.migration(
        "2_name.sql",
        "CREATE TABLE a (id INTEGER);\nALTER TABLE users ADD COLUMN name VARCHAR(100);",
    );
}

/// The hint of the one failure for a lock, and makes sure that `status` tells it.
fn hint(site: &Site, code: &str) -> String {
    let cause = site.fails(100, &OURS);
    assert_eq!(cause["code"], code, "{cause}");
    let hint = cause["hint"].as_str().unwrap_or_default().to_owned();
    let status = site.home.run(&["status", "latest", "--tenant", &site.tenant().id]).exits(0);
    assert!(status.stdout.contains(&hint) && !hint.is_empty(), "{status:?}\n{cause}");
    hint
}

async fn pid(site: &Site) -> i64 {
    site.tenant().number("SELECT CAST(pid AS bigint) FROM me").await
}

#[tokio::test]
async fn a_lock_timeout_on_postgresql_names_the_session_that_holds_the_table() {
    for kind in POSTGRES {
        let site = with_users(kind).await;
        let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
        // Others hold other tables, and read.
        let _other = Stranger::that_runs(site.tenant(), "BEGIN; LOCK TABLE me IN ROW SHARE MODE").await;
        stranger.runs("BEGIN; UPDATE users SET email = 'secret' WHERE id = 4711").await;
        let hint = hint(&site, "55P03");
        let begins = format!("held by pid {} (nightly report, ", pid(&site).await);
        assert!(hint.starts_with(&begins) && hint.contains(", idle in transaction for "), "{hint}");
        assert!(hint.contains(": BEGIN; UPDATE users SET email = ? WHERE id = ?; "), "{hint}");
        assert!(!hint.contains("secret") && !hint.contains("more;"), "{hint}");

        let words = ["rehearse", "--all", "--json", "--lock-timeout", "200ms"];
        let told: Value = site.home.run(&words).exits(100).json();
        let rehearsed = told["groups"][0]["error"]["hint"].as_str().unwrap_or_default().to_owned();
        assert!(rehearsed.starts_with(&begins), "{told}");
        drop(stranger);
        let _ = site.migrate(&["--lock-timeout", "30s"]).exits(0);
    }
}

#[tokio::test]
async fn one_who_only_reads_is_not_said_to_block_who_waits_for_a_writer() {
    let site = with_users(Kind::PostgresDatabase).await;
    site.home.migration("2_name.sql", "CREATE INDEX users_email ON users (email);");
    let _reader = Stranger::that_runs(site.tenant(), "BEGIN; SELECT * FROM users").await;
    let mut writer = Stranger::that_runs(site.tenant(), MY_PID).await;
    writer.runs("BEGIN; DELETE FROM users").await;
    let hint = hint(&site, "55P03");
    assert!(hint.starts_with(&format!("held by pid {} (", pid(&site).await)), "{hint}");
    assert!(!hint.contains("more;"), "{hint}");
}

#[tokio::test]
async fn a_statement_that_runs_outside_a_transaction_names_who_holds_its_table_too() {
    let site = with_users(Kind::PostgresDatabase).await;
    site.home.migration(
        "2_name.sql",
        "-- no-transaction\nCREATE TABLE a (id INTEGER);\nALTER TABLE users ADD COLUMN name VARCHAR(100);",
    );
    let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
    stranger.runs("BEGIN; SELECT * FROM users").await;
    let hint = hint(&site, "55P03");
    assert!(hint.starts_with(&format!("held by pid {} (", pid(&site).await)), "{hint}");
    assert!(hint.contains("statement 1 is done"), "{hint}");
}

#[tokio::test]
async fn who_holds_the_tenant_s_own_lock_is_named_on_postgresql_and_mariadb() {
    let locks = "SELECT pg_advisory_lock((SELECT CAST(CAST(classid AS bigint) << 32 | CAST(objid AS bigint) AS bigint) FROM keys LIMIT 1))";
    let site = with_users(Kind::PostgresDatabase).await;
    // The keys are those that a migration finds itself holding.
    site.home.migration("2_name.sql", "CREATE TABLE keys AS SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();");
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("3_more.sql", "CREATE TABLE more (id INTEGER);");
    let stranger = Stranger::that_runs(site.tenant(), &format!("{MY_PID} {locks}")).await;
    let said = hint(&site, "locked");
    assert!(said.starts_with(&format!("held by pid {} (nightly report, ", pid(&site).await)), "{said}");
    let words = ["rehearse", "--all", "--json", "--lock-timeout", "200ms"];
    let told = site.home.run(&words).exits(100).json();
    assert_eq!(told["groups"][0]["error"]["code"], "locked", "{told}");
    drop(stranger);

    let site = with_users(Kind::MariaDb).await;
    // The name that sqlx locks a database with, which is taken with ours.
    let name = format!("{:x}", 0x3d32_ad9e * i64::from(crc32(site.tenant().id.as_bytes())));
    let take = format!("CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; DO GET_LOCK('{name}', 0)");
    let _stranger = Stranger::that_runs(site.tenant(), &take).await;
    let said = hint(&site, "locked");
    let number = site.tenant().number("SELECT CAST(pid AS SIGNED) FROM me").await;
    assert!(
        said.starts_with(&format!("held by connection {number} (")) && said.contains("idle for "),
        "{said}"
    );
}

/// The checksum of that name.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[tokio::test]
async fn a_lock_timeout_on_mariadb_names_the_open_transaction_beside_it() {
    let site = with_users(Kind::MariaDb).await;
    for sql in ["SELECT * FROM users", "UPDATE users SET email = 'secret'"] {
        let begin = format!(
            "DROP TABLE IF EXISTS me; CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; BEGIN; {sql}"
        );
        let _stranger = Stranger::that_runs(site.tenant(), &begin).await;
        let hint = hint(&site, "1205");
        let number = site.tenant().number("SELECT CAST(pid AS SIGNED) FROM me").await;
        // MySQL tells who holds the table's definition.
        let begins = if is_mysql() { "held by" } else { "perhaps held by the transaction of" };
        let begins = format!("{begins} connection {number} (");
        assert!(hint.starts_with(&begins) && !hint.contains("secret"), "{hint}");
    }
}

#[tokio::test]
async fn a_statement_with_bytes_that_are_no_text_hides_nobody_who_holds_a_lock() {
    let site = with_users(Kind::MariaDb).await;
    let bytes = sqlx::query("SELECT SLEEP(60), ?").bind(b"\xe5J\xe0\xff\xac".as_slice());
    let mut other = MySqlConnection::connect(&site.tenant().url).await.expect("a connection");
    let sleeps = tokio::spawn(async move { other.execute(bytes).await.map(|_| ()) });
    let begin = "CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; BEGIN; SELECT * FROM users";
    let _stranger = Stranger::that_runs(site.tenant(), begin).await;
    let running = format!("SELECT count(*) FROM {} WHERE state = 'User sleep'", sessions());
    until("the other statement runs", async || site.tenant().number(&running).await > 0).await;
    let number = site.tenant().number("SELECT CAST(pid AS SIGNED) FROM me").await;
    let hint = hint(&site, "1205");
    assert!(hint.contains(&format!("connection {number} (")) && !sleeps.is_finished(), "{hint}");
    sleeps.abort();
}

/// What a stranger of MariaDB runs that writes down who it is, and locks the table of users.
const LOCKS_USERS: &str = "CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; LOCK TABLES users READ";

/// A tenant with users, in a MariaDB of its own that tells of its metadata locks.
async fn that_tells_of_metadata_locks() -> (Private, Site) {
    let plugin = "--plugin-load-add=metadata_lock_info --plugin-maturity=unknown";
    let server = Private::start("mariadb", if is_mysql() { "" } else { plugin });
    let id = unique("maria");
    create_mariadb_database(&server.url, &id).await;
    let url = with_database(&server.url, &id);
    let tenant = TenantDb { id, kind: Kind::MariaDb, url, schema: None };
    let site = Site::of(quick_home(), Fleet { tenants: vec![tenant] });
    users(&site);
    (server, site)
}

#[tokio::test]
async fn a_mariadb_that_tells_of_its_metadata_locks_names_who_holds_the_table() {
    let (_server, site) = that_tells_of_metadata_locks().await;
    let _stranger = Stranger::that_runs(site.tenant(), LOCKS_USERS).await;
    let hint = hint(&site, "1205");
    let number = site.tenant().number("SELECT CAST(pid AS SIGNED) FROM me").await;
    assert!(hint.starts_with(&format!("held by connection {number} (")), "{hint}");
}

#[tokio::test]
async fn nobody_is_named_where_it_is_not_known() {
    let site = with_users(Kind::Sqlite).await;
    let _stranger = Stranger::that_runs(site.tenant(), "BEGIN IMMEDIATE").await;
    assert!(hint(&site, "5").starts_with("something else holds the lock"));
}

#[tokio::test]
async fn a_deadlock_names_the_session_that_goes_on() {
    let site = with_users(Kind::PostgresDatabase).await;
    site.tenant().execute("CREATE TABLE b AS SELECT 1 AS id").await;
    let wait = "SELECT pg_advisory_xact_lock(1)";
    site.home.migration("2_name.sql", &format!("UPDATE users SET id = 2; {wait}; UPDATE b SET id = 2;"));
    let gate = Stranger::that_runs(site.tenant(), "SELECT pg_advisory_lock(1)").await;
    // The migration is to be the one that finds the deadlock.
    let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
    stranger.runs("SET deadlock_timeout = '10min'; BEGIN; UPDATE b SET id = 3").await;
    let migration = site.start(&["--retries", "1", "--lock-timeout", "50s"]);
    let waits = |on: &str| {
        format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = '{on}'
        AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        )
    };
    until("the migration waits at the gate", || async {
        site.tenant().number(&waits("advisory")).await == 1
    })
    .await;
    let task = tokio::spawn(async move { stranger.runs("UPDATE users SET id = 3").await });
    until("the stranger waits for it", || async { site.tenant().number(&waits("transactionid")).await == 1 })
        .await;
    drop(gate);
    let run = finish(migration).exits(100).json();
    let said = format!("it and pid {} waited for each other", pid(&site).await);
    assert_eq!(
        (&run["failures"][0]["code"], &run["failures"][0]["hint"]),
        (&"40P01".into(), &said.into()),
        "{run}"
    );
    task.await.expect("the stranger goes on");
}
