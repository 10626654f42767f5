//! The tools that are one program: dbmate, diesel, refinery.

use tenantry_tests::{TenantDb, fleet::Kind};

use super::{FIRST, Project, SECOND, THIRD, rows, scheme, shape};

const ALL: [Kind; 4] = [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];

/// The URL, with the tenant's schema as PostgreSQL's driver understands it.
fn with_schema(tenant: &TenantDb, url: String) -> String {
    match &tenant.schema {
        Some(schema) => format!("{url}?options=-c%20search_path%3D{schema}"),
        None => url,
    }
}

#[tokio::test]
async fn dbmate_keeps_a_row_of_leading_digits_per_migration() {
    let Some(project) = Project::of("dbmate", &ALL).await else { return };
    for (file, up, table) in [("1_t", FIRST, "t"), ("02_u", SECOND, "u"), ("3_w", THIRD, "w")] {
        project.file(
            &format!("{file}.sql"),
            &format!("-- migrate:up\n{up}\n-- migrate:down\nDROP TABLE {table};\n"),
        );
    }
    for tenant in &project.fleet.tenants {
        let url = match (tenant.kind, &tenant.schema) {
            (_, Some(schema)) => format!("{}?sslmode=disable&search_path={schema}", tenant.url),
            (Kind::PostgresDatabase, _) => format!("{}?sslmode=disable", tenant.url),
            _ => tenant.url.clone(),
        };
        let dbmate = |words: &[&str], code| {
            project.run(&url, &[&["--no-dump-schema", "-d", "."], words].concat(), code).stdout
        };
        assert!(dbmate(&["status", "--exit-code"], 1).contains("[ ] 02_u.sql\n"));
        assert!(dbmate(&["migrate"], 0).contains("Applied: 3_w.sql in "));
        assert_eq!(rows(tenant, "schema_migrations", "version").await, "02 1 3");
        let expected = match tenant.kind {
            Kind::MariaDb => "version varchar(128) not null; PRIMARY KEY (version)",
            Kind::Sqlite => "CREATE TABLE \"schema_migrations\" (version varchar(128) primary key)",
            _ => "version character varying not null; PRIMARY KEY (version)",
        };
        assert_eq!(shape(tenant, "schema_migrations").await, expected);
        assert!(dbmate(&["status", "--exit-code"], 0).ends_with("Applied: 3\nPending: 0\n"));
        assert_eq!(dbmate(&["migrate"], 0), "");
        assert!(dbmate(&["rollback"], 0).starts_with("Rolling back: 3_w.sql\n"));
        assert_eq!(rows(tenant, "schema_migrations", "version").await, "02 1");
    }
}

#[tokio::test]
async fn diesel_keeps_a_row_of_digits_per_directory() {
    let Some(project) = Project::of("diesel", &ALL).await else { return };
    for (name, up, table) in [
        ("2024-01-01-000001_t", FIRST, "t"),
        ("2024-01-01-000002_u", SECOND, "u"),
        ("20240101000003_w", THIRD, "w"),
    ] {
        project.file(&format!("migrations/{name}/up.sql"), up);
        project.file(&format!("migrations/{name}/down.sql"), &format!("DROP TABLE {table};\n"));
    }
    const TABLE: &str = "__diesel_schema_migrations";
    for tenant in &project.fleet.tenants {
        let url = with_schema(tenant, scheme(tenant, "postgres", "mysql", ""));
        let diesel = |words: &[&str]| project.run(&url, &[&["migration"], words].concat(), 0).stdout;
        assert_eq!(diesel(&["pending"]), "true\n");
        assert!(diesel(&["run"]).ends_with("Running migration 20240101000003_w\n"));
        assert_eq!(rows(tenant, TABLE, "version").await, "20240101000001 20240101000002 20240101000003");
        let expected = match tenant.kind {
            Kind::MariaDb => "version varchar(50) not null, run_on timestamp not null; PRIMARY KEY (version)",
            Kind::Sqlite => {
                "CREATE TABLE __diesel_schema_migrations (\n       version VARCHAR(50) PRIMARY KEY NOT NULL,\n       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP\n)"
            }
            _ => {
                "version character varying(50) not null, run_on timestamp without time zone not null; PRIMARY KEY (version)"
            }
        };
        assert_eq!(shape(tenant, TABLE).await, expected);
        assert_eq!(diesel(&["pending"]), "false\n");
        assert_eq!(diesel(&["run"]), "");
        assert_eq!(diesel(&["revert"]), "Rolling back migration 20240101000003_w\n");
        assert_eq!(rows(tenant, TABLE, "version").await, "20240101000001 20240101000002");
    }
}

#[tokio::test]
async fn refinery_keeps_a_checksum_and_only_warns_when_it_differs() {
    let kinds = [Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite];
    let Some(project) = Project::of("refinery", &kinds).await else { return };
    const TABLE: &str = "refinery_schema_history";
    for tenant in &project.fleet.tenants {
        project.file("V1__create_t.sql", FIRST);
        project.file("V2__create_u.sql", SECOND);
        project.file("V3__create_w.sql", THIRD);
        let url = scheme(tenant, "postgres", "mysql", "sqlite://");
        let refinery = |words: &[&str]| {
            project.run(&url, &[&["migrate", "-e", "DATABASE_URL", "-p", "."], words].concat(), 0).stdout
        };
        let _ = refinery(&["-t", "2"]);
        let expected = "1|create_t|3452240889207245955 2|create_u|16297504054603379762";
        let columns = match tenant.kind {
            Kind::MariaDb => "concat(version, '|', name, '|', checksum)",
            _ => "version || '|' || name || '|' || checksum",
        };
        assert_eq!(rows(tenant, TABLE, columns).await, expected);
        assert!(refinery(&[]).contains("applying migration: V3__create_w ...\n"));
        assert!(refinery(&[]).contains("no migrations to apply\n"));
        project.file("V2__create_u.sql", "SELECT 1;\n");
        let warned = project.run(&url, &["migrate", "-e", "DATABASE_URL", "-p", "."], 0);
        let said = "applied migration V2__create_u is different than filesystem one V2__create_u";
        assert!(format!("{}{}", warned.stdout, warned.stderr).contains(said), "{warned:?}");
    }
}
