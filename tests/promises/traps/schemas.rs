//! A schema per tenant: names without a schema, extensions, and what is written into a schema that all tenants share.

use tenantry_shared::{bundle::SetSpec, command::CommandSpec};
use tenantry_tests::{Fleet, TenantDb, fleet::Kind, wait::until};

use super::{hint, rows, told};
use crate::{
    formats::partner,
    site::{Site, Stranger, quick_home},
};

const CITEXT: &str = "CREATE EXTENSION IF NOT EXISTS citext;";
const USERS: &str = "CREATE TABLE users (email CITEXT);\nINSERT INTO users VALUES ('Ann');";

/// So many tenants in one database, in which this has been run, and whose URL has this behind it.
async fn schemas(count: usize, prepared: &str, query: &str) -> Site {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(Kind::PostgresSchema, count, home.path()).await;
    TenantDb::registry(&fleet.tenants[0].url).execute(prepared).await;
    for tenant in &mut fleet.tenants {
        tenant.url += query;
    }
    Site::of(home, fleet)
}

/// Tables and sequences in a schema, but for those of histories.
async fn made_in(tenant: &TenantDb, schema: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'S', 'v') AND relname <> '_sqlx_migrations'"
    );
    tenant.number(&sql).await
}

/// Migrates the tenants in turn, of which only the first can be migrated, and gives the cause of the others.
async fn only_the_first(site: &Site) -> serde_json::Value {
    let run = site.migrate(&["--concurrency", "1"]).exits(100).json();
    let others = site.fleet.tenants.len() - 1;
    assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&1.into(), &others.into()), "{run}");
    assert_eq!(run["failures"].as_array().map(Vec::len), Some(1), "{run}");
    for tenant in &site.fleet.tenants {
        let applied = site.target(tenant).is_some_and(|target| target["state"] == "applied");
        assert_eq!(tenant.versions().await, if applied { vec![1] } else { vec![] }, "{}", tenant.id);
        let own = made_in(tenant, tenant.schema.as_deref().unwrap_or("public")).await;
        assert!(applied || own == 0, "{} has {own}", tenant.id);
    }
    run["failures"][0].clone()
}

// Trap 3: a schema per tenant.
#[tokio::test]
async fn names_without_a_schema_land_in_the_tenant_s_own() {
    let site = schemas(2, "SELECT 1", "").await;
    site.home.migration(
        "1_users.sql",
        "CREATE TABLE users (id SERIAL PRIMARY KEY);\nCREATE VIEW names AS SELECT id FROM users;",
    );
    site.home.migration("2_fill.sql", "INSERT INTO users DEFAULT VALUES;");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(made_in(tenant, &tenant.id).await, 3, "{}", tenant.id);
        assert_eq!((rows(tenant, "users").await, made_in(tenant, "public").await), (1, 0), "{}", tenant.id);
    }
}

// Trap 3: the extension is in the schema of the tenant that came first.
#[tokio::test]
async fn an_extension_that_landed_in_one_tenant_s_schema_fails_the_others_with_the_way_out() {
    let site = schemas(3, "SELECT 1", "").await;
    site.home.migration("1_users.sql", &format!("{CITEXT}\n{USERS}"));
    let cause = only_the_first(&site).await;
    assert_eq!(told(&cause), ("42704", "permanent"), "{cause}");
    assert!(cause["message"].as_str().is_some_and(|m| m.contains("citext")), "{cause}");
    assert!(hint(&cause).contains("options=-c%20search_path%3D"), "{cause}");

    // The way out, as the hint says it.
    let shared = "CREATE SCHEMA shared; ALTER EXTENSION citext SET SCHEMA shared";
    TenantDb::registry(&site.tenant().url).execute(shared).await;
    for tenant in &site.fleet.tenants {
        let url = format!("{}?options=-c%20search_path%3Dshared", tenant.url);
        let set = ["tenants", "set", &tenant.id, "--schema", &tenant.id, "--url-stdin"];
        let _ = site.home.run_with_input(&set, &url).exits(0);
    }
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.versions().await, rows(tenant, "users").await), (vec![1], 1), "{}", tenant.id);
    }
}

// Trap 3: an extension in a schema of its own.
#[tokio::test]
async fn schemas_that_a_url_names_are_on_the_path_behind_the_tenant_s_own() {
    let query = "?options=-c%20search_path%3Dshared%2C%22More%5C%20Types%22";
    let prepared = "CREATE SCHEMA shared; CREATE SCHEMA \"More Types\"; CREATE EXTENSION hstore SCHEMA \"More Types\"; CREATE TABLE shared.plans (n INTEGER);";
    let site = schemas(3, prepared, query).await;
    site.home
        .migration("1_users.sql", &format!("CREATE EXTENSION IF NOT EXISTS citext SCHEMA shared;\n{USERS}"));
    site.home.migration("2_more.sql", "SET search_path = '';");
    site.home.migration(
        "3_more.sql",
        "CREATE TABLE more AS SELECT 'a=>1'::hstore AS h, (SELECT count(*) FROM plans) AS n;",
    );
    site.home.migration("4_outside.sql", "-- no-transaction\nALTER TABLE more ADD COLUMN c CITEXT;");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(made_in(tenant, &tenant.id).await, 2, "{}", tenant.id);
        assert_eq!((made_in(tenant, "shared").await, tenant.versions().await.len()), (1, 4), "{}", tenant.id);
    }
}

// Trap 3: programs get the path by `PGOPTIONS`, before which libpq takes the options of a URL.
#[tokio::test]
async fn a_program_works_in_the_tenant_s_schema_with_the_shared_ones_behind_it() {
    let prepared = "CREATE SCHEMA shared; CREATE EXTENSION citext SCHEMA shared";
    let site = schemas(2, prepared, "?options=-c%20search_path%3Dshared").await;
    let make = "psql -X -v ON_ERROR_STOP=1 -c 'CREATE TABLE a (e CITEXT)' && psql -X -v ON_ERROR_STOP=1 \"$(printf %s \"$DATABASE_URL\" | sed 's/&schema=.*//')\" -c 'CREATE TABLE b (e CITEXT)'";
    let command =
        CommandSpec { run: ["sh", "-c", make].map(str::to_owned).to_vec(), ..CommandSpec::default() };
    for tenant in &site.fleet.tenants {
        let (command, format) = (Some(command.clone()), Some("none".to_owned()));
        let spec = SetSpec { name: "main".into(), command, format, ..SetSpec::default() };
        let _ = partner::applied_as(spec, &[], tenant).await.expect("applied");
        let own = made_in(tenant, &tenant.id).await;
        assert_eq!((own, made_in(tenant, "shared").await), (2, 0), "{}", tenant.id);
    }
}

// Trap 3: what was not meant to be written into a shared schema is not.
#[tokio::test]
async fn a_tenant_whose_schema_is_not_there_is_failed_though_a_shared_one_is() {
    let site = schemas(1, "CREATE SCHEMA shared", "?options=-c%20search_path%3Dshared").await;
    TenantDb::registry(&site.tenant().url).execute(&format!("DROP SCHEMA {}", site.tenant().id)).await;
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER);");
    let cause = site.fails(100, &[]);
    assert_eq!(told(&cause), ("3F000", "permanent"), "{cause}");
    let shared = "SELECT count(*) FROM pg_class WHERE relnamespace = 'shared'::regnamespace";
    assert_eq!(TenantDb::registry(&site.tenant().url).number(shared).await, 0);
}

// Trap 3: objects that are made in `public` by every tenant.
#[tokio::test]
async fn an_object_in_public_is_made_by_the_first_tenant_and_fails_the_others() {
    let site = schemas(3, "SELECT 1", "").await;
    site.home
        .migration("1_plans.sql", "CREATE TABLE own (n INTEGER);\nCREATE TABLE public.plans (n INTEGER);");
    let cause = only_the_first(&site).await;
    assert_eq!((told(&cause), &cause["count"]), (("42P07", "permanent"), &2.into()), "{cause}");
    assert!(cause["message"].as_str().is_some_and(|m| m.contains("plans")), "{cause}");
    assert_eq!(cause["statement"], 2, "{cause}");
}

// Trap 3: tenants that make or change a shared object at the same moment.
#[tokio::test]
async fn a_shared_object_that_another_tenant_works_on_just_now_is_waited_for_and_tried_again() {
    let extension = format!("CREATE EXTENSION IF NOT EXISTS citext SCHEMA shared;\n{USERS}");
    let cases = [
        ("CREATE EXTENSION citext SCHEMA shared", extension.as_str()),
        ("GRANT USAGE ON SCHEMA public TO PUBLIC", "GRANT USAGE ON SCHEMA public TO PUBLIC;"),
        (
            "CREATE OR REPLACE FUNCTION shared.f() RETURNS INTEGER LANGUAGE sql AS 'SELECT 2'",
            "CREATE OR REPLACE FUNCTION shared.f() RETURNS INTEGER LANGUAGE sql AS 'SELECT 3';",
        ),
    ];
    for (theirs, ours) in cases {
        let prepared =
            "CREATE SCHEMA shared; CREATE FUNCTION shared.f() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'";
        let site = schemas(1, prepared, "?options=-c%20search_path%3Dshared").await;
        site.home.migration("1_shared.sql", ours);
        let everywhere = TenantDb::registry(&site.tenant().url);
        let mut other = Stranger::that_runs(&everywhere, &format!("BEGIN; {theirs}")).await;
        let running = site.start(&[]);
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'tenantry'";
        until("the migration waits for the other", || async { everywhere.number(waits).await > 0 }).await;
        other.runs("COMMIT").await;
        let run = tenantry_tests::home::finish(running).exits(0).json();
        assert_eq!(
            (&run["counts"]["applied"], &run["counts"]["retried"]),
            (&1.into(), &1.into()),
            "{theirs} {run}"
        );
    }
}

// Trap 4: catalog look-ups that find a neighbor's object.
#[tokio::test]
async fn a_look_up_that_finds_a_neighbor_s_constraint_is_no_failure_that_a_server_could_tell() {
    const LOOK_UP: &str = "CREATE TABLE a (n INTEGER);
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'a_n_key') THEN ALTER TABLE a ADD CONSTRAINT a_n_key UNIQUE (n); END IF;
END $$;";
    let site = schemas(2, "SELECT 1", "").await;
    site.home.migration("1_a.sql", LOOK_UP);
    let run = site.migrate(&["--concurrency", "1"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
    let constraints = "SELECT count(*) FROM pg_constraint WHERE conname = 'a_n_key' AND connamespace = current_schema()::regnamespace";
    let mut found = Vec::new();
    for tenant in &site.fleet.tenants {
        found.push(tenant.number(constraints).await);
    }
    found.sort_unstable();
    assert_eq!(found, [0, 1]);
    let verified = site.home.run(&["verify", "--all", "--schema"]).exits(100);
    assert!(verified.stdout.contains("a_n_key"), "{verified:?}");
}

// Trap 4: views that are made in `public` without an error.
#[tokio::test]
async fn a_view_in_public_that_each_tenant_replaces_is_found_outside_by_a_look_at_the_schemas() {
    let site = schemas(2, "SELECT 1", "").await;
    let text =
        "CREATE TABLE a (n INTEGER);\nCREATE OR REPLACE VIEW public.totals AS SELECT count(*) AS n FROM a;";
    site.home.migration("1_totals.sql", text);
    let run = site.migrate(&["--concurrency", "1"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
    let verified = site.home.run(&["verify", "--all", "--schema"]).exits(100);
    assert!(verified.stdout.contains("view public.totals"), "{verified:?}");
}
