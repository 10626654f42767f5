//! What an operator does before the first run: registry, tenants, migrations, configuration, help.

mod help;
mod new;
mod settings;

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use serde_json::{Value, json};
use tenantry_tests::{Home, home::finish, server, wait};

fn tenants(home: &Home, more: &[&str]) -> Vec<String> {
    let list = home.run(&[&["tenants", "list", "--json"], more].concat()).exits(0).json();
    assert_eq!(list["schema"], "tenantry.tenants/v1");
    let list = list["tenants"].as_array().expect("tenants");
    list.iter().map(|t| t["tenant"].as_str().expect("a name").to_owned()).collect()
}

/// A registry with the tenants `eu-pro`, `us-pro`, `us-free` and `bare`.
fn labeled() -> Home {
    let home = Home::new();
    let _ = home.run(&["registry", "init"]).exits(0);
    let csv = "id,url,label.plan,label.region\neu-pro,sqlite:a.db,pro,eu\nus-pro,sqlite:b.db,pro,us\nus-free,sqlite:c.db,free,us\nbare,sqlite:d.db,,\n";
    let added = home.run_with_input(&["tenants", "import", "-"], csv).exits(0);
    assert_eq!(added.stdout, "added 4 tenants\n");
    home
}

#[test]
fn a_registry_is_made_once_with_a_key_of_its_own_and_works_without_any_setting() {
    let home = Home::new().without("TENANTRY_MASTER_KEY");
    let made = home.run(&["registry", "init"]).exits(0);
    assert!(made.stderr.contains("made a master key in .tenantry/key"), "{made:?}");
    let key = home.path().join(".tenantry/key");
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&home.path().join(".tenantry"))), (0o600, 0o700));
    let first = std::fs::read_to_string(&key).expect("a key");

    let again = home.run(&["registry", "init"]).exits(0);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("the registry is ready\n", ""));
    assert_eq!(std::fs::read_to_string(&key).expect("a key"), first);

    home.migration("1_a.sql", "CREATE TABLE a (id INTEGER);");
    std::fs::write(home.path().join("acme.db"), "").expect("a file");
    let add = ["tenants", "add", "acme", "--url-stdin"];
    let _ = home.run_with_input(&add, "sqlite:acme.db\n").exits(0);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let check = home.run(&["registry", "check", "--json"]).exits(0).json();
    assert_eq!((&check["schema"], &check["ready"]), (&"tenantry.registry/v1".into(), &true.into()));
}

#[tokio::test]
async fn a_registry_in_postgres_is_made_twice_without_harm() {
    let home = Home::new().with_postgres_registry().await;
    for _ in 0..2 {
        let _ = home.run(&["registry", "init"]).exits(0);
    }
    let _ = home.run(&["registry", "check"]).exits(0);
    assert!(tenants(&home, &[]).is_empty());
}

#[test]
fn a_tenant_is_added_from_standard_input_a_file_and_a_variable() {
    let home = Home::new().with("ACME_URL", "postgres://app:s3cret-word@db1:6432/acme?sslmode=require");
    let _ = home.run(&["registry", "init"]).exits(0);
    let file = home.path().join("url");
    std::fs::write(&file, "mariadb://app:s3cret-word@db2/globex\n").expect("a file");
    let from_env = [
        "tenants",
        "add",
        "acme",
        "--from-env",
        "ACME_URL",
        "--schema",
        "app",
        "--label",
        "plan=pro",
        "--json",
    ];
    let shown = home.run(&from_env).exits(0);
    assert!(!format!("{shown:?}").contains("s3cret-word"));
    let shown = shown.json();
    let acme = json!({
        "tenant": "acme", "status": "active", "engine": "postgres", "server": "db1:6432", "database": "acme",
        "schema": "app", "labels": { "plan": "pro" }, "version": null, "version_read_at": null, "source": null,
    });
    assert_eq!(shown, json!({ "schema": "tenantry.tenant/v1", "tenant": acme }));
    assert_eq!(home.run(&["tenants", "show", "acme", "--json"]).exits(0).json(), shown);
    assert_eq!(home.run(&["status", "-t", "acme", "--json"]).exits(0).json()["tenant"], acme);

    let _ = home.run(&["tenants", "add", "globex", "--url-file", "url", "--disabled"]).exits(0);
    let add = ["tenants", "add", "initech", "--url-stdin"];
    let text = home.run_with_input(&add, "sqlite:data/initech.db\n").exits(0).stdout;
    let path = home.path().canonicalize().expect("a path").join("data/initech.db");
    assert!(text.contains(&format!("database  {}\n", path.display())), "{text}");
    let globex = home.run(&["tenants", "show", "globex"]).exits(0).stdout;
    for part in ["status    suspended\n", "engine    mysql\n", "server    db2:3306\n"] {
        assert!(globex.contains(part), "{globex}");
    }
}

#[test]
fn tenants_are_listed_by_label_as_kubectl_does_it() {
    let home = labeled();
    for (selector, expected) in [
        ("plan=pro", &["eu-pro", "us-pro"][..]),
        ("plan==pro", &["eu-pro", "us-pro"]),
        ("plan!=pro", &["bare", "us-free"]),
        ("region in (eu, us)", &["eu-pro", "us-free", "us-pro"]),
        ("region notin (eu)", &["bare", "us-free", "us-pro"]),
        ("plan", &["eu-pro", "us-free", "us-pro"]),
        ("!plan", &["bare"]),
        ("plan=pro,region=us", &["us-pro"]),
        ("plan=gold", &[]),
    ] {
        assert_eq!(tenants(&home, &["-l", selector]), expected, "{selector}");
    }
    assert_eq!(tenants(&home, &["--limit", "2"]), ["bare", "eu-pro"]);
    assert_eq!(tenants(&home, &["--limit", "2", "--after", "eu-pro"]), ["us-free", "us-pro"]);
    let page = home.run(&["tenants", "list", "--limit", "2"]).exits(0);
    assert!(page.stderr.contains("--after eu-pro"), "{page:?}");
    let none = home.run(&["tenants", "list", "-l", "plan=gold"]).exits(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no tenant found\n"));
}

#[test]
fn a_tenants_status_labels_and_url_are_changed_one_by_one() {
    let home = labeled();
    let set = |args: &[&str]| {
        home.run_with_input(&[&["tenants", "set", "us-pro", "--json"], args].concat(), "sqlite:/srv/new.db")
            .exits(0)
            .json()["tenant"]
            .take()
    };
    assert_eq!(set(&["--status", "archived"])["status"], "archived");
    let labels = set(&["--label", "plan=gold", "--label", "beta=", "--remove-label", "region"]);
    assert_eq!(labels["labels"], json!({ "plan": "gold", "beta": "" }));
    let moved = set(&["--url-stdin"]);
    assert_eq!((&moved["database"], &moved["status"]), (&"/srv/new.db".into(), &"archived".into()));
    assert_eq!(tenants(&home, &["--status", "archived"]), ["us-pro"]);
}

#[test]
fn an_import_reads_json_lines_and_csv_of_a_spreadsheet() {
    let home = labeled();
    let jsonl = home.path().join("more.jsonl");
    let line =
        r#"{"id":"json","url":"postgres://db/x","schema":"s","status":"suspended","labels":{"plan":"pro"}}"#;
    std::fs::write(&jsonl, format!("{line}\n\n")).expect("a file");
    let added = home.run(&["tenants", "import", "more.jsonl", "--json"]).exits(0).json();
    assert_eq!(added, json!({ "schema": "tenantry.import/v1", "added": 1 }));
    std::fs::write(home.path().join("sheet.csv"), "\u{feff}id, url\r\nsheet,\"sqlite:x.db\"\r\n")
        .expect("a file");
    assert_eq!(home.run(&["tenants", "import", "sheet.csv"]).exits(0).stdout, "added 1 tenant\n");
    let shown = home.run(&["tenants", "show", "json", "--json"]).exits(0).json();
    assert_eq!((&shown["tenant"]["schema"], &shown["tenant"]["status"]), (&"s".into(), &"suspended".into()));
    assert_eq!(tenants(&home, &["-l", "plan=pro"]), ["eu-pro", "json", "us-pro"]);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let home = labeled();
    for args in
        [&["completions", "bash"][..], &["tenants", "list"], &["status", "--json"], &["enqueue", "--help"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = home.command("tenantry", args);
        let child =
            command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().expect("tenantry");
        drop(command);
        let ran = finish(child).exits(0);
        assert_eq!(ran.stderr, "", "{args:?}");
    }
}

#[tokio::test]
async fn doctor_ends_with_the_code_of_what_is_wrong() {
    let home = Home::new();
    let checks = |ran: &Value| -> Vec<(String, bool)> {
        let list = ran["checks"].as_array().expect("checks").iter();
        list.map(|c| (c["check"].as_str().unwrap_or_default().to_owned(), c["ok"] == true)).collect()
    };
    let bare = home.run(&["doctor", "--json"]).exits(78).json();
    assert_eq!((&bare["schema"], &bare["ok"]), (&"tenantry.doctor/v1".into(), &false.into()));
    home.migration("1_a.sql", "SELECT 1;");
    let _ = home.run(&["registry", "init"]).exits(0);
    let good = home.run(&["doctor", "--json"]).exits(0).json();
    assert!(checks(&good).iter().all(|(_, ok)| *ok), "{good}");

    let down = "postgres://app:s3cret-word@127.0.0.1:1/acme";
    let _ = home.run_with_input(&["tenants", "add", "acme", "--url-stdin"], down).exits(0);
    let bad = home.run(&["doctor", "--json"]).exits(100);
    assert!(!format!("{bad:?}").contains("s3cret-word"));
    assert!(checks(&bad.json()).contains(&("postgres acme".into(), false)), "{bad:?}");
    let text = home.run(&["doctor"]).exits(100).stdout;
    assert!(text.contains(" bad  postgres acme") && text.contains("hint: "), "{text}");
    let queue = home.run(&["--queue-url", "redis://127.0.0.1:1", "doctor", "--json"]).exits(75).json();
    assert!(checks(&queue).contains(&("queue".into(), false)), "{queue}");
    let good = home.run(&["--queue-url", &server::redis(), "doctor", "--json"]).exits(100);
    assert!(!server::passwords().iter().any(|p| format!("{good:?}").contains(p)));
    assert!(checks(&good.json()).contains(&("queue".into(), true)));
}

#[tokio::test]
async fn a_healthcheck_tells_a_worker_that_is_alive_from_none() {
    let home = Home::new();
    let _ = home.run(&["registry", "init"]).exits(0);
    let check = |file: &Path| {
        let mut command = home.command("tenantry-worker", &["healthcheck"]);
        command.env("TENANTRY_HEALTH_FILE", file).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().expect("tenantry-worker"))
    };
    let none = check(&home.path().join("nowhere")).exits(1);
    assert!(none.stderr.contains("there is no sign of life in "), "{none:?}");
    let worker = home.worker(&[]);
    wait::until("the worker is healthy", || async { check(&worker.health).code == 0 }).await;
}
