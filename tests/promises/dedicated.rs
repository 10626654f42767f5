//! One dedicated database: migrated without a registry, a key or a queue.

use tenantry_tests::{
    Fleet, Home,
    fleet::Kind,
    server::{self, with_database},
};

/// `scheme://user:password@host:port/database` in its parts.
fn parts(url: &str) -> [String; 5] {
    let (_, rest) = url.split_once("://").expect("a scheme");
    let (account, rest) = rest.split_once('@').expect("an account");
    let (user, password) = account.split_once(':').expect("a password");
    let (address, database) = rest.split_once('/').expect("a database");
    let (host, port) = address.split_once(':').expect("a port");
    [host, port, database, user, password].map(str::to_owned)
}

#[tokio::test]
async fn one_database_is_migrated_without_a_registry_however_it_is_named() {
    for (kind, connection) in
        [(Kind::PostgresDatabase, "pgsql"), (Kind::MariaDb, "mariadb"), (Kind::PostgresSchema, "postgres")]
    {
        let home = Home::new().without("TENANTRY_MASTER_KEY");
        home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
        let mut fleet = Fleet::default();
        fleet.add(kind, 1, home.path()).await;
        let tenant = &fleet.tenants[0];
        let schema: Vec<&str> = tenant.schema.as_deref().map(|s| vec!["--schema", s]).unwrap_or_default();
        let home = home.with("DATABASE_URL", &tenant.url);
        let ran = home.run(&[&["migrate"], &schema[..]].concat()).exits(0);
        assert!(ran.stdout.starts_with("applied  1_users.sql"), "{ran:?}");
        assert_eq!(tenant.versions().await, [1]);

        home.migration("2_more.sql", "CREATE TABLE more (id INTEGER);");
        let home = home.with("DATABASE_URL", "postgres://nowhere/nothing").with("ACME_URL", &tenant.url);
        let _ = home.run(&[&["migrate", "--url-env", "ACME_URL"], &schema[..]].concat()).exits(0);
        assert_eq!(tenant.versions().await, [1, 2]);

        home.migration("3_last.sql", "CREATE TABLE last (id INTEGER);");
        let [host, port, database, user, password] = parts(&tenant.url);
        let home = home.without("DATABASE_URL").with("DB_HOST", &host).with("DB_PORT", &port);
        let home = home.with("DB_CONNECTION", connection).with("DB_DATABASE", &database);
        let home = home.with("DB_USERNAME", &user).with("DB_PASSWORD", &password);
        let document = home.run(&[&["migrate", "--json"], &schema[..]].concat()).exits(0).json();
        assert_eq!((&document["schema"], &document["exit_code"]), (&"tenantry.migrate/v1".into(), &0.into()));
        assert_eq!(
            (&document["from"], &document["to"], &document["target"]),
            (&"2".into(), &"3".into(), &"3".into())
        );
        assert_eq!(document["applied"][0]["file"], "3_last.sql");
        assert_eq!(tenant.versions().await, [1, 2, 3]);
        let made: Vec<_> = std::fs::read_dir(home.path()).expect("a directory").collect();
        assert_eq!(made.len(), 1, "only the migrations are there: {made:?}");
    }
}

#[tokio::test]
async fn one_sqlite_file_is_migrated_without_a_registry_and_its_failure_is_told() {
    let home = Home::new();
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 1, home.path()).await;
    let file = fleet.tenants[0].url.strip_prefix("sqlite:").expect("a file").to_owned();
    let home = home.with("DB_CONNECTION", "sqlite").with("DB_DATABASE", &file);
    let _ = home.run(&["migrate"]).exits(0);
    home.migration("2_bad.sql", "CREATE TABLE users (id INTEGER);");
    let failed = home.run(&["migrate"]).exits(100);
    assert!(
        failed.stderr.starts_with("error: ") && failed.stderr.contains("2_bad.sql statement 1: "),
        "{failed:?}"
    );
    let failed = home.run(&["migrate", "--json"]).exits(100).json();
    assert_eq!((&failed["exit_code"], &failed["error"]["migration"]), (&100.into(), &"2".into()));
    assert_eq!(fleet.tenants[0].versions().await, [1]);
    let unreachable = with_database(&server::postgres(), "no_such_database");
    let home = home.without("DB_CONNECTION").with("DATABASE_URL", &unreachable);
    let failed = home.run(&["migrate", "--retries", "1"]).exits(100);
    assert!(failed.stderr.contains("3D000"), "{failed:?}");
    assert!(!server::passwords().iter().any(|p| format!("{failed:?}").contains(p)), "{failed:?}");
}
