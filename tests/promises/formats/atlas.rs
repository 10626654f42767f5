//! Atlas's directories and histories. Its program cannot be had here: what its rules say is looked for in the tables.

use tenantry_tests::fleet::Kind;

use super::partner::{history, migrate, steps, write};
use crate::{
    site::{KINDS, Site},
    tools::shape,
};

const FIRST: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";
const SECOND: &str = "CREATE TABLE u (id int);\n";
const TABLE: &str = "atlas_schema_revisions";

/// The sums of these two files, as Atlas writes them.
const FIRST_SUM: &str = "6MwDf7+o7bjLEq5vDh9u3xzL9sZKci5vIlB8f1k7zPE=";
const SECOND_SUM: &str = "NdQ3czRvseMm4k7xwT5Nm5RgIBF1WEnv1CEdmWoY0M4=";
const SUMS: &str = "h1:Kk6XnScr3TohGCf28M4T7DZALTCV5eMdZ+v7ZCWdtbc=\n1_create_t.sql h1:6MwDf7+o7bjLEq5vDh9u3xzL9sZKci5vIlB8f1k7zPE=\n2_create_u.sql h1:NdQ3czRvseMm4k7xwT5Nm5RgIBF1WEnv1CEdmWoY0M4=\n";
const ONE_SUM: &str = "h1:KJdEwUpZAGDLbt0wG6yXCdEkrAzJ//ZtbTg0WD81EME=\n1_create_t.sql h1:6MwDf7+o7bjLEq5vDh9u3xzL9sZKci5vIlB8f1k7zPE=\n";

fn one(site: &Site) {
    write(site, "1_create_t.sql", FIRST);
    write(site, "atlas.sum", ONE_SUM);
}

fn two(site: &Site) {
    one(site);
    write(site, "2_create_u.sql", SECOND);
    write(site, "atlas.sum", SUMS);
}

#[tokio::test]
async fn the_table_and_its_rows_are_those_that_atlas_makes() {
    let site = Site::new(&KINDS, 1).await;
    two(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let expected = match tenant.kind {
            Kind::MariaDb => {
                "version varchar(255) not null, description varchar(255) not null, type bigint unsigned not null, applied bigint not null, total bigint not null, executed_at timestamp not null, execution_time bigint not null, error longtext, error_stmt longtext, hash varchar(255) not null, partial_hashes longtext, operator_version varchar(255) not null; PRIMARY KEY (version)"
            }
            Kind::Sqlite => {
                "CREATE TABLE \"atlas_schema_revisions\" (version text NOT NULL, description text NOT NULL, type integer NOT NULL DEFAULT 2, applied integer NOT NULL DEFAULT 0, total integer NOT NULL DEFAULT 0, executed_at datetime NOT NULL, execution_time integer NOT NULL, error text NULL, error_stmt text NULL, hash text NOT NULL, partial_hashes json NULL, operator_version text NOT NULL, PRIMARY KEY (version))"
            }
            _ => {
                "version character varying not null, description character varying not null, type bigint not null, applied bigint not null, total bigint not null, executed_at timestamp with time zone not null, execution_time bigint not null, error text, error_stmt text, hash character varying not null, partial_hashes jsonb, operator_version character varying not null; PRIMARY KEY (version)"
            }
        };
        assert_eq!(shape(tenant, TABLE).await, expected, "{}", tenant.id);
        let columns = ["version", "description", "type", "applied", "total", "error", "error_stmt", "hash"];
        let rows = [format!("1|create_t|2|2|2|||{FIRST_SUM}"), format!("2|create_u|2|1|1|||{SECOND_SUM}")];
        assert_eq!(history(tenant, TABLE, &columns).await, rows, "{}", tenant.id);
    }
    migrate(&site, "current", 4);
}

#[tokio::test]
async fn we_finish_what_atlas_began() {
    let site = Site::new(&KINDS, 1).await;
    one(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let identifier = "INSERT INTO atlas_schema_revisions (version, description, executed_at, execution_time, hash, operator_version)
            VALUES ('.atlas_cloud_identifier', '9a1e5b7c-8f1d-4b7e-9a55-0c1d2e3f4a5b', CURRENT_TIMESTAMP, 0, '', 'Atlas CLI v0.38.0');";
        let by_atlas = "UPDATE atlas_schema_revisions SET operator_version = 'Atlas CLI v0.38.0';";
        tenant.execute(&format!("{identifier}{by_atlas}")).await;
    }
    two(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(steps(&site, tenant), ["2"], "{}", tenant.id);
    }
}

#[tokio::test]
async fn what_atlas_left_half_done_stops_its_tenant() {
    let site = Site::new(&KINDS, 1).await;
    one(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        tenant.execute("UPDATE atlas_schema_revisions SET applied = 1").await;
    }
    two(&site);
    assert_eq!(site.fails(104, &[])["code"], "dirty");
}

#[tokio::test]
async fn a_baseline_is_where_a_tenant_begins() {
    let site = Site::new(&KINDS, 1).await;
    one(&site);
    migrate(&site, "applied", 4);
    let baseline = "DROP TABLE t; UPDATE atlas_schema_revisions SET type = 1, applied = 0, total = 0, version = '1x', hash = ''";
    for tenant in &site.fleet.tenants {
        tenant.execute(baseline).await;
    }
    two(&site);
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        assert_eq!(steps(&site, tenant), ["2"], "{}", tenant.id);
        assert!(!tenant.tables().await.contains_key("t"), "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_file_that_the_sums_do_not_know_is_refused_before_anything_is_changed() {
    let site = Site::new(&KINDS, 1).await;
    two(&site);
    write(&site, "2_create_u.sql", "CREATE TABLE other (id int);\n");
    let ran = site.migrate(&[]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.code != 0 && said.contains("2_create_u.sql") && said.contains("atlas migrate hash"),
        "{ran:?}"
    );
    for tenant in &site.fleet.tenants {
        assert!(tenant.tables().await.is_empty(), "{}", tenant.id);
    }
}

#[tokio::test]
async fn what_fails_half_way_shows_fewer_statements_applied_than_there_are() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    write(&site, "1_two.sql", "CREATE TABLE a (id int);\nCREATE TABLE b (id int);\n");
    let sums = "h1:A07XcOOHFQC0EqHmtWCAXRR9zA5ceQFnMWP2pmlBaVA=\n1_two.sql h1:uQlsklPeFj1lOs/PlF94azmyE3ilMW2zsoC2CK2J93g=\n";
    write(&site, "atlas.sum", sums);
    site.tenant().execute("CREATE TABLE b (id int)").await;
    let _ = site.fails(100, &[]);
    let columns = ["version", "applied", "total"];
    assert_eq!(history(site.tenant(), TABLE, &columns).await, ["1|0|2"]);
    site.tenant().execute("DROP TABLE b").await;
    migrate(&site, "applied", 1);
    assert_eq!(history(site.tenant(), TABLE, &columns).await, ["1|2|2"]);
}
