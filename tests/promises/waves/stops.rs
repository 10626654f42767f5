//! Runs that a person pauses, resumes or cancels, and those whose time is over.

use tenantry_tests::{Home, fleet::Kind, wait::until};

use super::{SOUND, events, homes, scene, untouched};
use crate::stage::{Gates, enqueue, gated, ledger, targets, until_at_their_gates, waits_at_its_gate};

#[tokio::test]
async fn a_paused_run_stands_still_while_another_one_is_worked_and_goes_on_when_it_is_resumed() {
    for home in homes().await {
        let _fleet = scene(&home, 4, SOUND).await;
        let _ = home.run(&["enqueue", "--all", "--yes"]).exits(0);
        let paused = home.run(&["pause", "1", "--json"]).exits(0).json();
        assert!(paused["paused_at"].is_string(), "{paused}");
        let _ = home.run(&["pause", "1"]).exits(0);
        let _worker = home.worker(&[]);
        let _ = home.run(&["enqueue", "--all", "--overlap", "--yes"]).exits(0);
        let _ = home.run(&["wait", "2"]).exits(0);
        assert_eq!(targets(&home, "state = 'pending' AND attempt = 0").await, 4);
        assert!(home.run(&["runs"]).exits(0).stdout.contains("paused"));
        let _ = home.run(&["resume", "1"]).exits(0);
        let run = home.run(&["wait", "1", "--json"]).exits(0).json();
        assert_eq!(run["counts"]["current"], 4, "{run}");
        let ended = home.run(&["pause", "1"]).exits(2);
        assert!(ended.stderr.contains("run #1 has ended: succeeded"), "{ended:?}");
        assert_eq!((events(&home, "run.paused").await, events(&home, "run.resumed").await), (1, 1));
    }
}

#[tokio::test]
async fn a_run_is_canceled_without_any_worker() {
    for home in homes().await {
        let fleet = scene(&home, 4, SOUND).await;
        let _ = home.run(&["enqueue", "--all", "--canary", "1", "--yes"]).exits(0);
        let run = home.run(&["cancel", "--json"]).exits(0).json();
        assert_eq!((&run["state"], &run["exit_code"]), (&"halted".into(), &102.into()), "{run}");
        assert_eq!(
            (&run["counts"]["skipped"], &run["stop"]["code"]),
            (&4.into(), &"canceled".into()),
            "{run}"
        );
        let _ = home.run(&["wait"]).exits(102);
        assert!(home.run(&["cancel"]).exits(2).stderr.contains("run #1 has ended: halted"));
        assert_eq!(events(&home, "run.canceled").await, 1);
        assert_eq!(untouched(&fleet).await, 4);
        let _ = home.run(&["retry", "--work", "--yes"]).exits(0);
        assert_eq!(untouched(&fleet).await, 0);
    }
}

#[tokio::test]
async fn what_runs_when_a_run_is_canceled_or_its_time_is_over_comes_to_its_end() {
    for (deadline, code) in [(None, "canceled"), (Some("5s"), "deadline")] {
        let home = Home::new();
        let fleet = gated(&home, &[Kind::PostgresDatabase; 3]).await;
        let gates = Gates::close(&fleet.tenants).await;
        let _worker = home.worker(&["--concurrency", "1"]);
        enqueue(&home, &deadline.map(|after| vec!["--deadline", after]).unwrap_or_default());
        until("one of them runs", || async { targets(&home, "state = 'running'").await == 1 }).await;
        if deadline.is_none() {
            let canceled = home.run(&["cancel"]).exits(0);
            assert!(canceled.stderr.contains("2 not begun, 1 tenant still being migrated"), "{canceled:?}");
            for word in ["pause", "resume"] {
                let refused = home.run(&[word]).exits(2).stderr;
                assert!(refused.contains("run #1 is being stopped: canceled by"), "{refused}");
                assert!(refused.contains("tenantry retry 1"), "{refused}");
            }
        }
        until("the others are skipped", || async { targets(&home, "state = 'skipped'").await == 2 }).await;
        // A conductor that was slow has not called it running yet.
        let open = "SELECT count(*) FROM runs WHERE state IN ('pending', 'running')";
        assert_eq!(ledger(&home).number(open).await, 1);
        gates.open().await;
        let run = home.run(&["wait", "--json"]).exits(102).json();
        assert_eq!((&run["counts"]["applied"], &run["stop"]["code"]), (&1.into(), &code.into()), "{run}");
    }
}

#[tokio::test]
async fn a_forced_cancel_ends_the_statements_that_run_in_every_kind_of_database() {
    for home in [Home::new(), Home::new().with_postgres_registry().await] {
        let kinds = [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];
        let fleet = gated(&home, &kinds).await;
        let gates = Gates::close(&fleet.tenants).await;
        let _worker = home.worker(&[]);
        enqueue(&home, &[]);
        until_at_their_gates(&fleet.tenants).await;
        let unasked = home.run(&["cancel", "--force"]).exits(2);
        assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
        let _ = home.run(&["cancel", "--force", "--yes"]).exits(0);
        let waited = home.run(&["wait", "--json", "--interval", "20ms"]).exits(102);
        // What waits for another attempt gets none.
        assert!(!waited.stderr.contains("RETRY"), "{waited:?}");
        let ended = home.run(&["wait"]).exits(102).stderr;
        assert!(
            ended.contains("error: stopped: canceled by ") && ended.contains("; 4 of 4 tenants failed"),
            "{ended}"
        );
        let run = waited.json();
        assert_eq!(
            (&run["counts"]["failed"], &run["failures"][0]["code"]),
            (&4.into(), &"canceled".into()),
            "{run}"
        );
        for tenant in &fleet.tenants {
            let ended = || async { !waits_at_its_gate(tenant).await };
            until("no statement of it runs in the server", ended).await;
            assert_eq!(tenant.versions().await, [0; 0], "{}", tenant.id);
        }
        assert_eq!(events(&home, "run.forced").await, 1);
        gates.open().await;
        // The same worker migrates them.
        let _ = home.run(&["retry", "--yes", "--wait"]).exits(0);
        for tenant in &fleet.tenants {
            assert_eq!(tenant.number("SELECT n FROM counter").await, 1, "{}", tenant.id);
        }
    }
}
