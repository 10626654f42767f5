//! MariaDB, where DDL commits by itself: what is left behind is told truly.

mod catalog;
mod kept;

use tenantry_tests::{
    Fleet, Home, TenantDb,
    fleet::{Kind, create_mariadb_database},
    home::finish,
    server::{self, Private},
    wait::until,
};

use crate::site::Site;

const PROGRESS: &str = "_tenantry_progress";
const ROWS: &str = "SELECT count(*) FROM _sqlx_migrations";
const MEND: &str = "UPDATE users SET email = CONCAT(id, '@example.com')";

/// A tenant at migration 1, with two users of one email.
async fn with_two_of_one_email() -> Site {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    site.home.migration(
        "1_create_users.sql",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100)); INSERT INTO users VALUES (1, 'ann'), (2, 'ann');",
    );
    let _ = site.migrate(&[]).exits(0);
    site
}

#[tokio::test]
async fn a_migration_that_fails_at_its_first_ddl_statement_leaves_a_clean_history() {
    let site = with_two_of_one_email().await;
    site.home.migration(
        "2_unique.sql",
        "CREATE UNIQUE INDEX users_email ON users (email);\nALTER TABLE users ADD COLUMN name VARCHAR(100);",
    );
    let before = site.tenant().tables().await;
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"1062".into(), &1.into()), "{cause}");
    assert_eq!((site.tenant().tables().await, site.tenant().number(ROWS).await), (before, 1));

    site.tenant().execute(MEND).await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1, 2]);
}

#[tokio::test]
async fn a_migration_that_failed_after_a_ddl_statement_goes_on_where_it_failed() {
    let site = with_two_of_one_email().await;
    site.home.migration(
        "2_unique.sql",
        "ALTER TABLE users ADD COLUMN name VARCHAR(100);\nCREATE UNIQUE INDEX users_email ON users (email);",
    );
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"], &cause["line"]), (&"1062".into(), &2.into(), &2.into()));
    assert_eq!((&cause["class"], &cause["refused"]), (&"permanent".into(), &false.into()), "{cause}");
    assert!(cause["hint"].as_str().is_some_and(|hint| hint.starts_with("statement 1 is done")), "{cause}");
    assert_eq!((site.tenant().versions().await, site.tenant().number(ROWS).await), (vec![1], 2));

    site.tenant().execute(MEND).await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!((site.tenant().versions().await, site.tenant().number(INDEXES).await), (vec![1, 2], 1));
    assert!(!site.tenant().tables().await.contains_key(PROGRESS));
}

/// Five statements, of which the fourth inserts this many columns.
fn five(row: &str) -> String {
    format!(
        "CREATE TABLE a (n INTEGER);\nINSERT INTO a VALUES (1);\nCREATE TABLE b (n INTEGER);\nINSERT INTO b VALUES ({row});\nINSERT INTO a VALUES (2);"
    )
}

#[tokio::test]
async fn after_a_failure_at_statement_four_of_five_and_a_mend_only_four_and_five_run() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    site.home.migration("1_five.sql", &five("1, 2"));
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"], &cause["line"]), (&"1136".into(), &4.into(), &4.into()));
    let again = site.fails(100, &[]);
    assert_eq!((&again["code"], &again["statement"]), (&"1136".into(), &4.into()), "{again}");

    // A change of what is done is refused; a comment is none.
    site.home.migration("1_five.sql", &five("1").replace("VALUES (1);\nC", "VALUES (3);\nC"));
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["code"], &cause["refused"]), (&"resume".into(), &true.into()), "{cause}");
    site.home.migration("1_five.sql", &format!("-- mended\n{}", five("1")));
    let _ = site.migrate(&[]).exits(0);
    let (a, b) = ("SELECT count(*) FROM a", "SELECT count(*) FROM b");
    assert_eq!((site.tenant().number(a).await, site.tenant().number(b).await), (2, 1));
    assert!(!site.tenant().tables().await.contains_key(PROGRESS));
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 1, "{run}");
}

#[tokio::test]
async fn bodies_run_with_and_without_a_delimiter() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let procedure = |name: &str| {
        format!(
            "CREATE PROCEDURE {name}()\nBEGIN\n  INSERT INTO a VALUES (1);\n  IF TRUE THEN INSERT INTO a VALUES (2); END IF;\nEND"
        )
    };
    site.home.migration("1_table.sql", "CREATE TABLE a (n INTEGER);");
    site.home.migration(
        "2_client.sql",
        &format!("DELIMITER //\n{} //\nDELIMITER ;\nCALL one();\n", procedure("one")),
    );
    site.home.migration("3_plain.sql", &format!("{};\nCALL two();", procedure("two")));
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().number("SELECT count(*) FROM a").await, 4);
}

#[tokio::test]
async fn settings_of_one_migration_are_gone_in_the_next() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let look = "INSERT INTO seen SELECT @@foreign_key_checks, @@sql_mode, @mine;";
    site.home.migration(
        "1_seen.sql",
        &format!(
            "CREATE TABLE seen (a INTEGER, b VARCHAR(500), c INTEGER); {look} SET FOREIGN_KEY_CHECKS = 0;"
        ),
    );
    site.home.migration("2_mode.sql", &format!("{look} SET sql_mode = '', @mine = 1;"));
    site.home.migration("3_look.sql", look);
    let _ = site.migrate(&[]).exits(0);
    let alike = "SELECT count(*) FROM seen s JOIN (SELECT max(b) AS b FROM seen) m ON m.b = s.b WHERE a = 1 AND c IS NULL";
    assert_eq!(site.tenant().number(alike).await, 3);
}

const INDEXES: &str = "SELECT count(*) FROM information_schema.statistics WHERE table_schema = database() AND index_name = 'users_email'";

#[tokio::test]
async fn a_migration_of_data_alone_is_rolled_back_whole() {
    let site = with_two_of_one_email().await;
    site.home
        .migration("2_data.sql", "UPDATE users SET email = 'bob';\nINSERT INTO users VALUES (1, 'twice');");
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"1062".into(), &2.into()), "{cause}");
    assert_eq!(site.tenant().number("SELECT count(*) FROM users WHERE email = 'ann'").await, 2);
    assert_eq!(site.tenant().number(ROWS).await, 1);

    site.tenant().execute("UPDATE users SET id = 3 WHERE id = 1").await;
    let _ = site.migrate(&[]).exits(0);
}

/// What still runs in a tenant's database, but for this question.
async fn running(tenant: &TenantDb) -> i64 {
    tenant.number("SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id() AND command <> 'Sleep'").await
}

#[tokio::test]
async fn a_statement_over_its_limit_is_stopped_in_the_server_and_nothing_after_it_runs() {
    let site = with_two_of_one_email().await;
    site.home.migration(
        "2_slow.sql",
        "SELECT id FROM users WHERE SLEEP(60) = 0;\nCREATE TABLE late (id INTEGER);\nINSERT INTO users VALUES (3, 'late');",
    );
    let cause = site.fails(100, &["--statement-timeout", "1s", "--retries", "2"]);
    assert_eq!(
        (&cause["code"], &cause["class"]),
        (&"statement-timeout".into(), &"transient".into()),
        "{cause}"
    );
    assert_eq!(site.attempts(site.tenant()).len(), 2);
    assert_eq!(running(site.tenant()).await, 0);
    assert!(!site.tenant().tables().await.contains_key("late"), "statements after the stopped one were run");
    assert_eq!(
        (site.tenant().number("SELECT count(*) FROM users").await, site.tenant().number(ROWS).await),
        (2, 1)
    );
}

#[tokio::test]
async fn a_slow_ddl_statement_is_stopped_and_tried_again() {
    let site = with_two_of_one_email().await;
    site.home.migration("2_slow.sql", "CREATE TABLE slow AS WITH RECURSIVE numbers AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM numbers WHERE seq < 60) SELECT seq, SLEEP(1) AS s FROM numbers;");
    let cause = site.fails(100, &["--statement-timeout", "1s", "--retries", "2"]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"statement-timeout".into(), &1.into()), "{cause}");
    assert_eq!(site.attempts(site.tenant()).len(), 2);
    assert_eq!((running(site.tenant()).await, site.tenant().number(ROWS).await), (0, 1));
    assert!(!site.tenant().tables().await.contains_key("slow"));
}

#[tokio::test]
async fn a_migration_that_goes_to_another_database_takes_neither_its_history_nor_the_next_one_there() {
    let site = Site::new(&[Kind::MariaDb], 2).await;
    let [first, other] = &site.fleet.tenants[..] else { panic!("two tenants") };
    site.home.migration("1_go.sql", &format!("USE {};", other.id));
    site.home.migration("2_create.sql", "CREATE TABLE here (id INTEGER);");
    let run = site.home.run(&["migrate", "-t", &first.id, "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 1, "{run}");
    assert_eq!(first.versions().await, [1, 2]);
    assert_eq!((first.tables().await.len(), other.tables().await.len()), (2, 0));
}

/// Ends our connection while the slow statement of this migration runs, and gives the run's document.
async fn killed_in(site: &Site, sql: &str) -> serde_json::Value {
    let tenant = site.tenant();
    tenant.execute("CREATE TABLE slow (id INTEGER); INSERT INTO slow VALUES (1)").await;
    site.home.migration("2_slow.sql", sql);
    let child = site.start(&["--retries", "3"]);
    let sleeper = "SELECT CAST(coalesce(max(id), 0) AS SIGNED) FROM information_schema.processlist WHERE db = database() AND state = 'User sleep'";
    until("the slow statement runs", async || tenant.number(sleeper).await > 0).await;
    let number = tenant.number(sleeper).await;
    tenant.execute(&format!("DELETE FROM slow; KILL {number}")).await;
    finish(child).json()
}

#[tokio::test]
async fn a_connection_lost_in_a_migration_of_data_alone_is_tried_again() {
    let site = with_two_of_one_email().await;
    let sql = "UPDATE users SET email = CONCAT(email, '!');\nSELECT SLEEP(60) FROM slow;";
    let run = killed_in(&site, sql).await;
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1.into(), &1.into()), "{run}");
    assert_eq!(site.tenant().number("SELECT count(*) FROM users WHERE email = 'ann!'").await, 2);
}

/// Promise 2.
#[tokio::test]
async fn a_connection_lost_after_a_ddl_statement_is_resumed_behind_it() {
    let site = with_two_of_one_email().await;
    let sql = "ALTER TABLE users ADD COLUMN name VARCHAR(100);\nSELECT SLEEP(60) FROM slow;";
    let run = killed_in(&site, sql).await;
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1.into(), &1.into()), "{run}");
    assert_eq!(site.tenant().versions().await, [1, 2]);
}

/// The record of how far it came is as long as it has statements.
#[tokio::test]
async fn a_migration_of_five_thousand_statements_goes_on_where_it_failed() {
    let site = with_two_of_one_email().await;
    let inserts: Vec<_> = (0..5_000).map(|n| format!("INSERT INTO many VALUES ({n});")).collect();
    let script = format!(
        "CREATE TABLE many (n INTEGER);\n{}\nCREATE UNIQUE INDEX users_email ON users (email);\n",
        inserts.join("\n")
    );
    site.home.migration("2_many.sql", &script);
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"1062".into(), &5_002.into()), "{cause}");
    site.tenant().execute(MEND).await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1, 2]);
    assert_eq!(site.tenant().number("SELECT count(*) FROM many").await, 5_000);
}

#[tokio::test]
async fn an_error_whose_message_is_no_text_is_known_by_its_code() {
    for message in ["_binary x'61ff00fe62'", "_latin1 x'e9'", "'no\\0thing 🦀'"] {
        let site = Site::new(&[Kind::MariaDb], 1).await;
        let script = format!(
            "CREATE TABLE made (n INTEGER);\nSIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {message};\n"
        );
        site.home.migration("1_first.sql", &script);
        let cause = site.fails(100, &[]);
        assert_eq!((&cause["code"], &cause["statement"]), (&"1644".into(), &2.into()), "{message}: {cause}");
    }
}

/// How many definitions of tables the server has read.
const OPENED: &str = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'OPENED_TABLE_DEFINITIONS'";

#[tokio::test]
async fn a_mariadb_tenant_costs_its_server_no_look_at_the_others() {
    if server::skipped_on_mysql("MySQL counts otherwise") {
        return;
    }
    const OTHERS: i64 = 150;
    let server = Private::start("mariadb", "");
    create_mariadb_database(&server.url, "look").await;
    let url = server::with_database(&server.url, "look");
    let tenant = TenantDb { id: "look".into(), kind: Kind::MariaDb, url, schema: None };
    let others = (0..OTHERS)
        .map(|n| format!("CREATE DATABASE other_{n}; CREATE TABLE other_{n}.t (n INT CHECK (n > 0));"));
    tenant.execute(&others.collect::<String>()).await;
    let site = Site::of(Home::new(), Fleet { tenants: vec![tenant] });
    site.home.migration("1_all.sql", "CREATE TABLE posts (id INT PRIMARY KEY, n INT CHECK (n > 0)); CREATE INDEX i ON posts (n);\nCREATE TRIGGER t BEFORE INSERT ON posts FOR EACH ROW SET NEW.n = 1;\n");
    let tenant = site.tenant();
    tenant.execute("FLUSH TABLES").await;
    let before = tenant.number(OPENED).await;
    let _ = site.migrate(&[]).exits(0);
    let opened = tenant.number(OPENED).await - before;
    assert!(opened < OTHERS / 2, "{opened} definitions were read beside {OTHERS} other databases");
}
