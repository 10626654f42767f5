//! The history of goose, against what it writes itself: the program cannot be had from the registries that tests use.

use tenantry_tests::fleet::Kind;

use super::partner::{history, table};
use crate::site::{KINDS, Site};

fn write(site: &Site, number: u32, table: &str) {
    let text = format!(
        "-- +goose Up\nCREATE TABLE {table} (id int);\n-- +goose StatementBegin\nCREATE INDEX i_{table} ON {table} (id);\n-- +goose StatementEnd\n-- +goose Down\nDROP TABLE {table};\n"
    );
    site.home.migration(&format!("0000{number}_{table}.sql"), &text);
}

#[tokio::test]
async fn the_history_has_its_table_and_rows() {
    let site = Site::new(&KINDS, 1).await;
    write(&site, 1, "t");
    write(&site, 2, "u");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let expected = match tenant.kind {
            Kind::MariaDb => {
                "id bigint unsigned not null, version_id bigint not null, is_applied tinyint(1) not null, tstamp timestamp; primary key (id)"
            }
            Kind::Sqlite => {
                "create table goose_db_version (id integer primary key autoincrement, version_id integer not null, is_applied integer not null, tstamp timestamp default (datetime('now')))"
            }
            _ => {
                "id integer not null, version_id bigint not null, is_applied boolean not null, tstamp timestamp without time zone not null; primary key (id)"
            }
        };
        assert_eq!(table(tenant, "goose_db_version").await, expected);
        let rows = history(tenant, "goose_db_version", &["id", "version_id"]).await;
        assert_eq!(rows, ["1|0", "2|1", "3|2"], "{}", tenant.id);
        let applied = "SELECT count(*) FROM goose_db_version WHERE is_applied AND tstamp IS NOT NULL";
        assert_eq!(tenant.number(applied).await, 3);
    }
}

#[tokio::test]
async fn what_goose_took_back_is_pending_and_what_it_added_is_not() {
    let site = Site::new(&KINDS, 1).await;
    write(&site, 1, "t");
    write(&site, 2, "u");
    let _ = site.migrate(&[]).exits(0);
    write(&site, 3, "w");
    for tenant in &site.fleet.tenants {
        // As goose writes it: a row goes when its migration is reverted, and once it wrote one more.
        let history = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1, FALSE); DROP TABLE t; \
                       INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, TRUE)";
        tenant.execute(history).await;
    }
    let run = site.migrate(&["--order", "any"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], KINDS.len(), "{run}");
    for tenant in &site.fleet.tenants {
        let tables = tenant.tables().await;
        assert!(tables.contains_key("t") && !tables.contains_key("w"), "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_statement_that_holds_statements_is_one() {
    for kind in KINDS {
        let site = Site::new(&[kind], 1).await;
        let body = match kind {
            Kind::MariaDb => "CREATE PROCEDURE p() BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;",
            Kind::Sqlite => {
                "CREATE TRIGGER p AFTER INSERT ON t BEGIN\n  DELETE FROM t;\n  DELETE FROM t;\nEND;"
            }
            _ => {
                "CREATE FUNCTION p() RETURNS void LANGUAGE plpgsql AS $$ BEGIN\n  PERFORM 1;\n  PERFORM 2;\nEND $$;"
            }
        };
        let text = format!(
            "-- +goose Up\nCREATE TABLE t (id int);\n-- +goose StatementBegin\n{body}\n-- +goose StatementEnd\nCREATE TABLE u (id int);\n"
        );
        site.home.migration("1_t.sql", &text);
        let _ = site.migrate(&[]).exits(0);
        assert!(site.tenant().tables().await.contains_key("u"), "{kind:?}");
    }
}
