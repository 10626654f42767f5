//! Flyway's directories and histories. Its program cannot be had here: what its rules say is looked for in the tables.

use tenantry_tests::{TenantDb, fleet::Kind};

use super::partner::{history, migrate, steps, write};
use crate::{
    site::{KINDS, Site},
    tools::shape,
};

const FIRST: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";
const SECOND: &str = "CREATE TABLE u (id int);\n";
const THIRD: &str = "CREATE TABLE w (id int);\n";
const TABLE: &str = "flyway_schema_history";
const ROW: [&str; 6] =
    ["installed_rank", "coalesce(version, '-')", "description", "type", "script", "success"];
const VIEW: &str = "INSERT INTO u VALUES (1);";

fn file(site: &Site, name: &str, sql: &str) {
    write(site, name, sql);
}

fn three(site: &Site) {
    file(site, "V1__create_t.sql", FIRST);
    file(site, "later/V1_1__create_u.sql", SECOND);
    file(site, "R__view.sql", VIEW);
}

/// How an engine shows that a flag is set.
fn done(tenant: &TenantDb) -> &'static str {
    if matches!(tenant.kind, Kind::MariaDb | Kind::Sqlite) { "1" } else { "true" }
}

#[tokio::test]
async fn the_table_is_the_one_that_flyway_makes() {
    let site = Site::new(&KINDS, 1).await;
    three(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let names = match tenant.kind {
            Kind::MariaDb => {
                "SELECT CAST(group_concat(index_name ORDER BY 1) AS CHAR) FROM information_schema.statistics WHERE table_schema = database() AND table_name = 'flyway_schema_history' AND index_name <> 'PRIMARY'"
            }
            Kind::Sqlite => {
                "SELECT group_concat(name) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = 'flyway_schema_history'"
            }
            _ => {
                "SELECT string_agg(indexname, ',' ORDER BY 1) FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'flyway_schema_history'"
            }
        };
        let names = tenant.text(names).await.unwrap_or_default();
        let (expected_names, expected) = match tenant.kind {
            Kind::MariaDb => (
                "flyway_schema_history_s_idx",
                "installed_rank int not null, version varchar(50), description varchar(200) not null, type varchar(20) not null, script varchar(1000) not null, checksum int, installed_by varchar(100) not null, installed_on timestamp not null, execution_time int not null, success tinyint(1) not null; PRIMARY KEY (installed_rank)",
            ),
            Kind::Sqlite => (
                "flyway_schema_history_s_idx",
                "CREATE TABLE \"flyway_schema_history\" (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INT, installed_by VARCHAR(100) NOT NULL, installed_on TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')), execution_time INT NOT NULL, success BOOLEAN NOT NULL)",
            ),
            _ => (
                "flyway_schema_history_pk,flyway_schema_history_s_idx",
                "installed_rank integer not null, version character varying(50), description character varying(200) not null, type character varying(20) not null, script character varying(1000) not null, checksum integer, installed_by character varying(100) not null, installed_on timestamp without time zone not null, execution_time integer not null, success boolean not null; PRIMARY KEY (installed_rank)",
            ),
        };
        assert_eq!(
            (names.as_str(), shape(tenant, TABLE).await.as_str()),
            (expected_names, expected),
            "{}",
            tenant.id
        );
    }
}

#[tokio::test]
async fn rows_are_a_log_in_which_a_changed_repeatable_migration_stands_again() {
    let site = Site::new(&KINDS, 1).await;
    three(&site);
    migrate(&site, "applied", 4);
    migrate(&site, "current", 4);
    file(&site, "R__view.sql", &format!("-- changed\n{VIEW}"));
    migrate(&site, "applied", 4);
    file(&site, "V2__create_w.sql", THIRD);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let rows = history(tenant, TABLE, &ROW).await;
        let expected = [
            "1|1|create t|SQL|V1__create_t.sql",
            "2|1.1|create u|SQL|later/V1_1__create_u.sql",
            "3|-|view|SQL|R__view.sql",
            "4|-|view|SQL|R__view.sql",
            "5|2|create w|SQL|V2__create_w.sql",
        ];
        assert_eq!(rows, expected.map(|row| format!("{row}|{}", done(tenant))), "{}", tenant.id);
        let known = "SELECT count(*) FROM flyway_schema_history WHERE checksum = -1251861000";
        assert_eq!(tenant.number(known).await, 1, "{}", tenant.id);
        assert_eq!(tenant.number("SELECT count(*) FROM u").await, 2, "{}", tenant.id);
        let user = "SELECT count(*) FROM flyway_schema_history WHERE installed_by = 'USER'";
        let user = user.replace("USER", if tenant.kind == Kind::Sqlite { "" } else { "tenantry" });
        assert_eq!(tenant.number(&user).await, 5, "{}", tenant.id);
    }
    file(&site, "V1__create_t.sql", &format!("{FIRST}SELECT 1;"));
    assert_eq!(site.fails(104, &[])["code"], "checksum");
}

/// A row as Flyway writes it.
fn row(rank: i32, version: &str, kind: &str, script: &str, checksum: &str, success: bool) -> String {
    format!(
        "INSERT INTO flyway_schema_history (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success)
         VALUES ({rank}, {version}, 'x', '{kind}', '{script}', {checksum}, 'app', 7, {success});"
    )
}

/// Tenants with an empty history of Flyway's.
async fn with_history() -> Site {
    let site = Site::new(&KINDS, 1).await;
    file(&site, "V1__create_t.sql", FIRST);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        tenant.execute("DELETE FROM flyway_schema_history; DROP TABLE t").await;
    }
    file(&site, "V2__create_u.sql", SECOND);
    site
}

async fn everywhere(site: &Site, sql: &str) {
    for tenant in &site.fleet.tenants {
        tenant.execute(sql).await;
    }
}

#[tokio::test]
async fn we_finish_what_flyway_began() {
    let site = with_history().await;
    let schema = row(0, "NULL", "SCHEMA", "\"app\"", "NULL", true);
    let first = row(1, "'1'", "SQL", "V1__create_t.sql", "-1251861000", true);
    everywhere(&site, &format!("{FIRST}{schema}{first}")).await;
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(steps(&site, tenant), ["2"], "{}", tenant.id);
        let ranks = history(tenant, TABLE, &["installed_rank", "coalesce(version, '-')"]).await;
        assert_eq!(ranks, ["0|-", "1|1", "2|2"], "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_baseline_is_where_a_tenant_begins() {
    let site = with_history().await;
    everywhere(&site, &row(1, "'1'", "BASELINE", "<< Flyway Baseline >>", "NULL", true)).await;
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(steps(&site, tenant), ["2"], "{}", tenant.id);
        assert!(!tenant.tables().await.contains_key("t"), "{}", tenant.id);
    }
    migrate(&site, "current", 4);
}

#[tokio::test]
async fn a_deleted_migration_is_pending_again_and_a_failed_one_stops_its_tenant() {
    let site = with_history().await;
    let first = row(1, "'1'", "SQL", "V1__create_t.sql", "-1251861000", true);
    let deleted = row(2, "'1'", "DELETE", "V1__create_t.sql", "-1251861000", true);
    everywhere(&site, &format!("{first}{deleted}")).await;
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(steps(&site, tenant), ["1", "2"], "{}", tenant.id);
    }
    file(&site, "V3__create_w.sql", THIRD);
    everywhere(&site, &row(9, "'3'", "SQL", "V3__create_w.sql", "1", false)).await;
    assert_eq!(site.fails(104, &[])["code"], "dirty");
    everywhere(&site, "DELETE FROM flyway_schema_history WHERE success = FALSE").await;
    migrate(&site, "applied", 4);
}

#[tokio::test]
async fn what_fails_half_way_has_the_row_that_flyway_would_not_go_on_with() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    file(&site, "V1__two.sql", "CREATE TABLE a (n INT);\nINSERT INTO a VALUES ('x', 1);\n");
    let _ = site.fails(100, &[]);
    let rows = ["installed_rank", "version", "success"];
    assert_eq!(history(site.tenant(), TABLE, &rows).await, ["1|1|0"]);
    file(&site, "V1__two.sql", "CREATE TABLE a (n INT);\nINSERT INTO a VALUES (1);\n");
    migrate(&site, "applied", 1);
    assert_eq!(history(site.tenant(), TABLE, &rows).await, ["1|1|1"]);
    migrate(&site, "current", 1);
}

#[tokio::test]
async fn a_sidecar_keeps_a_migration_out_of_a_transaction() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema], 1).await;
    file(&site, "V1__create_t.sql", FIRST);
    file(&site, "V2__index.sql", "CREATE INDEX CONCURRENTLY j ON t (id);");
    file(&site, "V2__index.sql.conf", "executeInTransaction=false\n");
    migrate(&site, "applied", 2);
    for tenant in &site.fleet.tenants {
        assert_eq!(history(tenant, TABLE, &["installed_rank", "success"]).await, ["1|true", "2|true"]);
    }
}

#[tokio::test]
async fn what_only_flyway_itself_can_do_is_refused_before_anything_is_changed() {
    let site = Site::new(&KINDS, 1).await;
    for (name, sql) in [
        ("beforeMigrate.sql", "SELECT 1;"),
        ("V2__code.java", "class V2__code {}"),
        ("V2__with_value.sql", "CREATE TABLE ${name} (id int);"),
        ("V2_one_underscore.sql", "SELECT 1;"),
    ] {
        file(&site, "V1__create_t.sql", FIRST);
        file(&site, name, sql);
        let ran = site.migrate(&[]);
        assert!(ran.code != 0 && format!("{}{}", ran.stdout, ran.stderr).contains(name), "{ran:?}");
        std::fs::remove_file(site.home.path().join("migrations").join(name)).expect("a file");
    }
    for tenant in &site.fleet.tenants {
        assert!(tenant.tables().await.is_empty(), "{}", tenant.id);
    }
}
