//! Runs from the operator's side: starting, following, looking and trying again.

mod waiting;

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind};

/// A registry and so many SQLite tenants, which all take the first migration; the second one fails where `users` holds
/// two equal names, with another cause where there is no `users` any more.
async fn fleet(count: usize) -> (Home, Vec<TenantDb>) {
    fleet_in(Home::new(), count).await
}

async fn fleet_in(home: Home, count: usize) -> (Home, Vec<TenantDb>) {
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, count, home.path()).await;
    fleet.register(&home);
    (home, fleet.tenants)
}

/// The same after the second migration failed in the first tenant for one cause and in the second for another: run 2.
async fn with_two_causes(home: Home) -> (Home, Vec<TenantDb>) {
    let (home, tenants) = fleet_in(home, 4).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    tenants[0].execute("INSERT INTO users (name) VALUES ('ann'), ('ann')").await;
    tenants[1].execute("DROP TABLE users").await;
    home.migration("2_unique.sql", "CREATE UNIQUE INDEX users_name ON users (name);");
    let _ = home.run(&["migrate", "--all"]).exits(100);
    (home, tenants)
}

/// Runs a test with a registry of every kind.
macro_rules! with_every_registry {
    ($($test:ident),+ $(,)?) => {
        mod with_an_sqlite_registry {
            $(#[tokio::test]
            async fn $test() { super::$test(super::Home::new()).await; })+
        }
        mod with_a_postgres_registry {
            $(#[tokio::test]
            async fn $test() { super::$test(super::Home::new().with_postgres_registry().await).await; })+
        }
        mod with_a_mariadb_registry {
            $(#[tokio::test]
            async fn $test() { super::$test(super::Home::new().with_mariadb_registry().await).await; })+
        }
    };
}

with_every_registry! {
    each_way_to_select_takes_exactly_its_tenants,
    a_run_is_one_json_document_of_the_same_form_everywhere,
    the_texts_name_the_failed_tenants_their_causes_and_the_next_commands,
    the_exit_code_of_status_tells_a_fleet_that_is_behind,
    a_retry_takes_exactly_the_failed_tenants_of_its_run,
    a_retry_after_mending_finishes_the_fleet,
    a_retry_can_bring_mended_migrations,
}

fn ids(run: &Value) -> Vec<&str> {
    let tenants = run["tenants"].as_array().expect("tenants");
    tenants.iter().map(|t| t["tenant"].as_str().expect("a name")).collect()
}

fn sorted_ids(mut ids: Vec<&str>) -> Vec<&str> {
    ids.sort_unstable();
    ids
}

fn members(home: &Home, run: &str) -> Vec<String> {
    ids(&home.run(&["status", run, "--json"]).exits(0).json()).into_iter().map(str::to_owned).collect()
}

/// The causes of the newest run, each with its only tenant.
fn causes(home: &Home, run: &str) -> Vec<(String, String)> {
    let run = home.run(&["status", run, "--json"]).exits(0).json();
    let failures = run["failures"].as_array().expect("failures").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    failures.map(|f| (text(&f["fingerprint"]), text(&f["tenants"][0]))).collect()
}

#[tokio::test]
async fn enqueue_prints_the_number_of_its_run_and_nothing_else() {
    let (home, _) = fleet(1).await;
    for number in ["1\n", "2\n"] {
        let ran = home.run(&["enqueue", "--all", "--overlap"]).exits(0);
        assert_eq!(ran.stdout, number);
        assert!(ran.stderr.contains("no worker is alive"), "{ran:?}");
    }
    let quiet = home.run(&["enqueue", "--all", "--overlap", "--quiet"]).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("3\n", ""));
}

/// Promise 1.
async fn each_way_to_select_takes_exactly_its_tenants(home: Home) {
    let (home, tenants) = with_two_causes(home).await;
    let id = |at: usize| tenants[at].id.as_str();
    let mut sorted: Vec<&str> = tenants.iter().map(|t| t.id.as_str()).collect();
    sorted.sort_unstable();
    let _ = home.run(&["tenants", "set", id(2), "--label", "plan=pro"]).exits(0);
    let both = format!("{},{}", id(0), id(3));
    let lines = format!("# two of them\n{}\n\n  {}  \n", id(3), id(1));
    let selected = |args: &[&str], input: &str| {
        let ran = home.run_with_input(&[&["enqueue", "--overlap"], args].concat(), input).exits(0);
        members(&home, ran.stdout.trim())
    };
    assert_eq!(selected(&["--all"], ""), sorted);
    assert_eq!(selected(&["-t", &both], ""), sorted_ids(vec![id(0), id(3)]));
    assert_eq!(selected(&["-t", id(0), "--tenant", id(3)], ""), sorted_ids(vec![id(0), id(3)]));
    assert_eq!(selected(&["--tenants-file", "-"], &lines), sorted_ids(vec![id(1), id(3)]));
    std::fs::write(home.path().join("names"), &lines).expect("a file");
    assert_eq!(selected(&["--tenants-file", "names"], ""), sorted_ids(vec![id(1), id(3)]));
    assert_eq!(selected(&["-l", "plan=pro"], ""), [id(2)]);
    assert_eq!(selected(&["-l", "kind=Sqlite,!plan"], ""), sorted_ids(vec![id(0), id(1), id(3)]));
    assert_eq!(selected(&["--all", "-x", &both], ""), sorted_ids(vec![id(1), id(2)]));
    assert_eq!(selected(&["--all", "--limit", "2"], ""), sorted[..2]);
    assert_eq!(selected(&["--failed-in", "2"], ""), sorted_ids(vec![id(0), id(1)]));
    assert_eq!(selected(&["--failed-in", "latest-failed", "-x", id(0)], ""), [id(1)]);
}

#[tokio::test]
async fn a_run_stops_at_its_target() {
    let (home, tenants) = fleet(2).await;
    home.migration("2_more.sql", "CREATE TABLE more (id INTEGER);");
    for (target, flag) in [(1, "--target"), (2, "--to")] {
        let run = home.run(&["migrate", "--all", flag, &target.to_string(), "--json"]).exits(0).json();
        assert_eq!(run["target"], target.to_string());
        for tenant in &tenants {
            assert_eq!(tenant.versions().await, (1..=target).collect::<Vec<_>>());
        }
    }
}

async fn a_run_is_one_json_document_of_the_same_form_everywhere(home: Home) {
    let (home, tenants) = with_two_causes(home).await;
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
    let waited = home.run(&["wait", "2", "--json"]).exits(100).json();
    let expected = [
        "action",
        "bundle",
        "causes",
        "central",
        "counts",
        "created_at",
        "deadline_at",
        "description",
        "duration_ms",
        "exit_code",
        "failures",
        "finished_at",
        "idempotency_key",
        "ignored",
        "joined",
        "not_in_run",
        "number",
        "parent",
        "paused_at",
        "reason",
        "requested_by",
        "retrying",
        "run",
        "running",
        "schema",
        "selection",
        "sets",
        "sightings",
        "soak_until",
        "started_at",
        "state",
        "stop",
        "target",
        "wave",
        "waves",
    ];
    assert_eq!(keys(&waited), expected);
    assert_eq!(waited["schema"], "tenantry.run/v1");
    assert_eq!(
        (&waited["number"], &waited["state"], &waited["exit_code"]),
        (&2.into(), &"failed".into(), &100.into())
    );
    assert_eq!(waited["target"], "2");
    let counts = json!({ "total": 4, "pending": 0, "running": 0, "retryable": 0, "applied": 2, "current": 0, "failed": 2, "skipped": 0, "retried": 0, "held": 0 });
    assert_eq!(waited["counts"], counts);
    assert_eq!(
        keys(&waited["failures"][0]),
        [
            "class",
            "code",
            "count",
            "failed_in",
            "fingerprint",
            "held",
            "hint",
            "line",
            "message",
            "migration",
            "refused",
            "retry",
            "statement",
            "tenants",
            "truncated"
        ]
    );
    let runs = home.run(&["runs", "--json"]).exits(0).json();
    assert_eq!((&runs["schema"], &runs["runs"][0]), (&"tenantry.runs/v1".into(), &waited));
    let status = home.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["schema"], &status["runs"][0]), (&"tenantry.status/v1".into(), &waited));
    assert_eq!(
        status["versions"],
        json!([{ "version": "2", "tenants": 2 }, { "version": "1", "tenants": 2 }])
    );
    let mut of_run = home.run(&["status", "2", "--json"]).exits(0).json();
    assert_eq!(ids(&of_run).len(), 4);
    of_run.as_object_mut().expect("an object").remove("tenants");
    assert_eq!(of_run, waited);
    let logs = home.run(&["logs", "2", "-t", &tenants[0].id, "--json"]).exits(0).json();
    assert_eq!((&logs["schema"], &logs["number"]), (&"tenantry.logs/v1".into(), &2.into()));
    let attempt = &logs["attempts"][0];
    assert_eq!(
        (&attempt["outcome"], &attempt["migration"], &attempt["attempt"]),
        (&"failed".into(), &"2".into(), &1.into())
    );
    let error = home.run(&["wait", "99", "--json"]).exits(2);
    let document = json!({ "schema": "tenantry.error/v1", "exit_code": 2, "error": "there is no run 99", "hint": "list them with: tenantry runs" });
    assert_eq!(error.json(), document);
    let enqueued = home.run(&["enqueue", "--all", "--reason", "deploy 7", "-o", "json"]).exits(0).json();
    assert_eq!((&enqueued["state"], &enqueued["exit_code"]), (&"pending".into(), &Value::Null));
    assert_eq!((keys(&enqueued), &enqueued["reason"]), (keys(&waited), &"deploy 7".into()));
}

async fn the_texts_name_the_failed_tenants_their_causes_and_the_next_commands(home: Home) {
    let (home, tenants) = with_two_causes(home).await;
    let waited = home.run(&["wait", "2"]).exits(100);
    let found = causes(&home, "2");
    assert_eq!(found.len(), 2);
    for (fingerprint, tenant) in &found {
        assert!(waited.stdout.contains(fingerprint) && waited.stdout.contains(tenant), "{waited:?}");
    }
    assert!(waited.stdout.contains("4 tenants: 2 applied, 0 current, 2 failed"), "{waited:?}");
    assert!(waited.stdout.contains(&format!("tenantry retry 2 --error {}", found[0].0)), "{waited:?}");
    assert!(waited.stderr.ends_with("error: 2 of 4 tenants failed\n"), "{waited:?}");

    let failed = home.run(&["status", "2", "--state", "failed"]).exits(0);
    assert_eq!(failed.stdout.lines().count(), 3, "{failed:?}");
    assert!(!failed.stderr.contains("error: "), "looking is no error: {failed:?}");
    let runs = home.run(&["runs", "--limit", "1"]).exits(0).stdout;
    let mut lines = runs.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().expect("a heading")[..3], ["RUN", "STATE", "TARGET"]);
    assert_eq!(lines.next().expect("a run")[..3], ["2", "failed", "2"]);
    assert!(lines.next().is_none());
    let fleet = home.run(&["status"]).exits(0).stdout;
    assert!(fleet.starts_with("FLEET    4 tenants active · 2 at 2 · 2 at 1\n"), "{fleet}");
    let logs = home.run(&["logs", "2", "-t", &tenants[0].id]).exits(0).stdout;
    assert!(logs.contains("attempt 1  failed") && logs.contains("UNIQUE"), "{logs}");
    let logs = home.run(&["logs", "2", "-t", &tenants[2].id]).exits(0).stdout;
    assert!(logs.contains("applied  2_unique.sql"), "{logs}");
    for args in
        [&["wait", "2"][..], &["status", "2"], &["runs"], &["doctor"], &["logs", "2", "-t", &tenants[0].id]]
    {
        let ran = home.run(args);
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{args:?} colors a pipe");
    }
    let colored = home.run(&["wait", "2", "--color", "always"]).exits(100);
    assert!(colored.stdout.contains('\u{1b}'), "{colored:?}");
}

/// Promise 4.
async fn the_exit_code_of_status_tells_a_fleet_that_is_behind(home: Home) {
    let (home, tenants) = fleet_in(home, 2).await;
    let status = |args: &[&str], code| {
        let _ = home.run(&[&["status"], args].concat()).exits(0);
        let _ = home.run(&[&["status", "--exit-code"], args].concat()).exits(code);
    };
    status(&[], 103);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    status(&[], 0);
    status(&["latest"], 0);
    status(&["-t", &tenants[0].id], 0);
    tenants[0].execute("DROP TABLE users").await;
    home.migration("2_more.sql", "ALTER TABLE users ADD COLUMN more TEXT;");
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    status(&[], 103);
    status(&["latest"], 103);
    let _ = home.run(&["migrate", "--all"]).exits(100);
    status(&[], 103);
    status(&["latest"], 103);
    status(&["-t", &tenants[0].id], 103);
    status(&["-t", &tenants[1].id], 0);
}

#[tokio::test]
async fn migrate_does_the_whole_fleet_in_one_process() {
    let (home, tenants) = fleet(5).await;
    let ran = home.run(&["migrate", "--all", "--concurrency", "2"]).exits(0);
    assert!(ran.stdout.contains("5 tenants: 5 applied, 0 current, 0 failed"), "{ran:?}");
    for tenant in &tenants {
        assert_eq!(tenant.versions().await, [1]);
    }
    let again = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!(again["counts"]["current"], 5);
    let one = home.run(&["migrate", "-t", &tenants[0].id]).exits(0);
    assert!(one.stdout.contains("1 tenant: 0 applied, 1 current"), "{one:?}");
}

async fn a_retry_takes_exactly_the_failed_tenants_of_its_run(home: Home) {
    let (home, tenants) = with_two_causes(home).await;
    let mut failed = vec![tenants[0].id.clone(), tenants[1].id.clone()];
    failed.sort_unstable();
    assert_eq!(members(&home, home.run(&["retry"]).exits(0).stdout.trim()), failed);
    let one = home.run(&["retry", "2", "-t", &tenants[1].id, "--overlap", "--json"]).exits(0).json();
    assert_eq!((&one["parent"], &one["counts"]["total"]), (&2.into(), &1.into()), "{one}");
    assert_eq!(members(&home, &one["number"].to_string()), [tenants[1].id.clone()]);
    for (fingerprint, tenant) in causes(&home, "2") {
        let ran = home.run(&["retry", "2", "--error", &fingerprint, "--overlap"]).exits(0);
        assert_eq!(members(&home, ran.stdout.trim()), [tenant]);
    }
}

async fn a_retry_after_mending_finishes_the_fleet(home: Home) {
    let (home, tenants) = with_two_causes(home).await;
    let again = home.run(&["retry", "--work"]).exits(100);
    assert!(again.stdout.starts_with("3\n") && again.stderr.contains("2 of 2 tenants failed"), "{again:?}");
    tenants[0].execute("UPDATE users SET name = 'bob' WHERE id = 2").await;
    let one = home.run(&["retry", "--work", "--json"]).exits(100).json();
    assert_eq!((&one["counts"]["applied"], &one["counts"]["failed"]), (&1.into(), &1.into()), "{one}");
    tenants[1].execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)").await;
    let worker = home.worker(&[]);
    let ran = home.run(&["retry", "--wait"]).exits(0);
    assert_eq!(ran.stdout, "5\n");
    drop(worker);
    for tenant in &tenants {
        assert_eq!(tenant.versions().await, [1, 2]);
    }
    let _ = home.run(&["status", "--exit-code"]).exits(0);
}

async fn a_retry_can_bring_mended_migrations(home: Home) {
    let (home, tenants) = fleet_in(home, 2).await;
    home.migration("2_bad.sql", "SELECT * FROM nowhere;");
    let _ = home.run(&["migrate", "--all"]).exits(100);
    home.migration("2_bad.sql", "CREATE TABLE more (id INTEGER);");
    let _ = home.run(&["retry", "--work"]).exits(100);
    let _ = home.run(&["retry", "--work", "--source", "migrations"]).exits(0);
    for tenant in &tenants {
        assert_eq!(tenant.versions().await, [1, 2]);
    }
}
