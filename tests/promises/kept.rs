//! Sessions that one tenant's attempt leaves to the next one's: nothing of a tenant is in them, and few messages are sent.

use std::collections::HashSet;

use tenantry_tests::{
    Fleet, Home, TenantDb,
    fleet::Kind,
    server::{self, Private},
    wait::until,
};

use crate::{servers::set_cap, site::Site};

/// Tells what a migration finds in its session.
const SEES: &str = "CREATE TABLE seen (pid bigint, role text, memory text, tables bigint, locks bigint, prepared bigint, channels bigint, path text);
INSERT INTO seen SELECT pg_backend_pid(), current_user, current_setting('work_mem'),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    (SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'tenantry%'),
    (SELECT count(*) FROM pg_listening_channels()), current_setting('search_path');\n";

/// Leaves as much in its session as a migration can.
const LEAVES: &str = "SET work_mem = '123MB'; SET statement_timeout = '7min'; CREATE TEMP TABLE leftover (n int);
SELECT pg_advisory_lock(4711); SELECT pg_advisory_lock_shared(4712); LISTEN gossip; DECLARE c CURSOR WITH HOLD FOR SELECT 1;
DO $$ BEGIN EXECUTE format('GRANT ALL ON SCHEMA %I TO pg_monitor; GRANT ALL ON ALL TABLES IN SCHEMA %1$I TO pg_monitor', current_schema()); END $$;
SET ROLE pg_monitor;\n";

async fn schemas(count: usize, sql: &str) -> Site {
    let site = Site::new(&[Kind::PostgresSchema], count).await;
    site.home.migration("1_sees.sql", sql);
    site
}

/// The sessions that migrated these tenants, each of which has found nothing of another one.
async fn sessions(site: &Site) -> HashSet<i64> {
    let mut pids = HashSet::new();
    for tenant in &site.fleet.tenants {
        // The tenant's own lock and the shared one of sqlx are all that it has.
        let clean = "SELECT count(*) FROM seen WHERE memory <> '123MB' AND tables = 0 AND locks = 2 AND prepared = 0 AND channels = 0
            AND role = session_user AND path LIKE '%' || current_schema() || '%'";
        assert_eq!(
            tenant.number(clean).await,
            1,
            "{}: {:?}",
            tenant.id,
            tenant.text("SELECT seen::text FROM seen").await
        );
        pids.insert(tenant.number("SELECT pid FROM seen").await);
    }
    pids
}

#[tokio::test]
async fn tenants_of_one_session_see_nothing_of_each_other() {
    let site = schemas(4, &format!("{SEES}{LEAVES}")).await;
    let run = site.migrate(&["--concurrency", "1"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 4, "{run}");
    assert_eq!(sessions(&site).await.len(), 1);
}

#[tokio::test]
async fn a_session_with_a_statement_that_somebody_prepared_is_not_kept() {
    let site = schemas(3, &format!("{SEES}PREPARE gossip AS SELECT 1;\n")).await;
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    assert_eq!(sessions(&site).await.len(), 3);
}

#[tokio::test]
async fn no_session_is_kept_while_a_server_has_a_cap() {
    let site = schemas(3, SEES).await;
    set_cap(&site.home, &server::postgres(), "1");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    assert_eq!(sessions(&site).await.len(), 3);
}

#[tokio::test]
async fn the_session_of_a_tenant_that_failed_is_not_kept() {
    let site = schemas(1, &format!("{SEES}DO $$ BEGIN RAISE 'no'; END $$;\n")).await;
    let cause = site.fails(100, &["--concurrency", "1"]);
    assert_eq!((&cause["code"], &cause["statement"]), (&"P0001".into(), &3.into()), "{cause}");
    let tenant = site.tenant();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry'";
    assert_eq!(tenant.number(left).await, 0);
    assert!(tenant.tables().await.is_empty());
}

/// Stands still in a tenant that has a gate, until that is open.
const STANDS: &str = "DO $$ BEGIN IF to_regclass('gate') IS NOT NULL THEN
    WHILE NOT EXISTS (SELECT FROM gate WHERE is_open) LOOP PERFORM pg_sleep(0.01); END LOOP; END IF; END $$;\n";

/// The session that stands still.
const STANDING: &str = "SELECT CAST(COALESCE(max(pid), 0) AS bigint) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '%FROM gate WHERE is_open%' AND pid <> pg_backend_pid()";

/// A worker that has one slot works this tenant, and has another one's run behind it: their sessions, where the first
/// is canceled, or comes to its end.
async fn sessions_of_two(canceled: bool) -> (i64, i64) {
    let site = schemas(2, &format!("{SEES}{STANDS}")).await;
    let [first, second] = &site.fleet.tenants[..] else { panic!("two tenants") };
    first.execute("CREATE TABLE gate (is_open boolean)").await;
    let _worker = site.home.worker(&["--concurrency", "1"]);
    let _ = site.home.run(&["enqueue", "-t", &first.id]).exits(0);
    until("the first tenant stands still", async || first.number(STANDING).await > 0).await;
    let pid = first.number(STANDING).await;
    let _ = site.home.run(&["enqueue", "-t", &second.id]).exits(0);
    if canceled {
        let _ = site.home.run(&["cancel", "1", "--force", "--yes"]).exits(0);
    } else {
        first.execute("INSERT INTO gate VALUES (true)").await;
    }
    let _ = site.home.run(&["wait", "2"]).exits(0);
    until("nothing stands still", async || first.number(STANDING).await == 0).await;
    (pid, second.number("SELECT pid FROM seen").await)
}

/// Promise 3.
#[tokio::test]
async fn the_session_of_a_canceled_attempt_is_not_kept() {
    let (first, second) = sessions_of_two(false).await;
    assert_eq!(first, second, "one that comes to its end leaves its session to the next");
    let (first, second) = sessions_of_two(true).await;
    assert_ne!(first, second);
}

/// A server that logs what is sent to it, and a fleet of schemas there.
async fn logged(tenants: usize) -> (Private, Site) {
    let options = "-c log_statement=all -c log_line_prefix=%a|";
    let server = Private::start("postgres", options);
    let url = server::with_database(&server.url, "postgres");
    let mut fleet = Fleet::default();
    for number in 0..tenants {
        let schema = format!("messages_{number}");
        let tenant = TenantDb {
            id: schema.replace('_', "-"),
            kind: Kind::PostgresSchema,
            url: url.clone(),
            schema: Some(schema.clone()),
        };
        TenantDb::registry(&url).execute(&format!("CREATE SCHEMA {schema}")).await;
        fleet.tenants.push(tenant);
    }
    (server, Site::of(Home::new(), fleet))
}

/// What was sent to a server by us, in messages.
fn messages(server: &Private) -> Vec<String> {
    let log = std::fs::read_to_string(server.log()).expect("a log");
    log.split("tenantry|")
        .filter_map(|entry| entry.split_once("statement: ").map(|(_, sent)| sent.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_tenant_takes_one_message_for_each_migration_and_one_beside() {
    const TENANTS: usize = 10;
    let (server, site) = logged(TENANTS).await;
    for number in 1..=5 {
        let sql = format!("CREATE TABLE t{number} (id bigserial PRIMARY KEY, name text);\n");
        site.home.migration(&format!("{number}_t.sql"), &sql);
    }
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    // A new session looks around it before its first tenant.
    let (most, sent) = (TENANTS * (5 + 1) + 4, messages(&server).len());
    assert!(sent <= most, "{sent} messages, not {most}");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let (most, sent) = (sent + TENANTS * 3, messages(&server).len());
    assert!(sent <= most, "{sent} messages, not {most}");
}

/// The session has been freed when it learns that there is something that it has not asked for.
#[tokio::test]
async fn what_a_session_meets_for_the_first_time_is_read_under_the_tenants_lock() {
    let (server, site) = logged(2).await;
    let sql = "CREATE TABLE t (id int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();\n";
    site.home.migration("1_t.sql", sql);
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let (mut locked, mut looks) = (false, 0);
    for sent in messages(&server) {
        locked |= sent.contains("pg_try_advisory_lock");
        if sent.contains("SET LOCAL timezone") {
            looks += 1;
            assert!(locked, "{sent}");
        }
        locked &= !sent.contains("EXECUTE tenantry_left");
    }
    assert!(looks > 2, "{looks} looks");
}

#[tokio::test]
async fn a_session_that_was_kept_finds_what_another_tool_has_made_of_the_next_tenant() {
    let site = schemas(3, "CREATE TABLE t (id int);\n").await;
    let last = &site.fleet.tenants[2];
    last.execute("CREATE TABLE django_migrations (id int, app text, name text, applied timestamptz)").await;
    let run = site.migrate(&["--concurrency", "1"]).exits(100).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&2.into(), &1.into()), "{run}");
    assert_eq!(run["failures"][0]["code"], "foreign-history", "{run}");
}
