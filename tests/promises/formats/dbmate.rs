//! Together with dbmate.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::{Partner, history};
use crate::site::{KINDS, Site};

fn dbmate(tool: &Tool, site: &Site, tenant: &TenantDb, words: &[&str]) -> Ran {
    let url = match (tenant.kind, &tenant.schema) {
        (_, Some(schema)) => format!("{}?sslmode=disable&search_path={schema}", tenant.url),
        (Kind::PostgresDatabase, _) => format!("{}?sslmode=disable", tenant.url),
        _ => tenant.url.clone(),
    };
    let words = [&["--no-dump-schema", "-d", "migrations"], words].concat();
    tool.run(site.home.path(), &[("DATABASE_URL", &url)], &words)
}

#[tokio::test]
async fn dbmate_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "dbmate",
        kinds: &KINDS,
        table: "schema_migrations",
        files: |number, table| {
            let text = format!(
                "-- {table}\n-- migrate:up\nCREATE TABLE {table} (id int);\nCREATE INDEX i_{table} ON {table} (id);\n\n-- migrate:down\nDROP TABLE {table};\n"
            );
            vec![(format!("2024010{number}_{table}.sql"), text)]
        },
        apply: |tool, site, tenant| dbmate(tool, site, tenant, &["migrate"]),
        is_content: |tool, site, tenant| {
            let status = dbmate(tool, site, tenant, &["status", "--exit-code"]);
            status.code == 0 && dbmate(tool, site, tenant, &["migrate"]).stdout.is_empty()
        },
        revert: Some(|tool, site, tenant| dbmate(tool, site, tenant, &["rollback"])),
    };
    partner.gets_along_with_us().await;
}

#[tokio::test]
async fn a_block_without_a_transaction_runs_outside_one() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration("1_t.sql", "-- migrate:up\nCREATE TABLE t (id int);\n-- migrate:down\n");
    let index = "CREATE INDEX CONCURRENTLY i ON t (id);";
    let text = format!("-- migrate:up transaction:false\n{index}\n-- migrate:down\n");
    site.home.migration("2_i.sql", &text);
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(history(site.tenant(), "schema_migrations", &["version"]).await, ["1", "2"]);
}

#[tokio::test]
async fn a_failing_block_is_told_by_its_line_in_the_file() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration("1_t.sql", "-- why\n\n-- migrate:up\nSELECT 1;\nSELEC 2;\n-- migrate:down\n");
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["line"], &cause["code"]), (&5.into(), &"42601".into()), "{cause}");
}
