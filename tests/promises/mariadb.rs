//! MariaDB, where DDL commits by itself: what is left behind is told truly.

use tenantry_tests::{TenantDb, fleet::Kind, home::finish, wait::until};

use crate::site::Site;

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
async fn a_migration_that_fails_after_a_ddl_statement_is_dirty_and_never_run_again() {
    let site = with_two_of_one_email().await;
    site.home.migration(
        "2_unique.sql",
        "ALTER TABLE users ADD COLUMN name VARCHAR(100);\nCREATE UNIQUE INDEX users_email ON users (email);",
    );
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"1062".into(), &2.into()), "{cause}");
    assert_eq!((&cause["class"], &cause["refused"]), (&"permanent".into(), &false.into()), "{cause}");
    assert!(cause["hint"].as_str().is_some_and(|hint| hint.starts_with("statement 1 is done")), "{cause}");
    assert_eq!((site.tenant().versions().await, site.tenant().number(ROWS).await), (vec![1], 2));

    site.tenant().execute(MEND).await;
    let before = site.tenant().tables().await;
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["code"], &cause["refused"]), (&"dirty".into(), &true.into()), "{cause}");
    assert_eq!((site.tenant().tables().await, site.tenant().number(ROWS).await), (before, 2));
    assert_eq!(site.tenant().number(INDEXES).await, 0);

    site.tenant()
        .execute(
            "CREATE UNIQUE INDEX users_email ON users (email); UPDATE _sqlx_migrations SET success = TRUE",
        )
        .await;
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 1, "{run}");
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
        "SELECT SLEEP(60);\nCREATE TABLE late (id INTEGER);\nINSERT INTO users VALUES (3, 'late');",
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
    site.home.migration("2_slow.sql", "CREATE TABLE slow AS SELECT seq, SLEEP(1) FROM seq_1_to_60;");
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
    let sleeper = "SELECT coalesce(max(id), 0) FROM information_schema.processlist WHERE db = database() AND state = 'User sleep'";
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

#[tokio::test]
async fn a_connection_lost_after_a_ddl_statement_is_found_dirty_and_not_run_again() {
    let site = with_two_of_one_email().await;
    let sql = "ALTER TABLE users ADD COLUMN name VARCHAR(100);\nSELECT SLEEP(60) FROM slow;";
    let run = killed_in(&site, sql).await;
    // Not 104: the first attempt has changed something.
    assert_eq!((&run["counts"]["failed"], &run["exit_code"]), (&1.into(), &100.into()), "{run}");
    let attempts = site.attempts(site.tenant());
    assert_eq!((attempts.len(), &attempts[1]["code"]), (2, &"dirty".into()), "{attempts:?}");
    assert_eq!(site.tenant().versions().await, [1]);
}
