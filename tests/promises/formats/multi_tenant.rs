//! The history of multi-tenant-migrate, against what it writes itself: it does not run on a Node.js of today.

use tenantry_tests::fleet::Kind;

use super::partner::{history, table};
use crate::site::Site;

#[tokio::test]
async fn the_history_has_its_table_and_names() {
    let site = Site::new(&[Kind::PostgresSchema], 2).await;
    let _ = site.home.migration("tenant:1535391820000-t.sql", "CREATE TABLE t (id int);");
    let _ = site.home.migration("tenant:1535391820001-u.sql", "CREATE TABLE u (id int);");
    let begun = &site.fleet.tenants[0];
    // As the tool makes it.
    begun
        .execute(
            "CREATE TABLE migrations (filename VARCHAR(255), PRIMARY KEY (filename)); CREATE TABLE t (id int); \
             INSERT INTO migrations VALUES ('tenant:1535391820000-t.sql')",
        )
        .await;
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let expected = "filename character varying(255) not null; primary key (filename)";
        assert_eq!(table(tenant, "migrations").await, expected);
        let names = ["tenant:1535391820000-t.sql", "tenant:1535391820001-u.sql"];
        assert_eq!(history(tenant, "migrations", &["filename"]).await, names);
    }
}
