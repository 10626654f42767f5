//! Tenant sources: what lists tenants elsewhere is mirrored into the registry, and nothing else is touched.

mod refused;
mod sync;

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, Ran, TenantDb, fleet::Kind, fleet::unique, server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{stage::ledger, state};

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

/// A server that answers each request by its path; it keeps what it was asked.
async fn http(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![stream.read_u8().await.expect("a request")];
            if !request[0].is_ascii_alphabetic() {
                continue; // it speaks TLS
            }
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a request"));
            }
            let request = String::from_utf8(request).expect("text");
            let path = request.split(' ').nth(1).expect("a path").to_owned();
            log.lock().expect("a log").push(request);
            let (status, body) = answer(&path);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\nlocation: /elsewhere\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.expect("an answer");
        }
    });
    (origin, asked)
}

/// Runs it beside the server of this test.
async fn sync_beside(home: &Arc<Home>, more: &'static [&'static str]) -> Ran {
    let home = Arc::clone(home);
    tokio::task::spawn_blocking(move || sync(&home, more)).await.expect("a sync")
}

#[tokio::test]
async fn an_endpoint_is_read_page_by_page_with_its_secrets() {
    let pages = |path: &str| match path {
        "/tenants?token=in-the-query" => (
            200,
            json!({ "data": { "tenants": [
            { "slug": "acme", "db": { "host": "db1", "name": "acme" }, "active": true, "plan": "pro" }] },
            "links": { "next": "/tenants?page=2" } }),
        ),
        "/tenants?page=2" => (
            200,
            json!({ "data": { "tenants": [
            { "slug": 42, "db": { "host": "db2", "name": "forty-two" }, "active": false }] }, "links": { "next": null } }),
        ),
        _ => (404, json!(null)),
    };
    let (origin, asked) = http(move |path| (pages(path).0, pages(path).1.to_string())).await;
    let home = home_with(
        "[source]\nendpoint = { env = 'ENDPOINT' }\nitems = 'data.tenants'\nnext = 'links.next'\ntenant-url = 'postgres://app@{db.host}/{db.name}'\nactive-values = ['true']
         [source.headers]\nAuthorization = 'Bearer {token}'\nX-Key = { env = 'KEY' }\n[source.secrets]\ntoken = { file = 'token' }
         [source.columns]\nid = 'slug'\nstatus = 'active'\nlabels = { plan = 'plan' }\n",
    );
    file(&home, "token", "hush-token\n");
    let home = home.with("TENANTRY_LOG", "trace");
    let home = Arc::new(
        home.with("ENDPOINT", &format!("{origin}/tenants?token=in-the-query")).with("KEY", "hush-key"),
    );
    let told = sync_beside(&home, &["--yes"]).await.exits(0);
    assert!(told.stdout.contains("2 added") && !format!("{told:?}").contains("hush"), "{told:?}");
    let (acme, other) = (tenant(&home, "acme"), tenant(&home, "42"));
    assert_eq!(
        json!([acme["server"], acme["status"], other["database"], other["status"]]),
        json!(["db1:5432", "active", "forty-two", "suspended"])
    );
    let asked = asked.lock().expect("a log").clone();
    assert_eq!(asked.len(), 2);
    for request in asked.iter().map(|request| request.to_lowercase()) {
        assert!(
            request.contains("authorization: bearer hush-token\r\n")
                && request.contains("x-key: hush-key\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_something_else_changes_nothing_and_is_sent_no_secret_elsewhere() {
    let (other, asked_of_other) = http(|_| (200, "[]".into())).await;
    let elsewhere = json!({ "items": [], "next": format!("{other}/more") }).to_string();
    let (origin, _) = http(move |path| match path {
        "/busy" => (503, String::new()),
        "/moved" => (302, String::new()),
        "/who" => (401, "hush-body".into()),
        "/text" => (200, "hush-body".into()),
        "/object" => (200, "{\"items\":{}}".into()),
        "/strings" => (200, "{\"items\":[\"hush-body\"]}".into()),
        "/elsewhere" => (200, elsewhere.clone()),
        _ => (200, "{}".into()),
    })
    .await;
    let home = home_with("");
    let closed = "http://127.0.0.1:1/hush-path";
    for (url, code, says) in [
        (format!("{origin}/busy"), 75, "cannot be reached: it answers 503"),
        (closed.to_owned(), 75, "cannot be reached: "),
        (closed.replace("http:", "https:"), 75, "cannot be reached: "),
        (format!("{}/tls", origin.replace("http:", "https:")), 75, "cannot be reached: "),
        (format!("{origin}/moved"), 78, "it answers 302"),
        (format!("{origin}/who"), 78, "it answers 401"),
        (format!("{origin}/text"), 78, "its answer is not JSON"),
        (format!("{origin}/none"), 78, "its answer has no 'items'"),
        (format!("{origin}/object"), 78, "'items' in its answer is not a list"),
        (format!("{origin}/strings"), 78, "item 1 is not an object"),
        (format!("{origin}/elsewhere"), 78, "the next page is on another server"),
        ("ftp://hush-host/".to_owned(), 78, "endpoint is not an http:// or https:// URL"),
    ] {
        configure(
            &home,
            &format!(
                "[source]\nendpoint = '{url}'\nitems = 'items'\nnext = 'next'\nheaders = {{ X-Key = 'hush-key' }}\n"
            ),
        );
        let before = state::of(&home).await;
        let mut command = home.command("tenantry", &["tenants", "sync", "--yes"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().expect("tenantry");
        let ran = tokio::task::spawn_blocking(|| tenantry_tests::home::finish(child))
            .await
            .expect("an end")
            .exits(code);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint: "), "{url}: {ran:?}");
        assert!(!format!("{ran:?}").contains("hush"), "{url}: {ran:?}");
        assert_eq!(state::of(&home).await, before);
    }
    assert!(asked_of_other.lock().expect("a log").is_empty());
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
