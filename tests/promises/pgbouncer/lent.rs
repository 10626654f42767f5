//! What goes well in sessions that are lent by the transaction.

use serde_json::Value;
use tenantry_tests::{TenantDb, fleet::Kind, home::finish, server::Private, wait::until};

use super::{LENT, all_counted, behind, connect, gated, lock_of_sqlx, nothing_is_left, through, value};
use crate::{
    site::{Site, Stranger},
    stage::Gates,
};

const KINDS: [Kind; 2] = [Kind::PostgresSchema, Kind::PostgresDatabase];

async fn all_are_at(site: &Site, versions: &[i64]) {
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, versions, "{}", tenant.id);
    }
}

fn two_migrations(site: &Site) {
    site.home.migration("1_users.sql", "CREATE TABLE users (id INT);");
    site.home.migration("2_posts.sql", "CREATE TABLE posts (id INT);");
}

#[tokio::test]
async fn a_rehearsal_passes_and_leaves_nothing() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &KINDS, 2, "").await;
    two_migrations(&site);
    let told = site.home.run(&["rehearse", "--all", "--json"]).exits(0).json();
    assert_eq!(told["counts"]["passed"], 4, "{told}");
    for tenant in &site.fleet.tenants {
        assert!(tenant.tables().await.is_empty(), "{}", tenant.id);
        nothing_is_left(&pooler, tenant).await;
    }
    site.home.migration("3_broken.sql", "CREATE TABLE users (id INT);");
    let _ = site.home.run(&["rehearse", "--all"]).exits(100);
    assert!(site.tenant().tables().await.is_empty());
}

#[tokio::test]
async fn tenants_are_taken_over_verified_mended_and_brought_back() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &KINDS, 2, "").await;
    site.home.migration("1_users.up.sql", "CREATE TABLE users (id INT);");
    site.home.migration("1_users.down.sql", "DROP TABLE users;");
    site.home.migration("2_posts.up.sql", "CREATE TABLE posts (id INT);");
    site.home.migration("2_posts.down.sql", "DROP TABLE posts;");
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE users (id INT)").await;
    }
    let _ = site.home.run(&["baseline", "--all", "--to", "1", "--work"]).exits(0);
    all_are_at(&site, &[1]).await;
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2]).await;
    let _ = site.home.run(&["verify", "--all", "--schema"]).exits(0);
    let _ = site.home.run(&["repair", "--all", "--forget", "2"]).exits(0);
    all_are_at(&site, &[1]).await;
    let _ = site.home.run(&["repair", "--all", "--mark-applied", "2"]).exits(0);
    all_are_at(&site, &[1, 2]).await;
    let _ = site.home.run(&["rollback", "--all", "--work", "--to", "0"]).exits(0);
    all_are_at(&site, &[]).await;
    for tenant in &site.fleet.tenants {
        assert!(!tenant.tables().await.contains_key("users"), "{}", tenant.id);
        nothing_is_left(&pooler, tenant).await;
    }
}

#[tokio::test]
async fn a_failure_takes_back_all_of_its_migration_and_names_its_line() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &KINDS, 1, "").await;
    two_migrations(&site);
    site.home.migration("3_broken.sql", "CREATE TABLE more (id INT);\nSELECT nothing FROM users;\n");
    let cause = site.fails(100, &[]);
    assert_eq!(
        (&cause["code"], &cause["line"], &cause["count"]),
        (&"42703".into(), &2.into(), &2.into()),
        "{cause}"
    );
    all_are_at(&site, &[1, 2]).await;
    for tenant in &site.fleet.tenants {
        assert!(!tenant.tables().await.contains_key("more"), "{}", tenant.id);
        nothing_is_left(&pooler, tenant).await;
    }
}

/// What the tenant's attempt is seen to wait for, once it is.
async fn waits_for(site: &Site) -> String {
    let seen = || {
        let status = site.home.run(&["status", "latest", "--json"]);
        let document: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        document["sightings"][0]["waits_for"].as_str().map(str::to_owned)
    };
    until("it is seen to wait", async || seen().is_some()).await;
    seen().expect("seen a moment ago")
}

#[tokio::test]
async fn who_holds_what_a_lent_session_waits_for_is_seen() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = gated(&pooler, &[Kind::PostgresDatabase]).await;
    let patient = ["--retries", "1", "--lock-timeout", "50s"];
    let theirs = Stranger::that_runs(site.tenant(), &lock_of_sqlx(site.tenant())).await;
    let gates = Gates::close([site.tenant()]).await;
    let run = site.start(&patient);
    let waits = waits_for(&site).await;
    assert!(waits.starts_with("the tenant's lock held by pid "), "{waits}");
    drop(theirs);
    until("it waits at the gate", async || waits_for(&site).await.starts_with("a lock held by pid ")).await;
    gates.open().await;
    let _ = finish(run).exits(0);
    all_counted(&site, 1).await;
}

/// One session for everybody, which somebody else has changed.
#[tokio::test]
async fn what_others_have_left_in_a_session_does_no_harm() {
    let pooler = Private::start("pgbouncer", "pool_mode = transaction; default_pool_size = 1");
    let site = behind(&pooler, &KINDS, 1, "").await;
    site.home.migration(
        "1_counter.sql",
        "CREATE TABLE counter (n BIGINT); INSERT INTO counter SELECT 1 FROM pg_sleep(0.05);",
    );
    for tenant in &through(&pooler, &site.fleet).tenants {
        let mut other = connect(&tenant.url).await;
        let left = "CREATE TEMP TABLE counter (n BIGINT); SET search_path = pg_temp; SET statement_timeout = 20; SET standard_conforming_strings = off; SELECT ''";
        let _ = value(&mut other, left).await;
    }
    let _ = site.migrate(&[]).exits(0);
    all_counted(&site, 1).await;
    all_are_at(&site, &[1]).await;
}

/// The options of a URL are in force in each transaction, whether the pooler refuses them or leaves them out.
#[tokio::test]
async fn tenants_share_the_schemas_that_their_url_names() {
    for options in ["", "; ignore_startup_parameters = options"] {
        let pooler = Private::start("pgbouncer", &format!("{LENT}{options}"));
        let url = "?options=-c%20search_path%3Dshared%20-c%20work_mem%3D3MB";
        let site = behind(&pooler, &[Kind::PostgresSchema], 3, url).await;
        let shared = TenantDb { schema: None, ..site.tenant().clone() };
        shared.execute("CREATE SCHEMA shared; CREATE TABLE shared.plans AS SELECT 7::BIGINT AS n").await;
        let count = "CREATE TABLE counter AS SELECT n, current_setting('work_mem') AS m FROM plans;";
        site.home.migration("1_counter.sql", count);
        let _ = site.migrate(&[]).exits(0);
        all_counted(&site, 7).await;
        assert_eq!(site.tenant().text("SELECT m FROM counter").await.as_deref(), Some("3MB"));
        nothing_is_left(&pooler, site.tenant()).await;
    }
}

/// A pooler of which nothing is said lends its sessions as far as can be told: what needs none of its own goes well.
#[tokio::test]
async fn a_url_may_say_what_nobody_finds_out() {
    let kept = Private::start("pgbouncer", "pool_mode = session; default_pool_size = 10");
    let lent = Private::start("pgbouncer", LENT);
    for (pooler, query) in [(&kept, ""), (&lent, "?pooling=transaction"), (&lent, "?pgbouncer=true")] {
        let site = behind(pooler, &KINDS, 1, query).await;
        two_migrations(&site);
        let _ = site.migrate(&[]).exits(0);
        all_are_at(&site, &[1, 2]).await;
        let doctor = site.home.run(&["doctor"]).exits(0);
        assert!(doctor.stdout.contains("lends its sessions by the transaction"), "{doctor:?}");
        site.home.migration("3_alone.sql", "VACUUM users;");
        assert_eq!(site.fails(104, &[])["code"], "pooled");
    }
}
