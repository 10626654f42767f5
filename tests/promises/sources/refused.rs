//! Sources that are wrong: what is wrong is named, nothing is changed, and no secret is told.

use std::fmt::Write as _;

use tenantry_tests::{Ran, fleet::Kind, server};

use super::{LIST, central, configure, file, home_with, list, sync, synced};
use crate::state;

#[tokio::test]
async fn one_bad_row_is_named_and_changes_nothing() {
    let home = home_with(LIST);
    list(&home, &["acme"]);
    let _ = synced(&home, &["--yes"]);
    let good = "good,mysql://app:hush@db/good\n";
    for (heading, row, says) in [
        ("id,url", "a b,mysql://app:hush@db/x", "source default: line 3: 'a b' is not a tenant id"),
        ("id,url", ",mysql://app:hush@db/x", "line 3: it has no id (column 'id' is empty)"),
        ("id,url", "good,mysql://app:hush@db/x", "line 3: tenant 'good' is there twice"),
        ("id,url", "bad,mysql//app:hush@db/x", "line 3: tenant 'bad': unknown database scheme"),
        ("id,url", "bad,mysql://app:hush@db", "line 3: tenant 'bad': the URL names no database"),
        ("id,url", "bad,", "line 3: tenant 'bad': it has no URL"),
        ("id,url", "bad", "source default cannot be read: "),
        ("id,url,status", "bad,mysql://app:hush@db/x,on", "line 3: tenant 'bad': 'on' is not a status"),
        (
            "id,url,schema",
            "bad,mysql://app:hush@db/x,s",
            "line 3: tenant 'bad': a schema can be given for PostgreSQL only",
        ),
    ] {
        let filler = ",".repeat(heading.split(',').count() - 2);
        file(&home, "list.csv", &format!("{heading}\n{}{row}\n", good.replace('\n', &format!("{filler}\n"))));
        let before = state::of(&home).await;
        let ran = sync(&home, &["--yes"]);
        assert!([78, 104].contains(&ran.code) && ran.stderr.contains(says), "{row}: {ran:?}");
        assert!(ran.stderr.contains("hint: ") && ran.stdout.is_empty(), "{ran:?}");
        assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
        assert_eq!(state::of(&home).await, before, "{row}");
    }
    file(&home, "list.csv", "id,url\na b,x\nc d,x\ne f,x\n");
    assert!(sync(&home, &["--yes"]).exits(104).stderr.contains("line 2: 'a b' is not a tenant id"));
    let doctor = home.run(&["doctor", "--json"]).exits(104).json();
    let check = doctor["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .find(|c| c["check"] == "source default")
        .expect("a check")
        .clone();
    let detail = check["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("lists 0 tenants, and 3 bad rows: line 2: ") && detail.contains("line 4: "),
        "{check}"
    );
}

#[test]
fn doctor_reads_each_source() {
    let home = home_with(LIST);
    list(&home, &["a", "b"]);
    let check = |ran: &Ran| {
        let checks = ran.json()["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|c| c["check"] == "source default").expect("a check")
    };
    let good = check(&home.run(&["doctor", "--json"]).exits(0));
    assert_eq!((&good["ok"], &good["detail"]), (&true.into(), &"lists 2 tenants".into()));
    configure(&home, "[source]\nurl = 'postgres://app:hush@127.0.0.1:1/central'\nquery = 'SELECT 1'\n");
    let away = home.run(&["doctor", "--json"]).exits(75);
    assert!(
        check(&away)["detail"].as_str().is_some_and(|d| d.starts_with("source default cannot be reached: "))
    );
    assert!(!format!("{away:?}").contains("hush"));
}

#[tokio::test]
async fn a_wrong_source_is_a_configuration_error_that_names_the_way_out() {
    let home = home_with("");
    let (central, _) = central(&home, Kind::PostgresDatabase, 0).await;
    central
        .execute("CREATE TABLE companies (key TEXT, db TEXT); INSERT INTO companies VALUES ('acme', 'acme')")
        .await;
    let home = home.with("CENTRAL", &central.url);
    let sql = "[source]\nurl = { env = 'CENTRAL' }\nquery = 'SELECT * FROM companies'\n";
    for (config, says) in [
        ("".to_owned(), "no source of tenants is configured"),
        (
            "[source]\n".to_owned(),
            "[source]: it does not say what kind of source it is: give query, file, endpoint or discover",
        ),
        (
            format!("{sql}file = 'list.csv'\n"),
            "[source]: query and file are given, and a source is of one kind",
        ),
        (format!("{sql}[source.columns]\nname = 'key'\n"), "unknown field `name`"),
        (sql.to_owned(), "source default has no column 'id' (there are: db, key)"),
        (
            format!("{sql}[source.columns]\nid = 'key'\ndatabase = 'base'\n"),
            "has no column 'base' (there are: db, key)",
        ),
        (
            format!("{sql}tenant-url = 'postgres://db/{{name}}'\n[source.columns]\nid = 'key'\n"),
            "has no column 'name'",
        ),
        (
            format!("{sql}tenant-url = 'postgres://db/{{name'\n"),
            "tenant-url: it has a brace without its partner",
        ),
        (
            format!("{sql}tenant-url = '{{name}}'\n"),
            "tenant-url must begin with postgres:, mysql: or sqlite:",
        ),
        (
            format!("{sql}tenant-url = 'postgres://db/{{key}}'\n[source.columns]\ndatabase = 'db'\n"),
            "tenant-url and columns.database are given",
        ),
        (
            sql.replace("CENTRAL", "NOWHERE"),
            "the variable NOWHERE is not set, and source.url is taken from it",
        ),
        (
            sql.replace("companies", "nothing"),
            "source default cannot be read: relation \"nothing\" does not exist",
        ),
        (sql.replace("{ env = 'CENTRAL' }", "'redis://h/d'"), "[source]: url: unknown database scheme"),
        (
            "[source]\nfile = 'nowhere.csv'\n".to_owned(),
            "source default cannot be read: nowhere.csv: No such file",
        ),
        (
            "[source]\nfile = 'a.csv'\n[sources.b]\nfile = 'b.csv'\n".to_owned(),
            "[source]: there are [sources.NAME], too",
        ),
        ("[sources.'a b']\nfile = 'b.csv'\n".to_owned(), "'a b' is not a source's name"),
        (
            "[source]\ndiscover = 'schemas'\nurl = 'mysql://h'\npattern = '*'\n".to_owned(),
            "schemas are PostgreSQL's",
        ),
        (
            "[source]\ndiscover = 'files'\ndirectory = 'nowhere'\npattern = '*'\n".to_owned(),
            "nowhere: No such file",
        ),
    ] {
        configure(&home, &config);
        let before = state::of(&home).await;
        let ran = sync(&home, &["--yes"]).exits(78);
        assert!(ran.stderr.contains(says), "{config}: {ran:?}");
        assert_eq!(state::of(&home).await, before);
    }
    configure(&home, "[sources.a]\nfile = 'a.csv'\n[sources.b]\nfile = 'a.csv'\n");
    file(&home, "a.csv", "id,url\nacme,mysql://db/acme\n");
    let unknown = sync(&home, &["c"]).exits(2);
    assert!(
        unknown.stderr.contains("there is no source 'c'") && unknown.stderr.contains("are: a, b"),
        "{unknown:?}"
    );
    let twice = sync(&home, &["--yes"]).exits(104);
    assert!(twice.stderr.contains("tenant 'acme' is listed by the sources a and b"), "{twice:?}");
    // A source that is not read needs none of its variables.
    configure(&home, &sql.replace("CENTRAL", "NOWHERE"));
    let _ = home.run(&["status"]).exits(0);
}

/// Promise 5.
#[tokio::test]
async fn no_secret_of_a_source_is_shown_or_kept() {
    let home = home_with("").with("TENANTRY_LOG", "trace");
    let (central, databases) = central(&home, Kind::MariaDb, 1).await;
    central
        .execute(&format!(
            "CREATE TABLE c (id TEXT, db TEXT, pw TEXT); INSERT INTO c VALUES ('acme', '{}', 'row-canary')",
            databases[0].id
        ))
        .await;
    let real = server::passwords().remove(1);
    let home = home
        .with("CENTRAL", &central.url)
        .with("FAR", &central.url.replace(&real, "far-canary"))
        .with("PW", "p@rt-canary");
    let columns = "[source.columns]\ndatabase = 'db'\npassword = 'pw'\n";
    let secrets = "tenant-url = 'mysql://app:{pw2}@h/{db}'\n[source.secrets]\npw2 = { env = 'PW' }\n";
    let mut said = String::new();
    for (config, code) in [
        (format!("[source]\nurl = {{ env = 'CENTRAL' }}\nquery = 'SELECT * FROM c'\n{columns}"), 0),
        (format!("[source]\nurl = {{ env = 'CENTRAL' }}\nquery = 'SELECT * FROM c'\n{secrets}"), 0),
        (format!("[source]\nurl = {{ env = 'FAR' }}\nquery = 'SELECT * FROM c'\n{columns}"), 78),
        (
"[source]\nurl = { env = 'CENTRAL' }\nquery = 'SELECT pw AS id, pw AS port FROM c'\n[source.columns]\nport = 'port'\n".to_owned(),
            104,
        ),
        ("[source]\nurl = 'mysql://app:text-canary@127.0.0.1:1/d'\nquery = 'SELECT 1'\n".to_owned(), 75),
        ("[source]\nurl = 'mysql://app:text-canary@h:port/d'\nquery = 'SELECT 1'\n".to_owned(), 78),
        (
            "[source]\nendpoint = 'http://127.0.0.1:1/?token=text-canary'\nheaders = { A = 'text-canary' }\n"
                .to_owned(),
            75,
        ),
    ] {
        configure(&home, &config);
        for args in [
            &["tenants", "sync", "--yes"][..],
            &["doctor"],
            &["tenants", "sync", "--dry-run", "--json"],
            &["tenants", "list", "--json"],
        ] {
            let ran = home.run(args);
            assert!(args[1..] != ["sync", "--yes"] || ran.code == code, "{config}: {ran:?}");
            let _ = write!(said, "{ran:?}");
        }
    }
    let mut kept = state::of(&home).await;
    kept.push_str(&said);
    for secret in [real.as_str(), "far-canary", "text-canary", "p@rt-canary", "p%40rt-canary"] {
        assert!(!kept.contains(secret), "{secret} is shown");
    }
    // What is mapped as an id is an id.
    assert!(!kept.replace("tenant 'row-canary'", "").contains("row-canary"));
    assert!(said.contains("TRACE"), "the log is on");
}
