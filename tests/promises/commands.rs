//! What an operator does before the first run: registry, tenants, migrations, configuration, help.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

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
fn a_new_migration_prints_its_path_and_never_takes_a_version_twice() {
    let home = Home::new();
    let new = |args: &[&str]| home.run(&[&["new", "migration"], args].concat()).exits(0).stdout;
    let stamped: BTreeSet<String> = (0..3).map(|_| new(&["Add Email!"])).collect();
    assert_eq!(stamped.len(), 3);
    for path in &stamped {
        let version = path.strip_prefix("migrations/").and_then(|p| p.strip_suffix("_add_email.sql\n"));
        assert!(version.is_some_and(|v| v.len() == 14 && v.parse::<i64>().is_ok()), "{path}");
    }
    let numbered = ["--sequential", "--source", "numbered"];
    assert_eq!(new(&[&["first"], &numbered[..]].concat()), "numbered/0001_first.sql\n");
    let pair = new(&[&["second step", "--reversible", "--no-transaction"], &numbered[..]].concat());
    assert_eq!(pair, "numbered/0002_second_step.up.sql\nnumbered/0002_second_step.down.sql\n");
    let read = |name: &str| std::fs::read_to_string(home.path().join("numbered").join(name)).expect("a file");
    assert!(read("0002_second_step.up.sql").starts_with("-- no-transaction\n"));
    assert!(!read("0002_second_step.down.sql").contains("no-transaction"));
    let document =
        home.run(&[&["new", "migration", "third\nDROP TABLE users;", "--json"], &numbered[..]].concat());
    let document = document.exits(0).json();
    assert_eq!(document["files"], json!(["numbered/0003_third_drop_table_users.sql"]));
    let lines = read("0003_third_drop_table_users.sql");
    assert!(lines.lines().all(|line| line.starts_with("--")), "a name became SQL: {lines}");
    let _ = home.run(&["new", "migration", "!?"]).exits(2);
}

#[test]
fn a_new_migration_is_of_the_format_of_those_beside_it() {
    let home = Home::new();
    for (name, text, expected, begins) in [
        (
            "1_a.sql",
            "-- migrate:up\n-- migrate:down\n",
            "2_add_email.sql",
            "-- migrate:up transaction:false\n",
        ),
        ("00001_a.sql", "-- +goose Up\n", "00002_add_email.sql", "-- +goose NO TRANSACTION\n-- +goose Up\n"),
        ("0001_a.sql", "-- Up Migration\n", "0002_add-email.sql", "-- no-transaction\n-- Up Migration\n"),
        ("tenant:1-a.sql", "", "tenant:2-add-email.sql", "-- no-transaction\n"),
        ("20240101000000-a.sql", "", "20240101000001-add-email.sql", "-- no-transaction\n"),
    ] {
        let directory = home.path().join(format!("of {name}"));
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join(name), text).expect("a file");
        let source = directory.to_str().expect("a path");
        let words = ["new", "migration", "add email", "--no-transaction", "--sequential", "--source", source];
        let made = home.run(&words).exits(0).stdout;
        assert!(made.trim_end().ends_with(&format!("/{expected}")), "{made}");
        let text = std::fs::read_to_string(directory.join(expected)).expect("a file");
        assert!(text.starts_with(begins) && text.contains("-- apply: add email\n"), "{text}");
    }
    let both = home.path().join("both");
    std::fs::create_dir(&both).expect("a directory");
    std::fs::write(both.join("1_a.sql"), "-- migrate:up\n-- migrate:down\n").expect("a file");
    std::fs::write(both.join("2_b.sql"), "-- +goose Up\n").expect("a file");
    let ran = home.run(&["new", "migration", "c", "--source", "both"]).exits(78);
    assert!(ran.stderr.contains("dbmate or goose") && ran.stderr.contains("hint: say which"), "{ran:?}");
}

#[test]
fn what_cannot_be_written_is_named() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "").expect("a file");
    let ran = home.run(&["new", "migration", "a", "--source", "file/below"]).exits(1);
    assert!(
        ran.stderr.starts_with("error: file/below/") && ran.stderr.contains("cannot be written"),
        "{ran:?}"
    );
    let home = home.with("TENANTRY_REGISTRY_URL", "sqlite:file/below/registry.db");
    let ran = home.run(&["registry", "init"]);
    assert!(ran.code != 0 && ran.stderr.contains("file/below"), "{ran:?}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "registry-url = 'sqlite:from-file.db'\nmaster-key = { file = 'key' }\n";
    let home = Home::new().without("TENANTRY_MASTER_KEY");
    std::fs::write(home.path().join("tenantry.toml"), file).expect("a file");
    std::fs::write(home.path().join("key"), "4f".repeat(32)).expect("a file");
    let exists = |name: &str| home.path().join(name).exists();
    let _ = home.run(&["registry", "init"]).exits(0);
    assert!(exists("from-file.db"));
    let made = |variable: &str, value: &str, more: &[&str], file: &str| {
        let mut command = home.command("tenantry", &[&["registry", "init"], more].concat());
        command.env(variable, value).stdout(Stdio::null()).stderr(Stdio::piped());
        let _ = finish(command.spawn().expect("tenantry")).exits(0);
        assert!(exists(file), "{variable} did not make {file}");
    };
    let flag = ["--registry-url", "sqlite:from-flag.db"];
    made("TENANTRY_REGISTRY_URL", "sqlite:from-env.db", &flag, "from-flag.db");
    assert!(!exists("from-env.db"));
    made("TENANTRY_REGISTRY_URL", "sqlite:from-env.db", &[], "from-env.db");
    std::fs::remove_file(home.path().join("from-file.db")).expect("a file");
    made("TENANTRY_REGISTRY_URL", "", &[], "from-file.db");
    made("TENANT_REGISTRY_DB_URL", "sqlite:from-other-name.db", &[], "from-other-name.db");
    std::fs::write(home.path().join("url"), "sqlite:from-url-file.db\n").expect("a file");
    made("TENANTRY_REGISTRY_URL_FILE", "url", &[], "from-url-file.db");
}

#[test]
fn a_key_is_taken_from_each_of_its_variables() {
    let home = Home::new();
    let _ = home.run(&["registry", "init"]).exits(0);
    let key = "4f".repeat(32);
    std::fs::write(home.path().join("key"), format!("{key}\n")).expect("a file");
    let home = home.without("TENANTRY_MASTER_KEY");
    for (name, value) in [
        ("TENANTRY_MASTER_KEY_FILE", "key"),
        ("MASTER_ENCRYPTION_KEY", key.as_str()),
        ("MASTER_ENCRYPTION_KEY_FILE", "key"),
    ] {
        let mut command = home.command("tenantry", &["registry", "check"]);
        command.env(name, value).stdout(Stdio::piped()).stderr(Stdio::piped());
        let _ = finish(command.spawn().expect("tenantry")).exits(0);
    }
    let _ = home.run(&["registry", "check"]).exits(78);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let names = [
        "CONFIG",
        "REGISTRY_URL",
        "QUEUE_URL",
        "OUTPUT",
        "PROGRESS",
        "NO_INPUT",
        "LOG",
        "LOG_FORMAT",
        "MIGRATIONS",
    ];
    let home = names.iter().fold(Home::new(), |home, name| home.with(&format!("TENANTRY_{name}"), ""));
    let _ = home.run(&["registry", "init"]).exits(0);
    assert_eq!(home.run(&["registry", "init"]).exits(0).stdout, "the registry is ready\n");
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')).map(str::to_owned);
    let names = lines.filter_map(name).filter_map(|line| line.split(' ').next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

fn every_command(home: &Home, path: Vec<String>, told: &mut Vec<String>) {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let short = home.run(&[&words[..], &["-h"]].concat()).exits(0);
    let long = home.run(&[&words[..], &["--help"]].concat()).exits(0);
    for help in [&short, &long] {
        assert_eq!(help.stderr, "", "{words:?}");
        assert!(help.stdout.contains(&format!("Usage: tenantry {}", words.join(" "))), "{}", help.stdout);
    }
    // A flag without a sentence is a line that ends behind its value's name.
    for line in short.stdout.lines().filter(|line| line.starts_with("  -") || line.starts_with("      -")) {
        let columns: Vec<&str> = line.trim().splitn(2, "  ").collect();
        assert!(columns.len() == 2 && columns[1].trim().len() > 5, "{words:?} does not explain: {line}");
    }
    told.push(words.join(" "));
    for command in listed(&short.stdout) {
        every_command(home, [path.clone(), vec![command]].concat(), told);
    }
}

#[test]
fn every_command_and_every_flag_has_its_help() {
    let home = Home::new();
    let mut told = Vec::new();
    every_command(&home, Vec::new(), &mut told);
    for command in ["enqueue", "migrate", "retry", "status", "tenants add", "tenants import", "tenants sync"]
    {
        assert!(told.iter().any(|t| t == command), "{command} is not among {told:?}");
        let words: Vec<&str> = command.split(' ').chain(["-h"]).collect();
        assert!(home.run(&words).exits(0).stdout.contains("\nExamples:\n"), "{command} has no examples");
    }
    let help = home.run(&["--help"]).exits(0).stdout;
    for code in [0, 1, 2, 4, 75, 78, 100, 103, 104, 124, 130, 143] {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {code:>3}  "))), "{code} in\n{help}");
    }
    for name in ["TENANTRY_MASTER_KEY", "TENANTRY_REGISTRY_URL", "DATABASE_URL"] {
        assert!(help.contains(name), "{name} in\n{help}");
    }
    let none = home.run(&[]).exits(2);
    assert!(none.stdout.is_empty() && none.stderr.contains("Usage: tenantry"), "{none:?}");
}

#[test]
fn every_shell_gets_a_completion_script() {
    let home = Home::new();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef tenantry"),
        ("fish", "complete -c tenantry"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = home.run(&["completions", shell]).exits(0);
        assert!(script.stdout.contains(word) && script.stdout.contains("tenants-file"), "{shell}");
        assert_eq!(script.stderr, "");
    }
    let _ = home.run(&["completions", "dos"]).exits(2);
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
