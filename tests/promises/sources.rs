//! Tenant sources: what lists tenants elsewhere is mirrored into the registry, and nothing else is touched.

mod http;
mod query;
mod refused;
mod sync;

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, Ran, TenantDb, fleet::Kind, fleet::unique, server};

/// A home with a registry, one migration and this configuration.
fn home_with(config: &str) -> Home {
    let home = Home::new();
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    configure(&home, config);
    let _ = home.run(&["registry", "init"]).exits(0);
    home
}

fn configure(home: &Home, config: &str) {
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a configuration");
}

fn file(home: &Home, name: &str, text: &str) {
    std::fs::write(home.path().join(name), text).expect("a file");
}

fn sync(home: &Home, more: &[&str]) -> Ran {
    home.run(&[&["tenants", "sync"], more].concat())
}

/// What one source's sync did.
fn synced(home: &Home, more: &[&str]) -> Value {
    let document = sync(home, &[more, &["--json"]].concat()).exits(0).json();
    assert_eq!(document["schema"], "tenantry.sync/v1");
    document["sources"][0].clone()
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|item| item["tenant"].as_str().expect("a name").to_owned()).collect()
}

fn tenant(home: &Home, id: &str) -> Value {
    home.run(&["tenants", "show", id, "--json"]).exits(0).json()["tenant"].take()
}

fn tenants(home: &Home, more: &[&str]) -> Vec<String> {
    names(&home.run(&[&["tenants", "list", "--json"], more].concat()).exits(0).json()["tenants"])
}

/// A database of this kind that is no tenant, and tenants on the same server.
async fn central(home: &Home, kind: Kind, tenants: usize) -> (TenantDb, Vec<TenantDb>) {
    let mut fleet = Fleet::default();
    fleet.add(kind, tenants + 1, home.path()).await;
    let central = fleet.tenants.remove(0);
    (central, fleet.tenants)
}

#[test]
fn files_of_both_formats_give_tenants_by_a_template_with_secrets() {
    let template = "tenant-url = 'mysql://app:{password}@{host}/tenant_{id}'\n[source.secrets]\npassword = { env = 'TENANT_PASSWORD' }\n[source.columns]\nlabels = { plan = 'plan' }\n";
    let home =
        home_with(&format!("[source]\nfile = 'list.csv'\n{template}")).with("TENANT_PASSWORD", "p@ss/w");
    file(&home, "list.csv", "id,host,plan\nacme,db1,pro\nglobex,db2,\n");
    let done = synced(&home, &["--yes"]);
    assert_eq!(names(&done["added"]), ["acme", "globex"]);
    let place = json!({ "engine": "mysql", "server": "db1:3306", "database": "tenant_acme", "schema": null });
    assert_eq!(
        (&done["added"][0]["place"], &done["added"][0]["labels"]),
        (&place, &json!({ "plan": "pro" }))
    );

    configure(&home, &format!("[source]\nfile = 'list.jsonl'\n{template}"));
    file(
        &home,
        "list.jsonl",
        "{\"id\":\"acme\",\"host\":\"db1\",\"plan\":\"pro\"}\n{\"id\":\"globex\",\"host\":\"db2\",\"labels\":{\"region\":\"eu\"}}\n",
    );
    let done = synced(&home, &["--yes"]);
    assert_eq!((names(&done["changed"]), &done["unchanged"]), (vec!["globex".into()], &1.into()));
    assert_eq!(tenant(&home, "globex")["labels"], json!({ "region": "eu" }));

    // Another password is a change, and is not told.
    let home = home.with("TENANT_PASSWORD", "new-secret-word");
    let told = sync(&home, &["--yes"]).exits(0);
    assert!(told.stdout.contains("  ~ acme                  its user, password or options\n"), "{told:?}");
    assert!(!format!("{told:?}").contains("new-secret-word"));

    // The same file as for an import.
    configure(&home, "[source]\nfile = 'import.csv'\n");
    file(
        &home,
        "import.csv",
        "id,url,schema,status,label.plan\nacme,postgres://db/saas,acme,,pro\nglobex,postgres://db/saas,globex,archived,\n",
    );
    let done = synced(&home, &["--yes"]);
    assert_eq!(done["suspended"][0]["what"][0], "archived in the source");
    assert_eq!(
        json!([tenant(&home, "acme")["schema"], tenant(&home, "globex")["status"]]),
        json!(["acme", "archived"])
    );
}

#[tokio::test]
async fn schemas_and_databases_are_discovered_by_their_names() {
    let place = Home::new();
    let word = unique("found");
    let mut fleet = Fleet::default();
    fleet.add(Kind::PostgresDatabase, 1, place.path()).await;
    fleet.add(Kind::MariaDb, 1, place.path()).await;
    let [postgres, maria] = [&fleet.tenants[0], &fleet.tenants[1]];
    for name in ["a", "b", "test"] {
        postgres.execute(&format!("CREATE SCHEMA {word}_{name}")).await;
        postgres.execute(&format!("CREATE DATABASE {word}_{name} TEMPLATE template0")).await;
        maria.execute(&format!("CREATE DATABASE {word}_{name}")).await;
    }
    let of_no_database = server::mariadb().rsplit_once('/').expect("a database").0.to_owned();
    let wanted = [format!("{word}_a"), format!("{word}_b")];
    for (what, url, column) in [
        ("schemas", &postgres.url, "schema"),
        ("databases", &postgres.url, "database"),
        ("databases", &of_no_database, "database"),
    ] {
        let home = home_with(&format!(
            "[source]\ndiscover = '{what}'\nurl = {{ env = 'SERVER' }}\npattern = '{word}_*'\nexclude = ['*_test']\n"
        ))
        .with("SERVER", url);
        let done = synced(&home, &["--yes"]);
        let mut found = done["added"].as_array().expect("a list").iter();
        assert_eq!(names(&done["added"]), wanted, "{what}");
        assert!(found.all(|t| t["place"][column] == t["tenant"]), "{done}");
        let run = home.run(&["migrate", "--all", "--json"]).exits(0).json();
        assert_eq!(run["counts"]["applied"], 2, "{what}");
    }
}

#[test]
fn the_files_of_a_directory_are_discovered_by_their_names() {
    let home = home_with(
        "[source]\ndiscover = 'files'\ndirectory = 'shops'\npattern = '*.db*'\nexclude = ['test*']\n",
    );
    std::fs::create_dir(home.path().join("shops")).expect("a directory");
    for name in ["one.db", "two.db", "two.db-wal", "test.db", "notes.txt"] {
        file(&home, &format!("shops/{name}"), "");
    }
    assert_eq!(names(&synced(&home, &["--yes"])["added"]), ["one", "two"]);
    let run = home.run(&["migrate", "--all", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2);
}

/// A source of so many tenants in a file.
fn list(home: &Home, ids: &[&str]) {
    let lines: String = ids.iter().map(|id| format!("{id},mysql://app:hush@db/{id}\n")).collect();
    file(home, "list.csv", &format!("id,url\n{lines}"));
}

const LIST: &str = "[source]\nfile = 'list.csv'\n";
