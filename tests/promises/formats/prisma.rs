//! Together with Prisma's program.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::{Partner, history, migrate, write};
use crate::site::{KINDS, Site};

const TABLE: &str = "_prisma_migrations";

/// `datasource` wants a URL and does not use it.
const PROJECT: [(&str, &str); 3] = [
    (
        "../prisma.config.js",
        "
const { defineConfig } = require('prisma/config');
const { PrismaPg } = require('@prisma/adapter-pg');
module.exports = defineConfig({
  schema: 'schema.prisma', migrations: { path: 'migrations' },
  experimental: { adapter: true }, engine: 'js',
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL, idleTimeoutMillis: 1 }),
});
",
    ),
    ("../schema.prisma", "datasource db {\n  provider = \"postgresql\"\n  url = \"unused\"\n}\n"),
    ("migration_lock.toml", "provider = \"postgresql\"\n"),
];

fn prisma(tool: &Tool, site: &Site, tenant: &TenantDb, word: &str) -> Ran {
    tool.run(site.home.path(), &[("DATABASE_URL", &tenant.url)], &["migrate", word])
}

fn is_content(tool: &Tool, site: &Site, tenant: &TenantDb) -> bool {
    prisma(tool, site, tenant, "status").stdout.contains("Database schema is up to date!")
        && prisma(tool, site, tenant, "deploy").stdout.contains("No pending migrations to apply.")
}

#[tokio::test]
async fn prisma_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "prisma",
        kinds: &[Kind::PostgresDatabase],
        table: TABLE,
        files: |number, table| {
            let up = format!("CREATE TABLE {table} (id int);\nCREATE INDEX i_{table} ON {table} (id);\n");
            let project = PROJECT.map(|(path, text)| (path.to_owned(), text.to_owned()));
            let own = (format!("2024010100000{number}_{table}/migration.sql"), up);
            project.into_iter().chain([own]).collect()
        },
        apply: |tool, site, tenant| prisma(tool, site, tenant, "deploy"),
        is_content,
        revert: None,
    };
    partner.gets_along_with_us().await;
}

#[tokio::test]
async fn a_failure_that_prisma_knows_of_stops_us_until_it_is_resolved() {
    let Some(tool) = Tool::find("prisma") else { return };
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    let tenant = site.tenant();
    for (path, text) in PROJECT {
        write(&site, path, text);
    }
    write(&site, "20240101000001_t/migration.sql", "SELEC 1;");
    let _ = prisma(&tool, &site, tenant, "deploy").exits(1);
    assert_eq!(site.fails(104, &[])["code"], "dirty");
    // What `prisma migrate resolve --rolled-back` does; it wants the native engine.
    tenant.execute("UPDATE _prisma_migrations SET rolled_back_at = now()").await;
    write(&site, "20240101000001_t/migration.sql", "CREATE TABLE t (id int);");
    migrate(&site, "applied", 1);
    assert!(is_content(&tool, &site, tenant));
    // Nor is one there that was finished and taken back.
    tenant.execute("DROP TABLE t; UPDATE _prisma_migrations SET rolled_back_at = now()").await;
    assert!(prisma(&tool, &site, tenant, "deploy").exits(0).stdout.contains("20240101000001_t"));
    migrate(&site, "current", 1);
}

#[tokio::test]
async fn every_engine_keeps_a_history_of_the_same_meaning() {
    let site = Site::new(&KINDS, 1).await;
    let script = "20240101000001_t/migration.sql";
    write(&site, script, "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n");
    migrate(&site, "applied", 4);
    for tenant in &site.fleet.tenants {
        let row =
            history(tenant, TABLE, &["migration_name", "checksum", "applied_steps_count", "length(id)"])
                .await;
        let sum = "c3403c309b5d268a765d6e5ed557e981d31b55613966c07f11c1d301cf1fa09b";
        assert_eq!(row, [format!("20240101000001_t|{sum}|1|36")], "{}", tenant.id);
        let done = "SELECT count(*) FROM _prisma_migrations WHERE finished_at >= started_at AND logs IS NULL AND rolled_back_at IS NULL";
        assert_eq!(tenant.number(done).await, 1, "{}", tenant.id);
    }
    // The line ends of another system are no change.
    write(&site, script, "CREATE TABLE t (id int);\r\nCREATE INDEX i ON t (id);\r\n");
    migrate(&site, "current", 4);
    write(&site, script, "CREATE TABLE t (id bigint);\n");
    assert_eq!(site.fails(104, &[])["code"], "checksum");
}

#[tokio::test]
async fn what_fails_half_way_is_a_row_without_an_end() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let script = "20240101000001_t/migration.sql";
    write(&site, script, "CREATE TABLE a (n INT);\nINSERT INTO a VALUES (1, 2);\n");
    let _ = site.fails(100, &[]);
    let unfinished =
        "SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL";
    assert_eq!(site.tenant().number(unfinished).await, 1);
    write(&site, script, "CREATE TABLE a (n INT);\nINSERT INTO a VALUES (1);\n");
    migrate(&site, "applied", 1);
    assert_eq!(site.tenant().number(unfinished).await, 0);
    migrate(&site, "current", 1);
}
