//! The gate of a pipeline: it is answered from what the registry knows, it never rounds up, and what is not known for
//! sure is no proof.

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind};

use crate::{stage::ledger, state};

/// So many tenants at version 1, and migrations up to 2 and 10.
async fn scene(home: Home, count: usize) -> (Home, Vec<TenantDb>) {
    let _ = home.run(&["registry", "init"]).exits(0);
    for (version, table) in [(1, "a"), (2, "b"), (10, "c")] {
        home.migration(&format!("{version}_{table}.up.sql"), &format!("CREATE TABLE {table} (n INTEGER);"));
        home.migration(&format!("{version}_{table}.down.sql"), &format!("DROP TABLE {table};"));
    }
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, count, home.path()).await;
    fleet.register(&home);
    fleet.tenants.sort_by(|a, b| a.id.cmp(&b.id));
    let _ = home.run(&["migrate", "--all", "--target", "1"]).exits(0);
    (home, fleet.tenants)
}

fn gate(home: &Home, args: &[&str], code: i32) -> Value {
    home.run(&[&["gate", "--json"], args].concat()).exits(code).json()
}

fn missing(gate: &Value) -> Vec<(&str, &str)> {
    let missing = gate["missing"].as_array().expect("a list").iter();
    missing.map(|m| (m["tenant"].as_str().expect("a name"), m["why"].as_str().expect("a word"))).collect()
}

#[tokio::test]
async fn a_gate_counts_who_is_at_a_version_or_beyond_it_and_asks_no_tenant() {
    for home in Home::on_each_registry().await {
        let (home, tenants) = scene(home, 8).await;
        let last = tenants[7].id.as_str();
        let _ = home.run(&["migrate", "--all", "-x", last]).exits(0);
        let _ = home.run(&["tenants", "set", last, "--label", "ring=late"]).exits(0);
        // Nobody is there to be asked.
        for tenant in &tenants {
            std::fs::remove_file(tenant.url.trim_start_matches("sqlite:")).expect("a file");
        }
        let all = gate(&home, &[], 102);
        assert_eq!(
            (&all["holds"], &all["target"], &all["min"]),
            (&false.into(), &"10".into(), &"100%".into())
        );
        assert_eq!(
            (&all["proven"], &all["behind"], &all["needed"]),
            (&7.into(), &1.into(), &8.into()),
            "{all}"
        );
        assert_eq!((missing(&all), &all["missing"][0]["version"]), (vec![(last, "behind")], &"1".into()));
        for (args, code) in [
            (&["--min", "87.5%"][..], 0),
            (&["--min", "87.51%"], 102),
            (&["--min", "7"], 0),
            (&["--min", "8"], 102),
            (&["--target", "1"], 0),
            (&["--target", "2", "--min", "7"], 0),
            (&["--target", "2"], 102),
            (&["-l", "!ring"], 0),
            (&["-l", "ring=late"], 102),
            (&["-t", last, "--target", "1"], 0),
            (&["--all", "-x", last], 0),
            (&["--all", "--limit", "7"], 0),
            (&["--all", "--limit", "8"], 102),
            // A number is not cut down to those that are there.
            (&["--target", "1", "--min", "9"], 102),
        ] {
            let _ = gate(&home, args, code);
        }
        let text = home.run(&["gate"]).exits(102);
        let says =
            "the gate does not hold: 7 of 8 tenants proven at 10 or beyond (87.50 %), 8 needed (100%)\n";
        assert!(text.stdout.starts_with(says) && text.stdout.contains(last), "{text:?}");
        assert_eq!(text.stderr, "error: the gate does not hold: 1 of 8 tenants not proven at 10\n");
        let too_many = home.run(&["gate", "--target", "1", "--min", "9"]).exits(102);
        assert_eq!(too_many.stderr, "error: the gate cannot hold: 9 wanted by --min, of 8 tenants\n");
        let holds = home.run(&["gate", "--target", "1"]).exits(0);
        assert!(
            holds.stdout.starts_with("the gate holds: 8 of 8 tenants") && holds.stderr.is_empty(),
            "{holds:?}"
        );
    }
}

#[tokio::test]
async fn a_gate_of_all_is_not_passed_by_almost_all_of_many_and_names_the_first_of_the_others() {
    for home in Home::on_each_registry().await {
        let (home, _) = scene(home, 1).await;
        let rows: Vec<String> = (0..10_000).map(|n| format!("many{n:05}")).collect();
        for some in rows.chunks(2_000) {
            let values: Vec<String> = some
                .iter()
                .map(|slug| {
                    format!(
                        "('{slug}', '{slug}', 'active', 1, 'x', 'x', '{}', 1, 1)",
                        if slug.as_str() < "many09996" { 10 } else { 2 }
                    )
                })
                .collect();
            let insert = "INSERT INTO tenants (id, slug, status, server_id, database_name, sealed_url, version, version_at, created_at) VALUES";
            ledger(&home).execute(&format!("{insert} {}", values.join(","))).await;
        }
        let names = home.path().join("names");
        std::fs::write(&names, rows.join("\n")).expect("a file");
        let many = ["--tenants-file", "names"];
        let almost = gate(&home, &many, 102);
        assert_eq!((&almost["proven"], &almost["tenants"]), (&9_996.into(), &10_000.into()), "{almost}");
        assert_eq!((&almost["percent"], &almost["truncated"]), (&json!(99.96), &false.into()));
        assert_eq!(missing(&almost)[0], ("many09996", "behind"));
        let _ = gate(&home, &[&many[..], &["--min", "99.96%"]].concat(), 0);
        let _ = gate(&home, &[&many[..], &["--min", "99.97%"]].concat(), 102);
        let _ = gate(&home, &[&many[..], &["--limit", "9996"]].concat(), 0);
        let _ = gate(&home, &[&many[..], &["--limit", "9997"]].concat(), 102);
        ledger(&home).execute("UPDATE tenants SET version = NULL, version_at = NULL WHERE slug < 'many00600' AND slug >= 'many'").await;
        let few = gate(&home, &[&many[..], &["--show", "700"]].concat(), 102);
        assert_eq!(
            (&few["unseen"], &few["behind"], missing(&few).len()),
            (&600.into(), &4.into(), 604),
            "{}",
            few["versions"]
        );
        let text = home.run(&[&["gate"], &many[..]].concat()).exits(102);
        assert!(text.stderr.contains("10 of 604 shown; see all with --show 604"), "{text:?}");
        assert!(text.stdout.contains("many00009") && !text.stdout.contains("many00010"), "{text:?}");
    }
}

#[tokio::test]
async fn what_a_rollback_may_have_taken_back_is_no_proof_until_the_tenant_is_read_again() {
    for home in Home::on_each_registry().await {
        let (home, tenants) = scene(home, 2).await;
        let _ = home.run(&["migrate", "--all"]).exits(0);
        let _ = gate(&home, &["--target", "2"], 0);
        let one = tenants[0].id.as_str();
        // The newest is reverted and the one before it fails: the tenant is at 2, and known to be at 10.
        home.migration("2_b.down.sql", "DROP TABLE nowhere;");
        let _ = home.run(&["rollback", "-t", one, "--steps", "2", "--work"]).exits(100);
        assert_eq!(tenants[0].versions().await, [1, 2]);
        let unsure = gate(&home, &[], 102);
        assert_eq!((&unsure["unsure"], missing(&unsure)), (&1.into(), vec![(one, "unsure")]), "{unsure}");
        let _ = home.run(&["migrate", "-t", one]).exits(0);
        let _ = gate(&home, &[], 0);
        // One whose worker was killed, and one that is at work in this moment.
        for state in ["retryable", "running"] {
            let begun = format!(
                "UPDATE targets SET state = '{state}' WHERE run_id IN (SELECT id FROM runs WHERE number = 3)"
            );
            ledger(&home).execute(&begun).await;
            assert_eq!(missing(&gate(&home, &[], 102)), [(one, "unsure")], "{state}");
        }
    }
}

#[tokio::test]
async fn a_migration_that_is_forgotten_by_hand_is_known_of_no_more() {
    let (home, tenants) = scene(Home::new(), 2).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let one = tenants[0].id.as_str();
    let _ = home.run(&["repair", "-t", one, "--forget", "10", "--yes"]).exits(0);
    assert_eq!(missing(&gate(&home, &[], 102)), [(one, "unseen")]);
}

#[tokio::test]
async fn what_was_read_too_long_ago_is_no_proof_where_that_is_asked_for() {
    for home in Home::on_each_registry().await {
        let (home, tenants) = scene(home, 3).await;
        let one = tenants[1].id.as_str();
        let aged = format!("UPDATE tenants SET version_at = version_at - 7200000 WHERE slug = '{one}'");
        ledger(&home).execute(&aged).await;
        let old = gate(&home, &["--target", "1", "--max-age", "1h"], 102);
        assert_eq!((&old["stale"], missing(&old)), (&1.into(), vec![(one, "stale")]), "{old}");
        let _ = gate(&home, &["--target", "1", "--max-age", "3h"], 0);
        let shown = home.run(&["gate", "--target", "1"]).exits(0).stdout;
        assert!(shown.contains("the proven ones were read 2h ago at the earliest"), "{shown}");
    }
}

#[tokio::test]
async fn a_run_is_judged_by_itself() {
    let (home, tenants) = scene(Home::new(), 4).await;
    tenants[0].execute("CREATE TABLE b (n INTEGER)").await;
    let _ = home.run(&["migrate", "--all"]).exits(100);
    let one = tenants[0].id.as_str();
    let run = gate(&home, &["--run", "latest"], 102);
    assert_eq!(
        (&run["run"], &run["proven"], missing(&run)),
        (&2.into(), &3.into(), vec![(one, "failed")]),
        "{run}"
    );
    let _ = gate(&home, &["--run", "2", "--min", "75%"], 0);
    let _ = gate(&home, &["--run", "2", "--min", "76%"], 102);
    let _ = gate(&home, &["--run", "1"], 0);
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    assert_eq!(gate(&home, &["--run", "latest", "--min", "1"], 102)["proven"], 0);
}

#[tokio::test]
async fn without_a_directory_of_migrations_the_latest_run_tells_what_is_newest() {
    let (home, tenants) = scene(Home::new(), 2).await;
    let _ = home.run(&["migrate", "--all", "--target", "2"]).exits(0);
    std::fs::rename(home.path().join("migrations"), home.path().join("elsewhere")).expect("a directory");
    assert_eq!(gate(&home, &[], 0)["target"], "2");
    let _ = gate(&home, &["--target", "10"], 102);
    assert_eq!(gate(&home, &["--source", "elsewhere"], 102)["target"], "10");
    assert_eq!(tenants[0].versions().await, [1, 2]);
}

#[tokio::test]
async fn a_gate_that_makes_no_sense_is_refused() {
    let (home, _) = scene(Home::new(), 2).await;
    let before = state::of(&home).await;
    for (words, code, says) in [
        (&["--target", "3"][..], 2, "there is no migration 3"),
        (&["--min", "0"], 2, "always holds"),
        (&["--min", "0%"], 2, "always holds"),
        (&["--min", "100.1%"], 2, "more than all"),
        (&["--run", "latest", "--all"], 2, "cannot be used with"),
        (&["--run", "9"], 2, "there is no run 9"),
        (&["-t", "nobody"], 2, "there is no tenant"),
        (&["-l", "plan=gold"], 4, "no tenant matched"),
        (&["--max-age", "old"], 2, "not a duration"),
        (&["--source", "nowhere"], 78, "nowhere"),
    ] {
        let refused = home.run(&[&["gate"], words].concat()).exits(code);
        assert!(refused.stderr.contains(says) && refused.stdout.is_empty(), "{words:?}: {refused:?}");
    }
    let _ = gate(&home, &["--target", "1"], 0);
    assert_eq!(state::of(&home).await, before);
}
