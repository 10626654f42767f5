//! Who blocks now: `status` names the session that holds what a running attempt waits for, as long as it waits.

use std::{
    io::{BufRead as _, BufReader},
    process::Child,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tenantry_shared::{
    ledger::{Ledger, Seen},
    store::Store,
};
use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, create_postgres_database, unique},
    home::finish,
    server::{is_mysql, postgres, with_database},
    wait::until,
};

use super::{LOCKS_USERS, MY_PID, POSTGRES, crc32, pid, that_tells_of_metadata_locks, users, with_users};
use crate::site::{KINDS, Site, Stranger, quick_home, quick_homes, with_account};

/// Long enough for a look, and for one who reads about it.
const PATIENT: [&str; 4] = ["--retries", "1", "--lock-timeout", "50s"];

/// Counts in the registry's file how often something was seen.
const COUNTS: &str = "CREATE TABLE written (sighting TEXT);
    CREATE TRIGGER counts AFTER UPDATE OF sighting ON targets WHEN NEW.sighting IS NOT NULL
    BEGIN INSERT INTO written VALUES (NEW.sighting); END;";

/// What the latest run's status has of its targets that take long.
fn sightings(site: &Site) -> Vec<Value> {
    let status = site.home.run(&["status", "latest", "--json"]);
    let document: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    document["sightings"].as_array().cloned().unwrap_or_default()
}

/// What the one tenant's attempt is seen to wait for, once it is, in all places that tell it.
async fn seen(site: &Site) -> Value {
    let waiting = || sightings(site).into_iter().find(|seen| !seen["waits_for"].is_null());
    until("it is seen to wait", || async { waiting().is_some() }).await;
    let seen = waiting().expect("seen a moment ago");
    assert_eq!(seen["tenant"], site.tenant().id.as_str(), "{seen}");
    assert!(seen["since"].is_string() && seen["waits_since"].is_string(), "{seen}");
    let words = format!(", waits for {}", waits_for(&seen));
    for more in [&["status", "latest"][..], &["status", "latest", "--tenant", &site.tenant().id]] {
        let status = site.home.run(more);
        assert!(status.stdout.contains(&words), "{status:?}\n{seen}");
    }
    seen
}

fn waits_for(seen: &Value) -> String {
    seen["waits_for"].as_str().unwrap_or_default().to_owned()
}

/// The migration ends well at its first attempt, and nothing is seen of it any more.
async fn ends_well(site: &Site, migration: Child) {
    let _ = finish(migration).exits(0);
    assert_eq!(site.attempts(site.tenant()).len(), 1);
    assert!(sightings(site).is_empty());
    let left = "SELECT count(*) FROM targets WHERE sighting IS NOT NULL";
    assert_eq!(TenantDb::registry(&site.home.registry_url()).number(left).await, 0);
}

#[tokio::test]
async fn an_alter_table_behind_an_open_transaction_on_postgresql_is_seen_with_who_holds_it_up() {
    for kind in POSTGRES {
        let site = with_users(kind).await;
        let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
        stranger.runs("BEGIN; UPDATE users SET email = 'secret' WHERE id = 4711").await;
        let migration = site.start(&PATIENT);
        let seen = seen(&site).await;
        assert_eq!((&seen["migration"], &seen["statement"]), (&"2".into(), &2.into()), "{seen}");
        let said = waits_for(&seen);
        let begins = format!("a lock on users held by pid {} (nightly report, ", pid(&site).await);
        assert!(said.starts_with(&begins) && said.contains(", idle in transaction since 20"), "{said}");
        assert!(said.ends_with(": BEGIN; UPDATE users SET email = ? WHERE id = ?"), "{said}");
        drop(stranger);
        ends_well(&site, migration).await;
    }
}

#[tokio::test]
async fn a_statement_outside_a_transaction_is_seen_with_its_number() {
    let site = with_users(Kind::PostgresDatabase).await;
    let script = "-- no-transaction\nCREATE TABLE a (id INTEGER);\nALTER TABLE users ADD COLUMN b INTEGER;\nALTER TABLE users ADD COLUMN c INTEGER;";
    site.home.migration("2_name.sql", script);
    let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
    stranger.runs("BEGIN; SELECT * FROM users").await;
    let migration = site.start(&PATIENT);
    let seen = seen(&site).await;
    assert_eq!((&seen["migration"], &seen["statement"]), (&"2".into(), &2.into()), "{seen}");
    drop(stranger);
    ends_well(&site, migration).await;
}

#[tokio::test]
async fn who_holds_the_tenant_s_own_lock_is_seen_while_it_is_waited_for() {
    let locks = "SELECT pg_advisory_lock((SELECT CAST(CAST(classid AS bigint) << 32 | CAST(objid AS bigint) AS bigint) FROM keys LIMIT 1))";
    let site = with_users(Kind::PostgresDatabase).await;
    site.home.migration("2_name.sql", "CREATE TABLE keys AS SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();");
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("3_more.sql", "CREATE TABLE more (id INTEGER);");
    let stranger = Stranger::that_runs(site.tenant(), &format!("{MY_PID} {locks}")).await;
    let migration = site.start(&PATIENT);
    let seen_there = seen(&site).await;
    let begins = format!("the tenant's lock held by pid {} (nightly report, ", pid(&site).await);
    assert!(waits_for(&seen_there).starts_with(&begins), "{seen_there}");
    assert!(seen_there["migration"].is_null() && seen_there["statement"].is_null(), "{seen_there}");
    drop(stranger);
    ends_well(&site, migration).await;

    let site = with_users(Kind::MariaDb).await;
    let name = format!("{:x}", 0x3d32_ad9e * i64::from(crc32(site.tenant().id.as_bytes())));
    let take = format!("CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; DO GET_LOCK('{name}', 0)");
    let stranger = Stranger::that_runs(site.tenant(), &take).await;
    let migration = site.start(&PATIENT);
    let seen = seen(&site).await;
    let begins = format!("the tenant's lock held by connection {} (", connection(&site).await);
    assert!(waits_for(&seen).starts_with(&begins), "{seen}");
    drop(stranger);
    ends_well(&site, migration).await;
}

async fn connection(site: &Site) -> i64 {
    site.tenant().number("SELECT CAST(pid AS SIGNED) FROM me").await
}

#[tokio::test]
async fn a_table_s_definition_and_rows_that_are_waited_for_on_mariadb_are_seen_with_who_holds_them() {
    let cases = [
        (
            "ALTER TABLE users ADD COLUMN name VARCHAR(100)",
            if is_mysql() {
                "the table metadata lock held by"
            } else {
                "the table metadata lock perhaps held by the transaction of"
            },
        ),
        ("UPDATE users SET email = 'b'", "a lock on rows held by"),
    ];
    for (statement, says) in cases {
        let site = with_users(Kind::MariaDb).await;
        site.home.migration("2_name.sql", &format!("CREATE TABLE a (id INTEGER);\n{statement};"));
        let begin =
            "CREATE TABLE me AS SELECT CONNECTION_ID() AS pid; BEGIN; UPDATE users SET email = 'secret'";
        let stranger = Stranger::that_runs(site.tenant(), begin).await;
        let migration = site.start(&PATIENT);
        let seen = seen(&site).await;
        assert_eq!((&seen["migration"], &seen["statement"]), (&"2".into(), &2.into()), "{seen}");
        let (said, begins) = (waits_for(&seen), format!("{says} connection {} (", connection(&site).await));
        assert!(said.starts_with(&begins) && !said.contains("secret"), "{said}");
        drop(stranger);
        ends_well(&site, migration).await;
    }
}

#[tokio::test]
async fn a_mariadb_that_tells_of_its_metadata_locks_tells_of_them_at_once() {
    let (_server, site) = that_tells_of_metadata_locks().await;
    let stranger = Stranger::that_runs(site.tenant(), LOCKS_USERS).await;
    let migration = site.start(&PATIENT);
    let seen = seen(&site).await;
    let begins = format!("the table metadata lock held by connection {} (", connection(&site).await);
    assert!(waits_for(&seen).starts_with(&begins), "{seen}");
    drop(stranger);
    ends_well(&site, migration).await;
}

#[tokio::test]
async fn an_sqlite_file_that_is_locked_is_seen_with_the_lock_and_nobody_s_name() {
    let cases = [
        ("BEGIN EXCLUSIVE", "a read lock (or the disk) of"),
        ("BEGIN IMMEDIATE", "the write lock of"),
        ("BEGIN; SELECT * FROM users", "the readers (or the disk) of"),
    ];
    for (begin, says) in cases {
        let site = with_users(Kind::Sqlite).await;
        let stranger = Stranger::that_runs(site.tenant(), begin).await;
        let migration = site.start(&PATIENT);
        let seen = seen(&site).await;
        let file = site.tenant().url.trim_start_matches("sqlite:").to_owned();
        assert_eq!(waits_for(&seen), format!("{says} {file}"));
        drop(stranger);
        ends_well(&site, migration).await;
    }
}

#[tokio::test]
async fn what_is_quick_is_not_written_and_what_waits_is_written_once_and_told_once() {
    let site = Site::new(&KINDS, 2).await;
    let registry = TenantDb::registry(&site.home.registry_url());
    registry.execute(COUNTS).await;
    users(&site);
    // Where the machine was slow, nothing was quick.
    let slow = "SELECT count(*) FROM attempts WHERE finished_at - started_at >= 2000";
    let (written, slow) =
        (registry.number("SELECT count(*) FROM written").await, registry.number(slow).await);
    assert!(written == 0 || slow > 0, "{written} written, {slow} slow");
    registry.execute("DELETE FROM written").await;
    let mut stranger = Stranger::that_runs(site.tenant(), MY_PID).await;
    stranger.runs("BEGIN; SELECT * FROM users").await;
    let mut migration = site.start(&[&PATIENT[..], &["--progress", "lines"]].concat());
    let told = lines(&mut migration);
    let waits = |told: &Mutex<Vec<String>>| {
        told.lock()
            .expect("lines")
            .iter()
            .filter(|line| line.starts_with("WAIT "))
            .cloned()
            .collect::<Vec<_>>()
    };
    until("it is told who waits for ten seconds", || async { !waits(&told).is_empty() }).await;
    drop(stranger);
    let _ = finish(migration).exits(0);
    let waits = waits(&told);
    let said = format!(", waits for a lock on users held by pid {} (nightly report, ", pid(&site).await);
    assert!(
        waits.len() == 1 && waits[0].contains(&site.tenant().id) && waits[0].contains(&said),
        "{waits:?}"
    );
    let twice = "SELECT count(*) - count(DISTINCT sighting) FROM written";
    assert_eq!(registry.number(twice).await, 0);
    assert!(registry.number("SELECT count(*) FROM written").await <= 2);
}

/// What a program says on standard error, as it says it.
fn lines(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (pipe, told) = (child.stderr.take().expect("piped"), lines.clone());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            told.lock().expect("lines").push(line);
        }
    });
    lines
}

#[tokio::test]
async fn a_server_that_has_no_connection_left_is_not_asked_and_the_attempt_goes_on() {
    let (id, role) = (unique("few"), unique("one"));
    create_postgres_database(&postgres(), &id).await;
    let url = with_database(&postgres(), &id);
    let (admin, few) = (TenantDb::registry(&url), with_account(&url, &role, "one"));
    admin.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'one' CONNECTION LIMIT 1")).await;
    admin.execute(&format!("ALTER SCHEMA public OWNER TO {role}")).await;
    let tenant = TenantDb { id, kind: Kind::PostgresDatabase, url: few, schema: None };
    let site = Site::of(quick_home(), Fleet { tenants: vec![tenant] });
    users(&site);
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    until("its connection is free", || async { admin.number(&sessions).await == 0 }).await;
    let stranger = Stranger::that_runs(&admin, "BEGIN; SELECT * FROM users").await;
    let migration = site.start(&PATIENT);
    until("it is seen what it does", || async { !sightings(&site).is_empty() }).await;
    let seen = sightings(&site).remove(0);
    assert_eq!((&seen["migration"], &seen["waits_for"]), (&"2".into(), &Value::Null), "{seen}");
    drop(stranger);
    ends_well(&site, migration).await;
}

#[tokio::test]
async fn what_is_seen_belongs_to_an_attempt_and_goes_with_it_in_every_registry() {
    for home in quick_homes().await {
        let mut fleet = Fleet::default();
        fleet.add(Kind::Sqlite, 1, home.path()).await;
        let site = Site::of(home, fleet);
        site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER);");
        let _ = site.home.run(&["enqueue", "--all"]).exits(0);
        let ledger = Ledger::new(Store::open(&site.home.registry_url()).await.expect("a registry"));
        let claim = ledger.claim_due(1, "a worker", Duration::ZERO).await.expect("a claim").remove(0);
        let seen = Seen { migration: Some("1".into()), statement: Some(2), waits_for: Some("it".into()) };
        let sight = async |seen: Option<&Seen>| {
            let (lasted, waited) = (Duration::from_secs(9), seen.map(|_| Duration::from_secs(4)));
            ledger.sight(&claim, seen, lasted, waited).await.expect("a registry")
        };
        assert!(sight(Some(&seen)).await);
        let all = ledger.sightings(claim.job.run, None, 9).await.expect("sightings");
        let now = ledger.store().now_ms().await.expect("a clock");
        assert_eq!((all.len(), &all[0].seen, all[0].tenant.as_str()), (1, &seen, site.tenant().id.as_str()));
        let waits_since = all[0].waits_since.expect("it waits");
        // Some databases read their clock twice in one statement.
        let before = (4_900..5_100).contains(&(waits_since - all[0].since));
        assert!(now - all[0].since >= 9_000 && before, "{all:?} at {now}");
        assert!(sight(None).await && sightings(&site).is_empty() && sight(Some(&seen)).await);

        // The worker is taken for lost; it was paused only, and still looks.
        assert_eq!(ledger.rescue(i64::MAX).await.expect("a rescue"), 1);
        assert!(sightings(&site).is_empty() && !sight(Some(&seen)).await);
        let again = ledger.claim_due(1, "another", Duration::from_secs(9)).await.expect("a claim").remove(0);
        assert_eq!(again.attempt, claim.attempt + 1);
        assert!(sightings(&site).is_empty() && !sight(Some(&seen)).await && sightings(&site).is_empty());
    }
}
