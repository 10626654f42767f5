//! The tools that run on Node.js: Sequelize, node-pg-migrate, Prisma.

use tenantry_tests::fleet::Kind;

use super::{FIRST, Project, SECOND, THIRD, rows, shape};

#[tokio::test]
async fn sequelize_keeps_a_row_of_the_file_name_per_migration() {
    let kinds = [Kind::PostgresDatabase, Kind::MariaDb];
    let Some(project) = Project::of("sequelize-cli", &kinds).await else { return };
    project.file(
        "config.js",
        "module.exports = { test: { use_env_variable: 'DATABASE_URL', logging: false } };\n",
    );
    for (number, table) in [(1, "t"), (2, "u"), (3, "w")] {
        let up = format!("q.createTable('{table}', {{ id: Sequelize.INTEGER }})");
        let script = format!(
            "module.exports = {{ up: (q, Sequelize) => {up}, down: q => q.dropTable('{table}') }};\n"
        );
        project.file(&format!("migrations/{number}-{table}.js"), &script);
    }
    for tenant in &project.fleet.tenants {
        let table = if tenant.kind == Kind::MariaDb { "SequelizeMeta" } else { "\"SequelizeMeta\"" };
        let sequelize = |words: &[&str]| {
            let config = ["--config", "config.js", "--env", "test"];
            project.run(&tenant.url, &[words, &config].concat(), 0).stdout
        };
        let _ = sequelize(&["db:migrate", "--to", "2-u.js"]);
        assert_eq!(rows(tenant, table, "name").await, "1-t.js 2-u.js");
        let expected = match tenant.kind {
            Kind::MariaDb => "name varchar(255) not null; PRIMARY KEY (name)",
            _ => "name character varying(255) not null; PRIMARY KEY (name)",
        };
        assert_eq!(shape(tenant, "SequelizeMeta").await, expected);
        assert!(sequelize(&["db:migrate:status"]).ends_with("up 1-t.js\nup 2-u.js\ndown 3-w.js\n"));
        assert!(sequelize(&["db:migrate"]).contains("== 3-w: migrated ("));
        let nothing = "No migrations were executed, database schema was already up to date.";
        assert!(sequelize(&["db:migrate"]).contains(nothing));
        assert!(sequelize(&["db:migrate:undo"]).contains("== 3-w: reverted ("));
        assert_eq!(rows(tenant, table, "name").await, "1-t.js 2-u.js");
    }
}

#[tokio::test]
async fn node_pg_migrate_keeps_a_row_of_the_name_per_migration() {
    let kinds = [Kind::PostgresDatabase, Kind::PostgresSchema];
    let Some(project) = Project::of("node-pg-migrate", &kinds).await else { return };
    for (number, up, table) in [(1, FIRST, "t"), (2, SECOND, "u"), (3, THIRD, "w")] {
        let text = format!("-- Up Migration\n{up}\n-- Down Migration\nDROP TABLE {table};\n");
        project.file(&format!("migrations/170406720000{number}_{table}.sql"), &text);
    }
    for tenant in &project.fleet.tenants {
        let schema = tenant.schema.as_deref().unwrap_or("public");
        let migrate = |words: &[&str]| project.run(&tenant.url, &[words, &["-s", schema]].concat(), 0).stdout;
        let _ = migrate(&["up", "2"]);
        assert_eq!(rows(tenant, "pgmigrations", "name").await, "1704067200001_t 1704067200002_u");
        let expected = "id integer not null, name character varying(255) not null, \
                        run_on timestamp without time zone not null; PRIMARY KEY (id)";
        assert_eq!(shape(tenant, "pgmigrations").await, expected);
        assert!(migrate(&["up"]).starts_with("> Migrating files:\n> - 1704067200003_w\n"));
        assert!(migrate(&["up"]).starts_with("No migrations to run!\n"));
        assert!(migrate(&["down"]).contains("DELETE FROM"));
        assert_eq!(rows(tenant, "pgmigrations", "name").await, "1704067200001_t 1704067200002_u");
    }
}

const PRISMA_CONFIG: &str = "
const { defineConfig } = require('prisma/config');
const { PrismaPg } = require('@prisma/adapter-pg');
module.exports = defineConfig({
  schema: 'prisma/schema.prisma', migrations: { path: 'prisma/migrations' },
  experimental: { adapter: true }, engine: 'js',
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL, idleTimeoutMillis: 1 }),
});
";

#[tokio::test]
async fn prisma_keeps_a_row_with_a_checksum_per_directory() {
    let Some(project) = Project::of("prisma", &[Kind::PostgresDatabase]).await else { return };
    project.file("prisma.config.js", PRISMA_CONFIG);
    project.file(
        "prisma/schema.prisma",
        "datasource db {\n  provider = \"postgresql\"\n  url = \"unused\"\n}\n",
    );
    project.file("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"\n");
    project.file("prisma/migrations/20240101000001_t/migration.sql", FIRST);
    let tenant = &project.fleet.tenants[0];
    let prisma = |word: &str, code| project.run(&tenant.url, &["migrate", word], code).stdout;
    assert!(prisma("status", 1).contains("not yet been applied:\n20240101000001_t\n"));
    assert!(prisma("deploy", 0).contains("All migrations have been successfully applied."));
    let row = "concat_ws('|', migration_name, checksum, finished_at IS NOT NULL, logs IS NULL, rolled_back_at IS NULL, applied_steps_count)";
    let expected =
        "20240101000001_t|c3403c309b5d268a765d6e5ed557e981d31b55613966c07f11c1d301cf1fa09b|t|t|t|1";
    assert_eq!(rows(tenant, "_prisma_migrations", row).await, expected);
    let expected = "id character varying(36) not null, checksum character varying(64) not null, \
                    finished_at timestamp with time zone, migration_name character varying(255) not null, logs text, \
                    rolled_back_at timestamp with time zone, started_at timestamp with time zone not null, \
                    applied_steps_count integer not null; PRIMARY KEY (id)";
    assert_eq!(shape(tenant, "_prisma_migrations").await, expected);
    assert!(prisma("status", 0).contains("Database schema is up to date!"));
    assert!(prisma("deploy", 0).contains("No pending migrations to apply."));
}
