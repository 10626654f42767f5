//! What every engine promises alike.

use tenantry_tests::{
    Fleet, Home, TenantDb, fleet::Kind, fleet::unique, home::finish, server, server::with_database,
};

use crate::site::{KINDS, Site, quick_home, with_account};

const CREATE_USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(200));";

/// The same tenant, seen by an account that may read its history and nothing else.
async fn read_only(tenant: &TenantDb) -> TenantDb {
    let user = unique("reader");
    let url = match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => {
            let usage = tenant
                .schema
                .as_ref()
                .map(|s| format!("GRANT USAGE ON SCHEMA {s} TO {user};"))
                .unwrap_or_default();
            tenant.execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'only'; {usage} GRANT SELECT ON _sqlx_migrations TO {user}")).await;
            with_account(&tenant.url, &user, "only")
        }
        Kind::MariaDb => {
            let database = &tenant.id;
            tenant.execute(&format!("CREATE USER {user} IDENTIFIED BY 'only'; GRANT SELECT ON {database}._sqlx_migrations TO {user}")).await;
            with_account(&tenant.url, &user, "only")
        }
        Kind::Sqlite => format!("{}?mode=ro", tenant.url),
    };
    TenantDb { url, ..tenant.clone() }
}

#[tokio::test]
async fn a_tenant_that_is_current_is_only_read() {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    let mut readers = Fleet::default();
    for tenant in &site.fleet.tenants {
        readers.tenants.push(read_only(tenant).await);
    }
    let readers = Site::of(quick_home(), readers);
    readers.home.migration("1_create_users.sql", CREATE_USERS);
    let run = readers.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 4, "{run}");

    readers.home.migration("2_create_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY);");
    let run = readers.migrate(&[]).exits(100).json();
    assert_eq!(run["counts"]["failed"], 4, "these accounts can write: {run}");
}

/// Promise 3.
#[tokio::test]
async fn a_transactional_migration_that_fails_leaves_nothing_in_a_fresh_tenant() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema, Kind::Sqlite], 1).await;
    site.home.migration(
        "1_fail.sql",
        "CREATE TABLE a (id INTEGER); INSERT INTO a VALUES (1); INSERT INTO nowhere VALUES (1);",
    );
    let run = site.migrate(&[]).exits(100).json();
    assert_eq!(run["counts"]["failed"], 3, "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.tables().await.len(), 0, "{}: {:?}", tenant.id, tenant.tables().await);
        assert_eq!(site.attempts(tenant)[0]["statement"], 3);
    }
}

/// Promise 2.
#[tokio::test]
async fn two_processes_with_registries_of_their_own_apply_nothing_twice() {
    let mut first = Site::new(&KINDS, 4).await;
    let fleet = std::mem::take(&mut first.fleet);
    let second = Site::of(quick_home(), fleet);
    let first = first.home;
    for home in [&first, &second.home] {
        home.migration(
            "1_create_counter.sql",
            "CREATE TABLE counter (version INTEGER);\nINSERT INTO counter VALUES (1);",
        );
        for version in 2..=5 {
            home.migration(
                &format!("{version}_count.sql"),
                &format!("INSERT INTO counter VALUES ({version});"),
            );
        }
    }
    let words = ["migrate", "--all", "--json", "--concurrency", "16", "--retries", "50"];
    let both = [first.spawn(&words), second.home.spawn(&words)].map(|child| finish(child).exits(0).json());
    for run in &both {
        assert_eq!(run["counts"]["failed"], 0, "{run}");
    }
    for tenant in &second.fleet.tenants {
        assert_eq!(tenant.number("SELECT count(*) FROM counter").await, 5, "{}", tenant.id);
        assert_eq!(tenant.number("SELECT count(DISTINCT version) FROM counter").await, 5, "{}", tenant.id);
        assert_eq!(tenant.versions().await, [1, 2, 3, 4, 5], "{}", tenant.id);
    }
}

/// Tenants at migrations 1 and 3, and then a directory without what they need.
async fn at_one_and_three() -> Site {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    site.home.migration("3_create_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY);");
    let _ = site.migrate(&[]).exits(0);
    site
}

/// Makes sure that every tenant is refused for this reason, and left as it was.
async fn refused(site: &Site, code: &str, flags: &[&str]) {
    let mut before = Vec::new();
    for tenant in &site.fleet.tenants {
        before.push((tenant.tables().await, tenant.versions().await));
    }
    let cause = site.fails(104, flags);
    assert_eq!(
        (&cause["code"], &cause["refused"], &cause["count"]),
        (&code.into(), &true.into(), &4.into()),
        "{cause}"
    );
    for (tenant, before) in site.fleet.tenants.iter().zip(before) {
        assert_eq!((tenant.tables().await, tenant.versions().await), before, "{}", tenant.id);
        assert_eq!(site.attempts(tenant).len(), 1, "a refusal was tried again");
    }
}

#[tokio::test]
async fn a_migration_out_of_order_is_refused_left_out_or_applied_as_asked() {
    let site = at_one_and_three().await;
    site.home.migration("2_add_name.sql", "ALTER TABLE users ADD COLUMN name VARCHAR(100);");
    site.home.migration("4_create_tags.sql", "CREATE TABLE tags (id INTEGER PRIMARY KEY);");
    refused(&site, "out-of-order", &[]).await;
    refused(&site, "out-of-order", &["--order", "linear"]).await;
    for (order, versions) in [("skip", &[1, 3, 4][..]), ("any", &[1, 2, 3, 4])] {
        let run = site.migrate(&["--order", order]).exits(0).json();
        assert_eq!(run["counts"]["applied"], 4, "{run}");
        for tenant in &site.fleet.tenants {
            assert_eq!(tenant.versions().await, versions, "{} {order}", tenant.id);
        }
    }
}

#[tokio::test]
async fn a_changed_or_missing_migration_is_refused_in_whatever_order() {
    let site = at_one_and_three().await;
    site.home.migration("4_create_tags.sql", "CREATE TABLE tags (id INTEGER PRIMARY KEY);");
    let file = site.home.migration("1_create_users.sql", "CREATE TABLE users (id INTEGER);");
    for order in ["linear", "skip", "any"] {
        refused(&site, "checksum", &["--order", order]).await;
    }
    std::fs::remove_file(file).expect("a file");
    for order in ["linear", "skip", "any"] {
        refused(&site, "missing", &["--order", order]).await;
    }
}

#[tokio::test]
async fn an_unknown_target_is_refused_before_there_is_a_run() {
    let site = at_one_and_three().await;
    for order in ["linear", "skip", "any"] {
        let refused = site.migrate(&["--target", "2", "--order", order]).exits(2);
        assert!(refused.stderr.contains("there is no migration 2"), "{refused:?}");
    }
    let runs = site.home.run(&["runs", "--json"]).exits(0).json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");
}

#[tokio::test]
async fn odd_files_are_applied_and_recorded() {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_empty.sql", "");
    site.home.migration("2_blank.sql", " \r\n\r\n");
    site.home.migration("3_comment.sql", "-- nothing to do here\n");
    site.home.migration(
        "4_crlf.sql",
        "-- one\r\nCREATE TABLE a (id INTEGER);\r\nCREATE TABLE b (id INTEGER);\r\n",
    );
    site.home.migration("5_no_semicolon.sql", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2)");
    site.home.migration("6_rows.sql", "SELECT id FROM a;\nINSERT INTO a VALUES (3);\n-- the end\n");
    site.home.migration("8_twice.sql", "INSERT INTO a VALUES (4);;\n;\n");
    site.home.migration(
        "7_text.sql",
        "CREATE TABLE c (t VARCHAR(100));\nINSERT INTO c VALUES ('a;b -- ä '' /* no */');",
    );
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 4, "{run}");
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1, 2, 3, 4, 5, 6, 7, 8], "{}", tenant.id);
        assert_eq!(tenant.number("SELECT count(*) FROM a").await, 4, "{}", tenant.id);
        assert_eq!(
            tenant.number("SELECT count(*) FROM c WHERE t = 'a;b -- ä '' /* no */'").await,
            1,
            "{}",
            tenant.id
        );
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 4, "{run}");
}

#[tokio::test]
async fn statements_are_counted_where_they_return_rows_too() {
    let site = Site::new(&KINDS, 1).await;
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_fail.sql", "-- first;\nINSERT INTO users VALUES (1, 'a');\nSELECT id FROM users;\n/* ; */ SELECT id FROM users WHERE id > 7;\nINSERT INTO users VALUES (1, 'b');\n");
    let run = site.migrate(&[]).exits(100).json();
    assert_eq!(run["counts"]["failed"], 4, "{run}");
    for tenant in &site.fleet.tenants {
        let attempt = site.attempts(tenant).remove(0);
        assert_eq!((&attempt["statement"], &attempt["migration"]), (&4.into(), &"2".into()), "{attempt}");
        assert_eq!(tenant.number("SELECT count(*) FROM users").await, 0, "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_password_with_special_characters_is_decoded() {
    let password = "p@s:s/w%o#r?d &=";
    let encoded = "p%40s%3As%2Fw%25o%23r%3Fd%20%26%3D";
    let mut fleet = Fleet::default();
    let home = quick_home();
    fleet.add(Kind::PostgresDatabase, 1, home.path()).await;
    fleet.add(Kind::MariaDb, 1, home.path()).await;
    for tenant in &mut fleet.tenants {
        let user = unique("odd");
        let database = &tenant.id;
        let grant = match tenant.kind {
            Kind::MariaDb => {
                format!("CREATE USER {user} IDENTIFIED BY '{password}'; GRANT ALL ON {database}.* TO {user}")
            }
            _ => format!(
                "CREATE ROLE {user} LOGIN PASSWORD '{password}'; ALTER DATABASE {database} OWNER TO {user}"
            ),
        };
        tenant.execute(&grant).await;
        tenant.url = with_account(&tenant.url, &user, encoded);
    }
    let site = Site::of(home, fleet);
    site.home.migration("1_create_users.sql", CREATE_USERS);
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 2, "{run}");
}

/// A database with a name that needs quoting, as this server quotes.
async fn odd_database(kind: Kind, server: &str, name: &str, quote: &str) -> TenantDb {
    let root = TenantDb { id: "root".into(), kind, url: server.to_owned(), schema: None };
    root.execute(&format!("CREATE DATABASE {quote}{}{quote}", name.replace(quote, &quote.repeat(2)))).await;
    let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
    TenantDb { id: format!("{kind:?}"), url: with_database(server, &encoded), ..root }
}

#[tokio::test]
async fn names_that_need_quoting_work() {
    let name = unique("We \"ird- `Name`; '%");
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let whole = odd_database(Kind::PostgresDatabase, &server::postgres(), &name, "\"").await;
    let maria = odd_database(Kind::MariaDb, &server::mariadb(), &name, "`").await;
    whole.execute(&format!("CREATE SCHEMA {quoted}")).await;
    let schema = TenantDb { id: "schema".into(), schema: Some(name), ..whole.clone() };
    let tenants = vec![whole.clone(), maria.clone(), schema.clone()];
    let site = Site::of(quick_home(), Fleet { tenants });
    site.home.migration("1_create_users.sql", CREATE_USERS);
    site.home.migration("2_index.sql", "-- no-transaction\nCREATE INDEX users_email ON users (email)");
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 3, "{run}");
    for tenant in [whole, maria, TenantDb { schema: Some(quoted), ..schema }] {
        assert_eq!(tenant.versions().await, [1, 2], "{}", tenant.id);
        assert!(tenant.tables().await.contains_key("users"), "{}", tenant.id);
    }
}

#[tokio::test]
async fn one_database_without_a_registry_is_refused_and_failed_with_the_same_codes() {
    let mut fleet = Fleet::default();
    let home = Home::new();
    for kind in KINDS {
        fleet.add(kind, 1, home.path()).await;
    }
    let mut home = home;
    home.migration("1_create_users.sql", CREATE_USERS);
    for tenant in &fleet.tenants {
        home = home.with("DATABASE_URL", &tenant.url);
        let mut words = vec!["migrate", "--json"];
        if let Some(schema) = &tenant.schema {
            words.extend(["--schema", schema]);
        }
        home.migration("1_create_users.sql", CREATE_USERS);
        assert_eq!(home.run(&words).exits(0).json()["applied"][0]["version"], "1");
        assert_eq!(home.run(&words).exits(0).json()["applied"], serde_json::json!([]));
        let file = home.migration("2_fail.sql", "INSERT INTO nowhere VALUES (1);");
        assert_eq!(home.run(&words).exits(100).json()["error"]["migration"], "2");
        std::fs::remove_file(file).expect("a file");
        home.migration("1_create_users.sql", "SELECT 1;");
        assert_eq!(home.run(&words).exits(104).json()["error"]["code"], "checksum");
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
    }
}
