//! Tools whose migrations are programs: we read what they have applied, and they believe what we write.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tenantry_shared::{
    format::{Entry, Migration, Rules, named},
    place::Engine,
    registry::read_files,
    site::Site,
};
use tenantry_tests::{Fleet, Ran, TenantDb, Tool, fleet::Kind};
use tenantry_worker::engine::{Limits, MySqlSession, PostgresSession, Session, SqliteSession};

use super::partner::{access, table};
use crate::tools::{python, scheme, system};

/// A tool in a directory of its own, with three migrations that make the tables t, u and w.
struct Program {
    /// What `tests/tools` calls it.
    tool: &'static str,
    format: &'static str,
    kinds: &'static [Kind],
    /// Path and text.
    files: Vec<(String, String)>,
    /// Where the migrations are.
    migrations: &'static str,
    run: fn(&Tool, &Path, &TenantDb, What) -> Ran,
    is_current: fn(&Ran) -> bool,
    /// The versions.
    versions: [&'static str; 3],
}

#[derive(Clone, Copy)]
enum What {
    /// Apply the first two.
    Two,
    /// Say whether all are applied.
    Check,
}

impl Program {
    /// Nothing where the tool is not installed.
    async fn is_understood_and_understands(&self) {
        let Some(tool) = Tool::find(self.tool) else { return };
        let dir = TempDir::new().expect("a directory");
        for (path, text) in &self.files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        let rules = named(self.format).expect("a format");
        let files = read_files(&dir.path().join(self.migrations)).expect("files");
        let migrations = rules.parse(&files).expect("migrations");
        let own: Vec<&str> = migrations.iter().map(|migration| migration.version.as_str()).collect();
        assert_eq!(own, self.versions);
        let mut fleet = Fleet::default();
        for kind in self.kinds {
            fleet.add(*kind, 2, dir.path()).await;
        }
        for pair in fleet.tenants.chunks(2) {
            let [theirs, ours] = pair else { panic!("two tenants") };
            let _ = (self.run)(&tool, dir.path(), theirs, What::Two).exits(0);
            assert_eq!(applied(rules, theirs, &migrations).await, self.versions[..2], "{}", theirs.id);
            ours.execute("CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE TABLE w (id int)").await;
            ours.execute(&written(rules, ours, &migrations)).await;
            let ran = (self.run)(&tool, dir.path(), ours, What::Check);
            assert!((self.is_current)(&ran), "{}: {ran:?}", ours.id);
            assert_eq!(applied(rules, ours, &migrations).await, self.versions, "{}", ours.id);
            let (own, other) = (table(ours, rules.table()).await, table(theirs, rules.table()).await);
            assert_eq!(own.replace(' ', ""), other.replace(' ', ""), "{}", ours.id);
        }
    }
}

fn place(rules: &dyn Rules, tenant: &TenantDb) -> Site {
    let own = access(tenant).place;
    let schema = match own.engine {
        Engine::Postgres => Some(tenant.schema.clone().unwrap_or_else(|| "public".into())),
        Engine::MySql => Some(own.database),
        Engine::Sqlite => None,
    };
    Site { engine: own.engine, schema, table: rules.table().into() }
}

/// The history with a row of each migration.
fn written(rules: &dyn Rules, tenant: &TenantDb, migrations: &[Migration]) -> String {
    let site = place(rules, tenant);
    let row = |migration| {
        let entry = Entry { migration, previous: None };
        rules.record(&site, entry, Duration::ZERO, false)
    };
    let rows: Vec<String> = migrations.iter().map(row).collect();
    format!("{}; {}", rules.create(&site), rows.join("; "))
}

/// The versions that a tenant's history says are applied, in the order of the migrations.
async fn applied(rules: &dyn Rules, tenant: &TenantDb, migrations: &[Migration]) -> Vec<String> {
    async fn rows<S: Session>(tenant: &TenantDb, select: &str) -> Vec<tenantry_shared::site::Row> {
        let second = Duration::from_secs(1);
        let limits = Limits { connect: 10 * second, lock: second, statement: None };
        let mut session = S::connect(&access(tenant), limits).await.expect("a session");
        let rows = session.read(select).await.expect("a history").expect("a table");
        session.close().await;
        rows
    }
    let select = rules.select(&place(rules, tenant));
    let rows = match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => rows::<PostgresSession>(tenant, &select).await,
        Kind::MariaDb => rows::<MySqlSession>(tenant, &select).await,
        Kind::Sqlite => rows::<SqliteSession>(tenant, &select).await,
    };
    let found = rules.read(&rows, &migrations.iter().collect::<Vec<_>>());
    assert!(found.iter().all(|row| row.success), "{found:?}");
    let in_order = migrations.iter().filter(|own| found.iter().any(|row| row.version == own.version));
    let in_order: Vec<String> = in_order.map(|own| own.version.to_string()).collect();
    assert_eq!(in_order.len(), found.len(), "{found:?}");
    in_order
}

fn texts(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn alembic_is_understood_and_understands() {
    let mut files = texts(&[
        ("alembic.ini", "[alembic]\nscript_location = %(here)s/scripts\n"),
        ("scripts/env.py", python::ALEMBIC_ENV),
    ]);
    // By their names they would come the other way round.
    for (name, after, table) in [("c1", "None", "t"), ("b2", "'c1'", "u"), ("a3", "('b2')", "w")] {
        files.push((format!("scripts/versions/{name}.py"), python::revision(name, after, table)));
    }
    let program = Program {
        tool: "alembic",
        format: "alembic",
        kinds: &crate::site::KINDS,
        files,
        migrations: "scripts",
        run: |tool, dir, tenant, what| {
            let url = scheme(tenant, "postgresql+psycopg", "mysql+pymysql", "sqlite:///");
            let argument = format!("tenant={}", tenant.schema.as_deref().unwrap_or_default());
            let words: &[&str] = match what {
                What::Two => &["upgrade", "b2"],
                What::Check => &["current", "--check-heads"],
            };
            tool.run(dir, &[("DATABASE_URL", &url)], &[&["-x", &argument], words].concat())
        },
        is_current: |ran| ran.code == 0 && ran.stdout == "a3 (head)\n",
        versions: ["c1", "b2", "a3"],
    };
    program.is_understood_and_understands().await;
}

#[tokio::test]
async fn django_is_understood_and_understands() {
    let mut files = texts(&[
        ("settings.py", python::DJANGO_SETTINGS),
        ("app/__init__.py", ""),
        ("app/migrations/__init__.py", ""),
    ]);
    for (name, after, table) in
        [("0001_t", "", "t"), ("0002_u", "('app', '0001_t')", "u"), ("0003_w", "('app', '0002_u')", "w")]
    {
        files.push((format!("app/migrations/{name}.py"), python::django_migration(after, table)));
    }
    let program = Program {
        tool: "django",
        format: "django",
        kinds: &crate::site::KINDS,
        files,
        migrations: ".",
        run: |tool, dir, tenant, what| {
            let url = tenant
                .schema
                .as_ref()
                .map_or(tenant.url.clone(), |schema| format!("{}?{schema}", tenant.url));
            let env =
                [("DATABASE_URL", url.as_str()), ("PYTHONPATH", "."), ("DJANGO_SETTINGS_MODULE", "settings")];
            let words: &[&str] = match what {
                What::Two => &["migrate", "app", "0002"],
                What::Check => &["migrate", "--check"],
            };
            tool.run(dir, &env, words)
        },
        is_current: |ran| ran.code == 0,
        versions: ["app.0001_t", "app.0002_u", "app.0003_w"],
    };
    program.is_understood_and_understands().await;
}

#[tokio::test]
async fn rails_is_understood_and_understands() {
    let mut files = texts(&[("run.rb", system::RAILS)]);
    for (version, table) in [(1, "t"), (2, "u"), (3, "w")] {
        let text = format!(
            "class Create{} < ActiveRecord::Migration[6.1]\n  def up; execute 'CREATE TABLE {table} (id int)'; end\nend\n",
            table.to_uppercase()
        );
        files.push((format!("migrations/2024010100000{version}_create_{table}.rb"), text));
    }
    let program = Program {
        tool: "rails",
        format: "rails",
        kinds: &[Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite],
        files,
        migrations: "migrations",
        run: |tool, dir, tenant, what| {
            let url = scheme(tenant, "postgres", "mysql2", "sqlite3:");
            let words: &[&str] = match what {
                What::Two => &["run.rb", "migrate", "20240101000002"],
                What::Check => &["run.rb", "pending"],
            };
            tool.run(dir, &[("DATABASE_URL", &url)], words)
        },
        is_current: |ran| ran.code == 0 && ran.stdout == "false\n",
        versions: ["20240101000001", "20240101000002", "20240101000003"],
    };
    program.is_understood_and_understands().await;
}

#[tokio::test]
async fn sequelize_is_understood_and_understands() {
    let config = "module.exports = { test: { use_env_variable: 'DATABASE_URL', logging: false } };\n";
    let mut files = texts(&[("config.js", config)]);
    for (number, table) in [(1, "t"), (2, "u"), (3, "w")] {
        let up = format!("q.createTable('{table}', {{ id: Sequelize.INTEGER }})");
        let text = format!(
            "module.exports = {{ up: (q, Sequelize) => {up}, down: q => q.dropTable('{table}') }};\n"
        );
        files.push((format!("migrations/{number}-{table}.js"), text));
    }
    let program = Program {
        tool: "sequelize-cli",
        format: "sequelize-cli",
        kinds: &[Kind::PostgresDatabase, Kind::MariaDb],
        files,
        migrations: "migrations",
        run: |tool, dir, tenant, what| {
            let words: &[&str] = match what {
                What::Two => &["db:migrate", "--to", "2-u.js"],
                What::Check => &["db:migrate"],
            };
            let config = ["--config", "config.js", "--env", "test"];
            tool.run(dir, &[("DATABASE_URL", &tenant.url)], &[words, &config].concat())
        },
        is_current: |ran| ran.stdout.contains("No migrations were executed"),
        versions: ["1-t.js", "2-u.js", "3-w.js"],
    };
    program.is_understood_and_understands().await;
}

#[tokio::test]
async fn laravel_is_understood_and_understands() {
    const THIRD: &str = "migrations/2024_01_01_000003_create_w.php";
    let mut files = texts(&[("run.php", system::LARAVEL)]);
    for (number, table) in [(1, "t"), (2, "u"), (3, "w")] {
        let text = format!(
            "<?php\nreturn new class extends Illuminate\\Database\\Migrations\\Migration {{\n    \
             public function up() {{ Illuminate\\Database\\Capsule\\Manager::statement('CREATE TABLE {table} (id int)'); }}\n}};\n"
        );
        files.push((format!("migrations/2024_01_01_00000{number}_create_{table}.php"), text));
    }
    let program = Program {
        tool: "laravel",
        format: "laravel",
        kinds: &[Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite],
        files,
        migrations: "migrations",
        run: |tool, dir, tenant, what| {
            let run = || tool.run(dir, &[("DATABASE_URL", &tenant.url)], &["run.php", "migrate"]);
            match what {
                What::Check => run(),
                // It applies all that is there.
                What::Two => {
                    std::fs::rename(dir.join(THIRD), dir.join("away")).expect("a file");
                    let ran = run();
                    std::fs::rename(dir.join("away"), dir.join(THIRD)).expect("a file");
                    ran
                }
            }
        },
        is_current: |ran| ran.stdout == "Nothing to migrate.\n",
        versions: ["2024_01_01_000001_create_t", "2024_01_01_000002_create_u", "2024_01_01_000003_create_w"],
    };
    program.is_understood_and_understands().await;
}
