//! The history of golang-migrate, against what it writes itself: the program cannot be had from the registries that
//! tests use.

use tenantry_tests::fleet::Kind;

use super::partner::{applied, history, table};
use crate::site::{KINDS, Site};

const FORMAT: &str = "golang-migrate";
const T: (&str, &str) = ("000001_t.up.sql", "CREATE TABLE t (id int);");
const U: (&str, &str) = ("000002_u.up.sql", "CREATE TABLE u (id int);\nCREATE INDEX i ON u (id);");
const W: (&str, &str) = ("000003_w.up.sql", "CREATE TABLE w (id int);");

async fn row(tenant: &tenantry_tests::TenantDb) -> Vec<String> {
    let dirty = "CASE WHEN dirty THEN 'dirty' ELSE 'clean' END";
    history(tenant, "schema_migrations", &["version", dirty]).await
}

#[tokio::test]
async fn the_history_has_its_table_and_its_one_row() {
    let site = Site::new(&KINDS, 1).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(applied(FORMAT, &[T, U], tenant).await.expect("applied").len(), 2);
        let expected = match tenant.kind {
            Kind::MariaDb => "version bigint not null, dirty tinyint(1) not null; primary key (version)",
            Kind::Sqlite => "create table schema_migrations (version uint64, dirty bool)",
            _ => "version bigint not null, dirty boolean not null; primary key (version)",
        };
        assert_eq!(table(tenant, "schema_migrations").await, expected);
        if tenant.kind == Kind::Sqlite {
            let index = "create unique index version_unique on schema_migrations (version)";
            assert_eq!(table(tenant, "version_unique").await, index);
        }
        assert_eq!(row(tenant).await, ["2|clean"], "{}", tenant.id);
    }
}

#[tokio::test]
async fn we_go_on_from_its_row_and_stop_at_a_dirty_one() {
    let site = Site::new(&KINDS, 1).await;
    for tenant in &site.fleet.tenants {
        let kind = if tenant.kind == Kind::Sqlite {
            "uint64, dirty bool"
        } else {
            "bigint not null primary key, dirty boolean not null"
        };
        tenant.execute(&format!("CREATE TABLE schema_migrations (version {kind}); INSERT INTO schema_migrations VALUES (2, FALSE)")).await;
        assert_eq!(applied(FORMAT, &[T, U, W], tenant).await.expect("applied"), [W.0]);
        assert_eq!(row(tenant).await, ["3|clean"], "{}", tenant.id);
        tenant.execute("UPDATE schema_migrations SET dirty = TRUE").await;
        let refused = applied(FORMAT, &[T, U, W], tenant).await.expect_err("a refusal");
        assert!(refused.refused && refused.code == "dirty", "{refused:?}");
        assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("dirty to false")), "{refused:?}");
    }
}

#[tokio::test]
async fn a_failed_migration_leaves_the_row_of_the_one_before_or_a_dirty_one_that_is_resumed() {
    let site = Site::new(&KINDS, 1).await;
    for tenant in &site.fleet.tenants {
        let broken = (U.0, "CREATE TABLE u (id int);\nCREATE INDEX i ON nowhere (id);");
        let _ = applied(FORMAT, &[T, broken], tenant).await.expect_err("a failure");
        let left = if tenant.kind == Kind::MariaDb { "2|dirty" } else { "1|clean" };
        assert_eq!(row(tenant).await, [left], "{}", tenant.id);
        assert_eq!(applied(FORMAT, &[T, U], tenant).await.expect("applied"), [U.0]);
        assert_eq!(row(tenant).await, ["2|clean"], "{}", tenant.id);
    }
}

#[tokio::test]
async fn an_index_that_is_built_concurrently_needs_no_word_in_the_file() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema], 1).await;
    for tenant in &site.fleet.tenants {
        let index = ("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t (id);");
        assert_eq!(applied(FORMAT, &[T, index], tenant).await.expect("applied").len(), 2);
        assert_eq!(row(tenant).await, ["2|clean"], "{}", tenant.id);
    }
}
