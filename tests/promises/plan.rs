//! `plan` and `--dry-run`: they show what a run would do, and change nothing.

use std::{collections::BTreeMap, io::Read as _, path::Path, process::Stdio};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind, server};

use crate::stage::ledger;

const ALL: [Kind; 4] = [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite];

/// A registry and so many tenants of each kind, and two migrations.
async fn scene(kinds: &[Kind], count: usize) -> (Home, Vec<TenantDb>) {
    let home = Home::new();
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    home.migration("2_more.sql", "CREATE TABLE more (id INTEGER);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    for kind in kinds {
        fleet.add(*kind, count, home.path()).await;
    }
    fleet.register(&home);
    (home, fleet.tenants)
}

/// Every row of every table of an SQLite registry, and every other file below the home.
async fn all_that_is_kept(home: &Home) -> (BTreeMap<String, Vec<String>>, Vec<(String, Vec<u8>)>) {
    let registry = ledger(home);
    let mut connection = SqliteConnection::connect(&registry.url).await.expect("the registry");
    let mut rows = BTreeMap::new();
    for (table, columns) in registry.tables().await {
        let quoted: Vec<String> = columns.split(',').map(|column| format!("quote({column})")).collect();
        let select = format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || ',' || "));
        let texts = sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&mut connection).await;
        rows.insert(table, texts.expect("rows"));
    }
    let mut files = Vec::new();
    below(home.path(), &mut files);
    files.sort();
    (rows, files)
}

fn below(directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, files);
        } else if !path.to_string_lossy().contains("registry.db") {
            files.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing_at_all() {
    let (home, tenants) = scene(&ALL, 2).await;
    let before = all_that_is_kept(&home).await;
    assert_eq!((before.0["runs"].len(), before.0["tenants"].len()), (0, 8));
    for words in [
        &["plan", "--all"][..],
        &["plan", "--all", "--sql", "--json"],
        &["enqueue", "--all", "--dry-run"],
        &["migrate", "--all", "--dry-run", "--json"],
    ] {
        let _ = home.run(words).exits(0);
    }
    assert_eq!(all_that_is_kept(&home).await, before);
    for tenant in &tenants {
        let own = tenant.tables().await;
        assert!(own.is_empty(), "{}: {own:?}", tenant.id);
    }
}

#[tokio::test]
async fn tenants_with_one_plan_are_one_group_with_their_sql_once() {
    let (home, tenants) = scene(&[Kind::Sqlite], 5).await;
    let _ = home.run(&["migrate", "-t", &tenants[0].id, "--target", "1"]).exits(0);
    let _ = home.run(&["migrate", "-t", &tenants[1].id]).exits(0);
    let _ = home.run(&["migrate", "-t", &tenants[2].id]).exits(0);
    tenants[2].execute("UPDATE _sqlx_migrations SET success = 0 WHERE version = 2").await;

    let plan = home.run(&["plan", "--all", "--sql"]).exits(104);
    let lines: Vec<&str> = plan.stdout.lines().collect();
    assert!(lines.contains(&"2 tenants: 2 migrations (1_users.sql, 2_more.sql)"), "{plan:?}");
    assert!(lines.contains(&"1 tenant: 1 migration (2_more.sql)"), "{plan:?}");
    assert!(lines.contains(&"1 tenant: current"), "{plan:?}");
    assert!(plan.stdout.contains("1 tenant refused: 2_more.sql: dirty: the history is dirty"), "{plan:?}");
    assert_eq!(plan.stdout.matches("CREATE TABLE users (id INTEGER PRIMARY KEY);").count(), 1);
    assert_eq!(plan.stdout.matches("-- 2_more.sql").count(), 2, "once for each group");
    assert!(plan.stderr.contains("error: 1 of 5 tenants would not be migrated"), "{plan:?}");

    let document = home.run(&["plan", "--all", "--json"]).exits(104).json();
    assert_eq!((&document["schema"], &document["exit_code"]), (&"tenantry.plan/v1".into(), &104.into()));
    assert_eq!(
        document["counts"],
        json!({ "total": 5, "pending": 3, "current": 1, "refused": 1, "failed": 0, "held": 0 })
    );
    let states: Vec<&Value> =
        document["groups"].as_array().expect("groups").iter().map(|group| &group["state"]).collect();
    assert_eq!(states, ["pending", "pending", "current", "refused"]);
    assert_eq!(document["groups"][3]["error"]["code"], "dirty");
    assert_eq!(document["groups"][3]["tenants"], json!([tenants[2].id]));
    assert!(document["groups"][0]["migrations"][0].get("sql").is_none());

    let ids = format!("{},{}", tenants[3].id, tenants[4].id);
    let by_name = home.run(&["plan", "-t", &ids, "--sql"]).exits(0);
    for tenant in &tenants[3..] {
        let line = format!("{}: 2 migrations (1_users.sql, 2_more.sql)", tenant.id);
        assert!(by_name.stdout.contains(&line), "{by_name:?}");
    }
    assert_eq!(by_name.stdout.matches("CREATE TABLE users").count(), 2);
}

#[tokio::test]
async fn exit_codes_tell_what_would_happen() {
    let (home, tenants) = scene(&[Kind::Sqlite], 2).await;
    let _ = home.run(&["plan", "--all"]).exits(0);
    let _ = home.run(&["plan", "--all", "--exit-code"]).exits(103);
    let _ = home.run(&["plan", "--all", "--exit-code", "--target", "9"]).exits(2);
    let _ = home.run(&["plan", "-l", "plan=none"]).exits(4);
    let nobody = home.run(&["plan", "-l", "plan=none", "--no-tenants", "pass", "--json"]).exits(0).json();
    assert_eq!((&nobody["schema"], &nobody["counts"]["total"]), (&"tenantry.plan/v1".into(), &0.into()));
    let _ = home.run(&["plan", "-t", "nobody"]).exits(2);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let current = home.run(&["plan", "--all", "--exit-code"]).exits(0);
    assert!(current.stdout.starts_with("2 tenants: current\n"), "{current:?}");
    std::fs::remove_file(tenants[0].url.strip_prefix("sqlite:").expect("a file")).expect("a file");
    let gone = home.run(&["plan", "--all", "--exit-code"]).exits(100);
    assert!(gone.stdout.contains("1 tenant failed: 14"), "{gone:?}");
    let other = home.with("TENANTRY_MASTER_KEY", &"5e".repeat(32));
    let _ = other.run(&["plan", "--all"]).exits(78);
}

#[tokio::test]
async fn a_tenant_is_refused_for_what_a_run_would_refuse_it_for() {
    let (home, tenants) = scene(&[Kind::Sqlite], 3).await;
    let _ = home.run(&["migrate", "-t", &tenants[0].id]).exits(0);
    tenants[0].execute("DELETE FROM _sqlx_migrations WHERE version = 1").await;
    let foreign = "CREATE TABLE flyway_schema_history (installed_rank INT PRIMARY KEY, version TEXT, description TEXT,
        type TEXT, script TEXT, checksum INT, installed_by TEXT, installed_on TEXT, execution_time INT, success INT)";
    tenants[1].execute(foreign).await;
    tenants[2].execute("CREATE TABLE _sqlx_migrations (version BIGINT, checksum BLOB, success INT); INSERT INTO _sqlx_migrations VALUES (9, x'00', 1)").await;
    for tenant in &tenants {
        let plan = home.run(&["plan", "-t", &tenant.id, "--json"]).exits(104).json();
        let _ = home.run(&["migrate", "-t", &tenant.id]).exits(104);
        let run = home.run(&["status", "latest", "--json"]).exits(0).json();
        for key in ["code", "message", "hint", "fingerprint", "migration"] {
            assert_eq!(plan["groups"][0]["error"][key], run["failures"][0][key], "{key}");
        }
    }
}

#[tokio::test]
async fn a_plan_goes_into_a_pipe_and_its_reader_may_go_away() {
    let (home, _) = scene(&[Kind::Sqlite], 3).await;
    let long = format!("CREATE TABLE wide (id INTEGER); -- {}\n", "x".repeat(300_000));
    home.migration("3_wide.sql", &long);
    let mut child = home
        .command("tenantry", &["plan", "--all", "--sql"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tenantry");
    let mut first = [0; 9];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("a beginning");
    assert_eq!(&first, b"3 tenants");
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("panic"));
    let quiet = home.run(&["plan", "--all", "-q"]).exits(0);
    assert_eq!(quiet.stderr, "");
    assert!(!quiet.stdout.contains('\u{1b}'), "{quiet:?}");
}

#[tokio::test]
async fn one_dedicated_database_is_planned_without_a_registry() {
    for kind in ALL {
        let home = Home::new().without("TENANTRY_MASTER_KEY");
        home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
        let mut fleet = Fleet::default();
        fleet.add(kind, 1, home.path()).await;
        let tenant = &fleet.tenants[0];
        let schema: Vec<&str> = tenant.schema.as_deref().map(|s| vec!["--schema", s]).unwrap_or_default();
        let home = home.with("DATABASE_URL", &tenant.url);
        let run = |words: &[&str]| home.run(&[words, &schema[..]].concat());
        let plan = run(&["plan", "--sql", "--exit-code"]).exits(103);
        assert!(
            plan.stdout.contains(": 1 migration (1_users.sql)\n\n-- 1_users.sql\nCREATE TABLE users"),
            "{plan:?}"
        );
        let dry = run(&["migrate", "--dry-run", "--json"]).exits(0).json();
        assert_eq!((&dry["schema"], &dry["selection"]), (&"tenantry.plan/v1".into(), &Value::Null));
        assert!(tenant.tables().await.is_empty(), "{kind:?}");
        let _ = run(&["migrate"]).exits(0);
        let current = run(&["plan", "--exit-code"]).exits(0);
        assert!(current.stdout.ends_with(": current\n"), "{current:?}");
    }
    let nothing = Home::new().run(&["plan"]).exits(2);
    assert!(nothing.stderr.contains("neither tenants nor a database are given"), "{nothing:?}");
}

#[tokio::test]
async fn an_unreachable_tenant_is_told_without_its_password_and_the_others_are_planned() {
    let (home, tenants) = scene(&[Kind::PostgresDatabase], 2).await;
    let elsewhere = server::with_database(&server::postgres(), "no_such_database");
    let set = ["tenants", "set", &tenants[0].id, "--url-stdin"];
    let _ = home.run_with_input(&set, &elsewhere).exits(0);
    let plan = home.run(&["plan", "--all"]).exits(100);
    assert!(plan.stdout.contains("1 tenant failed: 3D000"), "{plan:?}");
    assert!(plan.stdout.contains("1 tenant: 2 migrations"), "{plan:?}");
    assert!(!server::passwords().iter().any(|p| format!("{plan:?}").contains(p)), "{plan:?}");
}

#[tokio::test]
async fn a_plan_names_a_preamble_and_the_set_of_each_file() {
    let home = Home::new();
    let config = "[sets.core]\nmigrations = 'core'\npreamble = 'SET a = 1;'\n[sets.shop]\nmigrations = 'shop'\ntable = 's'\nwhen = 'shop=on'\n";
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
    for (directory, file) in [("core", "1_a.sql"), ("shop", "1_b.sql")] {
        std::fs::create_dir(home.path().join(directory)).expect("a directory");
        std::fs::write(home.path().join(directory).join(file), "SELECT 1;").expect("a file");
    }
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 2, home.path()).await;
    fleet.register(&home);
    let _ = home.run(&["tenants", "set", &fleet.tenants[0].id, "--label", "shop=on"]).exits(0);
    let plan = home.run(&["plan", "--all", "--sql"]).exits(0);
    assert!(plan.stdout.starts_with("order of sets: core, shop (shop=on)\n"), "{plan:?}");
    assert!(plan.stdout.contains("1 tenant: 2 migrations (core 1_a.sql, shop 1_b.sql)"), "{plan:?}");
    assert!(
        plan.stdout
            .contains("-- set core: 1_a.sql\nSET a = 1;\nSELECT 1;\n\n-- set shop: 1_b.sql\nSELECT 1;"),
        "{plan:?}"
    );
}
