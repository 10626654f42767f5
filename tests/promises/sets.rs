//! Sets of migrations and the central database: who takes which, in which order, and what happens when the central
//! database fails.

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind, wait::until};

use crate::stage::{Gates, ledger, targets, until_at_their_gates};

/// The central database first, then core in every tenant, then a plugin where it is on, with a history of its own.
const CONFIG: &str = r#"
[sets.core]
migrations = ["migrations/tenant", "migrations/both"]
[sets.shop]
migrations = "plugins/shop"
table = "shop_history"
when = "plugin.shop=on"
[sets.central]
migrations = ["migrations/central", "migrations/both"]
for = "central"
[central]
url = { env = "CENTRAL_URL" }
"#;

fn write(home: &Home, path: &str, text: &str) {
    let path = home.path().join(path);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(path, text).expect("a file");
}

/// A registry, so many tenants and a central database of a kind, and the files of [`CONFIG`].
async fn scene(home: Home, kind: Kind, count: usize) -> (Home, Vec<TenantDb>, TenantDb) {
    let (mut fleet, mut centrals) = (Fleet::default(), Fleet::default());
    fleet.add(kind, count, home.path()).await;
    centrals.add(kind, 1, home.path()).await;
    let central = centrals.tenants.remove(0);
    let schema = central.schema.as_ref().map(|schema| format!("schema = '{schema}'\n")).unwrap_or_default();
    write(&home, "tenantry.toml", &format!("{CONFIG}{schema}"));
    write(&home, "migrations/tenant/1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    write(&home, "migrations/both/2_audit.sql", "CREATE TABLE audit (id INTEGER);");
    write(&home, "migrations/central/1_plans.sql", "CREATE TABLE plans (id INTEGER);");
    write(&home, "plugins/shop/1_goods.sql", "CREATE TABLE goods (id INTEGER);");
    let home = home.with("CENTRAL_URL", &central.url);
    let _ = home.run(&["registry", "init"]).exits(0);
    fleet.register(&home);
    (home, fleet.tenants, central)
}

async fn tables(tenant: &TenantDb) -> Vec<String> {
    let own = tenant.tables().await.into_keys().filter(|name| !name.starts_with("sqlite_"));
    own.collect()
}

fn applied(home: &Home, tenant: &str) -> Vec<String> {
    let logs = home.run(&["logs", "-t", tenant, "--json"]).exits(0).json();
    files(&logs["attempts"][0]["applied"])
}

fn files(steps: &Value) -> Vec<String> {
    let steps = steps.as_array().expect("steps").iter();
    steps.map(|step| step["file"].as_str().expect("a file").to_owned()).collect()
}

fn states(run: &Value) -> Vec<&str> {
    let tenants = run["tenants"].as_array().expect("tenants").iter();
    tenants.map(|tenant| tenant["state"].as_str().expect("a state")).collect()
}

#[tokio::test]
async fn each_database_takes_its_sets_in_the_order_that_plan_shows() {
    for kind in [Kind::PostgresSchema, Kind::MariaDb, Kind::Sqlite] {
        let (home, tenants, central) = scene(Home::new(), kind, 2).await;
        let _ = home.run(&["tenants", "set", &tenants[1].id, "--label", "plugin.shop=on"]).exits(0);
        let plan = home.run(&["plan", "--all", "--json"]).exits(0).json();
        let run = home.run(&["migrate", "--all", "--json"]).exits(0).json();
        assert_eq!((&run["counts"]["total"], &run["counts"]["applied"]), (&2.into(), &2.into()), "{run}");
        assert_eq!((&run["central"]["state"], &run["central"]["to"]), (&"applied".into(), &"2".into()));

        let history = "_sqlx_migrations".to_owned();
        let named = |names: &[&str]| -> Vec<String> {
            let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
            names.push(history.clone());
            names.sort_unstable();
            names
        };
        assert_eq!(tables(&central).await, named(&["audit", "plans"]), "{kind:?}");
        assert_eq!(tables(&tenants[0]).await, named(&["audit", "users"]), "{kind:?}");
        let with_shop = named(&["audit", "goods", "shop_history", "users"]);
        assert_eq!(tables(&tenants[1]).await, with_shop, "{kind:?}");
        assert_eq!(tenants[1].number("SELECT count(*) FROM shop_history").await, 1);
        assert_eq!(tenants[1].versions().await, [1, 2]);

        assert_eq!(files(&plan["central"]["migrations"]), applied(&home, "central"));
        for group in plan["groups"].as_array().expect("groups") {
            let tenant = group["tenants"][0].as_str().expect("a tenant");
            assert_eq!(files(&group["migrations"]), applied(&home, tenant), "{group}");
        }
        assert_eq!(applied(&home, &tenants[1].id), ["1_users.sql", "2_audit.sql", "1_goods.sql"]);
        let again = home.run(&["migrate", "--all", "--json"]).exits(0).json();
        assert_eq!(
            (&again["counts"]["current"], &again["central"]["state"]),
            (&2.into(), &"current".into()),
            "{again}"
        );
    }
}

#[tokio::test]
async fn sets_that_share_a_table_are_one_sequence_in_which_each_tenant_takes_its_own() {
    let home = Home::new();
    write(
        &home,
        "tenantry.toml",
        "[sets.eu]\nmigrations = ['eu', 'both']\nwhen = 'region=eu'\n[sets.us]\nmigrations = ['us', 'both']\nwhen = 'region=us'\n",
    );
    write(&home, "eu/1_vat.sql", "CREATE TABLE vat (id INTEGER);");
    write(&home, "us/2_tax.sql", "CREATE TABLE tax (id INTEGER);");
    write(&home, "both/3_bills.sql", "CREATE TABLE bills (id INTEGER);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 3, home.path()).await;
    fleet.register(&home);
    for (at, region) in [(0, "eu"), (1, "us")] {
        let _ = home
            .run(&["tenants", "set", &fleet.tenants[at].id, "--label", &format!("region={region}")])
            .exits(0);
    }
    let run = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["current"]), (&2.into(), &1.into()), "{run}");
    assert_eq!(fleet.tenants[0].versions().await, [1, 3]);
    assert_eq!(fleet.tenants[1].versions().await, [2, 3]);
    assert!(tables(&fleet.tenants[2]).await.is_empty(), "a tenant that takes no set is left alone");
    // A label that comes later brings what the tenant does not have yet.
    let _ = home.run(&["tenants", "set", &fleet.tenants[0].id, "--label", "region=us"]).exits(0);
    let plan = home.run(&["plan", "-t", &fleet.tenants[0].id]).exits(104);
    assert!(plan.stdout.contains("2_tax.sql is older than version 3"), "{plan:?}");
    let _ = home.run(&["migrate", "-t", &fleet.tenants[0].id, "--order", "any"]).exits(0);
    assert_eq!(fleet.tenants[0].versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_run_can_be_of_some_sets_only() {
    let (home, tenants, central) = scene(Home::new(), Kind::Sqlite, 1).await;
    let id = tenants[0].id.as_str();
    let _ = home.run(&["tenants", "set", id, "--label", "plugin.shop=on"]).exits(0);
    let _ = home.run(&["migrate", "--all", "--set", "core"]).exits(0);
    assert!(tables(&central).await.is_empty() && !tables(&tenants[0]).await.contains(&"goods".into()));
    assert_eq!(home.run(&["status", "-t", id, "--json"]).exits(0).json()["tenant"]["version"], "2");

    write(&home, "plugins/shop/2_more.sql", "CREATE TABLE more (id INTEGER);");
    let number = home.run(&["enqueue", "--all", "--set", "shop", "--target", "1"]).exits(0).stdout;
    let _worker = home.worker(&[]);
    let run = home.run(&["wait", number.trim(), "--json"]).exits(0).json();
    assert_eq!((&run["target"], &run["central"]), (&"1".into(), &Value::Null), "{run}");
    assert_eq!(applied(&home, id), ["1_goods.sql"]);
    let tenant = home.run(&["status", "-t", id, "--json"]).exits(0).json();
    assert_eq!(tenant["tenant"]["version"], "2", "the plugin's version is not the tenant's");
    let _ = home.run(&["migrate", "--all", "--set", "shop,central"]).exits(0);
    assert_eq!(tables(&central).await.len(), 3);
    assert_eq!(tenants[0].number("SELECT count(*) FROM shop_history").await, 2);
    let unknown = home.run(&["enqueue", "--all", "--set", "shops"]).exits(2);
    assert!(unknown.stderr.contains("no set 'shops' (there are: core, shop, central)"), "{unknown:?}");
    let missing = home.run(&["enqueue", "--all", "--set", "shop", "--target", "7"]).exits(2);
    assert!(missing.stderr.contains("no migration 7 in set shop"), "{missing:?}");
}

#[tokio::test]
async fn a_migration_that_stopped_half_way_keeps_other_sets_out_until_it_is_done() {
    let (home, tenants, _) = scene(Home::new(), Kind::MariaDb, 1).await;
    let tenant = &tenants[0];
    let _ = home.run(&["tenants", "set", &tenant.id, "--label", "plugin.shop=on"]).exits(0);
    let two = "CREATE TABLE one (id INTEGER);\nINSERT INTO missing VALUES (1);\n";
    write(&home, "migrations/tenant/3_two.sql", two);
    write(&home, "plugins/shop/2_steps.sql", "CREATE TABLE a (id INTEGER);\nCREATE TABLE b (id INTEGER);\n");
    let _ = home.run(&["migrate", "--all", "--set", "core"]).exits(100);
    for verb in ["plan", "migrate"] {
        let refused = home.run(&[verb, "--all", "--set", "shop"]).exits(104);
        let said = "the history is dirty: 3_two.sql was begun and not finished";
        assert!(format!("{refused:?}").contains(said), "{refused:?}");
    }
    assert!(!tables(tenant).await.contains(&"goods".into()));
    tenant.execute("CREATE TABLE missing (id INTEGER)").await;
    let plan = home.run(&["plan", "--all", "--retry-failed", "--sql"]).exits(0);
    assert!(plan.stdout.contains("-- set core: 3_two.sql\n-- 1 statement done already"), "{plan:?}");
    let _ = home.run(&["migrate", "--all", "--retry-failed"]).exits(0);
    assert_eq!(tenant.number("SELECT count(*) FROM missing").await, 1);
    assert!(tables(tenant).await.contains(&"b".into()));
}

#[tokio::test]
async fn when_the_central_database_fails_no_tenant_is_started_and_a_retry_takes_all() {
    for home in [Home::new(), Home::new().with_mariadb_registry().await] {
        central_fails(home).await;
    }
}

async fn central_fails(home: Home) {
    let (home, tenants, central) = scene(home, Kind::Sqlite, 3).await;
    write(&home, "migrations/central/3_rates.sql", "INSERT INTO rates VALUES (1);");
    let failed = home.run(&["migrate", "--all"]).exits(100);
    assert!(failed.stdout.contains("3 tenants: 0 applied, 0 current, 0 failed, 3 skipped"), "{failed:?}");
    assert!(failed.stdout.contains("central  failed"), "{failed:?}");
    assert!(failed.stderr.contains("error: central failed: no tenant was started"), "{failed:?}");
    for tenant in &tenants {
        assert!(tables(tenant).await.is_empty());
    }
    let status = home.run(&["status", "latest", "--json", "--exit-code"]).exits(103).json();
    assert_eq!((&status["state"], &status["exit_code"]), (&"failed".into(), &100.into()));
    assert_eq!((&status["counts"]["total"], &status["counts"]["skipped"]), (&3.into(), &3.into()));
    assert_eq!(status["central"]["state"], "failed");
    assert_eq!(status["failures"][0]["tenants"], json!(["central"]));
    assert_eq!(states(&status), ["skipped"; 3]);
    assert_eq!(status["tenants"][0]["code"], "central-failed");
    let attempts = home.run(&["logs", "-t", &tenants[0].id, "--json"]).exits(0).json();
    assert_eq!(attempts["attempts"], json!([]));

    central.execute("CREATE TABLE rates (id INTEGER)").await;
    let cause = status["failures"][0]["fingerprint"].as_str().expect("a fingerprint");
    let retried = home.run(&["retry", "--error", cause, "--work", "--json"]).exits(0).json();
    assert_eq!(
        (&retried["counts"]["applied"], &retried["central"]["state"], &retried["parent"]),
        (&3.into(), &"applied".into(), &1.into()),
        "{retried}"
    );
    for tenant in &tenants {
        assert_eq!(tenant.versions().await, [1, 2]);
    }
    assert_eq!(central.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn the_waves_of_the_tenants_come_after_the_central_database_and_none_when_it_fails() {
    for home in Home::on_each_registry().await {
        let (home, tenants, _) = scene(home, Kind::Sqlite, 3).await;
        let words = ["migrate", "--all", "--canary", "1", "--json"];
        let run = home.run(&words).exits(0).json();
        assert_eq!((&run["waves"], &run["counts"]["applied"]), (&json!([1, 2]), &3.into()), "{run}");
        let early = "SELECT count(*) FROM targets g WHERE g.started_at < (SELECT max(b.finished_at) FROM targets b WHERE b.wave = g.wave - 1)";
        assert_eq!(ledger(&home).number(early).await, 0);
        write(&home, "migrations/central/3_rates.sql", "INSERT INTO rates VALUES (1);");
        let run = home.run(&words).exits(100).json();
        assert_eq!((&run["state"], &run["counts"]["skipped"]), (&"failed".into(), &3.into()), "{run}");
        assert_eq!(tenants[0].versions().await, [1, 2]);
    }
}

#[tokio::test]
async fn a_refused_central_database_ends_the_run_with_104_and_one_that_was_changed_does_not() {
    let (home, tenants, _) = scene(Home::new(), Kind::Sqlite, 2).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    write(&home, "migrations/central/1_plans.sql", "CREATE TABLE plans (id BIGINT);");
    let planned = home.run(&["plan", "--all"]).exits(104);
    assert!(planned.stderr.contains("central would fail: no tenant would be started"), "{planned:?}");
    let refused = home.run(&["migrate", "--all"]).exits(104);
    assert!(refused.stdout.contains("checksum"), "{refused:?}");
    // Where central was migrated and every tenant refused, something was changed.
    write(&home, "migrations/central/1_plans.sql", "CREATE TABLE plans (id INTEGER);");
    write(&home, "migrations/central/4_late.sql", "CREATE TABLE late (id INTEGER);");
    for tenant in &tenants {
        tenant.execute("UPDATE _sqlx_migrations SET success = 0 WHERE version = 1").await;
    }
    let run = home.run(&["migrate", "--all", "--json"]).exits(100).json();
    assert_eq!((&run["central"]["state"], &run["counts"]["failed"]), (&"applied".into(), &2.into()), "{run}");
}

#[tokio::test]
async fn a_worker_that_is_killed_during_central_leaves_the_tenants_waiting_until_another_is_done_with_it() {
    for home in [
        Home::new().with_postgres_registry().await,
        Home::new().with_postgres_registry().await.with_redis_queue(),
        Home::new().with_mariadb_registry().await,
    ] {
        let (home, tenants, central) = scene(home, Kind::PostgresDatabase, 3).await;
        let gate = "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); CREATE TABLE gate (n BIGINT); INSERT INTO gate VALUES (0);";
        central.execute(gate).await;
        write(
            &home,
            "migrations/central/3_count.sql",
            "UPDATE counter SET n = n + 1;\nUPDATE gate SET n = n + 1;\n",
        );
        let gates = Gates::close([&central]).await;
        let mut killed = home.worker(&["--lease", "2s"]);
        let _ = home.run(&["enqueue", "--all", "--lock-timeout", "60s"]).exits(0);
        until_at_their_gates(std::slice::from_ref(&central)).await;
        let waiting = "wave = 1 AND state = 'pending' AND due_at IS NULL AND sent_at IS NULL AND attempt = 0";
        assert_eq!(targets(&home, waiting).await, 3);
        killed.signal("KILL");
        assert_eq!(killed.exit_code(), None);
        let worker = home.worker(&["--lease", "2s"]);
        until("the other one takes it back", || async {
            targets(&home, "wave = 0 AND lapses = 1").await == 1
        })
        .await;
        assert_eq!(targets(&home, waiting).await, 3);
        gates.open().await;
        let run = home.run(&["wait", "--json"]).exits(0).json();
        assert_eq!(
            (&run["counts"]["applied"], &run["central"]["state"]),
            (&3.into(), &"applied".into()),
            "{run}"
        );
        assert_eq!(central.number("SELECT n FROM counter").await, 1);
        let early = "wave = 1 AND started_at < (SELECT c.finished_at FROM targets c WHERE c.wave = 0)";
        assert_eq!(targets(&home, early).await, 0);
        for tenant in &tenants {
            assert_eq!(tenant.versions().await, [1, 2]);
        }
        drop(worker);
    }
}

#[tokio::test]
async fn whoever_conducts_next_decides_about_the_tenants_from_the_ledger_alone() {
    let (home, _, _) = scene(Home::new(), Kind::Sqlite, 2).await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    // As a conductor leaves it that dies right after the outcome of the central database was recorded.
    let ended = "UPDATE targets SET state = 'failed', attempt = 1, due_at = NULL, finished_at = 1, class = 'permanent', code = 'x', message = 'y', refused = 0, fingerprint = '0' WHERE wave = 0";
    ledger(&home).execute(ended).await;
    let _worker = home.worker(&[]);
    let run = home.run(&["wait", "--json"]).exits(100).json();
    assert_eq!((&run["counts"]["skipped"], &run["counts"]["pending"]), (&2.into(), &0.into()), "{run}");
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let second = home.run(&["wait", "--json"]).exits(0).json();
    assert_eq!(second["counts"]["applied"], 2, "{second}");
}

#[tokio::test]
async fn the_central_database_is_no_tenant() {
    let (home, tenants, _) = scene(Home::new(), Kind::Sqlite, 1).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let list = home.run(&["tenants", "list", "--json"]).exits(0).json();
    assert_eq!(list["tenants"].as_array().map(Vec::len), Some(1), "{list}");
    let status = home.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["tenants"], &status["central"]["version"]), (&1.into(), &"2".into()), "{status}");
    assert!(home.run(&["status"]).exits(0).stdout.contains("CENTRAL  at 2"));
    let doctor = home.run(&["doctor"]).exits(0);
    let answers =
        |line: &str| line.contains("central ") && line.ends_with("answers, 2 migrations in its history");
    assert!(doctor.stdout.lines().any(answers), "{doctor:?}");
    let shown = home.run(&["status", "latest", "--json"]).exits(0).json();
    assert_eq!(shown["tenants"][0]["tenant"], tenants[0].id.as_str());
    assert_eq!(shown["tenants"].as_array().map(Vec::len), Some(1));
    for words in [&["enqueue", "-t", "central"][..], &["enqueue", "--all", "-x", "central"]] {
        let unknown = home.run(words).exits(2);
        assert!(unknown.stderr.contains("there is no tenant 'central'"), "{unknown:?}");
    }
    let set = home.run(&["tenants", "set", "central", "--status", "suspended"]).exits(2);
    assert!(set.stderr.contains("'central' is the central database"), "{set:?}");
    let sealed = "SELECT count(*) FROM tenants WHERE central = 1 AND sealed_url LIKE '%sqlite%'";
    assert_eq!(ledger(&home).number(sealed).await, 0);

    let (home, _, _) = scene(Home::new(), Kind::Sqlite, 1).await;
    let lines = format!("{{\"id\": \"central\", \"url\": \"sqlite:{}/own.db\"}}\n", home.path().display());
    let _ = home.run_with_input(&["tenants", "import", "-", "--format", "jsonl"], &lines).exits(0);
    for verb in ["enqueue", "plan", "migrate"] {
        let taken = home.run(&[verb, "--all"]).exits(78);
        assert!(taken.stderr.contains("a tenant is called 'central'"), "{taken:?}");
    }
    assert_eq!(ledger(&home).number("SELECT count(*) FROM runs").await, 0);
}

#[tokio::test]
async fn the_central_database_moves_with_its_configuration() {
    let (home, _, first) = scene(Home::new(), Kind::Sqlite, 1).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let mut others = Fleet::default();
    others.add(Kind::Sqlite, 1, home.path()).await;
    let home = home.with("CENTRAL_URL", &others.tenants[0].url);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    assert_eq!(tables(&others.tenants[0]).await, tables(&first).await);
    assert_eq!(ledger(&home).number("SELECT count(*) FROM tenants WHERE central = 1").await, 1);
    let unset = home.without("CENTRAL_URL").run(&["enqueue", "--all"]).exits(78);
    assert!(unset.stderr.contains("CENTRAL_URL is not set, and central.url is taken from it"), "{unset:?}");
}

#[tokio::test]
async fn the_settings_of_a_set_hold_for_its_migrations_and_for_no_others() {
    let home = Home::new();
    write(
        &home,
        "tenantry.toml",
        "[sets.lax]\nmigrations = 'lax'\ntable = 'lax_history'\npreamble = 'SET FOREIGN_KEY_CHECKS=0, sql_mode=\"ANSI_QUOTES\", SQL_BIG_SELECTS=0;'\n[sets.strict]\nmigrations = 'strict'\n",
    );
    write(
        &home,
        "lax/1_orders.sql",
        "CREATE TABLE seen (lax TEXT, checks INTEGER, mode TEXT);\nINSERT INTO seen VALUES ('lax', @@foreign_key_checks, @@sql_mode);\nCREATE TABLE orders (id INTEGER, user INTEGER, FOREIGN KEY (user) REFERENCES users (id)) ENGINE=InnoDB;\nINSERT INTO orders VALUES (1, 7);\n",
    );
    write(
        &home,
        "strict/1_seen.sql",
        "INSERT INTO seen VALUES ('strict', @@foreign_key_checks, @@sql_mode);\n",
    );
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::MariaDb, 1, home.path()).await;
    fleet.register(&home);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let tenant = &fleet.tenants[0];
    assert_eq!(tenant.number("SELECT count(*) FROM orders").await, 1);
    let seen = |what: &str| format!("SELECT count(*) FROM seen WHERE {what}");
    assert_eq!(tenant.number(&seen("lax = 'lax' AND checks = 0 AND mode = 'ANSI_QUOTES'")).await, 1);
    assert_eq!(
        tenant.number(&seen("lax = 'strict' AND checks = 1 AND mode LIKE '%STRICT_TRANS_TABLES%'")).await,
        1
    );
}

#[tokio::test]
async fn the_settings_of_a_set_do_not_stay_in_sqlite_and_postgres_either() {
    for (kind, preamble, read) in [
        (Kind::Sqlite, "PRAGMA foreign_keys = OFF", "(SELECT foreign_keys FROM pragma_foreign_keys)"),
        (
            Kind::PostgresSchema,
            "SET row_security = off",
            "CASE current_setting('row_security') WHEN 'on' THEN 1 ELSE 0 END",
        ),
    ] {
        let home = Home::new();
        let config = format!(
            "[sets.lax]\nmigrations = 'lax'\ntable = 'lax_history'\npreamble = '{preamble}'\n[sets.strict]\nmigrations = 'strict'\n"
        );
        write(&home, "tenantry.toml", &config);
        write(
            &home,
            "lax/1_a.sql",
            &format!("CREATE TABLE seen (lax INTEGER, v INTEGER); INSERT INTO seen VALUES (1, {read});"),
        );
        write(&home, "strict/1_b.sql", &format!("INSERT INTO seen VALUES (0, {read});"));
        let _ = home.run(&["registry", "init"]).exits(0);
        let mut fleet = Fleet::default();
        fleet.add(kind, 1, home.path()).await;
        fleet.register(&home);
        let _ = home.run(&["migrate", "--all"]).exits(0);
        for (lax, value) in [(1, 0), (0, 1)] {
            let count = format!("SELECT count(*) FROM seen WHERE lax = {lax} AND v = {value}");
            assert_eq!(fleet.tenants[0].number(&count).await, 1, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_set_may_be_a_program_beside_the_files_of_another() {
    let home = Home::new();
    let config = "[sets.core]\nmigrations = 'core'\n[sets.app]\nformat = 'none'\n[sets.app.command]\nrun = ['sh', '-c', 'touch $TENANTRY_TENANT.done']\ndirectory = 'done'\n";
    write(&home, "tenantry.toml", config);
    write(&home, "core/1_users.sql", "CREATE TABLE users (id INTEGER);");
    std::fs::create_dir(home.path().join("done")).expect("a directory");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 2, home.path()).await;
    fleet.register(&home);
    let plan = home.run(&["plan", "--all", "--sql"]).exits(0);
    assert!(plan.stdout.contains("2 tenants: 2 migrations (core 1_users.sql, app command)"), "{plan:?}");
    assert!(plan.stdout.contains("-- applied by: sh -c touch $TENANTRY_TENANT.done"), "{plan:?}");
    let _ = home.run(&["migrate", "--all"]).exits(0);
    for tenant in &fleet.tenants {
        assert!(home.path().join("done").join(format!("{}.done", tenant.id)).exists());
        assert_eq!(tenant.versions().await, [1]);
    }
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_starts_nothing() {
    let (home, _, _) = scene(Home::new(), Kind::Sqlite, 1).await;
    let source = home.run(&["enqueue", "--all", "--source", "migrations"]).exits(2);
    assert!(
        source.stderr.contains("has sets: core, shop, central") && source.stderr.contains("--set NAME"),
        "{source:?}"
    );
    let retry = home.run(&["migrate", "--all"]).exits(0);
    drop(retry);
    std::fs::rename(home.path().join("plugins/shop"), home.path().join("plugins/gone")).expect("a move");
    for verb in ["enqueue", "plan", "migrate"] {
        let missing = home.run(&[verb, "--all"]).exits(78);
        assert!(
            missing.stderr.contains("set shop (line 4 of the configuration): the migration directory"),
            "{missing:?}"
        );
    }
    std::fs::create_dir(home.path().join("plugins/shop")).expect("a directory");
    let empty = home.run(&["enqueue", "--all"]).exits(78);
    assert!(empty.stderr.contains("set shop: no migration found"), "{empty:?}");
    write(&home, "plugins/shop/1_goods.sql", "CREATE TABLE goods (id INTEGER);");
    write(&home, "migrations/tenant/2_audit.sql", "CREATE TABLE audit (other INTEGER);");
    let twice = home.run(&["enqueue", "--all"]).exits(78);
    assert!(twice.stderr.contains("set core has 2_audit.sql twice, with different contents"), "{twice:?}");
    write(&home, "tenantry.toml", "migrations = 'm'\n[sets.core]\nmigrations = 'm'\n");
    let both = home.run(&["runs"]).exits(78);
    assert!(both.stderr.contains("line 2: there are `migrations` and [sets]"), "{both:?}");
    write(&home, "tenantry.toml", "[sets.core]\nmigrations = 'm'\n");
    let variable = home.with("TENANTRY_MIGRATIONS", "m").run(&["plan", "--all"]).exits(78);
    assert!(variable.stderr.contains("TENANTRY_MIGRATIONS names one directory"), "{variable:?}");
}

#[tokio::test]
async fn the_last_set_is_reverted_first_and_the_central_database_stays_as_it_is() {
    for kind in [Kind::PostgresDatabase, Kind::MariaDb, Kind::Sqlite] {
        let (home, tenants, central) = scene(Home::new(), kind, 2).await;
        for (file, table) in [
            ("migrations/tenant/1_users", "users"),
            ("migrations/both/2_audit", "audit"),
            ("plugins/shop/1_goods", "goods"),
        ] {
            let up = home.path().join(format!("{file}.sql"));
            std::fs::rename(up, home.path().join(format!("{file}.up.sql"))).expect("another name");
            write(&home, &format!("{file}.down.sql"), &format!("DROP TABLE {table};"));
        }
        let _ = home.run(&["tenants", "set", &tenants[1].id, "--label", "plugin.shop=on"]).exits(0);
        let _ = home.run(&["migrate", "--all"]).exits(0);
        let before = tables(&central).await;

        let run = home.run(&["rollback", "--all", "--work", "--json"]).exits(0).json();
        assert_eq!((&run["counts"]["applied"], &run["central"]), (&2.into(), &Value::Null), "{run}");
        assert_eq!((tenants[0].versions().await, tenants[1].versions().await), (vec![1], vec![1, 2]));
        assert_eq!(tenants[1].number("SELECT count(*) FROM shop_history").await, 0);
        let _ = home.run(&["migrate", "--all"]).exits(0);
        let _ = home.run(&["rollback", "--all", "--work", "--run", "latest"]).exits(0);
        assert_eq!((tenants[0].versions().await, tenants[1].versions().await), (vec![1], vec![1, 2]));
        let _ = home.run(&["rollback", "--all", "--work", "--to", "0"]).exits(0);
        for tenant in &tenants {
            assert!(
                tables(tenant).await.iter().all(|name| name.contains("history") || name.contains("sqlx"))
            );
        }
        assert_eq!(tables(&central).await, before, "{kind:?}");
        let refused = home.run(&["rollback", "--all", "--to", "central/1"]).exits(2);
        assert!(refused.stderr.contains("there is no migration central/1"), "{refused:?}");
    }
}
