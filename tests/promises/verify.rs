//! `verify`: each history against the migrations, and nothing changed.

use serde_json::{Value, json};
use tenantry_tests::{TenantDb, fleet::Kind};

use crate::{
    site::{KINDS, Site, with_account},
    stage::ledger,
};

const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY);";

/// Tenants at migrations 1 and 2.
async fn at_two(kinds: &[Kind], of_each: usize) -> Site {
    let site = Site::new(kinds, of_each).await;
    site.home.migration("1_users.sql", USERS);
    site.home.migration("2_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    let _ = site.migrate(&[]).exits(0);
    site
}

fn verified(site: &Site, exit: i32) -> Value {
    let document = site.home.run(&["verify", "--all", "--json"]).exits(exit).json();
    assert_eq!((&document["schema"], &document["exit_code"]), (&"tenantry.verify/v1".into(), &exit.into()));
    document
}

fn of<'a>(document: &'a Value, tenant: &TenantDb) -> &'a Value {
    let tenants = document["tenants"].as_array().expect("tenants");
    tenants.iter().find(|row| row["tenant"] == tenant.id.as_str()).expect("the tenant")
}

#[tokio::test]
async fn a_fleet_that_agrees_ends_with_0_and_one_that_is_behind_with_103() {
    let site = at_two(&KINDS, 1).await;
    assert_eq!(verified(&site, 0)["counts"], json!({ "total": 4, "current": 4 }));
    site.home.migration("3_posts.sql", "CREATE TABLE posts (id INTEGER);");
    site.home.migration("4_tags.sql", "CREATE TABLE tags (id INTEGER);");
    let document = verified(&site, 103);
    for tenant in &site.fleet.tenants {
        let row = of(&document, tenant);
        assert_eq!((&row["standing"], &row["pending"]), (&"behind".into(), &2.into()), "{row}");
        assert_eq!(
            (&row["version"], &row["message"]),
            (&"2".into(), &"behind by 2, next 3_posts.sql".into())
        );
    }
    let text = site.home.run(&["verify", "--all"]).exits(103).stdout;
    assert!(text.starts_with("4 tenants against 4 migrations, the newest 4\n         4  behind\n\nbehind by 2, next 3_posts.sql\n"), "{text}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2]);
    }
}

#[tokio::test]
async fn histories_that_disagree_are_told_by_their_reason_and_end_with_100() {
    let site = at_two(&[Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite], 5).await;
    for kind in site.fleet.tenants.chunks(5) {
        let [good, ahead, dirty, changed, gap] = kind else { panic!("five tenants") };
        let sum = if good.kind == Kind::PostgresSchema { "'\\x00'" } else { "X'00'" };
        ahead
            .execute(&format!("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9, 'later', TRUE, {sum}, 1)"))
            .await;
        dirty.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await;
        changed.execute(&format!("UPDATE _sqlx_migrations SET checksum = {sum} WHERE version = 1")).await;
        gap.execute("DELETE FROM _sqlx_migrations WHERE version = 1").await;
    }
    let document = verified(&site, 100);
    let expected =
        json!({ "total": 15, "current": 3, "ahead": 3, "dirty": 3, "checksum": 3, "out-of-order": 3 });
    assert_eq!(document["counts"], expected, "{document}");
    let row = of(&document, &site.fleet.tenants[1]);
    assert_eq!(row["message"], "version 9 was applied and is missing from the migrations", "{row}");
    assert!(row["hint"].as_str().is_some_and(|hint| hint.contains("newer release")), "{row}");

    let text = site.home.run(&["verify", "--all"]).exits(100).stdout;
    let (summary, details) = text.split_once("\n\n").expect("two parts");
    assert_eq!(summary.lines().filter(|line| line.trim_start().starts_with('3')).count(), 5, "{text}");
    assert!(details.contains("1_users.sql is not what was applied: its checksum changed"), "{text}");
    assert!(details.contains(&site.fleet.tenants[3].id), "{text}");
}

#[tokio::test]
async fn a_version_from_the_middle_that_has_no_file_is_missing_and_not_ahead() {
    let site = at_two(&[Kind::Sqlite], 1).await;
    std::fs::remove_file(site.home.path().join("migrations/1_users.sql")).expect("a file");
    assert_eq!(verified(&site, 100)["tenants"][0]["standing"], "missing");
}

#[tokio::test]
async fn a_tenant_without_history_is_pending_and_one_with_another_tools_is_foreign() {
    let site = Site::new(&KINDS, 2).await;
    site.home.migration("1_users.sql", USERS);
    for tenant in site.fleet.tenants.iter().skip(1).step_by(2) {
        tenant.execute("CREATE TABLE schema_migrations (version VARCHAR(128) PRIMARY KEY); INSERT INTO schema_migrations VALUES ('1')").await;
    }
    let document = verified(&site, 100);
    assert_eq!(document["counts"], json!({ "total": 8, "no-history": 4, "foreign": 4 }), "{document}");
    for tenant in &site.fleet.tenants {
        assert!(!tenant.tables().await.contains_key("users"));
    }
    let new: Vec<&str> = site.fleet.tenants.iter().step_by(2).map(|t| t.id.as_str()).collect();
    let _ = site.home.run(&["verify", "-t", &new.join(",")]).exits(103);
}

#[tokio::test]
async fn a_tenant_that_cannot_be_reached_is_told_and_the_others_are_compared() {
    let site = at_two(&[Kind::PostgresDatabase], 2).await;
    let broken = site.tenant();
    let url = with_account(&broken.url, "nobody", "s3cret-pass");
    let _ = site.home.run_with_input(&["tenants", "set", &broken.id, "--url-stdin"], &url).exits(0);
    let ran = site.home.run(&["verify", "--all", "--json"]).exits(100);
    assert!(!format!("{ran:?}").contains("s3cret-pass"));
    let document = ran.json();
    assert_eq!(document["counts"], json!({ "total": 2, "current": 1, "unreadable": 1 }), "{document}");
}

#[tokio::test]
async fn a_look_changes_neither_tenants_nor_registry() {
    let site = at_two(&[Kind::Sqlite], 3).await;
    site.home.migration("3_posts.sql", "CREATE TABLE posts (id INTEGER);");
    let before = crate::state::of(&site.home).await;
    let _ = site.home.run(&["verify", "--all"]).exits(103);
    assert_eq!(crate::state::of(&site.home).await, before);
}

#[tokio::test]
async fn a_wrong_selection_and_a_wrong_directory_are_refused() {
    let site = at_two(&[Kind::Sqlite], 1).await;
    let _ = site.home.run(&["verify"]).exits(2);
    let _ = site.home.run(&["verify", "-t", "nobody"]).exits(2);
    let _ = site.home.run(&["verify", "--all", "--source", "nowhere"]).exits(78);
    let _ = site.home.run(&["verify", "-l", "plan=pro"]).exits(4);
    let _ = site.home.run(&["verify", "--all", "--accept-outside"]).exits(2);
}

#[tokio::test]
async fn a_thousand_tenants_are_looked_at_with_a_registry_in_postgres() {
    let home = crate::site::quick_home().with_postgres_registry().await;
    let mut fleet = tenantry_tests::Fleet::default();
    fleet.add(Kind::Sqlite, 1000, home.path()).await;
    let site = Site::of(home, fleet);
    site.home.migration("1_users.sql", USERS);
    let _ = site.migrate(&["--no-fingerprint"]).exits(0);
    let document = site.home.run(&["verify", "--all", "--schema", "--json"]).exits(0).json();
    assert_eq!(document["schemas"][0]["count"], 1000);
    assert_eq!(ledger(&site.home).number("SELECT count(*) FROM catalogs").await, 1);
}
