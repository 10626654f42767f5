//! Files that touch a history table: that of another tool, or the one that their own history is kept in.

use tenantry_shared::failure::{Class, Failure};
use tenantry_tests::{TenantDb, fleet::Kind};

use super::{KINDS, applied, hint, rows, told, with};
use crate::formats::partner;

// Trap 15: files that touch the original tool's history table.
#[tokio::test]
async fn a_dump_with_the_history_of_another_tool_is_a_migration_like_any_other() {
    const DUMP: &str = "CREATE TABLE schema_migrations (version VARCHAR(100) NOT NULL PRIMARY KEY);
CREATE TABLE users (id INTEGER);
INSERT INTO schema_migrations (version) VALUES ('20200101000000'), ('20200202000000');
DELETE FROM schema_migrations WHERE version = '20200101000000';\n";
    let site =
        applied(&KINDS, &[("1_dump.sql", DUMP), ("2_next.sql", "CREATE TABLE posts (id INTEGER);")]).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(
            (rows(tenant, "schema_migrations").await, tenant.versions().await),
            (1, vec![1, 2]),
            "{}",
            tenant.id
        );
    }
    site.home.migration("3_later.sql", "DROP TABLE schema_migrations;");
    let _ = site.migrate(&[]).exits(0);
}

// Trap 15.
#[tokio::test]
async fn a_file_that_makes_its_own_history_table_where_there_is_none_changes_nothing_of_it() {
    let text = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY);\nCREATE TABLE a (n INTEGER);";
    let site = applied(&KINDS, &[("1_own.sql", text)]).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
        assert!(tenant.tables().await.contains_key("a"), "{}", tenant.id);
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], KINDS.len(), "{run}");
}

/// A directory of dbmate whose first file is a dump with a row for itself.
async fn dumped(tenant: &TenantDb, row: &str) -> Result<Vec<String>, Failure> {
    let dump = format!("-- migrate:up\nCREATE TABLE a (n INTEGER);\n{row}\n-- migrate:down\n");
    let files = [
        ("1_dump.sql", dump.as_str()),
        ("2_b.sql", "-- migrate:up\nCREATE TABLE b (n INTEGER);\n-- migrate:down\n"),
    ];
    partner::applied("dbmate", &files, tenant).await
}

// Trap 15: the row that a migration writes for itself.
#[tokio::test]
async fn a_file_that_writes_its_own_history_row_is_told_so_and_not_that_somebody_else_did() {
    for kind in KINDS {
        let site = with(&[kind], &[]).await;
        let tenant = site.tenant();
        let failure = dumped(tenant, "INSERT INTO schema_migrations (version) VALUES ('1');")
            .await
            .expect_err("a failure");
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (Class::Permanent, "own-history"),
            "{kind:?} {failure:?}"
        );
        assert!(failure.message.contains("schema_migrations"), "{kind:?} {failure:?}");
        assert_eq!(failure.version, Some("1".into()), "{kind:?}");
        let tables = tenant.tables().await;
        assert!(
            !tables.contains_key("_tenantry_progress") && !tables.contains_key("b"),
            "{kind:?} {tables:?}"
        );
        // Where DDL commits by itself it is done, and the history says so.
        let done = kind == Kind::MariaDb;
        assert_eq!(tables.contains_key("a"), done, "{kind:?} {tables:?}");
        let rest =
            dumped(tenant, if done { "INSERT INTO schema_migrations (version) VALUES ('1');" } else { "" })
                .await;
        assert_eq!(rest.expect("applied").len(), if done { 1 } else { 2 }, "{kind:?}");
        assert_eq!(partner::history(tenant, "schema_migrations", &["version"]).await, ["1", "2"], "{kind:?}");
    }
}

// Trap 15: a history that a migration empties.
#[tokio::test]
async fn a_file_that_empties_its_own_history_is_not_called_applied() {
    for kind in KINDS {
        let site = applied(&[kind], &[("1_a.sql", "CREATE TABLE a (n INTEGER);")]).await;
        site.home.migration("2_empty.sql", "DELETE FROM _sqlx_migrations;");
        let cause = site.fails(100, &["--retries", "3"]);
        assert_eq!(told(&cause), ("unproven", "permanent"), "{kind:?} {cause}");
        assert_eq!(cause["message"], "1_a.sql was applied and its history row is not there", "{kind:?}");
        assert!(hint(&cause).contains("_sqlx_migrations"), "{kind:?} {cause}");
        assert_eq!(rows(site.tenant(), "a").await, 0, "{kind:?}");
    }
}
