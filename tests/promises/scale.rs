//! Promises at the size of a fleet: what is cheap with ten tenants must hold with thousands of them.

use std::{
    cell::Cell,
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use tenantry_tests::{
    Home, TenantDb,
    fleet::{Kind, create_postgres_database, unique},
    home::finish,
    server::{self, Private, with_database},
    wait::until,
};

use crate::stage::{ledger, targets};

/// How long a job may wait that was sent and is lost: the time after which it is sent again, and some for a busy machine.
const RESENT_MS: i64 = 30_000 + 15_000;

/// So many SQLite tenants, each a copy of one file, in the home's registry.
async fn copies(home: &Home, count: usize, sql: &str) -> Vec<PathBuf> {
    let template = home.path().join("template.db");
    std::fs::write(&template, "").expect("a file");
    let url = format!("sqlite:{}", template.display());
    TenantDb { id: "template".into(), kind: Kind::Sqlite, url, schema: None }.execute(sql).await;
    let content = std::fs::read(&template).expect("the template");
    std::fs::create_dir(home.path().join("tenants")).expect("a directory");
    let path = |n| home.path().join(format!("tenants/t{n:05}.db"));
    let paths: Vec<PathBuf> = (0..count).map(path).collect();
    let mut lines = "id,url\n".to_owned();
    for (n, path) in paths.iter().enumerate() {
        std::fs::write(path, &content).expect("a tenant");
        let _ = writeln!(lines, "t{n:05},sqlite:{}", path.display());
    }
    let _ = home.run(&["registry", "init"]).exits(0);
    let _ = home.run_with_input(&["tenants", "import", "-", "--format", "csv"], &lines).exits(0);
    paths
}

/// Promise 2, and that the loss costs time only: the queue is killed at a third and at two thirds, and each time it comes
/// back empty.
#[tokio::test]
async fn a_run_of_a_thousand_tenants_that_loses_its_whole_queue_twice_loses_time_only() {
    let server = Private::start("redis", "");
    let home = Home::new().with_postgres_registry().await.with("TENANTRY_QUEUE_URL", &server.url);
    let counter = "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0)";
    let paths = copies(&home, 1_000, counter).await;
    home.migration("1_count.sql", "UPDATE counter SET n = n + 1;");
    let _ = home.run(&["enqueue", "--all", "--yes"]).exits(0);
    let _workers = [home.worker(&["--concurrency", "4"]), home.worker(&["--concurrency", "4"])];
    for part in [1_000 / 3, 2_000 / 3] {
        until("a part is done", async || targets(&home, "state = 'applied'").await >= part).await;
        server.stop("kill");
        let sent = targets(&home, "state = 'pending' AND sent_at IS NOT NULL").await;
        assert!(sent > 100, "the queue had {sent} jobs to lose");
        server.restart();
    }
    let run = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1_000.into(), &0.into()), "{run}");
    assert_eq!(
        targets(&home, "state = 'applied' AND attempt = 1 AND uncounted = 0 AND lapses = 0").await,
        1_000
    );
    assert_eq!(ledger(&home).number("SELECT count(*) FROM attempts").await, 1_000);
    let gap = "SELECT max(gap)::bigint FROM (SELECT started_at - lag(started_at) OVER (ORDER BY started_at) AS gap FROM targets) g";
    let gap = ledger(&home).number(gap).await;
    assert!(gap < RESENT_MS, "nothing was begun for {gap} ms");
    for path in &paths {
        let tenant = TenantDb {
            id: path.display().to_string(),
            kind: Kind::Sqlite,
            url: format!("sqlite:{}", path.display()),
            schema: None,
        };
        assert_eq!(tenant.number("SELECT n FROM counter").await, 1, "{}", tenant.id);
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
    }
}

/// What a tenant's file is, to prove that nobody has written to it.
fn as_it_is(path: &PathBuf) -> (u64, SystemTime, bool) {
    let changed = std::fs::metadata(path).and_then(|file| file.modified()).expect("a file");
    let beside = ["-wal", "-shm", "-journal"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
    let mut digest = DefaultHasher::new();
    std::fs::read(path).expect("a tenant").hash(&mut digest);
    (digest.finish(), changed, beside.iter().any(|file| file.exists()))
}

/// Promise 3: what fails in the canary reaches nobody else.
#[tokio::test]
async fn a_migration_that_is_broken_everywhere_stops_after_the_canary_and_ten_thousand_tenants_are_untouched()
{
    let home = Home::new();
    let begun = Instant::now();
    let paths = copies(&home, 10_000, "CREATE TABLE users (id INTEGER PRIMARY KEY)").await;
    let imported = begun.elapsed();
    home.migration(
        "1_first.sql",
        "ALTER TABLE users ADD COLUMN email TEXT;\nINSERT INTO nowhere VALUES (1);",
    );
    let before: Vec<_> = paths.iter().map(as_it_is).collect();
    let begun = Instant::now();
    let _worker = home.worker(&["--concurrency", "8"]);
    let words = ["enqueue", "--all", "--yes", "--canary", "5", "--wait", "--json"];
    let ran = home.run(&words).exits(102);
    let stopped = begun.elapsed();
    let run = ran.json();
    let failed = run["counts"]["failed"].as_i64().expect("a number");
    assert!((1..=5).contains(&failed), "{run}");
    assert_eq!(run["counts"]["skipped"], 10_000 - failed, "{run}");
    assert_eq!(run["stop"]["reason"], "more than 0 of 5 tenants of wave 1 failed (--max-failures)");
    let told = home.run(&["wait"]).exits(102).stderr;
    let why = format!(
        "error: stopped: more than 0 of 5 tenants of wave 1 failed (--max-failures); {} of 10000 tenants not begun",
        10_000 - failed
    );
    assert!(told.contains(&why), "{told}");
    assert_eq!(ledger(&home).number("SELECT count(*) FROM attempts").await, failed);
    assert_eq!(targets(&home, "attempt > 0 AND wave > 1").await, 0);
    assert_eq!(targets(&home, "state = 'skipped' AND attempt = 0 AND wave = 2").await, 9_995);
    let touched = paths.iter().zip(&before).filter(|(path, before)| as_it_is(path) != **before).count();
    assert_eq!(touched, 0, "a failed migration changed its own tenant, or another one");
    assert!(
        imported < Duration::from_secs(60) && stopped < Duration::from_secs(60),
        "{imported:?}, {stopped:?}"
    );
}

/// The most memory that a program has taken so far, in KiB; none when it has ended.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What the one who enqueues and waits takes, and the one who works, for so many tenants.
async fn peaks(home: &Home, version: u32, tenants: usize) -> (u64, u64) {
    home.migration(&format!("{version}_made.sql"), &format!("CREATE TABLE made_{version} (n INTEGER);"));
    let worker = home.worker(&["--concurrency", "4"]);
    let limit = tenants.to_string();
    let producer = home.spawn(&["enqueue", "--all", "--yes", "--limit", &limit, "--wait"]);
    let (waiting, pid) = (Cell::new(0), producer.id());
    let ended = format!("SELECT count(*) FROM runs WHERE number = {version} AND state = 'succeeded'");
    until("the run ends", || {
        waiting.set(waiting.get().max(peak(pid)));
        async { ledger(home).number(&ended).await == 1 }
    })
    .await;
    let _ = finish(producer).exits(0);
    assert_eq!(
        targets(home, "state = 'applied'").await,
        tenants as i64 + i64::from(version - 1) * FEW as i64
    );
    (waiting.get(), peak(worker.pid()))
}

const FEW: usize = 50;
const MANY: usize = 2_000;

/// Promise 6: what they take for many tenants is what they take for a few.
#[tokio::test]
async fn neither_a_worker_nor_a_producer_takes_more_memory_for_more_tenants() {
    let home = Home::new().with_postgres_registry().await;
    let _paths = copies(&home, MANY, "CREATE TABLE users (id INTEGER PRIMARY KEY)").await;
    let few = peaks(&home, 1, FEW).await;
    let many = peaks(&home, 2, MANY).await;
    // A tenant that cost 3 KiB more would be found.
    let more = (MANY - FEW) as u64 * 3;
    assert!(many.0 < few.0 + more && many.1 < few.1 + more, "few: {few:?} KiB, many: {many:?} KiB");
}

/// What an import of so many tenants takes.
async fn importing(tenants: usize) -> u64 {
    let home = Home::new();
    let mut lines = "id,url\n".to_owned();
    for n in 0..tenants {
        let _ = writeln!(lines, "t{n:06},postgres://app:secret@db.internal/tenant_{n:06}");
    }
    std::fs::write(home.path().join("fleet.csv"), lines).expect("a file");
    let _ = home.run(&["registry", "init"]).exits(0);
    let (mut import, mut most) = (home.spawn(&["tenants", "import", "fleet.csv"]), 0);
    until("the import ends", || {
        most = most.max(peak(import.id()));
        let ended = import.try_wait().expect("a process").is_some();
        async move { ended }
    })
    .await;
    assert_eq!(finish(import).exits(0).stdout, format!("added {tenants} tenants\n"));
    most
}

/// Promise 6: a tenant that was kept with all that belongs to it would be a KiB.
#[tokio::test]
async fn an_import_takes_the_memory_of_its_lines_and_not_of_its_tenants() {
    let (few, many) = (importing(2_000).await, importing(20_000).await);
    assert!(many < few + 18_000 / 2, "few: {few} KiB, many: {many} KiB");
}

/// So many tenants of the registry that share a few schemas of a database, which are empty.
async fn schemas(home: &Home, schemas: i64, tenants: i64) -> TenantDb {
    let name = unique("schemas");
    create_postgres_database(&server::postgres(), &name).await;
    let url = with_database(&server::postgres(), &name);
    let all: Vec<String> = (0..schemas).map(|n| format!("CREATE SCHEMA s{n}")).collect();
    let mut lines = "id,url,schema\n".to_owned();
    for n in 0..tenants {
        let _ = writeln!(lines, "t{n:05},{url},s{}", n % schemas);
    }
    let database = TenantDb { id: name, kind: Kind::PostgresDatabase, url, schema: None };
    database.execute(&all.join(";")).await;
    let _ = home.run(&["registry", "init"]).exits(0);
    let _ = home.run_with_input(&["tenants", "import", "-", "--format", "csv"], &lines).exits(0);
    database
}

/// Nothing that is done for a page of tenants, or five times a second, may read all targets of a run.
#[tokio::test]
async fn a_worker_reads_as_few_rows_of_the_ledger_for_each_of_twenty_thousand_tenants_as_of_a_few() {
    const TENANTS: i64 = 20_000;
    let home = Home::new().with_postgres_registry().await;
    let _ = schemas(&home, 20, TENANTS).await;
    home.migration("1_made.sql", "CREATE TABLE made (n INTEGER);");
    let _ = home.run(&["migrate", "--all", "--yes", "--limit", "20"]).exits(0);
    let _ = home.run(&["enqueue", "--all", "--yes"]).exits(0);
    let read = "SELECT (seq_tup_read + COALESCE(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables WHERE relname = 'targets'";
    let before = ledger(&home).number(read).await;
    let mut worker = home.worker(&["--concurrency", "4"]);
    until("the run ends", async || {
        ledger(&home).number("SELECT count(*) FROM runs WHERE number = 2 AND state = 'succeeded'").await == 1
    })
    .await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(), Some(0));
    let read = ledger(&home).number(read).await - before;
    assert_eq!(targets(&home, "state = 'current'").await, TENANTS);
    assert!(read < 30 * TENANTS, "{read} rows of {TENANTS} targets were read");
}

/// What the server counted while all of them were migrated, for each of them.
async fn counted_for_each(home: &Home, database: &TenantDb, count: i64, counter: &str) -> i64 {
    let before = database.number(counter).await;
    let _ = home.run(&["migrate", "--all", "--yes", "--concurrency", "2"]).exits(0);
    // A session that has ended has told all that it counted.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tenantry'";
    until("the sessions end", async || database.number(sessions).await == 0).await;
    (database.number(counter).await - before) / count
}

/// A migration may give every tenant triggers while the server still goes by what it counted before.
#[tokio::test]
async fn a_look_at_one_schema_reads_nothing_of_the_triggers_of_other_schemas() {
    const TENANTS: i64 = 40;
    let home = Home::new();
    let database = schemas(&home, TENANTS, TENANTS).await;
    // Many dependencies, of few kinds and on few tables: the server takes triggers for rare.
    let wide = "DO $$ BEGIN FOR n IN 1..20 LOOP
            EXECUTE (SELECT format('CREATE TABLE wide%s (%s)', n, string_agg('c' || c || ' int DEFAULT 0', ',')) FROM generate_series(1, 1000) c);
        END LOOP; END $$";
    database.execute(wide).await;
    database.execute("VACUUM ANALYZE").await;
    let table = |n| format!("CREATE TABLE t{n} (id int PRIMARY KEY, of int REFERENCES t{n});\n");
    home.migration("1_made.sql", &(0..10).map(table).collect::<String>());
    let entries = "SELECT COALESCE(sum(idx_tup_read), 0)::bigint FROM pg_stat_sys_indexes WHERE indexrelname = 'pg_depend_depender_index'";
    let read = counted_for_each(&home, &database, TENANTS, entries).await;
    assert!((1..400).contains(&read), "{read} entries were read for each tenant");
}

/// What a session has prepared is planned anew once the server has counted a catalog of it.
#[tokio::test]
async fn a_look_at_one_schema_reads_no_names_of_other_schemas_after_it_was_planned_anew() {
    const TENANTS: i64 = 20;
    let home = Home::new();
    let database = schemas(&home, TENANTS, TENANTS).await;
    let others = "DO $$ BEGIN FOR n IN 1..2000 LOOP EXECUTE 'CREATE SCHEMA other' || n; END LOOP; END $$";
    database.execute(others).await;
    let counts = "ANALYZE pg_catalog.pg_depend; CREATE TABLE made (n int);";
    home.migration("1_made.sql", counts);
    // The views of these counters would read the names themselves.
    let names = "SELECT pg_stat_get_tuples_returned('pg_catalog.pg_namespace'::regclass)";
    let read = counted_for_each(&home, &database, TENANTS, names).await;
    assert!(read < 1_000, "{read} names were read for each tenant");
}
