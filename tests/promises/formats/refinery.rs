//! Together with refinery's program.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::{Partner, history, migrate, write};
use crate::site::{KINDS, Site};

const TABLE: &str = "refinery_schema_history";

/// What tells the directory from one of Flyway's.
const MARK: &str = "refinery.toml";

/// It is told to fail when a file or a row is missing or differs.
fn refinery(tool: &Tool, site: &Site, tenant: &TenantDb) -> Ran {
    let url = tenant.url.replacen("sqlite:", "sqlite://", 1);
    let words = ["migrate", "-e", "DATABASE_URL", "-p", "migrations", "-d", "-m"];
    tool.run(site.home.path(), &[("DATABASE_URL", &url)], &words)
}

#[tokio::test]
async fn refinery_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "refinery",
        kinds: &[Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite],
        table: TABLE,
        files: |number, table| {
            let up = format!("CREATE TABLE {table} (id int);\r\nCREATE INDEX i_{table} ON {table} (id);\n");
            vec![(format!("V{number}__create_{table}.sql"), up), (MARK.into(), String::new())]
        },
        apply: refinery,
        is_content: |tool, site, tenant| {
            let said = refinery(tool, site, tenant);
            said.code == 0 && said.stdout.contains("no migrations to apply")
        },
        revert: None,
    };
    partner.gets_along_with_us().await;
}

#[tokio::test]
async fn a_row_has_refinerys_checksum_and_time_and_a_changed_file_is_refused() {
    let site = Site::new(&KINDS, 1).await;
    write(&site, MARK, "");
    write(&site, "V1__create_t.sql", "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n");
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let columns = ["version", "name", "checksum"];
        assert_eq!(history(tenant, TABLE, &columns).await, ["1|create_t|3452240889207245955"]);
        let times =
            "SELECT count(*) FROM refinery_schema_history WHERE applied_on LIKE '20__-__-__T__:__:__.%Z'";
        assert_eq!(tenant.number(times).await, 1, "{}", tenant.id);
    }
    write(&site, "V1__create_t.sql", "CREATE TABLE t (id bigint);\n");
    assert_eq!(site.fails(104, &[])["code"], "checksum");
}

#[tokio::test]
async fn versions_of_a_date_and_time_have_eight_bytes() {
    let site = Site::new(&KINDS, 1).await;
    write(&site, MARK, "");
    write(&site, "V20240101000001__create_t.sql", "CREATE TABLE t (id int);");
    migrate(&site, "applied", 4);
    migrate(&site, "current", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(history(tenant, TABLE, &["version"]).await, ["20240101000001"], "{}", tenant.id);
        tenant.execute("DROP TABLE t; DELETE FROM refinery_schema_history").await;
    }
    migrate(&site, "applied", 4);
}
