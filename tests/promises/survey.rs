//! Surveys: a fleet that is up to date is found so without an attempt at each tenant, and nothing else is.

use std::time::Duration;

use serde_json::Value;
use tenantry_tests::{
    Fleet, Home, TenantDb,
    fleet::{Kind, create_postgres_database, unique},
    proxy::{Proxy, Weather},
    server::{self, Private, with_database},
    wait::until,
};

use crate::stage::{ledger, targets, with_every_set_up};

const MIGRATION: (&str, &str) =
    ("20260301000000_things.sql", "CREATE TABLE things (id BIGINT PRIMARY KEY);\n");
const ANOTHER: (&str, &str) = ("20260302000000_more.sql", "CREATE TABLE more (id BIGINT PRIMARY KEY);\n");

/// So many schemas of a database.
async fn schemas(server: &str, count: usize) -> Fleet {
    let name = unique("surveyed");
    create_postgres_database(server, &name).await;
    let url = with_database(server, &name);
    let tenant =
        |id: String| TenantDb { schema: Some(id.clone()), id, kind: Kind::PostgresSchema, url: url.clone() };
    let fleet = Fleet { tenants: (0..count).map(|_| tenant(unique("schema"))).collect() };
    let all = fleet.tenants.iter().map(|tenant| format!("CREATE SCHEMA {}", tenant.id)).collect::<Vec<_>>();
    TenantDb { schema: None, kind: Kind::PostgresDatabase, ..fleet.tenants[0].clone() }
        .execute(&all.join(";"))
        .await;
    fleet
}

/// A registry with these tenants, all of them migrated.
fn migrated(home: &Home, fleet: &Fleet) {
    home.migration(MIGRATION.0, MIGRATION.1);
    home.migration(ANOTHER.0, ANOTHER.1);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(home);
    let all = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!(all["counts"]["applied"], fleet.tenants.len(), "{all}");
}

fn migrate(home: &Home, flags: &[&str], code: i32) -> Value {
    let words = [&["migrate", "--all", "--json", "--max-attempts", "1"], flags].concat();
    home.run(&words).exits(code).json()
}

/// The tenants at which the newest run has made attempts, in order, each with what became of it.
async fn attempted(home: &Home) -> Vec<String> {
    let sql = "SELECT t.slug || '=' || g.state AS line FROM targets g JOIN tenants t ON t.id = g.tenant_id
        JOIN runs r ON r.id = g.run_id
        WHERE r.number = (SELECT max(number) FROM runs) AND (g.attempt > 0
            OR EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = g.run_id AND a.tenant_id = g.tenant_id))";
    let registry = TenantDb::registry(&home.registry_url());
    let all = match registry.kind {
        Kind::MariaDb => sql.replace("t.slug || '=' || g.state", "concat(t.slug, '=', g.state)"),
        _ => sql.to_owned(),
    };
    let fold = match registry.kind {
        Kind::MariaDb => format!("SELECT CAST(group_concat(line ORDER BY line) AS CHAR) FROM ({all}) x"),
        Kind::Sqlite => format!("SELECT group_concat(line) FROM (SELECT line FROM ({all}) ORDER BY line)"),
        _ => format!("SELECT string_agg(line, ',' ORDER BY line) FROM ({all}) x"),
    };
    let text = registry.text(&fold).await.unwrap_or_default();
    text.split(',').filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Whether exactly these got an attempt; on a machine that is too busy for the survey to end within its hold, some of those
/// that are current may have got one, too.
fn are_those(attempted: &[String], expected: &[String], fleet: &Fleet) -> bool {
    let (current, others): (Vec<_>, Vec<_>) = attempted.iter().partition(|line| line.ends_with("=current"));
    others.into_iter().eq(expected) && current.len() * 2 < fleet.tenants.len()
}

fn sorted<const N: usize>(mut lines: [String; N]) -> Vec<String> {
    lines.sort();
    lines.to_vec()
}

#[tokio::test]
async fn two_hundred_schemas_are_proven_current_by_a_few_questions() {
    let server = Private::start("postgres", "-c log_statement=all");
    let home = Home::new();
    let fleet = schemas(&server.url, 200).await;
    migrated(&home, &fleet);
    let before = std::fs::read_to_string(server.log()).expect("a log").len();
    let run = migrate(&home, &[], 0);
    assert_eq!(run["counts"]["current"], 200, "{run}");
    assert!(are_those(&attempted(&home).await, &[], &fleet), "{run}");
    let log = std::fs::read_to_string(server.log()).expect("a log");
    let questions = log[before..].lines().filter(|line| line.contains("statement: ")).count();
    assert!((1..=100).contains(&questions), "{questions} questions for 200 tenants");
}

with_every_set_up!(only_those_that_are_not_current_get_an_attempt);

async fn only_those_that_are_not_current_get_an_attempt(home: Home) {
    let mut fleet = schemas(&server::postgres(), 20).await;
    for kind in [Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite] {
        fleet.add(kind, 6, home.path()).await;
    }
    migrated(&home, &fleet);
    let all = &fleet.tenants;
    let (behind, changed, dirty, maria, lite, database) =
        (&all[3], &all[5], &all[7], &all[27], &all[33], &all[21]);
    behind.execute("DELETE FROM _sqlx_migrations WHERE version = 20260302000000; DROP TABLE more").await;
    changed.execute("UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 20260301000000").await;
    dirty.execute("UPDATE _sqlx_migrations SET success = false WHERE version = 20260302000000").await;
    database.execute("DELETE FROM _sqlx_migrations WHERE version = 20260302000000; DROP TABLE more").await;
    maria.execute("UPDATE _sqlx_migrations SET success = 0 WHERE version = 20260302000000").await;
    lite.execute("DELETE FROM _sqlx_migrations WHERE version = 20260302000000; DROP TABLE more").await;
    let run = migrate(&home, &[], 100);
    let line = |tenant: &TenantDb, state: &str| format!("{}={state}", tenant.id);
    let expected = sorted([
        line(behind, "applied"),
        line(changed, "failed"),
        line(dirty, "failed"),
        line(database, "applied"),
        line(maria, "failed"),
        line(lite, "applied"),
    ]);
    let attempted = attempted(&home).await;
    assert!(are_those(&attempted, &expected, &fleet), "{attempted:?} for {expected:?}: {run}");
    assert_eq!(run["counts"]["current"], 32, "{run}");
}

#[tokio::test]
async fn what_is_not_there_or_does_not_answer_is_left_to_attempts() {
    let home = Home::new();
    let server = Private::start("postgres", "");
    let mut fleet = schemas(&server::postgres(), 30).await;
    let gone = schemas(&server.url, 3).await;
    let away: Vec<String> = gone.tenants.iter().map(|tenant| format!("{}=failed", tenant.id)).collect();
    fleet.tenants.extend(gone.tenants);
    migrated(&home, &fleet);
    server.stop("immediate");
    fleet.tenants[4].execute(&format!("DROP SCHEMA {} CASCADE", fleet.tenants[4].id)).await;
    fleet.tenants[9].execute("ALTER TABLE _sqlx_migrations RENAME COLUMN checksum TO sum").await;
    let run = migrate(&home, &[], 100);
    let mut expected = away;
    expected.extend([4, 9].map(|at| format!("{}=failed", fleet.tenants[at].id)));
    expected.sort();
    let attempted = attempted(&home).await;
    assert!(are_those(&attempted, &expected, &fleet), "{attempted:?} for {expected:?}: {run}");
}

#[tokio::test]
async fn migrate_of_a_fleet_that_is_current_needs_no_worker_and_tells_what_one_would() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 40).await;
    migrated(&home, &fleet);
    let workers = async || ledger(&home).number("SELECT count(*) FROM workers").await;
    let before = workers().await;
    let run = migrate(&home, &[], 0);
    assert_eq!((&run["counts"]["current"], &run["state"]), (&40.into(), &"succeeded".into()), "{run}");
    assert_eq!(workers().await, before);
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let _worker = home.worker(&[]);
    let worked = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(worked["counts"], run["counts"]);
    assert!(run["duration_ms"].as_i64().is_some_and(|took| took > 0), "{run}");
}

#[tokio::test]
async fn a_fleet_that_has_to_be_migrated_is_migrated_after_a_survey() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 40).await;
    migrated(&home, &fleet);
    home.migration("20260303000000_last.sql", "CREATE TABLE last (id BIGINT);\n");
    let run = migrate(&home, &[], 0);
    assert_eq!((&run["counts"]["applied"], attempted(&home).await.len()), (&Value::from(40), 40));
}

#[tokio::test]
async fn every_wave_is_surveyed() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 60).await;
    migrated(&home, &fleet);
    let run = migrate(&home, &["--canary", "20", "--waves", "70%"], 0);
    assert_eq!(run["counts"]["current"], 60, "{run}");
    assert!(are_those(&attempted(&home).await, &[], &fleet), "{run}");
}

#[tokio::test]
async fn a_surveyor_that_died_holds_its_run_back_for_a_moment_only() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 20).await;
    migrated(&home, &fleet);
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let registry = TenantDb::registry(&home.registry_url());
    registry
        .execute("UPDATE runs SET surveyed = wave, survey_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + 1000 WHERE state = 'pending'")
        .await;
    let _worker = home.worker(&[]);
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["current"], 20, "{run}");
    assert_eq!(attempted(&home).await.len(), 20);
}

#[tokio::test]
async fn what_a_survey_finds_is_told_as_what_an_attempt_finds() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 20).await;
    migrated(&home, &fleet);
    let _ = migrate(&home, &[], 0);
    let tenant = &fleet.tenants[0].id;
    let logs = home.run(&["logs", "-t", tenant]).exits(0);
    assert!(format!("{logs:?}").contains("read with those of many"), "{logs:?}");
    let status = home.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["runs"][0]["counts"]["current"], 20, "{status}");
    let shown = home.run(&["tenants", "show", tenant, "--json"]).exits(0).json();
    assert_eq!(shown["tenant"]["version"], "20260302000000", "{shown}");
}

/// Promise 1.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_surveyor_that_is_killed_has_not_read_another_worker_finishes() {
    let (home, proxy) = (Home::new(), Proxy::to(&server::postgres()).await);
    let fleet = schemas(&proxy.url(&server::postgres()), 300).await;
    migrated(&home, &fleet);
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    proxy.set(Weather::Slow(Duration::from_millis(100)));
    let current = "run_id = (SELECT id FROM runs WHERE number = 2) AND state = 'current'";
    let mut killed = home.worker(&[]);
    until("some are written down", || async { targets(&home, current).await > 0 }).await;
    proxy.set(Weather::Still);
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    let found = targets(&home, current).await;
    assert!((1..300).contains(&found), "{found} of 300");
    proxy.set(Weather::Fair);
    let _worker = home.worker(&[]);
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["current"], 300, "{run}");
    assert_eq!(i64::try_from(attempted(&home).await.len()), Ok(300 - found));
}

/// Promise 1.
#[tokio::test]
async fn two_workers_that_begin_at_once_make_one_survey() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 100).await;
    migrated(&home, &fleet);
    for _ in 0..3 {
        let _ = home.run(&["enqueue", "--all"]).exits(0);
        let _workers = [home.worker(&[]), home.worker(&[])];
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!(run["counts"]["current"], 100, "{run}");
        assert!(are_those(&attempted(&home).await, &[], &fleet), "{run}");
    }
}

#[tokio::test]
async fn beside_a_survey_who_is_held_stays_so_and_who_is_retried_is_tried() {
    let home = Home::new();
    let fleet = schemas(&server::postgres(), 40).await;
    migrated(&home, &fleet);
    home.migration("20260303000000_third.sql", "CREATE TABLE third (id BIGINT);\n");
    let broken = &fleet.tenants[4..20];
    for tenant in broken {
        tenant.execute("CREATE TABLE third (id BIGINT)").await;
    }
    let run = migrate(&home, &[], 100);
    assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&24.into(), &16.into()), "{run}");
    let run = migrate(&home, &[], 100);
    assert_eq!((&run["counts"]["current"], &run["counts"]["held"]), (&24.into(), &16.into()), "{run}");
    assert!(are_those(&attempted(&home).await, &[], &fleet), "{run}");
    for tenant in broken {
        tenant.execute("DROP TABLE third").await;
    }
    let run = home.run(&["retry", "--work", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 16, "{run}");
    let run = migrate(&home, &[], 0);
    assert_eq!((&run["counts"]["current"], &run["counts"]["held"]), (&40.into(), &0.into()), "{run}");
    assert!(are_those(&attempted(&home).await, &[], &fleet), "{run}");
}

#[tokio::test]
async fn long_histories_come_as_digests_and_one_that_differs_is_noticed() {
    let (home, server) = (Home::new(), Private::start("postgres", "-c log_statement=all"));
    let fleet = schemas(&server.url, 80).await;
    for at in 4..14 {
        home.migration(
            &format!("202603{at:02}000000_more.sql"),
            &format!("CREATE TABLE t{at} (id BIGINT);\n"),
        );
    }
    migrated(&home, &fleet);
    let (behind, changed) = (&fleet.tenants[40], &fleet.tenants[41]);
    behind.execute("DELETE FROM _sqlx_migrations WHERE version = 20260313000000; DROP TABLE t13").await;
    changed.execute("UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 20260304000000").await;
    let before = std::fs::read_to_string(server.log()).expect("a log").len();
    let run = migrate(&home, &[], 100);
    let expected = sorted([format!("{}=applied", behind.id), format!("{}=failed", changed.id)]);
    assert!(are_those(&attempted(&home).await, &expected, &fleet), "{run}");
    assert_eq!(run["counts"]["current"], 78, "{run}");
    let log = std::fs::read_to_string(server.log()).expect("a log");
    assert!(log[before..].contains("sha256("), "no digest was asked for");
}

#[tokio::test]
async fn a_new_tenant_among_those_that_are_current_keeps_no_other_from_being_read() {
    let home = Home::new();
    let mut fleet = schemas(&server::postgres(), 60).await;
    fleet.add(Kind::MariaDb, 30, home.path()).await;
    migrated(&home, &fleet);
    let new: Vec<&TenantDb> = fleet.tenants.iter().step_by(5).collect();
    for tenant in &new {
        tenant.execute("DROP TABLE _sqlx_migrations, things, more").await;
    }
    let run = migrate(&home, &[], 0);
    let mut expected: Vec<String> = new.iter().map(|tenant| format!("{}=applied", tenant.id)).collect();
    expected.sort();
    assert!(are_those(&attempted(&home).await, &expected, &fleet), "{run}");
    assert_eq!((&run["counts"]["applied"], &run["counts"]["current"]), (&18.into(), &72.into()), "{run}");
}

#[tokio::test]
async fn a_fleet_that_the_registry_knows_nothing_of_is_surveyed_when_one_of_it_is_current() {
    let (first, second) = (Home::new(), Home::new());
    let fleet = schemas(&server::postgres(), 300).await;
    migrated(&first, &fleet);
    second.migration(MIGRATION.0, MIGRATION.1);
    second.migration(ANOTHER.0, ANOTHER.1);
    let _ = second.run(&["registry", "init"]).exits(0);
    fleet.register(&second);
    let run = migrate(&second, &["--concurrency", "2"], 0);
    assert_eq!(run["counts"]["current"], 300, "{run}");
    assert!(are_those(&attempted(&second).await, &[], &fleet), "{run}");
}

#[tokio::test]
async fn where_a_database_is_a_tenant_and_none_is_migrated_a_survey_takes_two_connections() {
    let (home, server) = (Home::new(), Private::start("postgres", "-c log_connections=on"));
    let mut fleet = Fleet { tenants: Vec::new() };
    for _ in 0..20 {
        let id = unique("alone");
        create_postgres_database(&server.url, &id).await;
        let url = with_database(&server.url, &id);
        fleet.tenants.push(TenantDb { id, kind: Kind::PostgresDatabase, schema: None, url });
    }
    home.migration(MIGRATION.0, MIGRATION.1);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    let before = std::fs::read_to_string(server.log()).expect("a log").len();
    let run = migrate(&home, &[], 0);
    assert_eq!(run["counts"]["applied"], 20, "{run}");
    let log = std::fs::read_to_string(server.log()).expect("a log");
    let connections = log[before..].lines().filter(|line| line.contains("connection authorized:")).count();
    assert!((20..=22).contains(&connections), "{connections} connections for 20 tenants");
}

#[tokio::test]
async fn new_tenants_behind_those_that_are_current_keep_no_other_from_being_read() {
    let home = Home::new();
    let mut fleet = schemas(&server::postgres(), 200).await;
    migrated(&home, &fleet);
    let new = schemas(&server::postgres(), 20).await;
    new.register(&home);
    fleet.tenants.extend(new.tenants.iter().cloned());
    let run = migrate(&home, &[], 0);
    let mut expected: Vec<String> =
        new.tenants.iter().map(|tenant| format!("{}=applied", tenant.id)).collect();
    expected.sort();
    assert!(are_those(&attempted(&home).await, &expected, &fleet), "{run}");
    assert_eq!((&run["counts"]["applied"], &run["counts"]["current"]), (&20.into(), &200.into()), "{run}");
}
