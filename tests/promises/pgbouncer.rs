//! PostgreSQL behind a real PgBouncer. Where it lends its sessions by the transaction, nothing is applied twice, nothing is
//! left in a session, and what needs a session of its own is refused.

use std::{process::Command, str::FromStr as _};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tenantry_tests::{
    Fleet, Home, TenantDb,
    fleet::Kind,
    home::finish,
    server::{Private, with_database},
    wait::until,
};

use crate::{
    site::{Site, Stranger, quick_home},
    stage::{COUNTED, Gates, VERSION, until_at_their_gates},
};

mod lent;
mod refused;

/// Three sessions for everybody, lent by the transaction.
const LENT: &str = "pool_mode = transaction; default_pool_size = 3";

/// The advisory locks in a tenant's database, whoever has them.
const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The same tenants, through a pooler.
fn through(pooler: &Private, fleet: &Fleet) -> Fleet {
    let database = |tenant: &TenantDb| tenant.url.rsplit('/').next().expect("a database").to_owned();
    let moved =
        |tenant: &TenantDb| TenantDb { url: with_database(&pooler.url, &database(tenant)), ..tenant.clone() };
    Fleet { tenants: fleet.tenants.iter().map(moved).collect() }
}

/// Tenants of these kinds, registered by their URLs through a pooler; `query` is behind each. The site's fleet goes past it.
async fn behind(pooler: &Private, kinds: &[Kind], of_each: usize, query: &str) -> Site {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    for kind in kinds {
        fleet.add(*kind, of_each, home.path()).await;
    }
    also_behind(pooler, home, fleet, query)
}

fn also_behind(pooler: &Private, home: Home, fleet: Fleet, query: &str) -> Site {
    let mut moved = through(pooler, &fleet);
    moved.tenants.iter_mut().for_each(|tenant| tenant.url.push_str(query));
    let site = Site::of(home, moved);
    Site { fleet, ..site }
}

/// The lent sessions of a pooler that keep prepared statements for its clients, and those that do not, as far as this one can.
fn poolers() -> Vec<Private> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("pgbouncer");
    let version = command.arg("--version").env("PATH", path).output().expect("pgbouncer").stdout;
    let version = String::from_utf8(version).expect("text");
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let also: &[u32] = if minor.is_some_and(|minor| minor >= 21) { &[0, 200] } else { &[] };
    let with = |most: &u32| format!("{LENT}; max_prepared_statements = {most}");
    let all = also.iter().map(with).chain(also.is_empty().then(|| LENT.to_owned()));
    all.map(|options| Private::start("pgbouncer", &options)).collect()
}

async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).expect("a URL").extra_float_digits(None);
    PgConnection::connect_with(&options).await.expect("a connection")
}

async fn value(connection: &mut PgConnection, sql: &str) -> String {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await.expect("a row");
    rows.last().expect("a row").get(0)
}

/// Every session of a pooler is as it was at its start: as many clients at once see each of them.
async fn nothing_is_left(pooler: &Private, tenant: &TenantDb) {
    assert_eq!(tenant.number(LOCKS).await, 0, "an advisory lock is left");
    let url = &through(pooler, &Fleet { tenants: vec![tenant.clone()] }).tenants[0].url;
    let changed = "SELECT COALESCE(string_agg(name || '=' || setting, ' '), '') FROM pg_settings WHERE source = 'session'
        AND setting IS DISTINCT FROM reset_val AND name NOT IN ('application_name', 'TimeZone', 'DateStyle', 'client_encoding')";
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(url).await;
        let kept = value(&mut client, &format!("BEGIN; {changed}")).await;
        assert_eq!(kept, "", "a setting is left");
        clients.push(client);
    }
}

/// A registry's workers have migrated all of it, each once.
async fn all_counted(site: &Site, times: i64) {
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number("SELECT n FROM counter").await, times, "{}", tenant.id);
    }
}

#[tokio::test]
async fn twenty_schemas_are_migrated_once_each_by_two_workers_through_three_sessions() {
    for pooler in poolers() {
        let site = behind(&pooler, &[Kind::PostgresSchema], 20, "").await;
        site.home
            .migration("1_counter.sql", "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0);");
        for version in 2..6 {
            site.home.migration(&format!("{version}_count.sql"), "UPDATE counter SET n = n + 1;");
        }
        let _workers = [site.home.worker(&["--concurrency", "8"]), site.home.worker(&["--concurrency", "8"])];
        let _ = site.home.run(&["enqueue", "--all", "--yes"]).exits(0);
        let run = site.home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!(run["counts"]["applied"], 20, "{run}");
        all_counted(&site, 4).await;
        for tenant in &site.fleet.tenants {
            assert_eq!(tenant.versions().await, [1, 2, 3, 4, 5], "{}", tenant.id);
        }
        nothing_is_left(&pooler, site.tenant()).await;
    }
}

/// Promise 2.
/// A history of goose's takes a version as often as it is written.
#[tokio::test]
async fn two_registries_with_the_same_tenants_apply_each_migration_once() {
    let pooler = Private::start("pgbouncer", LENT);
    let first = behind(&pooler, &[Kind::PostgresSchema, Kind::PostgresDatabase], 4, "").await;
    let fleet = Fleet { tenants: first.fleet.tenants.clone() };
    let second = also_behind(&pooler, quick_home(), fleet, "");
    for site in [&first, &second] {
        let up = |file: &str, sql: &str| site.home.migration(file, &format!("-- +goose Up\n{sql}\n"));
        up("1_counter.sql", "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0);");
        for version in 2..8 {
            up(&format!("{version}_count.sql"), "UPDATE counter SET n = n + 1;");
        }
    }
    let flags = ["--concurrency", "4", "--lock-timeout", "60s", "--retries", "50"];
    let runs = [&first, &second].map(|site| site.start(&flags));
    for run in runs {
        let _ = finish(run).exits(0);
    }
    all_counted(&first, 6).await;
    for tenant in &first.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM goose_db_version WHERE version_id > 0").await, 7);
    }
    nothing_is_left(&pooler, first.tenant()).await;
}

/// Tenants with a counter and a gate in the middle of the migration.
async fn gated(pooler: &Private, kinds: &[Kind]) -> Site {
    let site = behind(pooler, kinds, 1, "").await;
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT); INSERT INTO gate VALUES (0)").await;
    }
    site.home.migration(COUNTED.0, COUNTED.1);
    site
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_leaves_nothing_and_another_one_does_it() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = gated(&pooler, &[Kind::PostgresSchema, Kind::PostgresDatabase]).await;
    let gates = Gates::close(&site.fleet.tenants).await;
    let worker = site.home.worker(&["--lease", "2s"]);
    let _ = site.home.run(&["enqueue", "--all", "--yes", "--lock-timeout", "60s"]).exits(0);
    until_at_their_gates(&site.fleet.tenants).await;
    worker.signal("KILL");
    let ended = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry' AND state <> 'idle'";
    for tenant in &site.fleet.tenants {
        until("its transaction is over", async || tenant.number(ended).await == 0).await;
        nothing_is_left(&pooler, tenant).await;
    }
    gates.open().await;
    let _worker = site.home.worker(&["--lease", "2s"]);
    let _ = site.home.run(&["wait"]).exits(0);
    all_counted(&site, 1).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [VERSION]);
    }
}

/// One of two is in the middle of a migration, the other one waits for the same tenants in vain; then both are done.
async fn keeps_out(inside: &Site, outside: &Site) {
    let tenants = &inside.fleet.tenants;
    let gates = Gates::close(tenants).await;
    let run = inside.start(&["--lock-timeout", "60s"]);
    until_at_their_gates(tenants).await;
    let cause = outside.fails(100, &["--lock-timeout", "300ms", "--retries", "1"]);
    assert_eq!((&cause["code"], &cause["count"]), (&"locked".into(), &tenants.len().into()), "{cause}");
    gates.open().await;
    let _ = finish(run).exits(0);
    let run = outside.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], tenants.len(), "{run}");
    all_counted(inside, 1).await;
}

#[tokio::test]
async fn who_goes_past_the_pooler_and_who_goes_through_it_keep_each_other_out() {
    let pooler = Private::start("pgbouncer", LENT);
    for past_is_inside in [true, false] {
        let through = gated(&pooler, &[Kind::PostgresSchema, Kind::PostgresDatabase]).await;
        let past = Site::of(quick_home(), Fleet { tenants: through.fleet.tenants.clone() });
        past.home.migration(COUNTED.0, COUNTED.1);
        match past_is_inside {
            true => keeps_out(&past, &through).await,
            false => keeps_out(&through, &past).await,
        }
    }
}

#[tokio::test]
async fn an_application_that_holds_the_lock_of_sqlx_keeps_out_who_goes_through_the_pooler() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = gated(&pooler, &[Kind::PostgresDatabase]).await;
    let theirs = Stranger::that_runs(site.tenant(), &lock_of_sqlx(site.tenant())).await;
    let cause = site.fails(100, &["--lock-timeout", "300ms", "--retries", "1"]);
    assert_eq!(cause["code"], "locked", "{cause}");
    drop(theirs);
    let _ = site.migrate(&[]).exits(0);
    all_counted(&site, 1).await;
}

/// What an application does that migrates itself with sqlx.
fn lock_of_sqlx(tenant: &TenantDb) -> String {
    let database = tenant.url.rsplit('/').next().expect("a database");
    format!("SELECT pg_advisory_lock({})", 0x3d32_ad9e * i64::from(crc32(database)))
}

/// The checksum that sqlx makes its key of.
fn crc32(text: &str) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !text.bytes().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

#[tokio::test]
async fn a_pooler_that_keeps_a_session_for_each_client_is_as_none() {
    let pooler = Private::start("pgbouncer", "pool_mode = session; default_pool_size = 10");
    let site = behind(&pooler, &[Kind::PostgresSchema, Kind::PostgresDatabase], 1, "?pooling=session").await;
    site.home.migration(
        "1_users.sql",
        "CREATE TABLE users (id INT); SET work_mem = '1MB'; CREATE TEMP TABLE t (a INT);",
    );
    site.home.migration("2_index.sql", "CREATE INDEX CONCURRENTLY users_id ON users (id);");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2], "{}", tenant.id);
    }
    nothing_is_left(&pooler, site.tenant()).await;
    let doctor: Value = site.home.run(&["doctor", "--json"]).exits(0).json();
    assert_eq!(doctor["ok"], true, "{doctor}");
}
