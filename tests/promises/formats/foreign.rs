//! A tenant in which another tool has kept the history is not begun from zero.

use tenantry_tests::{TenantDb, fleet::Kind};

use super::partner::applied;
use crate::site::{KINDS, Site};

const GOOSE: &str =
    "CREATE TABLE goose_db_version (id int PRIMARY KEY, version_id bigint, is_applied boolean)";

async fn tables(tenant: &TenantDb) -> Vec<String> {
    tenant.tables().await.into_keys().collect()
}

#[tokio::test]
async fn a_tenant_with_a_history_of_another_tool_is_refused_untouched() {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_t.sql", "CREATE TABLE t (id int);");
    for tenant in &site.fleet.tenants {
        tenant.execute(GOOSE).await;
    }
    let cause = site.fails(104, &[]);
    assert_eq!(
        (&cause["code"], &cause["class"]),
        (&"foreign-history".into(), &"permanent".into()),
        "{cause}"
    );
    let (message, hint) = (cause["message"].as_str().expect("text"), cause["hint"].as_str().expect("text"));
    assert!(message.contains("goose") && message.contains("goose_db_version"), "{cause}");
    assert!(hint.contains("format = \"goose\"") && hint.contains("tenantry baseline"), "{cause}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tables(tenant).await, ["goose_db_version"], "{}", tenant.id);
    }
}

#[tokio::test]
async fn an_own_history_though_empty_says_that_the_tenant_begins_here() {
    let site = Site::new(&KINDS, 1).await;
    for tenant in &site.fleet.tenants {
        tenant.execute(GOOSE).await;
        tenant.execute("CREATE TABLE schema_migrations (version varchar(128) NOT NULL PRIMARY KEY)").await;
        let file = ("1_t.sql", "-- migrate:up\nCREATE TABLE t (id int);\n-- migrate:down\n");
        assert_eq!(applied("dbmate", &[file], tenant).await.expect("applied"), ["1_t.sql"]);
        let next = ("2_u.sql", "-- migrate:up\nCREATE TABLE u (id int);\n-- migrate:down\n");
        assert_eq!(applied("dbmate", &[file, next], tenant).await.expect("applied"), ["2_u.sql"]);
    }
}

#[tokio::test]
async fn a_table_of_one_name_is_told_by_its_columns() {
    let site = Site::new(&KINDS, 3).await;
    for (at, tenant) in site.fleet.tenants.iter().enumerate() {
        let (table, format, tool) = match at % 3 {
            0 => (
                "schema_migrations (version varchar(128) NOT NULL PRIMARY KEY)",
                "golang-migrate",
                "a tool like dbmate",
            ),
            1 => (
                "schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
                "dbmate",
                "golang-migrate",
            ),
            _ => (
                "migrations (id int PRIMARY KEY, migration varchar(255), batch int)",
                "multi-tenant-migrate",
                "Laravel",
            ),
        };
        tenant.execute(&format!("CREATE TABLE {table}")).await;
        let file = match format {
            "golang-migrate" => ("1_t.up.sql", "CREATE TABLE t (id int);"),
            "dbmate" => ("1_t.sql", "-- migrate:up\nCREATE TABLE t (id int);\n-- migrate:down\n"),
            _ => ("tenant:1-t.sql", "CREATE TABLE t (id int);"),
        };
        let refused = applied(format, &[file], tenant).await.expect_err("a refusal");
        assert!(refused.refused && refused.code == "foreign-history", "{}: {refused:?}", tenant.id);
        assert!(refused.message.starts_with(tool), "{refused:?}");
        assert_eq!(tables(tenant).await.len(), 1, "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_tool_that_came_later_does_not_stop_a_tenant_that_is_ours() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration("1_t.sql", "CREATE TABLE t (id int);");
    let _ = site.migrate(&[]).exits(0);
    site.tenant().execute(GOOSE).await;
    site.home.migration("2_u.sql", "CREATE TABLE u (id int);");
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 1, "{run}");
}

#[tokio::test]
async fn the_schema_that_atlas_keeps_for_itself_is_looked_into() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration("1_t.sql", "CREATE TABLE t (id int);");
    let table = "CREATE SCHEMA atlas_schema_revisions; CREATE TABLE atlas_schema_revisions.atlas_schema_revisions (version varchar PRIMARY KEY)";
    site.tenant().execute(table).await;
    let cause = site.fails(104, &[]);
    assert!(cause["message"].as_str().is_some_and(|text| text.contains("Atlas")), "{cause}");
}
