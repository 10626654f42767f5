//! Together with node-pg-migrate.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::Partner;
use crate::site::Site;

fn migrate(tool: &Tool, site: &Site, tenant: &TenantDb, words: &[&str]) -> Ran {
    let schema = tenant.schema.as_deref().unwrap_or("public");
    let words = [words, &["-s", schema]].concat();
    tool.run(site.home.path(), &[("DATABASE_URL", &tenant.url)], &words)
}

#[tokio::test]
async fn node_pg_migrate_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "node-pg-migrate",
        kinds: &[Kind::PostgresDatabase, Kind::PostgresSchema],
        table: "pgmigrations",
        files: |number, table| {
            let text = format!(
                "-- Up Migration\nCREATE TABLE {table} (id int);\n\n-- Down Migration\nDROP TABLE {table};\n"
            );
            vec![(format!("170406720000{number}_make-{table}.sql"), text)]
        },
        apply: |tool, site, tenant| migrate(tool, site, tenant, &["up"]),
        is_content: |tool, site, tenant| {
            let up = migrate(tool, site, tenant, &["up"]);
            up.code == 0 && up.stdout.starts_with("No migrations to run!\n")
        },
        revert: Some(|tool, site, tenant| migrate(tool, site, tenant, &["down"])),
    };
    partner.gets_along_with_us().await;
}
