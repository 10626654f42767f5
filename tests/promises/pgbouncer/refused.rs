//! What needs a session of its own is refused before anything is done, with the way out.

use tenantry_tests::{
    Home,
    fleet::Kind,
    server::{Private, with_database},
};

use super::{LENT, behind, nothing_is_left};

const FIRST: (&str, &str) = ("1_users.sql", "CREATE TABLE users (id INT);");

/// Scripts, and which word of why they are refused is told.
const SCRIPTS: [(&str, &str); 12] = [
    ("-- no-transaction\nSELECT 1;", "no transaction can hold"),
    ("CREATE INDEX CONCURRENTLY i ON users (id);", "no transaction can hold"),
    ("VACUUM users;", "no transaction can hold"),
    ("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT;", "no transaction can hold"),
    ("SELECT 1;\nSET search_path = public;", "changes its session"),
    ("SELECT pg_catalog.set_config('search_path', '', false);", "changes its session"),
    ("LISTEN news;", "changes its session"),
    ("CREATE TEMP TABLE t (a INT); INSERT INTO t VALUES (1);", "changes its session"),
    ("PREPARE p AS SELECT 1;", "changes its session"),
    ("SELECT pg_advisory_lock(7);", "advisory lock"),
    ("DO $$ BEGIN PERFORM pg_advisory_lock(7); END $$;", "advisory lock"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1;", "WITH HOLD"),
];

#[tokio::test]
async fn what_needs_a_session_is_refused_before_the_first_migration() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &[Kind::PostgresSchema], 1, "").await;
    site.home.migration(FIRST.0, FIRST.1);
    for (script, why) in SCRIPTS {
        site.home.migration("2_refused.sql", script);
        let cause = site.fails(104, &[]);
        assert_eq!(
            (&cause["code"], &cause["class"]),
            (&"pooled".into(), &"permanent".into()),
            "{script}: {cause}"
        );
        let told = cause.to_string();
        assert!(
            told.contains(why) && told.contains("tenants set") && cause["migration"] == "2",
            "{script}: {told}"
        );
        for command in ["plan", "rehearse"] {
            let refused = site.home.run(&[command, "--all", "--json"]).exits(104);
            assert!(refused.stdout.contains(why), "{command} {script}: {refused:?}");
        }
        assert!(site.tenant().tables().await.is_empty(), "{script}");
    }
    nothing_is_left(&pooler, site.tenant()).await;
    site.home.migration("2_refused.sql", "BEGIN;\nSET search_path = public;\nCOMMIT;");
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["statement"], &cause["line"]), (&2.into(), &2.into()), "{cause}");

    let config = "preamble = \"SET work_mem = '1MB'\"\n";
    std::fs::write(site.home.path().join("tenantry.toml"), config).expect("a configuration");
    site.home.migration("2_refused.sql", "SELECT 1;");
    let cause = site.fails(104, &[]);
    assert!(cause["code"] == "pooled" && cause.to_string().contains("preamble"), "{cause}");
    std::fs::write(site.home.path().join("tenantry.toml"), "").expect("a configuration");
    site.home.migration("2_refused.sql", SCRIPTS[1].0);

    let tenant = site.tenant();
    let _ = site
        .home
        .run_with_input(&["tenants", "set", &tenant.id, "--schema", &tenant.id, "--url-stdin"], &tenant.url)
        .exits(0);
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(tenant.versions().await, [1, 2]);
}

#[tokio::test]
async fn a_migration_that_was_begun_past_the_pooler_is_not_gone_on_with_through_it() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &[Kind::PostgresDatabase], 1, "").await;
    site.home.migration(
        FIRST.0,
        "CREATE TABLE users (id INT);\nCREATE INDEX CONCURRENTLY i ON users (nothing);\n",
    );
    let tenant = site.tenant();
    let set = ["tenants", "set", &tenant.id, "--url-stdin"];
    let _ = site.home.run_with_input(&set, &tenant.url).exits(0);
    assert_eq!(site.fails(100, &[])["code"], "42703");
    let lent = with_database(&pooler.url, tenant.url.rsplit('/').next().expect("a database"));
    let _ = site.home.run_with_input(&set, &lent).exits(0);
    let before = tenant.text("SELECT string_agg(p::text, ';') FROM _tenantry_progress p").await;
    site.home.migration(FIRST.0, "CREATE TABLE users (id INT);\nSELECT 1;\n");
    assert_eq!(site.fails(104, &[])["code"], "pooled");
    assert_eq!(tenant.text("SELECT string_agg(p::text, ';') FROM _tenantry_progress p").await, before);
}

#[tokio::test]
async fn a_pooler_without_transactions_is_refused() {
    let pooler = Private::start("pgbouncer", "pool_mode = statement");
    let site = behind(&pooler, &[Kind::PostgresSchema], 1, "").await;
    site.home.migration(FIRST.0, FIRST.1);
    let cause = site.fails(104, &[]);
    assert_eq!((&cause["code"], &cause["class"]), (&"pooled".into(), &"permanent".into()), "{cause}");
    assert!(cause.to_string().contains("by the statement"), "{cause}");
    assert!(site.tenant().tables().await.is_empty());
}

#[tokio::test]
async fn a_program_that_migrates_is_refused() {
    let pooler = Private::start("pgbouncer", LENT);
    let site = behind(&pooler, &[Kind::PostgresSchema], 1, "").await;
    site.home.migration(FIRST.0, FIRST.1);
    let config = "[command]\nrun = [\"touch\", \"ran\"]\n";
    std::fs::write(site.home.path().join("tenantry.toml"), config).expect("a configuration");
    let cause = site.fails(104, &[]);
    assert!(cause["code"] == "pooled" && !site.home.path().join("ran").exists(), "{cause}");
}

#[tokio::test]
async fn a_registry_is_not_kept_where_sessions_are_lent() {
    let home = Home::new().with_postgres_registry().await;
    let url = home.registry_url();
    let database = url.rsplit('/').next().expect("a database").to_owned();
    let lent = |options: &str| Private::start("pgbouncer", &format!("{LENT}{options}"));
    for pooler in [lent(""), lent("; ignore_startup_parameters = extra_float_digits, options")] {
        let home = Home::new().with("TENANTRY_REGISTRY_URL", &with_database(&pooler.url, &database));
        for command in [&["registry", "init"][..], &["doctor"]] {
            let refused = home.run(command);
            let told = format!("{}{}", refused.stdout, refused.stderr);
            assert_eq!(refused.code, 78, "{told}");
            assert!(told.contains("by the transaction") && told.contains("?pooling=session"), "{told}");
        }
    }
    let kept = "pool_mode = session; ignore_startup_parameters = extra_float_digits";
    for (options, code) in [(kept, 0), ("pool_mode = session", 78)] {
        let pooler = Private::start("pgbouncer", options);
        let url = format!("{}?pooling=session", with_database(&pooler.url, &database));
        let home = Home::new().with("TENANTRY_REGISTRY_URL", &url);
        let made = home.run(&["registry", "init"]).exits(code);
        assert_eq!(made.stderr.contains("ignore_startup_parameters"), code == 78, "{made:?}");
    }
    let _ = home.run(&["registry", "check"]).exits(0);
}

#[tokio::test]
async fn a_url_cannot_ask_for_another_kind_of_pooling() {
    let home = Home::new();
    let _ = home.run(&["registry", "init"]).exits(0);
    let add =
        home.run_with_input(&["tenants", "add", "acme", "--url-stdin"], "postgres://h/d?pooling=statement");
    assert!(add.exits(2).stderr.contains("neither session nor transaction"));
}
