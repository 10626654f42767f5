//! Down files that fail.

use super::{KINDS, applied, told};
use crate::site::Site;

const FILES: [(&str, &str); 6] = [
    ("1_a.up.sql", "CREATE TABLE a (n INTEGER);"),
    ("1_a.down.sql", "DROP TABLE a;"),
    ("2_b.up.sql", "CREATE TABLE b (n INTEGER);\nCREATE INDEX i ON b (n);"),
    ("2_b.down.sql", "DROP TABLE forgotten;\nDROP TABLE b;"),
    ("3_c.up.sql", "CREATE TABLE c (n INTEGER);"),
    ("3_c.down.sql", "DROP TABLE c;"),
];

async fn is_at(site: &Site, versions: &[i64], tables: [bool; 3]) {
    for tenant in &site.fleet.tenants {
        let there = tenant.tables().await;
        assert_eq!(tenant.versions().await, versions, "{}", tenant.id);
        assert_eq!(["a", "b", "c"].map(|name| there.contains_key(name)), tables, "{}", tenant.id);
        assert!(!there.contains_key("_tenantry_progress"), "{}", tenant.id);
    }
}

// Trap 21: down files fail.
#[tokio::test]
async fn a_down_file_that_fails_stops_where_it_is_and_history_tells_so() {
    let site = applied(&KINDS, &FILES).await;
    let rollback = ["rollback", "--all", "--work", "--json", "--steps", "3"];
    let run = site.home.run(&rollback).exits(100).json();
    let causes = run["failures"].as_array().expect("causes");
    assert!(!causes.is_empty(), "{run}");
    for cause in causes {
        assert_eq!((told(cause).1, &cause["migration"]), ("permanent", &"2".into()), "{cause}");
        assert_eq!((&cause["statement"], &cause["line"]), (&1.into(), &1.into()), "{cause}");
        assert!(cause["message"].as_str().is_some_and(|m| m.contains("forgotten")), "{cause}");
    }
    is_at(&site, &[1, 2], [true, true, false]).await;

    site.home.migration("2_b.down.sql", "DROP TABLE b;");
    let _ = site.home.run(&["rollback", "--all", "--work", "--json", "--steps", "2"]).exits(0);
    is_at(&site, &[], [false; 3]).await;
    let _ = site.migrate(&[]).exits(0);
    is_at(&site, &[1, 2, 3], [true; 3]).await;
}
