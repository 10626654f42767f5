//! Sets of migrations and the central database: who takes which, in which order, and what happens when the central
//! database fails.

mod central;

use serde_json::Value;
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind};

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
