//! Together with diesel's program.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::{Partner, history, write};
use crate::site::{KINDS, Site};

const TABLE: &str = "__diesel_schema_migrations";

fn diesel(tool: &Tool, site: &Site, tenant: &TenantDb, word: &str) -> Ran {
    let url = match &tenant.schema {
        Some(schema) => format!("{}?options=-c%20search_path%3D{schema}", tenant.url),
        None => tenant.url.trim_start_matches("sqlite:").to_owned(),
    };
    tool.run(site.home.path(), &[("DATABASE_URL", &url)], &["migration", word])
}

#[tokio::test]
async fn diesel_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "diesel",
        kinds: &KINDS,
        table: TABLE,
        files: |number, table| {
            let up = format!("CREATE TABLE {table} (id int);\nCREATE INDEX i_{table} ON {table} (id);\n");
            let folder = format!("2024-01-01-00000{number}_create_{table}");
            let down = format!("DROP TABLE {table};\n");
            vec![(format!("{folder}/up.sql"), up), (format!("{folder}/down.sql"), down)]
        },
        apply: |tool, site, tenant| diesel(tool, site, tenant, "run"),
        is_content: |tool, site, tenant| {
            diesel(tool, site, tenant, "pending").stdout == "false\n"
                && diesel(tool, site, tenant, "run").stdout.is_empty()
        },
        revert: Some(|tool, site, tenant| diesel(tool, site, tenant, "revert")),
    };
    partner.gets_along_with_us().await;
}

#[tokio::test]
async fn metadata_keeps_a_migration_out_of_a_transaction() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema], 1).await;
    write(&site, "2024-01-01-000001_t/up.sql", "CREATE TABLE t (id int);");
    write(&site, "2024-01-01-000002_index/up.sql", "CREATE INDEX CONCURRENTLY i ON t (id);");
    write(&site, "2024-01-01-000002_index/metadata.toml", "run_in_transaction = false\n");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(history(tenant, TABLE, &["version"]).await, ["20240101000001", "20240101000002"]);
    }
}
