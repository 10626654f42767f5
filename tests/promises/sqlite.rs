//! SQLite: what runs outside a transaction, and what a file's own transaction does.

use tenantry_tests::fleet::Kind;

use crate::site::Site;

#[tokio::test]
async fn what_cannot_run_in_a_transaction_runs_outside_one() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home.migration("1_create_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    site.home.migration("2_vacuum.sql", "-- no-transaction\nVACUUM;\n");
    site.home.migration(
        "3_own.sql",
        "-- no-transaction\nPRAGMA foreign_keys = OFF;\nBEGIN;\nCREATE TABLE posts (id INTEGER PRIMARY KEY);\nCOMMIT;\nPRAGMA foreign_keys = ON;\n",
    );
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1, 2, 3]);
    assert!(site.tenant().tables().await.contains_key("posts"));
}

#[tokio::test]
async fn a_migration_outside_a_transaction_that_fails_at_its_first_statement_leaves_a_clean_history() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home.migration(
        "1_fail.sql",
        "-- no-transaction\nINSERT INTO nowhere VALUES (1);\nCREATE TABLE a (id INTEGER);",
    );
    let cause = site.fails(100, &[]);
    assert_eq!(cause["statement"], 1, "{cause}");
    site.tenant().execute("CREATE TABLE nowhere (id INTEGER)").await;
    let _ = site.migrate(&[]).exits(0);
}

#[tokio::test]
async fn a_migration_outside_a_transaction_that_failed_later_goes_on_where_it_failed() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home
        .migration("1_fail.sql", "CREATE TABLE a (id INTEGER);\nVACUUM;\nINSERT INTO nowhere VALUES (1);");
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["statement"], &cause["class"]), (&3.into(), &"permanent".into()), "{cause}");
    assert!(
        cause["hint"].as_str().is_some_and(|hint| hint.contains("statements 1 to 2 are done")),
        "{cause}"
    );
    // A mend after which it could all run in one transaction does not begin anew.
    site.home.migration("1_fail.sql", "CREATE TABLE a (id INTEGER);\nINSERT INTO a VALUES (1);");
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["code"], &cause["refused"]), (&"resume".into(), &true.into()), "{cause}");
    site.home.migration("1_fail.sql", "CREATE TABLE a (id INTEGER);\nVACUUM;\nINSERT INTO a VALUES (1);");
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(
        (site.tenant().versions().await, site.tenant().number("SELECT count(*) FROM a").await),
        (vec![1], 1)
    );
    assert!(!site.tenant().tables().await.contains_key("_tenantry_progress"));
}

#[tokio::test]
async fn a_file_that_ends_our_transaction_and_begins_its_own_is_applied_and_recorded() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home.migration(
        "1_own.sql",
        "COMMIT;\nPRAGMA foreign_keys = OFF;\nBEGIN;\nCREATE TABLE a (id INTEGER);\n",
    );
    site.home.migration("2_ended.sql", "CREATE TABLE b (id INTEGER);\nCOMMIT;\n");
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().versions().await, [1, 2]);
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 1, "{run}");
}
