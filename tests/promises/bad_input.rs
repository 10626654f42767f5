//! Bad input: one line that says what is wrong, the way out, the documented exit code, and nothing changed.

mod names;
mod registries;

use tenantry_tests::{Fleet, Home, Ran, fleet::Kind};

use crate::state;

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

/// Promise 5.
#[test]
fn a_url_where_none_is_expected_is_told_without_its_password() {
    let home = Home::new();
    let url = "postgres://u:pass@word-canary@127.0.0.1/d";
    for args in [&["tenants", "add", "acme", url][..], &["migrate", url], &["plan", &format!("--to-{url}")]] {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            let ran = home.run(&args).exits(2);
            assert!(ran.stderr.contains("postgres://u:***@127.0.0.1/d"), "{ran:?}");
            assert!(!ran.stderr.contains("canary") && !ran.stdout.contains("canary"), "{ran:?}");
        }
    }
    let help = home.run(&["enqueue", "--reason", url, "--help"]).exits(0);
    assert!(help.stdout.contains("Usage: ") && help.stderr.is_empty(), "{help:?}");
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
