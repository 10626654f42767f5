//! Together with the sqlx program: it agrees with what we did, and we with what it did.

use std::{
    process::{Child, Command, Stdio},
    str::FromStr as _,
};

use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};
use tenantry_tests::{Home, Ran, TenantDb, fleet::Kind, home::finish, wait::until};

use tokio::task::JoinHandle;

use crate::site::{Site, Stranger};

const KINDS: [Kind; 3] = [Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite];

fn start_sqlx(home: &Home, tenant: &TenantDb, words: &[&str]) -> Child {
    let mut command = Command::new("sqlx");
    command.arg("migrate").args(words).args(["--source", "migrations"]).current_dir(home.path());
    command.env("DATABASE_URL", &tenant.url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("sqlx")
}

fn sqlx(home: &Home, tenant: &TenantDb, words: &[&str]) -> Ran {
    finish(start_sqlx(home, tenant, words)).exits(0)
}

fn three_migrations(home: &Home) {
    home.migration("1_create_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);\n");
    home.migration("2_add_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);\r\n");
    home.migration("20_index_name.sql", "-- ä\nCREATE INDEX users_name ON users (name)");
}

#[tokio::test]
async fn sqlx_finds_installed_what_we_applied() {
    let site = Site::new(&KINDS, 1).await;
    three_migrations(&site.home);
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let info = sqlx(&site.home, tenant, &["info"]).stdout;
        let expected = "1/installed create users\n2/installed add name\n20/installed index name\n";
        assert_eq!(info, expected, "{}", tenant.id);
    }
}

#[tokio::test]
async fn we_finish_what_sqlx_began_and_it_finds_nothing_left() {
    let site = Site::new(&KINDS, 1).await;
    three_migrations(&site.home);
    for tenant in &site.fleet.tenants {
        let _ = sqlx(&site.home, tenant, &["run", "--target-version", "1"]);
        assert_eq!(tenant.versions().await, [1]);
    }
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let steps = &site.attempts(tenant)[0]["applied"];
        assert_eq!((&steps[0]["version"], &steps[1]["version"]), (&"2".into(), &"20".into()), "{steps}");
        assert_eq!(sqlx(&site.home, tenant, &["run"]).stdout, "", "{}", tenant.id);
        assert_eq!(tenant.versions().await, [1, 2, 20]);
    }
}

#[tokio::test]
async fn what_sqlx_applied_later_is_current_for_us() {
    let site = Site::new(&KINDS, 1).await;
    three_migrations(&site.home);
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("21_create_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY);");
    for tenant in &site.fleet.tenants {
        assert!(sqlx(&site.home, tenant, &["run"]).stdout.contains("Applied 21/"));
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 3, "{run}");
}

#[tokio::test]
async fn what_sqlx_reverted_is_pending_for_us() {
    let site = Site::new(&KINDS, 1).await;
    for (name, sql) in [
        ("1_create_users.up.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);"),
        ("1_create_users.down.sql", "DROP TABLE users;"),
        ("2_create_posts.up.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY);"),
        ("2_create_posts.down.sql", "DROP TABLE posts;"),
    ] {
        site.home.migration(name, sql);
    }
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let _ = sqlx(&site.home, tenant, &["revert"]);
        assert!(!tenant.tables().await.contains_key("posts"), "{}", tenant.id);
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 3, "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2], "{}", tenant.id);
        assert!(tenant.tables().await.contains_key("posts"), "{}", tenant.id);
    }
}

/// What an application does that calls `sqlx::migrate!` when it starts: the library takes a lock, the program of this
/// version takes none.
async fn application(site: &Site, tenant: &TenantDb) -> JoinHandle<Result<(), MigrateError>> {
    let migrations = Migrator::new(site.home.path().join("migrations")).await.expect("migrations");
    let options = PgConnectOptions::from_str(&tenant.url).expect("a URL");
    let schema = tenant.schema.clone().unwrap_or_else(|| "public".into());
    let options = options.options([("search_path", schema)]);
    tokio::spawn(async move { migrations.run(&PgPool::connect_with(options).await?).await })
}

async fn waited_for(kind: Kind) {
    let site = Site::new(&[kind], 1).await;
    let tenant = site.tenant();
    tenant.execute("CREATE TABLE counter (version INT)").await;
    site.home.migration("1_count.sql", "INSERT INTO counter VALUES (1);");
    let gate = Stranger::that_runs(tenant, "BEGIN; LOCK TABLE counter").await;
    let theirs = application(&site, tenant).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'counter'::regclass";
    until("the application waits in its migration", async || tenant.number(waits).await == 1).await;

    let cause = site.fails(100, &["--lock-timeout", "300ms", "--retries", "2"]);
    assert_eq!((&cause["code"], &cause["class"]), (&"locked".into(), &"transient".into()), "{cause}");
    assert_eq!(site.attempts(tenant).len(), 2);

    let ours = site.start(&["--lock-timeout", "60s"]);
    let polls = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry' AND query LIKE '%pg_try_advisory_lock%'";
    until("we wait for its lock", async || tenant.number(polls).await == 1).await;
    drop(gate);
    theirs.await.expect("a task").expect("the application's migration");
    let run = finish(ours).exits(0).json();
    assert_eq!(run["counts"]["current"], 1, "{run}");
    assert_eq!(tenant.number("SELECT count(*) FROM counter").await, 1);
}

#[tokio::test]
async fn an_application_that_migrates_itself_when_it_starts_is_waited_for() {
    tokio::join!(waited_for(Kind::PostgresDatabase), waited_for(Kind::PostgresSchema));
}

#[tokio::test]
async fn schemas_of_one_database_go_on_at_once_and_an_application_in_one_of_them_waits() {
    let site = Site::new(&[Kind::PostgresSchema], 50).await;
    site.home.migration("1_slow.sql", "CREATE TABLE counter (version INT); SELECT pg_sleep(1);");
    site.home.migration("2_count.sql", "INSERT INTO counter VALUES (1);");
    let ours = site.start(&["--concurrency", "10", "--lock-timeout", "60s"]);
    let at_once =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until("ten sleep at once", async || site.tenant().number(at_once).await == 10).await;
    let theirs = application(&site, &site.fleet.tenants[49]).await;
    theirs.await.expect("a task").expect("the application's migration");
    let run = finish(ours).exits(0).json();
    let counts = &run["counts"];
    assert_eq!(counts["total"], 50, "{run}");
    assert_eq!(counts["failed"], 0, "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM counter").await, 1, "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_migration_that_somebody_without_a_lock_applies_meanwhile_is_not_applied_twice() {
    const COUNT: &str = "INSERT INTO counter VALUES (1)";
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb], 1).await;
    site.home.migration("1_counter.sql", "CREATE TABLE counter (version INT);");
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_count.sql", COUNT);
    let mut strangers = Vec::new();
    for tenant in &site.fleet.tenants {
        let sum = if tenant.kind == Kind::MariaDb { "UNHEX(SHA2('SQL', 384))" } else { "sha384('SQL')" }
            .replace("SQL", COUNT);
        let row = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'count', TRUE, {sum}, 1)"
        );
        strangers.push(Stranger::that_runs(tenant, &format!("BEGIN; {COUNT}; {row}")).await);
    }
    let ours = site.start(&["--lock-timeout", "60s"]);
    for tenant in &site.fleet.tenants {
        let waits = if tenant.kind == Kind::MariaDb {
            // Not the views of InnoDB's locks: they stand still while somebody looks at them often.
            "SELECT count(*) FROM information_schema.processlist
             WHERE db = database() AND command <> 'Sleep' AND info LIKE 'INSERT INTO%_sqlx_migrations%'"
        } else {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry' AND wait_event_type = 'Lock'"
        };
        until("we wait for the stranger's row", async || tenant.number(waits).await == 1).await;
    }
    for stranger in &mut strangers {
        stranger.runs("COMMIT").await;
    }
    let run = finish(ours).exits(0).json();
    assert_eq!((&run["counts"]["current"], &run["counts"]["retried"]), (&3.into(), &3.into()), "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM counter").await, 1, "{}", tenant.id);
    }
}
