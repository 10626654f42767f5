//! What migrations made outside of the tenants' own schemas.

use tenantry_tests::fleet::Kind;

use super::{RICH_POSTGRES, told, verified};
use crate::site::Site;

#[tokio::test]
async fn a_view_that_a_migration_put_into_public_is_found_until_it_is_gone() {
    let site = Site::new(&[Kind::PostgresSchema], 3).await;
    let [first, ..] = &site.fleet.tenants[..] else { panic!("tenants") };
    first.execute("CREATE TABLE public.shared (id INTEGER); CREATE VIEW public.old AS SELECT 1 AS one").await;
    site.home.migration(
        "1_users.sql",
        "CREATE TABLE users (id INTEGER); CREATE OR REPLACE VIEW public.totals AS SELECT count(*) FROM users; ALTER TABLE public.shared ADD COLUMN IF NOT EXISTS x INTEGER;",
    );
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let outside: Vec<_> = document["outside"]
        .as_array()
        .expect("outside")
        .iter()
        .map(|row| (row["object"].as_str().expect("an object"), row["run"].clone()))
        .collect();
    assert_eq!(
        outside,
        [("column public.shared.x", 1.into()), ("view public.totals", 1.into())],
        "{document}"
    );
    assert!(told(&document).is_empty(), "{document}");

    first.execute("DROP VIEW public.totals").await;
    assert_eq!(verified(&site, 100)["outside"].as_array().map(Vec::len), Some(1));
    let _ = site.home.run(&["verify", "--all", "--schema", "--accept-outside"]).exits(0);
    let _ = verified(&site, 0);
}

#[tokio::test]
async fn what_the_last_tenant_of_a_session_makes_around_it_is_found_where_nothing_was() {
    let site = Site::new(&[Kind::PostgresSchema], 3).await;
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER);");
    let _ = site.migrate(&[]).exits(0);
    site.tenant().execute("CREATE TABLE public.seen (id INTEGER); DROP TABLE public.seen").await;
    site.home.migration(
        "2_late.sql",
        "DO $$ BEGIN IF (SELECT count(*) FROM pg_class WHERE relname = 'late' AND relkind = 'r') = 2
            THEN CREATE SCHEMA beside; CREATE VIEW public.totals AS SELECT 1 AS one; END IF; END $$; CREATE TABLE late (id INTEGER);",
    );
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let outside = document["outside"].as_array().expect("outside").iter();
    let outside: Vec<&str> = outside.filter_map(|row| row["object"].as_str()).collect();
    assert_eq!(outside, ["schema beside", "view public.totals"], "{document}");
}

#[tokio::test]
async fn what_a_failed_migration_left_outside_is_found() {
    let site = Site::new(&[Kind::PostgresSchema], 1).await;
    site.home.migration("1_view.sql", "CREATE VIEW public.one AS SELECT 1 AS one;");
    site.home.migration("2_broken.sql", "SELECT 1/0;");
    let _ = site.fails(100, &[]);
    let document = verified(&site, 100);
    assert_eq!(document["outside"][0]["object"], "view public.one", "{document}");
}

#[tokio::test]
async fn what_tenants_make_in_their_own_schemas_at_once_is_not_outside() {
    let site = Site::new(&[Kind::PostgresSchema], 6).await;
    site.home.migration("1_all.sql", RICH_POSTGRES);
    let _ = site.migrate(&["--concurrency", "6"]).exits(0);
    let document = verified(&site, 0);
    assert_eq!(document["outside"].as_array().map(Vec::len), Some(0), "{document}");
}

#[tokio::test]
async fn an_extension_in_the_first_tenants_schema_is_found() {
    let site = Site::new(&[Kind::PostgresSchema], 3).await;
    site.home.migration(
        "1_extension.sql",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE TABLE users (id INTEGER);",
    );
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let told = told(&verified(&site, 100));
    assert_eq!((told.len(), told[0].0.as_str()), (1, "1 has extension pg_trgm"));
}

#[tokio::test]
async fn a_fleet_that_had_its_tables_before_its_history_has_them_not_outside() {
    let site = Site::new(&[Kind::PostgresSchema], 60).await;
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE legacy (id INTEGER PRIMARY KEY)").await;
    }
    site.home.migration("1_view.sql", "CREATE OR REPLACE VIEW public.totals AS SELECT count(*) FROM legacy;");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let outside = document["outside"].as_array().expect("outside");
    assert_eq!((outside.len(), &outside[0]["object"]), (1, &"view public.totals".into()), "{document}");
}
