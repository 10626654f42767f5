//! What a sync does to the registry, and what it leaves alone.

use serde_json::json;
use tenantry_shared::{
    registry::{Change, Edit, Known, Mirror, Registry},
    secret::MasterKey,
    store::Store,
    tenant::Status,
};

use tenantry_tests::Home;

use super::{LIST, configure, file, home_with, list, names, sync, synced, tenant, tenants};
use crate::state;

/// A home for each kind of registry.
async fn each_registry() -> [Home; 3] {
    let new = || home_with(LIST);
    [new(), new().with_postgres_registry().await, new().with_mariadb_registry().await]
}

#[test]
fn a_tenant_that_vanishes_is_suspended_and_active_again_when_it_is_back() {
    let home = home_with(LIST);
    list(&home, &["acme", "globex", "initech"]);
    let _ = synced(&home, &["--yes"]);
    list(&home, &["acme", "globex"]);
    let done = synced(&home, &["--yes"]);
    assert_eq!(done["suspended"], json!([{ "tenant": "initech", "what": ["no longer in the source"] }]));
    assert_eq!(tenant(&home, "initech")["status"], "suspended");
    assert_eq!(synced(&home, &["--yes"])["unchanged"], 3);
    list(&home, &["acme", "globex", "initech"]);
    let done = synced(&home, &["--yes"]);
    assert_eq!(names(&done["reactivated"]), ["initech"]);
    assert_eq!(tenants(&home, &["--status", "active"]).len(), 3);

    // What a person suspended stays so, even if the sync had suspended it before.
    list(&home, &["acme", "globex"]);
    let _ = synced(&home, &["--yes"]);
    for id in ["acme", "initech"] {
        let _ = home.run(&["tenants", "set", id, "--status", "suspended"]).exits(0);
    }
    list(&home, &["acme", "globex", "initech"]);
    assert_eq!(synced(&home, &["--yes"])["unchanged"], 3);
    assert_eq!(tenants(&home, &["--status", "active"]), ["globex"]);
}

#[test]
fn a_tenant_that_was_added_by_hand_is_not_touched_until_it_is_adopted() {
    let home = home_with(LIST);
    for id in ["acme", "alone"] {
        let add = ["tenants", "add", id, "--url-stdin", "--label", "own=1"];
        let _ = home.run_with_input(&add, &format!("mysql://app:hush@old/{id}")).exits(0);
    }
    list(&home, &["acme", "globex"]);
    let before = (tenant(&home, "acme"), tenant(&home, "alone"));
    let told = sync(&home, &["--yes"]).exits(0);
    assert!(
        told.stdout.contains("1 tenant left alone, which the source lists and does not own (acme); --adopt"),
        "{told:?}"
    );
    assert_eq!((tenant(&home, "acme"), tenant(&home, "alone")), before);

    let done = synced(&home, &["--yes", "--adopt"]);
    assert_eq!(
        done["changed"],
        json!([{ "tenant": "acme", "what": ["taken over by the source", "moved from mysql old:3306/acme to mysql db:3306/acme"] }])
    );
    let acme = tenant(&home, "acme");
    assert_eq!(
        json!([acme["source"], acme["server"], acme["labels"]]),
        json!(["default", "db:3306", { "own": "1" }])
    );
    list(&home, &["acme"]);
    let _ = synced(&home, &["--yes"]);
    assert_eq!(tenant(&home, "alone"), before.1);
}

#[test]
fn a_source_under_a_new_name_adopts_its_tenants() {
    let home = home_with(LIST);
    list(&home, &["acme"]);
    let _ = synced(&home, &["--yes"]);
    configure(&home, "[sources.crm]\nfile = 'list.csv'\n");
    assert_eq!(synced(&home, &["--yes"])["not_its_own"], json!(["acme"]));
    assert_eq!(names(&synced(&home, &["--yes", "--adopt"])["changed"]), ["acme"]);
    assert_eq!(tenant(&home, "acme")["source"], "crm");
}

#[tokio::test]
async fn a_tenant_that_somebody_changed_since_the_comparison_stops_the_whole_sync() {
    let home = home_with(LIST);
    list(&home, &["acme", "globex"]);
    let _ = synced(&home, &["--yes"]);
    let registry = Registry::new(Store::open(&home.registry_url()).await.expect("a registry"));
    let key = MasterKey::parse(&"4f".repeat(32)).expect("a key");
    let seen = registry.known(&key, None, 10).await.expect("tenants");
    let suspend = |known: &Known| Edit {
        id: known.id,
        slug: known.slug.clone(),
        was: known.status,
        was_of: known.source.clone(),
        change: Change { status: Some(Status::Suspended), ..Change::default() },
    };
    let edits: Vec<Edit> = seen.iter().map(suspend).collect();
    let _ = home.run(&["tenants", "set", "globex", "--status", "archived"]).exits(0);
    let before = state::of(&home).await;
    let detail = String::new();
    let added = Box::new(std::iter::empty());
    let mirror = Mirror { source: "default", added, edits: edits.iter().collect(), detail };
    let error = registry.mirror(&key, vec![mirror], "somebody").await.expect_err("a refusal");
    assert_eq!(error.to_string(), "tenant 'globex' was changed meanwhile, and nothing is synced");
    assert_eq!(state::of(&home).await, before);
}

#[tokio::test]
async fn a_source_that_loses_most_of_its_tenants_at_once_is_not_believed() {
    let home = home_with(LIST);
    list(&home, &["a", "b", "c", "d"]);
    let _ = synced(&home, &["--yes"]);
    let before = state::of(&home).await;
    for (ids, says) in [
        (&["a"][..], "source default had 4 active tenants and leaves 1 of them"),
        (&[], "lists no tenant at all"),
    ] {
        list(&home, ids);
        for args in [
            &["tenants", "sync", "--yes"][..],
            &["enqueue", "--all", "--sync", "--yes"],
            &["migrate", "--all", "--sync"],
        ] {
            let refused = home.run(args).exits(104);
            assert!(
                refused.stderr.contains(says) && refused.stderr.contains("tenants sync --force"),
                "{refused:?}"
            );
        }
        list(&home, &["a", "b", "c", "d"]); // the file's size is in the state
        assert_eq!(state::of(&home).await, before);
    }
    list(&home, &[]);
    let dry = synced(&home, &["--dry-run"]);
    assert_eq!(dry["alarm"], "source default had 4 active tenants and lists no tenant at all");
    assert_eq!(names(&synced(&home, &["--yes", "--force"])["suspended"]).len(), 4);
    assert!(tenants(&home, &["--status", "active"]).is_empty());
    // Nothing is left to lose.
    assert_eq!(synced(&home, &["--yes"])["unchanged"], 4);
}

#[test]
fn two_sources_are_written_together_or_not_at_all() {
    let home = home_with("[sources.a]\nfile = 'a.csv'\n[sources.b]\nfile = 'b.csv'\n");
    file(&home, "a.csv", "id,url\nacme,mysql://db/acme\n");
    file(&home, "b.csv", "id,url\nb ad,mysql://db/globex\n");
    let _ = sync(&home, &["--yes"]).exits(104);
    assert!(tenants(&home, &[]).is_empty());
    file(&home, "b.csv", "id,url\nglobex,mysql://db/globex\n");
    let _ = sync(&home, &["--yes"]).exits(0);
    assert_eq!(
        json!([tenant(&home, "acme")["source"], tenant(&home, "globex")["source"]]),
        json!(["a", "b"])
    );
}

#[tokio::test]
async fn a_run_with_sync_takes_tenants_that_are_new_in_the_source() {
    let home = home_with("[source]\ndiscover = 'files'\ndirectory = 'shops'\npattern = '*.db'\n");
    std::fs::create_dir(home.path().join("shops")).expect("a directory");
    file(&home, "shops/one.db", "");
    let first = home.run(&["migrate", "--all", "--sync", "--json"]).exits(0);
    assert_eq!(first.json()["counts"]["applied"], 1);
    assert!(first.stderr.contains("1 added, "), "{first:?}");
    file(&home, "shops/two.db", "");
    let second = home.run(&["enqueue", "--all", "--sync", "--yes"]).exits(0);
    assert_eq!(second.stdout, "2\n");
    assert_eq!(home.run(&["status", "2", "--json"]).exits(0).json()["counts"]["total"], 2);
    let _ = home.run(&["migrate", "--sync"]).exits(2);
}

#[tokio::test]
async fn thousands_of_tenants_are_added_suspended_and_brought_back() {
    for home in each_registry().await {
        let _ = home.run(&["registry", "init"]).exits(0);
        let ids: Vec<String> = (0..2_345).map(|n| format!("t{n}")).collect();
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        list(&home, &all);
        assert_eq!(names(&synced(&home, &["--yes"])["added"]).len(), 2_345);
        list(&home, &all[..1_200]);
        let told = sync(&home, &["--yes"]).exits(0).stdout;
        assert!(
            told.contains("  - … 1095 more (--json lists all)\n")
                && told.contains("1145 suspended, 0 reactivated, 1200 unchanged"),
            "{told}"
        );
        list(&home, &all);
        assert_eq!(names(&synced(&home, &["--yes"])["reactivated"]).len(), 1_145);
        assert_eq!(synced(&home, &["--dry-run"])["unchanged"], 2_345);
    }
}
