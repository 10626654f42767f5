//! The migrators of Rails and Laravel, as Debian ships them, each driven by a few lines of its own language.

use tenantry_tests::fleet::Kind;

use super::{Project, rows, scheme, shape};

const KINDS: [Kind; 3] = [Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite];

pub(crate) const RAILS: &str = "
require 'active_record'
ActiveRecord::Base.establish_connection(ENV['DATABASE_URL'])
context = ActiveRecord::MigrationContext.new('migrations', ActiveRecord::SchemaMigration)
case ARGV[0]
when 'migrate' then context.migrate(ARGV[1]&.to_i)
when 'rollback' then context.rollback(1)
when 'pending' then puts context.needs_migration?
end
";

#[tokio::test]
async fn rails_keeps_a_row_of_the_version_per_migration_and_a_table_of_metadata() {
    let Some(project) = Project::of("rails", &KINDS).await else { return };
    project.file("run.rb", RAILS);
    for (version, table) in [(1, "t"), (2, "u"), (3, "w")] {
        let text = format!(
            "class Create{} < ActiveRecord::Migration[6.1]\n  def up; execute 'CREATE TABLE {table} (id int)'; end\n  \
             def down; execute 'DROP TABLE {table}'; end\nend\n",
            table.to_uppercase()
        );
        project.file(&format!("migrations/2024010100000{version}_create_{table}.rb"), &text);
    }
    for tenant in &project.fleet.tenants {
        let url = scheme(tenant, "postgres", "mysql2", "sqlite3:");
        let rails = |words: &[&str]| project.run(&url, &[&["run.rb"], words].concat(), 0).stdout;
        let _ = rails(&["migrate", "20240101000002"]);
        assert_eq!(rows(tenant, "schema_migrations", "version").await, "20240101000001 20240101000002");
        let expected = match tenant.kind {
            Kind::MariaDb => "version varchar(255) not null; PRIMARY KEY (version)",
            Kind::Sqlite => "CREATE TABLE \"schema_migrations\" (\"version\" varchar NOT NULL PRIMARY KEY)",
            _ => "version character varying not null; PRIMARY KEY (version)",
        };
        assert_eq!(shape(tenant, "schema_migrations").await, expected);
        assert_eq!(tenant.tables().await["ar_internal_metadata"], "key,value,created_at,updated_at");
        assert_eq!(rails(&["pending"]), "true\n");
        assert!(rails(&["migrate"]).contains("20240101000003 CreateW: migrated"));
        assert_eq!(rails(&["pending"]), "false\n");
        assert_eq!(rails(&["migrate"]), "");
        assert!(rails(&["rollback"]).contains("20240101000003 CreateW: reverted"));
        assert_eq!(rows(tenant, "schema_migrations", "version").await, "20240101000001 20240101000002");
    }
}

pub(crate) const LARAVEL: &str = r"<?php
require_once 'Illuminate/Database/autoload.php';
require_once 'Illuminate/Filesystem/autoload.php';
require_once 'Illuminate/Events/autoload.php';
require_once 'Illuminate/Console/autoload.php';
$url = parse_url(getenv('DATABASE_URL'));
$drivers = ['postgres' => 'pgsql', 'mysql' => 'mysql', 'sqlite' => 'sqlite'];
$manager = new Illuminate\Database\Capsule\Manager;
$manager->addConnection(['driver' => $drivers[$url['scheme']], 'host' => $url['host'] ?? '', 'port' => $url['port'] ?? 0,
    'database' => $url['scheme'] == 'sqlite' ? $url['path'] : substr($url['path'], 1), 'username' => $url['user'] ?? '',
    'password' => $url['pass'] ?? '', 'charset' => 'utf8', 'schema' => 'public']);
$manager->setAsGlobal();
$databases = $manager->getDatabaseManager();
$history = new Illuminate\Database\Migrations\DatabaseMigrationRepository($databases, 'migrations');
$migrator = new Illuminate\Database\Migrations\Migrator($history, $databases, new Illuminate\Filesystem\Filesystem);
$migrator->setOutput(new Symfony\Component\Console\Output\ConsoleOutput);
Illuminate\Container\Container::getInstance()->instance('db', $databases);
Illuminate\Support\Facades\Facade::setFacadeApplication(Illuminate\Container\Container::getInstance());
if (!$history->repositoryExists()) $history->createRepository();
if ($argv[1] == 'migrate') $migrator->run(['migrations']);
if ($argv[1] == 'rollback') $migrator->rollback(['migrations']);
";

#[tokio::test]
async fn laravel_keeps_a_row_with_its_batch_per_migration() {
    let Some(project) = Project::of("laravel", &KINDS).await else { return };
    project.file("run.php", LARAVEL);
    let migration = |name: &str, table: &str| {
        let text = format!(
            "<?php\nreturn new class extends Illuminate\\Database\\Migrations\\Migration {{\n    \
             public function up() {{ Illuminate\\Database\\Capsule\\Manager::statement('CREATE TABLE {table} (id int)'); }}\n    \
             public function down() {{ Illuminate\\Database\\Capsule\\Manager::statement('DROP TABLE {table}'); }}\n}};\n"
        );
        project.file(&format!("migrations/{name}.php"), &text);
    };
    migration("2024_01_01_000001_create_t", "t");
    let laravel = |url: &str, word: &str| project.run(url, &["run.php", word], 0).stdout;
    for tenant in &project.fleet.tenants {
        assert!(laravel(&tenant.url, "migrate").contains("Migrated:  2024_01_01_000001_create_t ("));
    }
    migration("2024_01_01_000002_create_u", "u");
    for tenant in &project.fleet.tenants {
        assert!(laravel(&tenant.url, "migrate").contains("Migrated:  2024_01_01_000002_create_u ("));
        let row = if tenant.kind == Kind::MariaDb {
            "concat(migration, '|', batch)"
        } else {
            "migration || '|' || batch"
        };
        let expected = "2024_01_01_000001_create_t|1 2024_01_01_000002_create_u|2";
        assert_eq!(rows(tenant, "migrations", row).await, expected);
        let expected = match tenant.kind {
            Kind::MariaDb => {
                "id int unsigned not null, migration varchar(255) not null, batch int not null; PRIMARY KEY (id)"
            }
            Kind::Sqlite => {
                "CREATE TABLE \"migrations\" (\"id\" integer not null primary key autoincrement, \"migration\" varchar not null, \"batch\" integer not null)"
            }
            _ => {
                "id integer not null, migration character varying(255) not null, batch integer not null; PRIMARY KEY (id)"
            }
        };
        assert_eq!(shape(tenant, "migrations").await, expected);
        assert_eq!(laravel(&tenant.url, "migrate"), "Nothing to migrate.\n");
        assert!(laravel(&tenant.url, "rollback").contains("Rolled back:  2024_01_01_000002_create_u ("));
        assert_eq!(rows(tenant, "migrations", row).await, "2024_01_01_000001_create_t|1");
    }
}
