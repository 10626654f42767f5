//! Nothing twice: a request that is made again is the run that it made before.

use serde_json::json;
use tenantry_tests::{Fleet, Home, fleet::Kind, home::finish};

use crate::{stage::ledger, state};

/// How many producers ask at the same moment.
const AT_ONCE: usize = 6;

/// A home for each kind of registry, with so many SQLite tenants and a migration that each of them takes.
async fn scenes(tenants: usize) -> Vec<(Home, Fleet)> {
    let homes =
        [Home::new(), Home::new().with_postgres_registry().await, Home::new().with_mariadb_registry().await];
    let mut scenes = Vec::new();
    for home in homes {
        let fleet = scene(&home, tenants).await;
        scenes.push((home, fleet));
    }
    scenes
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
