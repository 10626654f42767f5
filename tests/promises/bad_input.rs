//! Bad input: one line that says what is wrong, the way out, the documented exit code, and nothing changed.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tenantry_tests::{Fleet, Home, Ran, fleet::Kind};

use crate::{site::with_account, state};

/// Longest time until a server that does not answer is reported.
const SOON: Duration = Duration::from_secs(20);

/// A registry with the tenants `alpha` (migrated in run 1) and `beta` (suspended), and one migration.
fn home() -> Home {
    let home = Home::new();
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    std::fs::write(home.path().join("alpha.db"), "").expect("a file");
    let _ = home.run(&["registry", "init"]).exits(0);
    let add = |id: &str, more: &[&str]| {
        let args = [&["tenants", "add", id, "--url-stdin"], more].concat();
        let _ = home.run_with_input(&args, &format!("sqlite:{id}.db")).exits(0);
    };
    add("alpha", &[]);
    add("beta", &["--disabled"]);
    let _ = home.run(&["migrate", "--all"]).exits(0);
    home
}

fn line<'a>(ran: &'a Ran, word: &str) -> Option<&'a str> {
    let mut lines = ran.stderr.lines().filter_map(|line| line.strip_prefix(word));
    let first = lines.next();
    assert!(lines.next().is_none(), "more than one line begins with {word}: {ran:?}");
    first
}

/// Makes sure that a call is refused in one line that holds `says`, with a way out that holds `hint`, and changes nothing.
async fn refused_with_input(home: &Home, args: &[&str], input: &str, code: i32, says: &str, hint: &str) {
    let before = state::of(home).await;
    let ran = home.run_with_input(args, input).exits(code);
    let error = line(&ran, "error: ").unwrap_or_else(|| panic!("no error in {ran:?}"));
    assert!(error.contains(says), "{args:?}: {error}");
    let word = error.split([' ', ':']).next().unwrap_or_default();
    assert!(!word.starts_with(char::is_uppercase) || word.to_uppercase() == word, "a capital: {error}");
    let way_out = line(&ran, "hint: ");
    assert!(hint.is_empty() || way_out.is_some_and(|way| way.contains(hint)), "{args:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    assert_eq!(state::of(home).await, before, "{args:?} changed something");
}

async fn refused(home: &Home, args: &[&str], code: i32, says: &str, hint: &str) {
    refused_with_input(home, args, "", code, says, hint).await;
}

#[tokio::test]
async fn every_command_names_the_way_to_a_registry_when_there_is_none() {
    let home = Home::new();
    home.migration("1_a.sql", "SELECT 1;");
    let commands: [&[&str]; 11] = [
        &["enqueue", "--all"],
        &["wait"],
        &["migrate", "--all"],
        &["status"],
        &["runs"],
        &["retry"],
        &["logs", "-t", "a"],
        &["tenants", "list"],
        &["tenants", "set", "a", "--status", "active"],
        &["tenants", "add", "a", "--url-stdin"],
        &["registry", "check"],
    ];
    for args in commands {
        refused(&home, args, 78, "there is no registry at .tenantry/registry.db", "tenantry registry init")
            .await;
    }
}

#[tokio::test]
async fn a_postgres_registry_that_cannot_be_reached_is_reported_soon_as_temporary() {
    a_registry_cannot_be_reached("postgres").await;
}

#[tokio::test]
async fn a_mysql_registry_that_cannot_be_reached_is_reported_soon_as_temporary() {
    a_registry_cannot_be_reached("mysql").await;
}

async fn a_registry_cannot_be_reached(scheme: &str) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = {
        let once = TcpListener::bind("127.0.0.1:0").expect("a port");
        once.local_addr().expect("an address")
    };
    for address in [silent.local_addr().expect("an address"), closed] {
        let home =
            Home::new().with("TENANTRY_REGISTRY_URL", &format!("{scheme}://app:s3cret@{address}/registry"));
        let begun = Instant::now();
        refused(&home, &["status"], 75, "the registry cannot be reached: ", "tenantry doctor").await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_registry_url_of_something_else_is_a_configuration_error() {
    let home = Home::new();
    for url in ["oracle://app:s3cret@db/registry", "registry.db", "http://db/registry"] {
        let says = "the registry URL must begin with sqlite:, postgres: or mysql:";
        refused(&home, &["--registry-url", url, "status"], 78, says, "").await;
        refused(&home, &["--registry-url", url, "registry", "init"], 78, says, "").await;
    }
    for url in ["mysql://app:s3cret@db", "mysql://app:s3cret@db:3306/?ssl-mode=disabled", "mariadb://db/"] {
        let says = "the registry URL names no database";
        refused(&home, &["--registry-url", url, "status"], 78, says, "").await;
        refused(&home, &["--registry-url", url, "registry", "init"], 78, says, "").await;
    }
    for url in ["sqlite:", "sqlite::memory:", "sqlite://"] {
        refused(
            &home,
            &["--registry-url", url, "registry", "init"],
            78,
            "the registry URL names no file",
            "",
        )
        .await;
    }
}

#[tokio::test]
async fn a_mariadb_registry_that_is_not_there_is_told_from_one_that_refuses() {
    let home = Home::new().with_mariadb_registry().await;
    let says = "there is no registry at that database";
    refused(&home, &["status"], 78, says, "tenantry registry init").await;
    let url = home.registry_url();
    let nowhere = format!("{url}_nowhere");
    for args in [&["status"][..], &["registry", "init"]] {
        let elsewhere = [&["--registry-url", &nowhere], args].concat();
        refused(&home, &elsewhere, 1, "the registry database refused: ", "").await;
        let wrong = with_account(&url, "nobody", "s3cret");
        let stranger = [&["--registry-url", &wrong], args].concat();
        refused(&home, &stranger, 1, "the registry database refused: ", "").await;
    }
}

#[tokio::test]
async fn a_registry_that_can_never_be_there_is_a_configuration_error() {
    let home = Home::new();
    home.migration("1_a.sql", "SELECT 1;");
    std::fs::write(
        home.path().join("notes.txt"),
        "not a database, and longer than a header of one hundred bytes would be: ".repeat(9),
    )
    .expect("a file");
    refused(
        &home,
        &["runs", "--registry-url", "sqlite:notes.txt"],
        78,
        "the registry cannot be in notes.txt",
        "",
    )
    .await;
    refused(&home, &["registry", "init", "--registry-url", "sqlite:notes.txt"], 78, "not a database", "")
        .await;
    refused(
        &home,
        &["registry", "init", "--registry-url", "sqlite:notes.txt/below/registry.db"],
        78,
        "notes.txt",
        "",
    )
    .await;
}

#[tokio::test]
async fn an_unreachable_queue_stops_an_enqueue_before_anything_is_written() {
    let home = home();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("redis://:s3cret@{}", silent.local_addr().expect("an address"));
    for (url, command) in
        [("redis://127.0.0.1:1", "enqueue"), ("redis://127.0.0.1:1", "migrate"), (&silent, "enqueue")]
    {
        let begun = Instant::now();
        let args = ["--queue-url", url, command, "--all"];
        refused(&home, &args, 75, "the queue cannot be reached: ", "tenantry doctor").await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_queue_url_of_something_else_is_a_configuration_error() {
    let home = home();
    let cases = [
        ("postgres://db/other", "the queue URL names a database that is not the registry"),
        ("sqlite:other.db", "the queue URL names a database that is not the registry"),
        ("amqp://mq", "the queue URL must begin with redis: or rediss:, or be the registry's own"),
    ];
    for (url, says) in cases {
        refused(&home, &["--queue-url", url, "enqueue", "--all"], 78, says, "").await;
    }
}

#[tokio::test]
async fn without_the_right_key_nothing_is_done() {
    let home = home().without("TENANTRY_MASTER_KEY");
    let enqueue = ["enqueue", "--all"];
    refused(&home, &enqueue, 78, "there is no master key", "openssl rand -hex 32").await;
    let add = ["tenants", "add", "gamma", "--url-stdin"];
    refused_with_input(&home, &add, "sqlite:gamma.db", 78, "there is no master key", "TENANTRY_MASTER_KEY")
        .await;

    let home = home.with("TENANTRY_MASTER_KEY", "not-a-key");
    refused(
        &home,
        &enqueue,
        78,
        "TENANTRY_MASTER_KEY: the master key is not 32 bytes",
        "openssl rand -hex 32",
    )
    .await;

    let home = home.with("TENANTRY_MASTER_KEY", &"ab".repeat(32));
    let says = "the registry is sealed with key ";
    refused(&home, &enqueue, 78, says, "TENANTRY_MASTER_KEY").await;
    refused(&home, &["migrate", "--all"], 78, says, "TENANTRY_MASTER_KEY").await;
    refused(&home, &["registry", "check"], 78, says, "TENANTRY_MASTER_KEY").await;
    refused_with_input(&home, &add, "sqlite:gamma.db", 78, says, "TENANTRY_MASTER_KEY").await;

    let home = home.without("TENANTRY_MASTER_KEY").with("TENANTRY_MASTER_KEY_FILE", "nowhere/key");
    refused(&home, &enqueue, 78, "nowhere/key cannot be read: ", "").await;
}

#[tokio::test]
async fn a_tenant_that_is_not_there_is_named() {
    let home = home();
    for args in [
        &["enqueue", "-t", "nobody"][..],
        &["enqueue", "-t", "alpha,nobody"],
        &["enqueue", "--all", "-x", "nobody"],
        &["migrate", "-t", "nobody"],
        &["tenants", "show", "nobody"],
        &["tenants", "set", "nobody", "--status", "active"],
        &["logs", "-t", "nobody"],
        &["status", "-t", "nobody"],
    ] {
        refused(&home, args, 2, "nobody", "tenantry tenants list").await;
    }
    let from_stdin = ["enqueue", "--tenants-file", "-"];
    refused_with_input(&home, &from_stdin, "alpha\nnobody\n", 2, "nobody", "tenantry tenants list").await;
    refused_with_input(&home, &from_stdin, "alpha\na b\n", 2, "standard input: 'a b' is not a tenant id", "")
        .await;
    refused(&home, &["enqueue", "--tenants-file", "nowhere"], 2, "nowhere cannot be read: ", "").await;
}

#[tokio::test]
async fn an_inactive_tenant_is_not_taken_by_name_and_not_by_all() {
    let home = home();
    refused(&home, &["enqueue", "-t", "alpha,beta"], 2, "not active: 'beta' (suspended)", "--status active")
        .await;
    let run = home.run(&["enqueue", "--all", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["total"], 1, "{run}");
}

#[tokio::test]
async fn an_empty_selection_ends_as_it_was_told_to() {
    let home = home();
    for command in ["enqueue", "migrate"] {
        for (selection, input) in [
            (&["-l", "plan=pro"][..], ""),
            (&["-t", "alpha", "-x", "alpha"], ""),
            (&["--tenants-file", "-"], "# nobody\n\n"),
        ] {
            let args = [&[command][..], selection].concat();
            refused_with_input(&home, &args, input, 4, "no tenant", "").await;
            let before = state::of(&home).await;
            let warn = home.run_with_input(&[&args[..], &["--no-tenants", "warn"]].concat(), input).exits(0);
            assert!(warn.stderr.contains("nothing to do") && warn.stdout.is_empty(), "{warn:?}");
            let pass = home.run_with_input(&[&args[..], &["--no-tenants", "pass"]].concat(), input).exits(0);
            assert!(!pass.stderr.contains("nothing to do") && pass.stdout.is_empty(), "{pass:?}");
            let json = [&args[..], &["--no-tenants", "pass", "--json"]].concat();
            let json = home.run_with_input(&json, input).exits(0).json();
            assert_eq!((&json["number"], &json["counts"]["total"]), (&serde_json::Value::Null, &0.into()));
            assert_eq!(state::of(&home).await, before);
        }
    }
}

#[tokio::test]
async fn there_is_no_implicit_selection_of_all_tenants() {
    let home = home();
    refused(&home, &["enqueue"], 2, "no tenants are selected", "--all").await;
    refused(&home, &["migrate"], 2, "neither tenants nor a database", "--all").await;
    let dedicated = home.with("DATABASE_URL", "sqlite:alpha.db");
    for args in [["migrate", "-x", "alpha"], ["migrate", "--limit", "1"], ["enqueue", "--limit", "1"]] {
        refused(&dedicated, &args, 2, "required", "").await;
    }
}

#[tokio::test]
async fn words_that_do_not_fit_a_flag_are_usage_errors() {
    let home = home();
    let cases: [(&[&str], &str); 13] = [
        (&["enqueue", "-l", "plan in (pro"], "'plan in (pro' is not a label condition"),
        (&["tenants", "list", "-l", "a,,b"], "'' is not a label condition"),
        (&["enqueue", "--all", "-t", "alpha"], "cannot be used with"),
        (&["enqueue", "--all", "--target", "2"], "there is no migration 2"),
        (&["enqueue", "--all", "--target", "newest"], "there is no migration newest"),
        (&["enqueue", "--all", "--limit", "0"], "invalid value '0'"),
        (&["enqueue", "--all", "--timeout", "5s"], "required"),
        (&["retry", "--timeout", "5s"], "required"),
        (&["wait", "--timeout", "5 parsecs"], "'5 parsecs' is not a duration"),
        (&["wait", "yesterday"], "'yesterday' is not a run"),
        (&["status", "1", "--state", "broken"], "'broken' is not a state"),
        (&["tenants", "set", "alpha", "--status", "gone"], "'gone' is not a status"),
        (&["tenants", "set", "alpha"], "nothing to change in tenant 'alpha'"),
    ];
    for (args, says) in cases {
        refused(&home, args, 2, says, "").await;
    }
}

#[tokio::test]
async fn a_run_that_is_not_there_is_named() {
    let home = home();
    for args in [
        &["wait", "99"][..],
        &["status", "99"],
        &["retry", "99"],
        &["logs", "99", "-t", "alpha"],
        &["enqueue", "--failed-in", "99"],
    ] {
        refused(&home, args, 2, "there is no run 99", "tenantry runs").await;
    }
    refused(&home, &["status", "latest-failed"], 2, "no run has failed", "").await;
    let empty = Home::new();
    let _ = empty.run(&["registry", "init"]).exits(0);
    refused(&empty, &["wait"], 2, "there is no run yet", "tenantry enqueue --all").await;
}

#[tokio::test]
async fn a_retry_of_nothing_ends_with_4() {
    let home = home();
    refused(&home, &["retry"], 4, "no run has failed", "").await;
    refused(&home, &["retry", "1"], 4, "no tenant failed in run #1", "tenantry status 1 --state failed")
        .await;
    home.migration("2_broken.sql", "SELECT * FROM nowhere;");
    let _ = home.run(&["migrate", "--all"]).exits(100);
    let says = "no tenant failed with cause deadbeef in run #2";
    refused(&home, &["retry", "--error", "deadbeef"], 4, says, "tenantry status 2 --all-causes").await;
    refused(&home, &["retry", "-t", "beta"], 2, "did not fail in that run: 'beta'", "--state failed").await;
    refused(&home, &["retry", "-t", "nobody"], 2, "nobody", "tenantry tenants list").await;
}

#[tokio::test]
async fn a_directory_of_migrations_that_cannot_be_run_whole_is_refused_whole() {
    let home = home();
    let enqueue = ["enqueue", "--all", "--source", "other"];
    refused(&home, &enqueue, 78, "the migration directory other cannot be read: ", "--source").await;
    let other = home.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    let write = |name: &str, content: &[u8]| std::fs::write(other.join(name), content).expect("a file");
    write("README.md", b"nothing here");
    refused(&home, &enqueue, 78, "no migration found", "tenantry new migration").await;
    write("1_a.sql", b"SELECT 1;");
    let cases: [(&str, &[u8], &str); 5] = [
        ("01_b.sql", b"SELECT 1;", "1_a.sql and"),
        ("2_code.go", b"package migrations", "2_code.go: a migration that is not SQL"),
        ("2_latin.sql", b"-- caf\xe9", "2_latin.sql is not UTF-8 text"),
        ("2_alone.down.sql", b"SELECT 1;", "2_alone.down.sql: there is no 2_"),
        ("v2_b.sql", b"SELECT 1;", "v2_b.sql: its name must start with a whole number"),
    ];
    for (name, content, says) in cases {
        write(name, content);
        let says = if name == "01_b.sql" { "have the same version 1" } else { says };
        refused(&home, &enqueue, 78, says, "").await;
        std::fs::remove_file(other.join(name)).expect("a file");
    }
    let _ = home.run(&enqueue).exits(0);
}

#[tokio::test]
async fn a_migration_that_changed_after_it_was_applied_is_refused_in_both_modes() {
    let home = home();
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 1, home.path()).await;
    let dedicated = home.with("DATABASE_URL", &fleet.tenants[0].url);
    let _ = dedicated.run(&["migrate"]).exits(0);
    dedicated.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);");
    dedicated.migration("2_more.sql", "CREATE TABLE more (id INTEGER);");
    let before = fleet.tenants[0].tables().await;
    let says = "1_users.sql is not what was applied: its checksum changed";
    refused(&dedicated, &["migrate"], 104, says, "restore the file").await;
    assert_eq!(fleet.tenants[0].tables().await, before);

    let run = dedicated.run(&["migrate", "--all", "--json"]).exits(104).json();
    assert_eq!((&run["state"], &run["exit_code"]), (&"failed".into(), &104.into()));
    assert_eq!(
        (&run["failures"][0]["code"], &run["failures"][0]["refused"]),
        (&"checksum".into(), &true.into())
    );
}

#[tokio::test]
async fn a_url_that_is_no_tenants_is_refused_without_repeating_its_password() {
    let home = home();
    let cases = [
        ("postgres://app:s3cret-word@", "not a database URL"),
        ("postgres://app:s3cret-word@db:port/acme", "not a database URL"),
        ("app:s3cret-word@db/acme", "unknown database scheme"),
        ("oracle://app:s3cret-word@db/acme", "unknown database scheme"),
        ("mysql://app:s3cret-word@db:3306/", "the URL names no database"),
        ("s3cret-word", "not a database URL"),
        ("", "not a database URL"),
        ("sqlite::memory:", "an in-memory SQLite database cannot be migrated"),
        ("sqlite:a.db?mode=memory", "an in-memory SQLite database cannot be migrated"),
    ];
    for (url, says) in cases {
        for args in
            [&["tenants", "add", "gamma", "--url-stdin"][..], &["tenants", "set", "alpha", "--url-stdin"]]
        {
            refused_with_input(&home, args, url, 2, says, "").await;
            let ran = home.run_with_input(args, url);
            assert!(!format!("{ran:?}").contains("s3cret-word"), "{ran:?}");
        }
        let dedicated = ["migrate", "--url-env", "ACME_URL"];
        let home = Home::new().with("ACME_URL", if url.is_empty() { "x" } else { url });
        home.migration("1_a.sql", "SELECT 1;");
        let ran = home.run(&dedicated).exits(2);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("s3cret-word"), "{ran:?}");
    }
    let schema = ["tenants", "add", "gamma", "--url-stdin", "--schema", "s"];
    let says = "a schema can be given for PostgreSQL only";
    refused_with_input(&home, &schema, "mysql://app:s3cret-word@db/acme", 2, says, "").await;
}

#[tokio::test]
async fn a_tenant_is_added_once_under_a_plain_name() {
    let home = home();
    let add = |id| ["tenants", "add", id, "--url-stdin"];
    refused_with_input(&home, &add("a/b"), "sqlite:x.db", 2, "'a/b' is not a tenant id", "").await;
    let exists = "tenant 'alpha' exists already";
    refused_with_input(&home, &add("alpha"), "sqlite:x.db", 2, exists, "tenantry tenants set").await;
    refused(&home, &["tenants", "add", "gamma"], 2, "the tenant's URL is missing", "--url-stdin").await;
    let nowhere = ["tenants", "add", "gamma", "--url-file", "nowhere"];
    refused(&home, &nowhere, 2, "nowhere cannot be read: ", "").await;
    let unset = ["tenants", "add", "gamma", "--from-env", "NOWHERE"];
    refused(&home, &unset, 2, "the variable NOWHERE is not set", "").await;
}

#[tokio::test]
async fn an_import_with_one_bad_line_adds_nothing() {
    let home = home();
    let good = "id,url\ngamma,sqlite:gamma.db\n";
    let cases: [(String, &str); 9] = [
        (format!("{good}delta,postgres://app:s3cret@\n"), "line 3: not a database URL"),
        (format!("{good}delta\n"), "line 3: not as many columns"),
        (format!("{good}de lta,sqlite:d.db\n"), "line 3: 'de lta' is not a tenant id"),
        (format!("{good}gamma,sqlite:d.db\n"), "line 3: tenant 'gamma' is there twice"),
        (format!("{good}alpha,sqlite:d.db\n"), "tenant 'alpha' exists already"),
        ("id,uri\ngamma,sqlite:gamma.db\n".into(), "line 1: unknown column 'uri'"),
        ("id,url,status\ngamma,sqlite:gamma.db,gone\n".into(), "line 2: 'gone' is not a status"),
        ("id,url\r\ngamma,x\r\n".into(), "line 2: not a database URL"),
        ("id,url\n".into(), "standard input holds no tenant"),
    ];
    for (text, says) in cases {
        refused_with_input(&home, &["tenants", "import", "-"], &text, 2, says, "").await;
    }
    let jsonl = ["tenants", "import", "-", "--format", "jsonl"];
    let line = r#"{"id":"gamma","url":"sqlite:gamma.db"}"#;
    for (bad, says) in [
        (r#"{"id":"delta","url":1}"#, "standard input line 2: not a tenant"),
        (r#"{"id":"delta","url":"sqlite:d.db","plan":"pro"}"#, "line 2: not a tenant"),
        (r#"{"id":"delta","url":"sqlite:d.db","labels":{"a b":"c"}}"#, "line 2: 'a b' is not a label's name"),
    ] {
        refused_with_input(&home, &jsonl, &format!("{line}\n{bad}\n"), 2, says, "nothing was added").await;
    }
    refused(&home, &["tenants", "import", "nowhere.csv"], 2, "nowhere.csv cannot be read: ", "").await;
}

#[tokio::test]
async fn a_configuration_file_with_a_mistake_is_shown_with_its_line() {
    let home = home();
    let file = home.path().join("tenantry.toml");
    let cases = [
        ("migrations = 'migrations'\n[run]\nlock_timeout = '5s'\n", "line 3", "did you mean `lock-timeout`?"),
        ("[run]\nlock-timeout = 'soon'\n", "line 2", "'soon' is not a duration"),
        ("[run\n", "line 1", "TOML"),
        ("registry-url = { env = 'NOWHERE' }\n", "the variable NOWHERE is not set", "registry-url"),
    ];
    for (text, place, says) in cases {
        std::fs::write(&file, text).expect("a file");
        let before = state::of(&home).await;
        let ran = home.run(&["enqueue", "--all"]).exits(78);
        assert!(ran.stderr.contains(place) && ran.stderr.contains(says), "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
        assert_eq!(state::of(&home).await, before);
    }
    std::fs::remove_file(&file).expect("a file");
    refused(&home, &["-c", "nowhere.toml", "status"], 78, "nowhere.toml cannot be read: ", "").await;
}

#[test]
fn a_call_that_cannot_be_read_is_a_document_where_json_is_asked_for() {
    let home = Home::new();
    for args in
        [&["status", "--bogus", "--json"][..], &["-o", "json", "tenants", "add"], &["tenants", "--json"]]
    {
        let plain: Vec<&str> =
            args.iter().copied().filter(|word| !["--json", "-o", "json"].contains(word)).collect();
        let (ran, as_text) = (home.run(args).exits(2), home.run(&plain));
        let document = ran.json();
        assert_eq!(document["schema"], "tenantry.error/v1");
        assert_eq!(document["exit_code"], 2);
        let first = ran.stderr.lines().next().unwrap_or_default();
        let error = format!("error: {}", document["error"].as_str().expect("an error"));
        assert!(error.starts_with(first) && document["hint"].is_string(), "{ran:?}");
        // A call without anything shows its help.
        assert_eq!((as_text.code, as_text.stdout.as_str()), (2, ""), "{as_text:?}");
    }
    let variable = home.with("TENANTRY_OUTPUT", "json");
    assert_eq!(variable.run(&["tenants"]).exits(2).json()["schema"], "tenantry.error/v1");
    assert!(variable.run(&["status", "--bogus", "-o", "text"]).exits(2).stdout.is_empty());
    assert!(variable.run(&["--help"]).exits(0).stdout.contains("Usage:"));
}
