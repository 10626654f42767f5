//! The set of the central database, before all tenants.

use serde_json::json;
use tenantry_tests::{Fleet, Home, fleet::Kind, wait::until};

use super::{scene, states, tables, write};
use crate::stage::{Gates, ledger, targets, until_at_their_gates};

#[tokio::test]
async fn when_the_central_database_fails_no_tenant_is_started_and_a_retry_takes_all() {
    for home in [Home::new(), Home::new().with_mariadb_registry().await] {
        central_fails(home).await;
    }
}

async fn central_fails(home: Home) {
    let (home, tenants, central) = scene(home, Kind::Sqlite, 3).await;
    write(&home, "migrations/central/3_rates.sql", "INSERT INTO rates VALUES (1);");
    let failed = home.run(&["migrate", "--all"]).exits(100);
    assert!(failed.stdout.contains("3 tenants: 0 applied, 0 current, 0 failed, 3 skipped"), "{failed:?}");
    assert!(failed.stdout.contains("central  failed"), "{failed:?}");
    assert!(failed.stderr.contains("error: central failed: no tenant was started"), "{failed:?}");
    for tenant in &tenants {
        assert!(tables(tenant).await.is_empty());
    }
    let status = home.run(&["status", "latest", "--json", "--exit-code"]).exits(103).json();
    assert_eq!((&status["state"], &status["exit_code"]), (&"failed".into(), &100.into()));
    assert_eq!((&status["counts"]["total"], &status["counts"]["skipped"]), (&3.into(), &3.into()));
    assert_eq!(status["central"]["state"], "failed");
    assert_eq!(status["failures"][0]["tenants"], json!(["central"]));
    assert_eq!(states(&status), ["skipped"; 3]);
    assert_eq!(status["tenants"][0]["code"], "central-failed");
    let attempts = home.run(&["logs", "-t", &tenants[0].id, "--json"]).exits(0).json();
    assert_eq!(attempts["attempts"], json!([]));

    central.execute("CREATE TABLE rates (id INTEGER)").await;
    let cause = status["failures"][0]["fingerprint"].as_str().expect("a fingerprint");
    let retried = home.run(&["retry", "--error", cause, "--work", "--json"]).exits(0).json();
    assert_eq!(
        (&retried["counts"]["applied"], &retried["central"]["state"], &retried["parent"]),
        (&3.into(), &"applied".into(), &1.into()),
        "{retried}"
    );
    for tenant in &tenants {
        assert_eq!(tenant.versions().await, [1, 2]);
    }
    assert_eq!(central.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn the_waves_of_the_tenants_come_after_the_central_database_and_none_when_it_fails() {
    for home in Home::on_each_registry().await {
        let (home, tenants, _) = scene(home, Kind::Sqlite, 3).await;
        let words = ["migrate", "--all", "--canary", "1", "--json"];
        let run = home.run(&words).exits(0).json();
        assert_eq!((&run["waves"], &run["counts"]["applied"]), (&json!([1, 2]), &3.into()), "{run}");
        let early = "SELECT count(*) FROM targets g WHERE g.started_at < (SELECT max(b.finished_at) FROM targets b WHERE b.wave = g.wave - 1)";
        assert_eq!(ledger(&home).number(early).await, 0);
        write(&home, "migrations/central/3_rates.sql", "INSERT INTO rates VALUES (1);");
        let run = home.run(&words).exits(100).json();
        assert_eq!((&run["state"], &run["counts"]["skipped"]), (&"failed".into(), &3.into()), "{run}");
        assert_eq!(tenants[0].versions().await, [1, 2]);
    }
}

#[tokio::test]
async fn a_refused_central_database_ends_the_run_with_104_and_one_that_was_changed_does_not() {
    let (home, tenants, _) = scene(Home::new(), Kind::Sqlite, 2).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    write(&home, "migrations/central/1_plans.sql", "CREATE TABLE plans (id BIGINT);");
    let planned = home.run(&["plan", "--all"]).exits(104);
    assert!(planned.stderr.contains("central would fail: no tenant would be started"), "{planned:?}");
    let refused = home.run(&["migrate", "--all"]).exits(104);
    assert!(refused.stdout.contains("checksum"), "{refused:?}");
    // Where central was migrated and every tenant refused, something was changed.
    write(&home, "migrations/central/1_plans.sql", "CREATE TABLE plans (id INTEGER);");
    write(&home, "migrations/central/4_late.sql", "CREATE TABLE late (id INTEGER);");
    for tenant in &tenants {
        tenant.execute("UPDATE _sqlx_migrations SET success = 0 WHERE version = 1").await;
    }
    let run = home.run(&["migrate", "--all", "--json"]).exits(100).json();
    assert_eq!((&run["central"]["state"], &run["counts"]["failed"]), (&"applied".into(), &2.into()), "{run}");
}

#[tokio::test]
async fn a_worker_that_is_killed_during_central_leaves_the_tenants_waiting_until_another_is_done_with_it() {
    for home in [
        Home::new().with_postgres_registry().await,
        Home::new().with_postgres_registry().await.with_redis_queue(),
        Home::new().with_mariadb_registry().await,
    ] {
        let (home, tenants, central) = scene(home, Kind::PostgresDatabase, 3).await;
        let gate = "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT); INSERT INTO gate VALUES (0);";
        central.execute(gate).await;
        write(
            &home,
            "migrations/central/3_count.sql",
            "UPDATE counter SET n = n + 1;\nUPDATE gate SET n = n + 1;\n",
        );
        let gates = Gates::close([&central]).await;
        let mut killed = home.worker(&["--lease", "2s"]);
        let _ = home.run(&["enqueue", "--all", "--lock-timeout", "60s"]).exits(0);
        until_at_their_gates(std::slice::from_ref(&central)).await;
        let waiting = "wave = 1 AND state = 'pending' AND due_at IS NULL AND sent_at IS NULL AND attempt = 0";
        assert_eq!(targets(&home, waiting).await, 3);
        killed.signal("KILL");
        assert_eq!(killed.exit_code(), None);
        let worker = home.worker(&["--lease", "2s"]);
        until("the other one takes it back", || async {
            targets(&home, "wave = 0 AND lapses = 1").await == 1
        })
        .await;
        assert_eq!(targets(&home, waiting).await, 3);
        gates.open().await;
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!(
            (&run["counts"]["applied"], &run["central"]["state"]),
            (&3.into(), &"applied".into()),
            "{run}"
        );
        assert_eq!(central.number("SELECT n FROM counter").await, 1);
        let early = "wave = 1 AND started_at < (SELECT c.finished_at FROM targets c WHERE c.wave = 0)";
        assert_eq!(targets(&home, early).await, 0);
        for tenant in &tenants {
            assert_eq!(tenant.versions().await, [1, 2]);
        }
        drop(worker);
    }
}

#[tokio::test]
async fn whoever_conducts_next_decides_about_the_tenants_from_the_ledger_alone() {
    let (home, _, _) = scene(Home::new(), Kind::Sqlite, 2).await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    // As a conductor leaves it that dies right after the outcome of the central database was recorded.
    let ended = "UPDATE targets SET state = 'failed', attempt = 1, due_at = NULL, finished_at = 1, class = 'permanent', code = 'x', message = 'y', refused = 0, fingerprint = '0' WHERE wave = 0";
    ledger(&home).execute(ended).await;
    let _worker = home.worker(&[]);
    let run = home.run(&["wait", "--json"]).exits(100).json();
    assert_eq!((&run["counts"]["skipped"], &run["counts"]["pending"]), (&2.into(), &0.into()), "{run}");
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let second = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(second["counts"]["applied"], 2, "{second}");
}

#[tokio::test]
async fn the_central_database_is_no_tenant() {
    let (home, tenants, _) = scene(Home::new(), Kind::Sqlite, 1).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let list = home.run(&["tenants", "list", "--json"]).exits(0).json();
    assert_eq!(list["tenants"].as_array().map(Vec::len), Some(1), "{list}");
    let status = home.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["tenants"], &status["central"]["version"]), (&1.into(), &"2".into()), "{status}");
    assert!(home.run(&["status"]).exits(0).stdout.contains("CENTRAL  at 2"));
    let doctor = home.run(&["doctor"]).exits(0);
    let answers =
        |line: &str| line.contains("central ") && line.ends_with("answers, 2 migrations in its history");
    assert!(doctor.stdout.lines().any(answers), "{doctor:?}");
    let shown = home.run(&["status", "latest", "--json"]).exits(0).json();
    assert_eq!(shown["tenants"][0]["tenant"], tenants[0].id.as_str());
    assert_eq!(shown["tenants"].as_array().map(Vec::len), Some(1));
    for words in [&["enqueue", "-t", "central"][..], &["enqueue", "--all", "-x", "central"]] {
        let unknown = home.run(words).exits(2);
        assert!(unknown.stderr.contains("there is no tenant 'central'"), "{unknown:?}");
    }
    let set = home.run(&["tenants", "set", "central", "--status", "suspended"]).exits(2);
    assert!(set.stderr.contains("'central' is the central database"), "{set:?}");
    let sealed = "SELECT count(*) FROM tenants WHERE central = 1 AND sealed_url LIKE '%sqlite%'";
    assert_eq!(ledger(&home).number(sealed).await, 0);

    let (home, _, _) = scene(Home::new(), Kind::Sqlite, 1).await;
    let lines = format!("{{\"id\": \"central\", \"url\": \"sqlite:{}/own.db\"}}\n", home.path().display());
    let _ = home.run_with_input(&["tenants", "import", "-", "--format", "jsonl"], &lines).exits(0);
    for verb in ["enqueue", "plan", "migrate"] {
        let taken = home.run(&[verb, "--all"]).exits(78);
        assert!(taken.stderr.contains("a tenant is called 'central'"), "{taken:?}");
    }
    assert_eq!(ledger(&home).number("SELECT count(*) FROM runs").await, 0);
}

#[tokio::test]
async fn the_central_database_moves_with_its_configuration() {
    let (home, _, first) = scene(Home::new(), Kind::Sqlite, 1).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let mut others = Fleet::default();
    others.add(Kind::Sqlite, 1, home.path()).await;
    let home = home.with("CENTRAL_URL", &others.tenants[0].url);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    assert_eq!(tables(&others.tenants[0]).await, tables(&first).await);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM tenants WHERE central = 1").await, 1);
    let unset = home.without("CENTRAL_URL").run(&["enqueue", "--all"]).exits(78);
    assert!(unset.stderr.contains("CENTRAL_URL is not set, and central.url is taken from it"), "{unset:?}");
}
