//! Sources that are a query in somebody's database.

use serde_json::json;
use tenantry_tests::{Fleet, TenantDb, fleet::Kind};

use super::{central, configure, file, home_with, names, sync, synced, tenant};
use crate::{stage::ledger, state};

#[tokio::test]
async fn the_companies_of_an_application_in_mariadb_become_the_fleet_with_three_lines() {
    let home = home_with(
        "[source]\nurl = { env = 'CENTRAL_DB_URL' }\nquery = 'SELECT slug AS id, `database`, plan AS `label.plan` FROM companies WHERE deleted_at IS NULL'\n",
    );
    let (central, databases) = central(&home, Kind::MariaDb, 2).await;
    let home = home.with("CENTRAL_DB_URL", &central.url.replace("mysql://", "mariadb://"));
    central.execute("CREATE TABLE companies (id INT AUTO_INCREMENT PRIMARY KEY, slug VARCHAR(64), `database` VARCHAR(64), plan VARCHAR(16), deleted_at DATETIME NULL)").await;
    for (slug, database) in [("acme", &databases[0]), ("globex", &databases[1])] {
        central
            .execute(&format!(
                "INSERT INTO companies (slug, `database`, plan) VALUES ('{slug}', '{}', 'pro')",
                database.id
            ))
            .await;
    }
    central
        .execute("INSERT INTO companies (slug, `database`, deleted_at) VALUES ('gone', 'gone', now())")
        .await;

    let before = state::of(&home).await;
    let dry = sync(&home, &["--dry-run", "--exit-code"]).exits(103);
    assert!(dry.stdout.contains("source default lists 2 tenants\n  + acme "), "{dry:?}");
    assert!(dry.stdout.contains("2 added, 0 changed, 0 suspended, 0 reactivated, 0 unchanged\n"), "{dry:?}");
    let _ = sync(&home, &["--dry-run"]).exits(0);
    assert_eq!(state::of(&home).await, before);

    let done = synced(&home, &["--yes"]);
    assert_eq!((names(&done["added"]), &done["listed"]), (vec!["acme".into(), "globex".into()], &2.into()));
    let acme = tenant(&home, "acme");
    let expected = json!([databases[0].id, "mysql", "active", { "plan": "pro" }, "default"]);
    let found = ["database", "engine", "status", "labels", "source"].map(|key| acme[key].clone());
    assert_eq!(json!(found), expected);
    // The URL is right, password and all.
    let run = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2);
    assert_eq!(databases[1].versions().await, [1]);
    let _ = sync(&home, &["--dry-run", "--exit-code"]).exits(0);

    let event = "SELECT count(*) FROM events WHERE kind = 'tenants.synced' AND actor LIKE '%@%'
        AND detail = 'source default: 2 added, 0 changed, 0 suspended, 0 reactivated, 0 unchanged'";
    assert_eq!(ledger(&home).number(event).await, 1);
    assert!(home.run(&["tenants", "show", "acme"]).exits(0).stdout.contains("source    default\n"));
    assert!(home.run(&["tenants", "list"]).exits(0).stdout.contains("SOURCE"));
}

#[tokio::test]
async fn a_table_of_domains_and_schemas_in_postgres_is_read_whatever_its_types_are() {
    let home = home_with(
        "[sources.saas]\nurl = { env = 'SAAS_URL' }\nquery = 'SELECT * FROM mapper'\nactive-values = ['true']
         [sources.saas.columns]\nid = 'domain'\nschema = 'schema'\nstatus = 'enabled'\nlabels = { number = 'number', created = 'created', key = 'id' }\n",
    )
    .with_postgres_registry()
    .await;
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::PostgresSchema, 2, home.path()).await;
    let mapper = TenantDb { schema: None, ..fleet.tenants[0].clone() };
    mapper.execute("CREATE TABLE public.mapper (id UUID, domain TEXT, schema TEXT, number NUMERIC, created DATE, enabled BOOLEAN, logo BYTEA)").await;
    for (domain, schema, enabled) in
        [("a.example.com", &fleet.tenants[0], true), ("b.example.com", &fleet.tenants[1], false)]
    {
        let schema = schema.schema.as_ref().expect("a schema");
        let row = format!(
            "INSERT INTO public.mapper VALUES ('01a1fda9-d92a-7686-b012-0df63b90bccd', '{domain}', '{schema}', 1.50, '2026-11-21', {enabled}, '\\xff00')"
        );
        mapper.execute(&row).await;
    }
    let home = home.with("SAAS_URL", &mapper.url);
    let done = synced(&home, &["saas", "--yes"]);
    assert_eq!(names(&done["added"]), ["a.example.com", "b.example.com"]);
    let (a, b) = (tenant(&home, "a.example.com"), tenant(&home, "b.example.com"));
    assert_eq!(
        json!([a["schema"], a["status"], b["status"], a["source"]]),
        json!([fleet.tenants[0].schema, "active", "suspended", "saas"])
    );
    let labels =
        json!({ "number": "1.50", "created": "2026-11-21", "key": "01a1fda9-d92a-7686-b012-0df63b90bccd" });
    assert_eq!(a["labels"], labels);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    assert_eq!(fleet.tenants[0].versions().await, [1]);
    assert!(fleet.tenants[1].versions().await.is_empty());

    // What the source has turned off is on again when the source says so, and labels follow.
    mapper.execute("UPDATE public.mapper SET enabled = true, number = NULL").await;
    let done = synced(&home, &["--yes"]);
    assert_eq!(
        (names(&done["changed"]), names(&done["reactivated"])),
        (vec!["a.example.com".into()], vec!["b.example.com".into()])
    );
    assert_eq!(done["changed"][0]["what"], json!(["label number: 1.50 → none"]));
    assert_eq!(tenant(&home, "b.example.com")["status"], "active");
}

#[tokio::test]
async fn an_sqlite_database_lists_files_that_stand_beside_it_and_is_only_read() {
    let home =
        home_with("[source]\nurl = 'sqlite:central.db'\nquery = 'SELECT id, file AS database FROM shops'\n");
    file(&home, "central.db", "");
    let url = format!("sqlite:{}", home.path().join("central.db").display());
    let central = TenantDb { id: "central".into(), kind: Kind::Sqlite, url, schema: None };
    central
        .execute("CREATE TABLE shops (id INTEGER, file TEXT); INSERT INTO shops VALUES (7, 'shop 7%.db')")
        .await;
    file(&home, "shop 7%.db", "");
    assert_eq!(names(&synced(&home, &["--yes"])["added"]), ["7"]);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let url = format!("sqlite:{}", home.path().join("shop 7%25.db").display());
    assert_eq!(TenantDb { url, ..central.clone() }.versions().await, [1]);

    let write = "[source]\nurl = 'sqlite:central.db'\nquery = 'DELETE FROM shops'\n";
    configure(&home, write);
    let refused = sync(&home, &["--force"]).exits(78);
    assert!(
        refused.stderr.contains("source default cannot be read: attempt to write a readonly database"),
        "{refused:?}"
    );
    assert_eq!(central.number("SELECT count(*) FROM shops").await, 1);
}

#[tokio::test]
async fn a_query_that_writes_is_refused_by_the_servers() {
    for kind in [Kind::PostgresDatabase, Kind::MariaDb] {
        let home = home_with("[source]\nurl = { env = 'CENTRAL' }\nquery = 'INSERT INTO t VALUES (1)'\n");
        let (central, _) = central(&home, kind, 0).await;
        central.execute("CREATE TABLE t (id INT)").await;
        let home = home.with("CENTRAL", &central.url);
        let refused = sync(&home, &["--yes"]).exits(78);
        assert!(refused.stderr.contains("source default cannot be read: "), "{refused:?}");
        assert_eq!(central.number("SELECT count(*) FROM t").await, 0);
    }
}
