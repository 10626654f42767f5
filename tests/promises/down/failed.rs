//! A down script that fails.

use tenantry_tests::fleet::Kind;

use super::{DIRTY, PROGRESS, all_are_at, at_three, fails, reversible, rollback, sqlx};
use crate::site::Site;

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
