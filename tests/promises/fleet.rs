//! The main job: a fleet of sixty tenants on four kinds of database, one of them broken.

use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind};

const FIRST: (&str, &str) = (
    "20260101000000_create_users.sql",
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(200) NOT NULL);",
);
const SECOND: (&str, &str) = (
    "20260201000000_add_name_and_unique_email.sql",
    "ALTER TABLE users ADD COLUMN name VARCHAR(100);\nCREATE UNIQUE INDEX users_email ON users (email);\n",
);
const TARGET: i64 = 20_260_201_000_000;

/// Sixty tenants at the first migration; the first one holds two users of one email.
async fn sixty(home: &Home) -> Fleet {
    let mut fleet = Fleet::default();
    fleet.add(Kind::PostgresDatabase, 20, home.path()).await;
    fleet.add(Kind::PostgresSchema, 20, home.path()).await;
    fleet.add(Kind::MariaDb, 10, home.path()).await;
    fleet.add(Kind::Sqlite, 10, home.path()).await;
    home.migration(FIRST.0, FIRST.1);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
    fleet
}

fn broken(fleet: &Fleet) -> &TenantDb {
    &fleet.tenants[0]
}

async fn the_main_job(home: &Home) {
    let fleet = sixty(home).await;
    let workers = [home.worker(&["--concurrency", "4"]), home.worker(&["--concurrency", "4"])];
    let first = home.run(&["enqueue", "--all", "--wait", "--json"]).exits(0).json();
    assert_eq!(first["counts"]["applied"], 60, "{first}");

    let broken = broken(&fleet);
    broken
        .execute("INSERT INTO users (id, email) VALUES (1, 'ann@example.com'), (2, 'ann@example.com')")
        .await;
    let before = broken.tables().await;
    home.migration(SECOND.0, SECOND.1);
    let run = home.run(&["enqueue", "--all", "--wait", "--json"]).exits(100).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&59.into(), &1.into()), "{run}");
    assert_eq!(run["failures"][0]["tenants"], serde_json::json!([broken.id]));
    assert_eq!(run["failures"][0]["code"], "23505");
    assert_eq!(broken.tables().await, before, "a failed migration changed its tenant");
    for tenant in &fleet.tenants {
        let expected: &[i64] =
            if tenant.id == broken.id { &[20_260_101_000_000] } else { &[20_260_101_000_000, TARGET] };
        assert_eq!(tenant.versions().await, expected, "{}", tenant.id);
    }

    broken.execute("UPDATE users SET email = 'bob@example.com' WHERE id = 2").await;
    let retried = home.run(&["retry", "--wait", "--json"]).exits(0).json();
    assert_eq!(
        (&retried["counts"]["total"], &retried["counts"]["applied"]),
        (&1.into(), &1.into()),
        "{retried}"
    );
    assert_eq!(broken.versions().await, [20_260_101_000_000, TARGET]);

    let again = home.run(&["enqueue", "--all", "--wait", "--json"]).exits(0).json();
    assert_eq!(again["counts"]["current"], 60, "{again}");
    drop(workers);
}

/// Promise 3.
#[tokio::test]
async fn one_broken_tenant_of_sixty_leaves_the_others_migrated_with_a_postgres_registry_and_redis() {
    the_main_job(&Home::new().with_postgres_registry().await.with_redis_queue()).await;
}

#[tokio::test]
async fn one_broken_tenant_of_sixty_leaves_the_others_migrated_with_the_postgres_ledger_as_the_queue() {
    the_main_job(&Home::new().with_postgres_registry().await).await;
}

/// Promise 3.
#[tokio::test]
async fn one_broken_tenant_of_sixty_leaves_the_others_migrated_with_the_mariadb_ledger_as_the_queue() {
    the_main_job(&Home::new().with_mariadb_registry().await).await;
}

#[tokio::test]
async fn one_broken_tenant_of_sixty_leaves_the_others_migrated_with_an_sqlite_registry_and_no_server() {
    the_main_job(&Home::new()).await;
}
