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
async fn with_a_log_only_the_last_migration_of_a_file_waits_for_the_disk() {
    for (mode, expected) in [("WAL", "1 1 2"), ("DELETE", "2 2 2")] {
        let site = Site::new(&[Kind::Sqlite], 1).await;
        let says = "INSERT INTO waits SELECT synchronous FROM pragma_synchronous;";
        site.tenant().execute(&format!("PRAGMA journal_mode = {mode}")).await;
        site.home.migration("1_waits.sql", &format!("CREATE TABLE waits (how INTEGER);\n{says}"));
        site.home.migration("2_second.sql", says);
        site.home.migration("3_last.sql", says);
        let _ = site.migrate(&[]).exits(0);
        let waits = "SELECT group_concat(how, ' ') FROM (SELECT how FROM waits ORDER BY rowid)";
        assert_eq!(site.tenant().text(waits).await.as_deref(), Some(expected), "{mode}");
    }
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

/// SQLite has no lock between two transactions, so both runs get into the middle of the same migration.
#[tokio::test]
async fn two_runs_that_meet_in_a_migration_outside_a_transaction_do_each_statement_once() {
    let site = Site::new(&[Kind::Sqlite], 40).await;
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE canary (n INTEGER)").await;
    }
    let make = |n: i32| format!("CREATE TABLE t{n} (id INTEGER);\nINSERT INTO canary VALUES ({n});\n");
    for version in 1..=3 {
        let statements: String = (version * 10..version * 10 + 8).map(make).collect();
        site.home.migration(&format!("{version}_many.sql"), &format!("-- no-transaction\n{statements}"));
    }
    let overlap = site.home.run(&["enqueue", "--help"]).stdout.contains("--overlap");
    let words = ["enqueue", "--all", "--yes", "--retries", "1000", "--halt-same-cause", "0", "--overlap"];
    for _ in 0..3 {
        let _ = site.home.run(&words[..words.len() - usize::from(!overlap)]).exits(0);
    }
    let _workers = [(); 3].map(|()| site.home.worker(&["--concurrency", "8"]));
    for run in ["1", "2", "3"] {
        let _ = site.home.run(&["wait", run]).exits(0);
    }
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2, 3], "{}", tenant.id);
        let each = "SELECT count(*) * 1000 + count(DISTINCT n) FROM canary";
        assert_eq!(tenant.number(each).await, 24_024, "{}", tenant.id);
        assert!(!tenant.tables().await.contains_key("_tenantry_progress"), "{}", tenant.id);
    }
}
