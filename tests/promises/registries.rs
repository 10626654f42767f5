//! The registry is the same on every database that can hold it.

use sqlx::{
    Connection as _, MySqlConnection, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};
use tenantry_tests::{Home, TenantDb, home::finish};

const FIRST_OF_MYSQL: &str = include_str!("../../migrations/registry/mysql/0001_registry.sql");

/// A home for each kind of registry, none of which is made yet.
async fn every_kind() -> [Home; 3] {
    Home::on_each_registry().await
}

#[tokio::test]
async fn a_registry_that_many_make_at_once_is_made_once() {
    for home in every_kind().await {
        let makers: Vec<_> = (0..6).map(|_| home.spawn(&["registry", "init"])).collect();
        for maker in makers {
            assert_eq!(finish(maker).exits(0).stdout, "the registry is ready\n");
        }
        let check = home.run(&["registry", "check", "--json"]).exits(0).json();
        assert_eq!(check["ready"], true, "{check}");
        let registry = TenantDb::registry(&home.registry_url());
        assert_eq!(registry.number("SELECT count(*) FROM counters WHERE value = 0").await, 1);
    }
}

#[test]
fn a_registry_file_and_its_key_that_many_make_at_once_are_made_once() {
    for _ in 0..5 {
        let home = Home::new().without("TENANTRY_MASTER_KEY");
        let makers: Vec<_> = (0..12).map(|_| home.spawn(&["registry", "init"])).collect();
        let made = makers.into_iter().map(|maker| finish(maker).exits(0));
        assert_eq!(made.filter(|ran| ran.stderr.contains("made a master key")).count(), 1);
        let _ = home.run(&["registry", "check"]).exits(0);
    }
}

/// MySQL and MariaDB cannot take back what was made of a table.
#[tokio::test]
async fn a_mariadb_registry_that_was_made_in_part_is_finished_by_the_next_who_makes_it() {
    let home = Home::new().with_mariadb_registry().await;
    let _ = home.run(&["registry", "init"]).exits(0);
    let registry = TenantDb::registry(&home.registry_url());
    let whole = registry.tables().await;
    registry.execute("DROP TABLE leases, events; UPDATE _tenantry_migrations SET success = FALSE").await;
    let none = home.run(&["status"]).exits(78);
    assert!(none.stderr.contains("there is no registry at that database"), "{none:?}");
    let _ = home.run(&["registry", "init"]).exits(0);
    let _ = home.run(&["registry", "check"]).exits(0);
    assert_eq!(registry.tables().await, whole);
}

#[tokio::test]
async fn a_mariadb_registry_of_the_first_version_is_brought_up_with_all_it_holds() {
    let home = Home::new().with_mariadb_registry().await;
    let mut connection = MySqlConnection::connect(&home.registry_url()).await.expect("mariadb");
    let sql = SqlStr::from_static(FIRST_OF_MYSQL);
    let first = Migration::new(1, "registry".into(), MigrationType::Simple, sql, false);
    let mut migrator = Migrator::with_migrations(vec![first]);
    migrator.dangerous_set_table_name("_tenantry_migrations");
    migrator.run_direct(None, &mut connection, false).await.expect("the first version");
    let registry = TenantDb::registry(&home.registry_url());
    registry
        .execute(
            "INSERT INTO servers VALUES (1, 'sqlite', '/d');
            INSERT INTO tenants VALUES ('t', 'acme', 'active', 1, 'd', NULL, 'sealed', 20261121103012, 5, 1);
            INSERT INTO bundles VALUES ('b', 1);
            INSERT INTO runs VALUES ('r', 1, 'b', 3, 'd', 'all', '{}', 'failed', NULL, 'me', NULL, 1, 1, 1);
            INSERT INTO targets (run_id, tenant_id, state, max_attempts, from_version, to_version, version) VALUES ('r', 't', 'failed', 1, 1, 2, 3);
            INSERT INTO attempts VALUES ('r', 't', 1, 'w', 1, 2, 'failed', '[]', NULL, NULL, NULL, NULL, 3, NULL, NULL)",
        )
        .await;
    let old = home.run(&["status"]).exits(78);
    assert!(old.stderr.contains("the registry is at version 1") && old.stderr.contains("init"), "{old:?}");
    let _ = home.run(&["registry", "init"]).exits(0);
    let kept = "SELECT concat_ws(' ', t.version, r.target_version, g.from_version, g.to_version, g.version, a.version, r.action)
        FROM attempts a JOIN targets g USING (run_id, tenant_id) JOIN runs r ON r.id = g.run_id JOIN tenants t ON t.id = g.tenant_id";
    let kept = registry.text(kept).await.expect("a row");
    assert_eq!(kept, r#"20261121103012 3 1 2 3 3 {"kind":"apply"}"#);
    registry.execute("UPDATE targets SET state = 'skipped'; UPDATE runs SET state = 'halted'").await;
}

#[tokio::test]
async fn ids_and_labels_are_told_apart_letter_by_letter_and_kept_as_they_are() {
    let csv = "id,url,label.plan\nacme,sqlite:a.db,Pro\nACME,sqlite:b.db,pro\nAcmé,sqlite:c.db,x\n";
    for home in every_kind().await {
        let _ = home.run(&["registry", "init"]).exits(0);
        let import = |text: &str| home.run_with_input(&["tenants", "import", "-"], text);
        let _ = import(csv).exits(2);
        let _ = import(&csv.replace("Acmé", "Acme").replace(",x\n", ",🐘 für dich\n")).exits(0);
        let listed = |args: &[&str]| {
            let list = home.run(&[&["tenants", "list", "--json"], args].concat()).exits(0).json();
            let tenants = list["tenants"].as_array().expect("tenants").clone();
            tenants.iter().map(|t| (t["tenant"].clone(), t["labels"]["plan"].clone())).collect::<Vec<_>>()
        };
        let all = [("ACME", "pro"), ("Acme", "🐘 für dich"), ("acme", "Pro")];
        assert_eq!(listed(&[]), all.map(|(id, plan)| (id.into(), plan.into())), "{}", home.registry_url());
        assert_eq!(listed(&["-l", "plan=pro"]), [("ACME".into(), "pro".into())]);
        let taken = home.run_with_input(&["tenants", "add", "acme", "--url-stdin"], "sqlite:d.db").exits(2);
        assert!(taken.stderr.contains("tenant 'acme' exists already"), "{taken:?}");
        let _ = home.run(&["tenants", "show", "aCME"]).exits(2);
    }
}

#[tokio::test]
async fn the_doctor_names_the_kind_of_registry_and_finds_it_well() {
    let kinds = ["an SQLite file", "a PostgreSQL database", "a MySQL or MariaDB database"];
    for (home, kind) in every_kind().await.into_iter().zip(kinds) {
        home.migration("1_a.sql", "SELECT 1;");
        let _ = home.run(&["registry", "init"]).exits(0);
        let examined = home.run(&["doctor", "--json"]).exits(0).json();
        let checks = examined["checks"].as_array().expect("checks").iter();
        let registry = checks.clone().find(|check| check["check"] == "registry").expect("a registry");
        assert_eq!((&registry["ok"], &registry["detail"]), (&true.into(), &kind.into()), "{examined}");
        let clock = checks.clone().find(|check| check["check"] == "clock").expect("a clock");
        assert_eq!(clock["detail"], "agrees with the registry's", "{examined}");
    }
}

#[tokio::test]
async fn long_texts_are_kept_whole() {
    for home in every_kind().await {
        let _ = home.run(&["registry", "init"]).exits(0);
        std::fs::write(home.path().join("a.db"), "").expect("a file");
        let _ = home.run_with_input(&["tenants", "add", "a", "--url-stdin"], "sqlite:a.db").exits(0);
        let reason = "because of ".repeat(10_000);
        home.migration("1_long.sql", &format!("-- {}\nCREATE TABLE a (n INTEGER);", "x".repeat(200_000)));
        let run = home.run(&["migrate", "--all", "--reason", &reason, "--json"]).exits(0).json();
        assert_eq!((&run["reason"], &run["counts"]["applied"]), (&reason.into(), &1.into()));
    }
}
