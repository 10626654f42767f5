//! Nothing twice: a request that is made again is the run that it made before, and no tenant is in two runs at once
//! unless that is asked for.

use serde_json::json;
use tenantry_tests::{Fleet, Home, fleet::Kind, home::finish, wait::until};

use crate::{
    stage::{Gates, enqueue, gated, ledger, on_each_registry, targets, until_at_their_gates},
    state,
};

/// How many producers ask at the same moment.
const AT_ONCE: usize = 6;

/// A home for each kind of registry, with so many SQLite tenants and a migration that each of them takes.
async fn scenes(tenants: usize) -> Vec<(Home, Fleet)> {
    on_each_registry(async |home| scene(home, tenants).await).await
}

async fn scene(home: &Home, tenants: usize) -> Fleet {
    home.migration("1_first.sql", "CREATE TABLE made (n INTEGER);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, tenants, home.path()).await;
    fleet.register(home);
    fleet
}

async fn runs(home: &Home) -> i64 {
    ledger(home).number("SELECT count(*) FROM runs").await
}

#[tokio::test]
async fn a_request_under_the_same_key_is_the_same_run() {
    for (home, fleet) in scenes(2).await {
        let keyed = ["enqueue", "--all", "--idempotency-key", "deploy 7"];
        assert_eq!(home.run(&keyed).exits(0).stdout, "1\n");
        let again = home.run(&keyed).exits(0);
        assert_eq!(again.stdout, "1\n");
        assert!(
            again.stderr.contains("joined run #1: it was asked for under this idempotency key"),
            "{again:?}"
        );
        fleet.tenants[0].execute("CREATE TABLE made (n INTEGER)").await;
        let worker = home.worker(&[]);
        let waited = home.run(&[&keyed[..], &["--wait", "--json"]].concat()).exits(100).json();
        drop(worker);
        assert_eq!(
            (&waited["joined"], &waited["idempotency_key"]),
            (&true.into(), &"deploy 7".into()),
            "{waited}"
        );
        // It has ended, and no worker is there: it is still that run.
        let ended = home.run(&[&keyed[..], &["--wait"]].concat()).exits(100);
        assert_eq!(ended.stdout, "1\n");
        assert!(!ended.stderr.contains("no worker is alive"), "{ended:?}");
        let migrated = home.run(&["migrate", "--all", "--idempotency-key", "deploy 7", "--json"]).exits(100);
        assert_eq!(migrated.json()["joined"], true);
        assert_eq!(runs(&home).await, 1);
        let listed = home.run(&["runs", "--json"]).exits(0).json();
        assert_eq!(listed["runs"][0]["idempotency_key"], "deploy 7");
        assert_eq!(listed["runs"][0]["joined"], false);
        let retry = ["retry", "1", "--idempotency-key", "again", "--work"];
        let _ = home.run(&retry).exits(100);
        let _ = home.run(&retry).exits(100);
        let adopt = [
            "baseline",
            "-t",
            &fleet.tenants[1].id,
            "--to",
            "1",
            "--idempotency-key",
            "adopt",
            "--work",
            "--yes",
        ];
        let _ = home.run(&adopt).exits(0);
        let _ = home.run(&adopt).exits(0);
        assert_eq!(runs(&home).await, 3);
        assert_eq!(ledger(&home).number("SELECT value FROM counters WHERE name = 'run'").await, 3);
    }
}

#[tokio::test]
async fn a_key_of_another_request_is_refused_and_nothing_changes() {
    let home = Home::new();
    let fleet = scene(&home, 3).await;
    let (one, two, three) = (&fleet.tenants[0].id, &fleet.tenants[1].id, &fleet.tenants[2].id);
    let (named, turned) = (format!("{one},{two}"), format!("{two},{one}"));
    let keyed = ["enqueue", "--idempotency-key", "k"];
    let asked = |more: &[&str]| home.run(&[&keyed[..], more].concat());
    let _ = asked(&["-t", &named]).exits(0);
    let _ = asked(&["-t", &turned]).exits(0);
    let before = state::of(&home).await;
    let other = format!("{one},{three}");
    for more in [&["--all"][..], &["-t", &other], &["-t", &named, "-x", two]] {
        let refused = asked(more).exits(2);
        assert!(
            refused.stderr.contains("the idempotency key 'k' is of run #1, which was another"),
            "{refused:?}"
        );
        assert!(refused.stderr.contains("tenantry status 1"), "{refused:?}");
    }
    let back = home.run(&["rollback", "-t", &named, "--yes", "--idempotency-key", "k"]).exits(2);
    assert!(back.stderr.contains("run #1"), "{back:?}");
    assert_eq!(state::of(&home).await, before);
    let file = home.migration("2_more.sql", "CREATE TABLE more (n INTEGER);");
    let with_file = state::of(&home).await;
    let _ = asked(&["-t", &named]).exits(2);
    assert_eq!(state::of(&home).await, with_file);
    std::fs::remove_file(file).expect("removed");
    for wrong in ["", " k", "a\tb"] {
        let _ = home.run(&["enqueue", "--all", "--idempotency-key", wrong]).exits(2);
    }
    let _ = home.run(&["migrate", "--url-env", "NOWHERE", "--idempotency-key", "k"]).exits(2);
    assert_eq!(state::of(&home).await, before);
}

/// Promise 1.
#[tokio::test]
async fn producers_that_ask_under_one_key_at_the_same_moment_make_one_run() {
    for (home, _) in scenes(3).await {
        let words = ["enqueue", "--all", "--idempotency-key", "tonight", "--json"];
        let asking: Vec<_> = (0..AT_ONCE).map(|_| home.spawn(&words)).collect();
        let mut joined = 0;
        for child in asking {
            let run = finish(child).exits(0).json();
            assert_eq!(run["number"], json!(1), "{run}");
            joined += usize::from(run["joined"] == true);
        }
        assert_eq!((runs(&home).await, joined), (1, AT_ONCE - 1), "{}", home.registry_url());
        assert_eq!(ledger(&home).number("SELECT count(*) FROM targets").await, 3);
    }
}

#[tokio::test]
async fn the_same_request_joins_the_run_that_is_under_way() {
    for (home, _) in scenes(2).await {
        assert_eq!(home.run(&["enqueue", "--all"]).exits(0).stdout, "1\n");
        let again = home.run(&["enqueue", "--all", "--canary", "1"]).exits(0);
        assert_eq!(again.stdout, "1\n");
        assert!(again.stderr.contains("joined run #1: the same is under way\n"), "{again:?}");
        std::fs::write(home.path().join("new.db"), "").expect("a file");
        let _ = home.run_with_input(&["tenants", "add", "new", "--url-stdin"], "sqlite:new.db").exits(0);
        let late = home.run(&["enqueue", "--all", "--json"]).exits(0);
        let run = late.json();
        assert_eq!(
            (&run["joined"], &run["number"], &run["not_in_run"]),
            (&true.into(), &1.into(), &1.into())
        );
        assert!(late.stderr.contains("1 tenant is selected now and not in it"), "{late:?}");
        let waited = home.run(&["enqueue", "--all", "--wait", "--timeout", "100ms"]).exits(124);
        assert!(waited.stderr.contains("tenantry wait 1"), "{waited:?}");
        // A key that joins is good when the run has ended.
        let keyed = ["migrate", "--all", "--idempotency-key", "tonight", "--json"];
        let worked = home.run(&keyed).exits(0).json();
        assert_eq!((&worked["number"], &worked["counts"]["applied"]), (&1.into(), &2.into()), "{worked}");
        assert_eq!(home.run(&keyed).exits(0).json()["number"], 1);
        let next = home.run(&["migrate", "--all", "--json"]).exits(0).json();
        assert_eq!(
            (&next["number"], &next["joined"], &next["counts"]["applied"]),
            (&2.into(), &false.into(), &1.into())
        );
    }
}

#[tokio::test]
async fn another_request_for_tenants_of_a_run_that_is_under_way_is_refused() {
    for (home, fleet) in scenes(3).await {
        let id = |at: usize| fleet.tenants[at].id.as_str();
        let pair = format!("{},{}", id(0), id(1));
        let _ = home.run(&["enqueue", "-t", &pair]).exits(0);
        for (words, tenants) in [
            (&["enqueue", "--all"][..], 2),
            (&["enqueue", "-t", id(0)], 1),
            (&["migrate", "--all", "-x", id(0)], 1),
            (&["baseline", "-t", &pair, "--to", "1"], 2),
            (&["rollback", "--all", "--yes"], 2),
        ] {
            let refused = home.run(words).exits(2);
            let why = format!("error: run #1 is under way with {tenants} of these tenants\n");
            assert!(refused.stderr.contains(&why), "{words:?}: {refused:?}");
            for way in ["tenantry wait 1", "tenantry cancel 1", "--overlap"] {
                assert!(refused.stderr.contains(way), "{refused:?}");
            }
        }
        assert_eq!(runs(&home).await, 1);
        assert_eq!(ledger(&home).number("SELECT value FROM counters WHERE name = 'run'").await, 1);
        assert_eq!(home.run(&["enqueue", "-t", id(2)]).exits(0).stdout, "2\n");
        let both = home.run(&["enqueue", "--all"]).exits(2);
        assert!(
            both.stderr.contains("run #2 is under way with 1 of these tenants, and so is another run"),
            "{both:?}"
        );
        assert_eq!(home.run(&["enqueue", "--all", "--overlap"]).exits(0).stdout, "3\n");
        for run in ["1", "2", "3"] {
            let _ = home.run(&["cancel", run]).exits(0);
        }
        let _ = home.run(&["migrate", "--all"]).exits(0);
    }
}

#[tokio::test]
async fn the_failed_tenants_of_a_run_that_goes_on_can_be_retried() {
    let home = Home::new();
    let fleet = scene(&home, 2).await;
    let mut ids: Vec<_> = fleet.tenants.iter().map(|tenant| &tenant.id).collect();
    ids.sort();
    let first = fleet.tenants.iter().find(|tenant| &tenant.id == ids[0]).expect("a tenant");
    first.execute("CREATE TABLE made (n INTEGER)").await;
    let words = ["enqueue", "--all", "--canary", "1", "--max-failures", "100%", "--soak", "1h"];
    let _ = home.run(&words).exits(0);
    let worker = home.worker(&[]);
    until("the first one failed", || async { targets(&home, "state = 'failed'").await == 1 }).await;
    first.execute("DROP TABLE made").await;
    let retried = home.run(&["retry", "1", "--wait", "--json"]).exits(0).json();
    assert_eq!((&retried["counts"]["applied"], &retried["joined"]), (&1.into(), &false.into()), "{retried}");
    drop(worker);
    assert_eq!(targets(&home, "state = 'pending'").await, 1);
    let again = home.run(&["enqueue", "--all", "--limit", "2"]).exits(2);
    assert!(again.stderr.contains("run #1 is under way with 1 of"), "{again:?}");
}

#[tokio::test]
async fn of_requests_for_one_tenant_at_the_same_moment_one_starts() {
    for (home, fleet) in scenes(AT_ONCE + 1).await {
        let shared = fleet.tenants[0].id.as_str();
        let pairs: Vec<String> =
            fleet.tenants[1..].iter().map(|own| format!("{shared},{}", own.id)).collect();
        let asking: Vec<_> = pairs.iter().map(|pair| home.spawn(&["enqueue", "-t", pair])).collect();
        let ended: Vec<_> = asking.into_iter().map(finish).collect();
        let refused: Vec<_> = ended.iter().filter(|ran| ran.code == 2).collect();
        assert_eq!((refused.len(), runs(&home).await), (AT_ONCE - 1, 1), "{ended:?}");
        assert!(refused.iter().all(|ran| ran.stderr.contains("run #1 is under way with 1 of")), "{ended:?}");
        let _ = home.run(&["cancel", "1"]).exits(0);
        let asking: Vec<_> = (0..AT_ONCE).map(|_| home.spawn(&["enqueue", "--all"])).collect();
        for child in asking {
            assert_eq!(finish(child).exits(0).stdout, "2\n");
        }
        assert_eq!(runs(&home).await, 2);
    }
}

/// Promise 2.
#[tokio::test]
async fn runs_that_overlap_on_purpose_take_turns_and_no_attempt_is_wasted() {
    for home in [
        Home::new(),
        Home::new().with_postgres_registry().await.with_redis_queue(),
        Home::new().with_mariadb_registry().await,
    ] {
        let fleet = gated(&home, &[Kind::PostgresDatabase, Kind::MariaDb]).await;
        let gates = Gates::close(&fleet.tenants).await;
        let _ = enqueue(&home, &[]);
        let _ = enqueue(&home, &["--overlap"]);
        let _workers = [home.worker(&[]), home.worker(&[])];
        until_at_their_gates(&fleet.tenants).await;
        assert_eq!(targets(&home, "state = 'running'").await, 2);
        gates.open().await;
        let second = home.run(&["wait", "2", "--json"]).exits(0).json();
        assert_eq!(second["counts"]["current"], 2, "{second}");
        let first = home.run(&["wait", "1", "--json"]).exits(0).json();
        assert_eq!(first["counts"]["applied"], 2, "{first}");
        assert_eq!(targets(&home, "attempt <> 1 OR uncounted <> 0").await, 0);
    }
}
