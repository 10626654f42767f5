//! The tools that run on Python: Alembic, Django.

use tenantry_tests::{TenantDb, fleet::Kind};

use super::{Project, rows, scheme, shape};

const ALL: [Kind; 4] = [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];

pub(crate) const ALEMBIC_ENV: &str = "
import os, sqlalchemy
from alembic import context
schema = context.get_x_argument(as_dictionary=True).get('tenant')
with sqlalchemy.create_engine(os.environ['DATABASE_URL']).connect() as connection:
    if schema:
        connection.execute(sqlalchemy.text(f'SET search_path TO {schema}'))
        connection.commit()
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
";

pub(crate) fn revision(name: &str, after: &str, table: &str) -> String {
    format!(
        "from alembic import op\nrevision = '{name}'\ndown_revision = {after}\n\
         def upgrade():\n    op.execute('CREATE TABLE {table} (id int)')\n\
         def downgrade():\n    op.execute('DROP TABLE {table}')\n"
    )
}

#[tokio::test]
async fn alembic_keeps_one_row_of_the_current_revision() {
    let Some(project) = Project::of("alembic", &ALL).await else { return };
    project.file("alembic.ini", "[alembic]\nscript_location = %(here)s/scripts\n");
    project.file("scripts/env.py", ALEMBIC_ENV);
    for (name, after, table) in [("a1", "None", "t"), ("b2", "'a1'", "u"), ("c3", "'b2'", "w")] {
        project.file(&format!("scripts/versions/{name}.py"), &revision(name, after, table));
    }
    for tenant in &project.fleet.tenants {
        let url = scheme(tenant, "postgresql+psycopg", "mysql+pymysql", "sqlite:///");
        let argument = format!("tenant={}", tenant.schema.as_deref().unwrap_or_default());
        let alembic = |words: &[&str], code| project.run(&url, &[&["-x", &argument], words].concat(), code);
        assert_eq!(alembic(&["current"], 0).stdout, "");
        let _ = alembic(&["upgrade", "b2"], 0);
        assert_eq!(rows(tenant, "alembic_version", "version_num").await, "b2");
        let expected = match tenant.kind {
            Kind::MariaDb => "version_num varchar(32) not null; PRIMARY KEY (version_num)",
            Kind::Sqlite => {
                "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
            }
            _ => "version_num character varying(32) not null; PRIMARY KEY (version_num)",
        };
        assert_eq!(shape(tenant, "alembic_version").await, expected);
        assert_eq!(alembic(&["current"], 0).stdout, "b2\n");
        assert!(
            alembic(&["current", "--check-heads"], 255)
                .stdout
                .contains("Database is not on all head revisions")
        );
        let _ = alembic(&["upgrade", "head"], 0);
        assert_eq!(alembic(&["current", "--check-heads"], 0).stdout, "c3 (head)\n");
        let _ = alembic(&["downgrade", "-1"], 0);
        assert_eq!(rows(tenant, "alembic_version", "version_num").await, "b2");
    }
}

pub(crate) const DJANGO_SETTINGS: &str = "
import os, urllib.parse
SECRET_KEY = 'none'
INSTALLED_APPS = ['app']
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
USE_TZ = True
url = urllib.parse.urlparse(os.environ['DATABASE_URL'])
database = {'HOST': url.hostname, 'PORT': url.port, 'USER': url.username, 'PASSWORD': url.password, 'NAME': url.path[1:]}
if url.scheme == 'postgres':
    database['ENGINE'] = 'django.db.backends.postgresql'
    if url.query:
        database['OPTIONS'] = {'options': '-c search_path=' + url.query}
elif url.scheme == 'mysql':
    import pymysql
    pymysql.version_info = (2, 2, 1, 'final', 0)
    pymysql.install_as_MySQLdb()
    database['ENGINE'] = 'django.db.backends.mysql'
else:
    database = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': url.path}
DATABASES = {'default': database}
";

pub(crate) fn django_migration(after: &str, table: &str) -> String {
    let (up, down) = (format!("CREATE TABLE {table} (id int)"), format!("DROP TABLE {table}"));
    format!(
        "from django.db import migrations\nclass Migration(migrations.Migration):\n    dependencies = [{after}]\n    \
         operations = [migrations.RunSQL('{up}', '{down}')]\n"
    )
}

async fn has_djangos_table(tenant: &TenantDb) {
    let expected = match tenant.kind {
        Kind::MariaDb => {
            "id bigint not null, app varchar(255) not null, name varchar(255) not null, applied datetime(6) not null; PRIMARY KEY (id)"
        }
        Kind::Sqlite => {
            "CREATE TABLE \"django_migrations\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"app\" varchar(255) NOT NULL, \"name\" varchar(255) NOT NULL, \"applied\" datetime NOT NULL)"
        }
        _ => {
            "id bigint not null, app character varying(255) not null, name character varying(255) not null, applied timestamp with time zone not null; PRIMARY KEY (id)"
        }
    };
    assert_eq!(shape(tenant, "django_migrations").await, expected);
}

#[tokio::test]
async fn django_keeps_a_row_of_app_and_name_per_migration() {
    let Some(project) = Project::of("django", &ALL).await else { return };
    project.file("settings.py", DJANGO_SETTINGS);
    project.file("app/__init__.py", "");
    project.file("app/migrations/__init__.py", "");
    for (name, after, table) in
        [("0001_t", "", "t"), ("0002_u", "('app', '0001_t')", "u"), ("0003_w", "('app', '0002_u')", "w")]
    {
        project.file(&format!("app/migrations/{name}.py"), &django_migration(after, table));
    }
    for tenant in &project.fleet.tenants {
        let url =
            tenant.schema.as_ref().map_or(tenant.url.clone(), |schema| format!("{}?{schema}", tenant.url));
        let env =
            [("DATABASE_URL", url.as_str()), ("PYTHONPATH", "."), ("DJANGO_SETTINGS_MODULE", "settings")];
        let django =
            |words: &[&str], code| project.tool.run(project.dir.path(), &env, words).exits(code).stdout;
        let _ = django(&["migrate", "app", "0002"], 0);
        assert_eq!(rows(tenant, "django_migrations", "name").await, "0001_t 0002_u");
        has_djangos_table(tenant).await;
        assert_eq!(django(&["showmigrations"], 0), "app\n [X] 0001_t\n [X] 0002_u\n [ ] 0003_w\n");
        let _ = django(&["migrate", "--check"], 1);
        assert!(django(&["migrate"], 0).contains("Applying app.0003_w... OK"));
        let _ = django(&["migrate", "--check"], 0);
        assert!(django(&["migrate"], 0).contains("No migrations to apply."));
        assert!(django(&["migrate", "app", "0002"], 0).contains("Unapplying app.0003_w... OK"));
        assert_eq!(rows(tenant, "django_migrations", "name").await, "0001_t 0002_u");
    }
}
