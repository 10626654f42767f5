//! PostgreSQL: what runs outside a transaction, and what a session keeps.

use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, unique},
};

use crate::site::{Site, quick_home};

const KINDS: [Kind; 2] = [Kind::PostgresDatabase, Kind::PostgresSchema];
const CREATE_USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(200));";
const TWO_OF_ONE_EMAIL: &str = "INSERT INTO users VALUES (1, 'ann'), (2, 'ann')";
const UNIQUE: &str =
    "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_email ON users (email)";
const INVALID: &str = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND c.relname = 'users_email'";
const ROWS: &str = "SELECT count(*) FROM _sqlx_migrations";

#[tokio::test]
async fn neighbours_that_build_indexes_concurrently_do_not_deadlock() {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(Kind::PostgresSchema, 6, home.path()).await;
    fleet.add(Kind::PostgresDatabase, 2, home.path()).await;
    let site = Site::of(home, fleet);
    site.home.migration("1_create_users.sql", CREATE_USERS);
    site.home
        .migration("2_fill.sql", "INSERT INTO users SELECT n, 'user' || n FROM generate_series(1, 20000) n;");
    site.home.migration("3_unique.sql", UNIQUE);
    site.home.migration(
        "4_lower.sql",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY users_lower ON users (lower(email)) WHERE id > 7;\n",
    );
    let run = site.migrate(&["--concurrency", "8", "--lock-timeout", "30s"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&8.into(), &0.into()), "{run}");
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indisvalid AND c.relname IN ('users_email', 'users_lower') AND c.relnamespace = current_schema()::regnamespace";
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number(valid).await, 2, "{}", tenant.id);
    }
}

#[tokio::test]
async fn only_the_last_migration_of_a_tenant_waits_for_the_disk() {
    let site = Site::new(&KINDS, 1).await;
    let says = "INSERT INTO waits SELECT current_setting('synchronous_commit')";
    site.home.migration("1_waits.sql", &format!("CREATE TABLE waits (how TEXT); {says};"));
    site.home.migration("2_second.sql", &format!("{says};"));
    site.home.migration(
        "3_by_steps.sql",
        &format!("-- no-transaction\n{says};\nCREATE INDEX CONCURRENTLY hows ON waits (how);"),
    );
    site.home.migration("4_third.sql", &format!("{says};"));
    site.home.migration("5_last.sql", &format!("{says};"));
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        let waits = tenant.text("SELECT string_agg(how, ' ' ORDER BY ctid) FROM waits").await;
        assert_eq!(waits.as_deref(), Some("off off on off on"), "{}", tenant.id);
    }
}

/// Makes sure that the unique index could not be built, and that nothing is left of it.
async fn not_built(site: &Site, tenant: &TenantDb) {
    for _ in 0..2 {
        let cause = site.fails(100, &[]);
        assert_eq!((&cause["code"], &cause["class"]), (&"23505".into(), &"permanent".into()), "{cause}");
    }
    assert_eq!((tenant.number(INVALID).await, tenant.versions().await), (0, vec![1]));
    assert_eq!(tenant.number(ROWS).await, 1);
}

#[tokio::test]
async fn a_unique_index_that_could_not_be_built_leaves_no_invalid_one_and_is_built_after_a_mend() {
    for kind in KINDS {
        let site = Site::new(&[kind], 1).await;
        let tenant = site.tenant();
        site.home.migration("1_create_users.sql", CREATE_USERS);
        let _ = site.migrate(&[]).exits(0);
        tenant.execute(TWO_OF_ONE_EMAIL).await;
        site.home.migration("2_unique.sql", UNIQUE);
        not_built(&site, tenant).await;

        tenant.execute("UPDATE users SET email = id").await;
        let _ = site.migrate(&[]).exits(0);
        let valid = INVALID.replace("NOT i.indisvalid", "i.indisvalid");
        assert_eq!((tenant.number(&valid).await, tenant.versions().await), (1, vec![1, 2]));
    }
}

#[tokio::test]
async fn an_index_that_was_left_invalid_is_dropped_and_built_again() {
    for kind in KINDS {
        let site = Site::new(&[kind], 1).await;
        let tenant = site.tenant();
        site.home.migration("1_create_users.sql", CREATE_USERS);
        let _ = site.migrate(&[]).exits(0);
        tenant.execute("CREATE INDEX users_email ON users (email); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_email'::regclass").await;
        site.home.migration("2_unique.sql", UNIQUE);
        let _ = site.migrate(&[]).exits(0);
        let unique = "SELECT count(*) FROM pg_index WHERE indexrelid = 'users_email'::regclass AND indisvalid AND indisunique";
        assert_eq!((tenant.number(INVALID).await, tenant.number(unique).await), (0, 1));
    }
}

#[tokio::test]
async fn an_invalid_index_in_another_schema_of_the_tenant_s_database_is_dropped_too() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.home.migration(
        "1_create_users.sql",
        &format!("CREATE SCHEMA app; SET search_path = app; {CREATE_USERS}"),
    );
    let _ = site.migrate(&[]).exits(0);
    site.tenant().execute(&TWO_OF_ONE_EMAIL.replace("users", "app.users")).await;
    site.home.migration("2_unique.sql", &UNIQUE.replace("ON users", "ON app.users"));
    not_built(&site, site.tenant()).await;
}

#[tokio::test]
async fn what_must_run_outside_a_transaction_needs_no_marker_and_goes_beside_other_statements() {
    let site = Site::new(&KINDS, 2).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let mixed = |column: &str| {
        format!(
            "CREATE TABLE a (n INTEGER);\nCREATE INDEX CONCURRENTLY users_email ON users (email);\nINSERT INTO a VALUES (1);\nCREATE INDEX CONCURRENTLY b ON users ({column});\nINSERT INTO a VALUES (2);"
        )
    };
    site.home.migration("2_mixed.sql", &mixed("nothing"));
    let cause = site.fails(100, &[]);
    assert_eq!(
        (&cause["code"], &cause["statement"], &cause["line"]),
        (&"42703".into(), &4.into(), &4.into())
    );
    site.home.migration("2_mixed.sql", &mixed("id"));
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM a").await, 2);
        assert_eq!(tenant.versions().await, [1, 2]);
        assert!(!tenant.tables().await.contains_key("_tenantry_progress"));
    }
}

#[tokio::test]
async fn a_migration_outside_a_transaction_that_did_nothing_leaves_a_clean_history() {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_index.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON users (nothing);");
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["count"]), (&"42703".into(), &2.into()), "{cause}");
    site.home.migration("2_index.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON users (email);");
    let _ = site.migrate(&[]).exits(0);
}

#[tokio::test]
async fn an_older_invalid_index_is_not_taken_for_the_work_of_a_migration_that_did_nothing() {
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    let tenant = site.tenant();
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    tenant.execute("CREATE INDEX users_email ON users (email); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_email'::regclass").await;
    site.home.migration("2_index.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON users (nothing);");
    let _ = site.fails(100, &[]);
    assert_eq!(tenant.number(ROWS).await, 1);
}

#[tokio::test]
async fn settings_of_one_migration_are_gone_in_the_next() {
    const LOOK: &str =
        "INSERT INTO seen SELECT current_setting('lock_timeout'), current_schema(), current_user;";
    let site = Site::new(&KINDS, 1).await;
    let role = unique("power");
    site.tenant().execute(&format!("CREATE ROLE {role} SUPERUSER")).await;
    site.home.migration(
        "1_seen.sql",
        &format!("CREATE TABLE seen (a TEXT, b TEXT, c TEXT); {LOOK} SET search_path TO '';"),
    );
    site.home.migration(
        "2_path.sql",
        &format!("{LOOK} SELECT set_config('search_path', '', false); SET lock_timeout = '7s';"),
    );
    site.home.migration("3_role.sql", &format!("{LOOK} SET SESSION AUTHORIZATION {role};"));
    site.home.migration("4_role.sql", &format!("{LOOK} SET ROLE {role};"));
    site.home.migration("5_outside.sql", "-- no-transaction\nSET search_path TO ''");
    site.home.migration("6_look.sql", LOOK);
    let run = site.migrate(&["--lock-timeout", "3s"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
    for tenant in &site.fleet.tenants {
        let same = "SELECT count(*) FROM seen WHERE a = '3s' AND b = current_schema() AND c = session_user";
        assert_eq!(tenant.number(same).await, 5, "{}", tenant.id);
    }
}

#[tokio::test]
async fn schemas_that_make_one_shared_object_at_the_same_moment_try_again() {
    let site = Site::new(&[Kind::PostgresSchema], 12).await;
    let shared = unique("shared");
    site.home.migration(
        "1_shared.sql",
        &format!("SELECT pg_sleep(0.3); CREATE OR REPLACE VIEW public.{shared} AS SELECT 1 AS one; CREATE OR REPLACE FUNCTION public.{shared}() RETURNS INT LANGUAGE SQL AS 'SELECT 1';"),
    );
    let run = site.migrate(&["--concurrency", "12", "--retries", "20"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 12, "{run}");
}

#[tokio::test]
async fn the_search_path_of_a_url_is_kept() {
    let mut site = Site::new(&[Kind::PostgresDatabase], 1).await;
    site.fleet.tenants[0].execute("CREATE SCHEMA app").await;
    site.fleet.tenants[0].url += "?options=-c%20search_path%3Dapp";
    let site = Site::of(quick_home(), site.fleet);
    site.home.migration("1_create_users.sql", "CREATE TABLE users (id INTEGER); SET search_path TO public;");
    site.home.migration("2_create_posts.sql", "CREATE TABLE posts (id INTEGER);");
    let _ = site.migrate(&[]).exits(0);
    let inside = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'app'::regnamespace";
    assert_eq!(site.tenant().number(inside).await, 3);
}

#[tokio::test]
async fn a_transaction_of_the_file_s_own_is_applied_and_recorded_once() {
    let site = Site::new(&KINDS, 1).await;
    site.home
        .migration("1_own.sql", "BEGIN;\nCREATE TABLE a (id INTEGER);\nINSERT INTO a VALUES (1);\nCOMMIT;\n");
    site.home.migration("2_next.sql", "INSERT INTO a VALUES (2);");
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.versions().await, tenant.number("SELECT count(*) FROM a").await), (vec![1, 2], 2));
    }
}
