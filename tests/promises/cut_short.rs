//! The program that writes a run dies: at each of its statements, one after the other, and in an SQLite registry at each
//! of its writes. Whatever the moment, there is a whole run or none, and the next one finds nothing in its way.

use std::{fmt::Write as _, path::PathBuf, process::Stdio};

use tenantry_tests::{
    Fleet, Home, Ran,
    fleet::Kind,
    home::finish,
    teller::{Moment, Teller},
};

use crate::stage::ledger;

const TENANTS: usize = 5;

/// More statements, and writes, than it may take.
const ENOUGH: u64 = 400;

/// A sync that changes every tenant, a new bundle, waves: all that is written before a run.
const ENQUEUE: [&str; 8] = ["enqueue", "--all", "--yes", "--sync", "--canary", "1", "--waves", "50%"];

/// A registry whose tenants come from a file, each with a counter that no migration has counted up yet.
async fn stage(home: &Home) -> Fleet {
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, TENANTS, home.path()).await;
    for tenant in &fleet.tenants {
        tenant.execute("CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0)").await;
    }
    let config = "[source]\nfile = 'list.csv'\n";
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a configuration");
    let _ = home.run(&["registry", "init"]).exits(0);
    list(home, &fleet, 0);
    let _ = home.run(&["tenants", "sync", "--yes"]).exits(0);
    home.migration("1_count.sql", "UPDATE counter SET n = n + 1;\n");
    home.migration("2_more.sql", "CREATE TABLE more (n BIGINT);\n");
    fleet
}

/// What the source lists: every tenant is another one each round.
fn list(home: &Home, fleet: &Fleet, round: u64) {
    let mut text = "id,url,label.round\n".to_owned();
    for tenant in &fleet.tenants {
        let _ = writeln!(text, "{},{},r{round}", tenant.id, tenant.url);
    }
    std::fs::write(home.path().join("list.csv"), text).expect("a list");
}

/// What must be so beside the runs, and what tells how many are not so: all in one statement, for connections take time.
const WHOLE: [(&str, &str); 9] = [
    (
        "a run has not all its targets, or not in their waves",
        "SELECT count(*) FROM runs r WHERE waves <> '[1,2,2]' OR (SELECT count(*) FROM targets g WHERE g.run_id = r.id AND g.wave > 0) <> 5",
    ),
    ("a target has no run", "SELECT count(*) FROM targets WHERE run_id NOT IN (SELECT id FROM runs)"),
    ("a number is lost", "SELECT value - (SELECT count(*) FROM runs) FROM counters WHERE name = 'run'"),
    (
        "a run is not in the audit log",
        "SELECT count(*) FROM runs WHERE id NOT IN (SELECT run_id FROM events WHERE kind = 'run.enqueued')",
    ),
    (
        "the audit log has a run that is none",
        "SELECT count(*) FROM events WHERE kind = 'run.enqueued' AND run_id NOT IN (SELECT id FROM runs)",
    ),
    ("a sync is not whole", "SELECT count(DISTINCT value) - 1 FROM tenant_labels WHERE name = 'round'"),
    ("a label is lost", "SELECT count(*) - 5 FROM tenant_labels WHERE name = 'round'"),
    ("a tenant is lost", "SELECT count(*) - 5 FROM tenants WHERE status = 'active'"),
    // Two migrations, and what is said of their set.
    (
        "a bundle is not whole",
        "SELECT count(*) FROM bundles WHERE (SELECT count(*) FROM bundle_files f WHERE f.digest = bundles.digest) <> 3",
    ),
];

/// Whatever a program that died has written is whole. Gives how many runs there are.
async fn whole_or_none(home: &Home, at: &str) -> i64 {
    let bit =
        |(n, (_, sql)): (usize, &(&str, &str))| format!("CASE WHEN ({sql}) = 0 THEN 0 ELSE {} END", 1 << n);
    let wrong = WHOLE.iter().enumerate().map(bit).collect::<Vec<_>>().join(" + ");
    let found = ledger(home).number(&format!("SELECT (SELECT count(*) FROM runs) * 512 + {wrong}")).await;
    for (n, (what, _)) in WHOLE.iter().enumerate() {
        assert_eq!(found >> n & 1, 0, "{at}: {what}");
    }
    found / 512
}

/// Workers bring what was written to its end, and another run finds nothing in its way.
async fn all_is_done_once(home: &Home, fleet: &Fleet, at: &str) {
    let _worker = home.worker(&["--concurrency", "4"]);
    let runs = ledger(home).number("SELECT count(*) FROM runs").await;
    if runs > 0 {
        let _ = home.run(&["wait", &runs.to_string()]).exits(0);
    }
    let _ = home.run(&[&ENQUEUE, &["--wait"][..]].concat()).exits(0);
    for tenant in &fleet.tenants {
        assert_eq!(tenant.number("SELECT n FROM counter").await, 1, "{}, {at}", tenant.id);
        assert_eq!(tenant.versions().await, [1, 2], "{}, {at}", tenant.id);
    }
}

/// The next death finds what this one found: no bundle and no run.
async fn forget(home: &Home) {
    let tables = ["attempts", "targets", "runs", "bundle_files", "bundles", "events"];
    let forget = tables.map(|table| format!("DELETE FROM {table};")).concat();
    ledger(home).execute(&format!("{forget} UPDATE counters SET value = 0")).await;
}

async fn an_enqueue_dies_at_each_statement(home: Home, moment: Moment) {
    let fleet = stage(&home).await;
    let (mut written, mut survived) = (0, None);
    for number in 1..ENOUGH {
        let at = format!("killed at statement {number}, {moment:?}");
        list(&home, &fleet, number);
        let ran = by_way_of(&home, &Teller::start(&home.registry_url(), number, moment));
        if ran.code == 0 {
            survived = Some(number);
            break;
        }
        assert_eq!(ran.code, -1, "{at}: {ran:?}");
        if whole_or_none(&home, &at).await > 0 {
            all_is_done_once(&home, &fleet, &at).await;
            written += 1;
        }
        forget(&home).await;
    }
    assert!(survived.is_some_and(|number| number > 20), "it survived at {survived:?}");
    assert!(written > 0, "it never died after it had written its run");
    all_is_done_once(&home, &fleet, "in the end").await;
}

fn by_way_of(home: &Home, teller: &Teller) -> Ran {
    let mut command = home.command("tenantry", &ENQUEUE);
    command.env("TENANTRY_REGISTRY_URL", &teller.url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("tenantry");
    teller.program(child.id());
    finish(child)
}

/// Promise 1.
#[tokio::test]
async fn an_enqueue_that_dies_before_any_statement_leaves_a_whole_run_or_none_in_postgres() {
    an_enqueue_dies_at_each_statement(Home::new().with_postgres_registry().await, Moment::Before).await;
}

/// Promise 1. The queue is Redis.
#[tokio::test]
async fn an_enqueue_that_dies_after_any_statement_leaves_a_whole_run_or_none_in_postgres() {
    let home = Home::new().with_postgres_registry().await.with_redis_queue();
    an_enqueue_dies_at_each_statement(home, Moment::After).await;
}

/// Promise 1.
#[tokio::test]
async fn an_enqueue_that_dies_before_any_statement_leaves_a_whole_run_or_none_in_mariadb() {
    an_enqueue_dies_at_each_statement(Home::new().with_mariadb_registry().await, Moment::Before).await;
}

/// Promise 1.
#[tokio::test]
async fn an_enqueue_that_dies_after_any_statement_leaves_a_whole_run_or_none_in_mariadb() {
    an_enqueue_dies_at_each_statement(Home::new().with_mariadb_registry().await, Moment::After).await;
}

/// Promise 1. Every second death is in the middle of a write.
#[tokio::test]
async fn an_enqueue_that_dies_at_any_write_leaves_a_whole_run_or_none_in_sqlite() {
    let mut home = Home::new();
    let fleet = stage(&home).await;
    let undertaker = undertaker(&home);
    let before = registry_files(&home);
    let (mut was_written, mut survived) = (false, None);
    for number in 1..ENOUGH {
        let at = format!("killed at write {number}");
        home = restored(home, &before, number);
        list(&home, &fleet, number);
        let mut command = home.command("tenantry", &ENQUEUE);
        command.env("LD_PRELOAD", &undertaker).env("KILL_FILE", "registry.db");
        command.env("KILL_AT", number.to_string()).stdin(Stdio::null());
        if number % 2 == 0 {
            command.env("KILL_TORN", "1");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = finish(command.spawn().expect("tenantry"));
        if ran.code == 0 {
            survived = Some(number);
            break;
        }
        assert_eq!(ran.code, -1, "{at}: {ran:?}");
        let check = ledger(&home).text("PRAGMA integrity_check").await;
        assert_eq!(check.as_deref(), Some("ok"), "{at}");
        // Behind the commit of the run there are writes only where the program found time to tidy up.
        let is_written = whole_or_none(&home, &at).await > 0;
        if number % 16 == 0 || (is_written && !was_written) {
            all_is_done_once(&home, &fleet, &at).await;
        }
        was_written |= is_written;
    }
    assert!(survived.is_some_and(|number| number > 20), "it survived at {survived:?}");
    all_is_done_once(&home, &fleet, "in the end").await;
}

/// What kills a program from within, at a write that is told by number.
fn undertaker(home: &Home) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/kit/undertaker.c");
    let library = home.path().join("undertaker.so");
    let words = ["-shared", "-fPIC", "-O1", "-o"];
    let mut compiler = std::process::Command::new("cc");
    let done = compiler.args(words).arg(&library).args([source, "-ldl"]).output().expect("cc");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    library
}

const FILES: [&str; 2] = ["registry.db", "registry.db-wal"];

/// The files of a registry that no program has open.
fn registry_files(home: &Home) -> Vec<Option<Vec<u8>>> {
    FILES.iter().map(|file| std::fs::read(home.path().join(".tenantry").join(file)).ok()).collect()
}

/// The home with a registry of these files, in a place of its own: whoever has the last one open still does it no harm.
fn restored(home: Home, files: &[Option<Vec<u8>>], number: u64) -> Home {
    let dir = home.path().join(format!("registry-{number}"));
    std::fs::create_dir(&dir).expect("a directory");
    for (file, content) in FILES.iter().zip(files) {
        if let Some(content) = content {
            std::fs::write(dir.join(file), content).expect("a file");
        }
    }
    home.with("TENANTRY_REGISTRY_URL", &format!("sqlite:{}", dir.join(FILES[0]).display()))
}
