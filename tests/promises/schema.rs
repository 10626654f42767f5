//! What a tenant's schema is: alike tenants are alike wherever they live, and every difference is told exactly.

mod by_hand;
mod outside;

use serde_json::Value;
use tenantry_tests::{
    Fleet,
    fleet::{Kind, create_postgres_database, unique},
    server,
};

use crate::{
    site::{KINDS, Site, quick_home, quick_homes, with_account},
    stage::ledger,
};

/// The document of `verify --all --schema`.
fn verified(site: &Site, exit: i32) -> Value {
    site.home.run(&["verify", "--all", "--schema", "--json"]).exits(exit).json()
}

/// How the tenants of the only group differ, each text with its tenants.
fn told(document: &Value) -> Vec<(String, Vec<String>)> {
    let groups = document["schemas"].as_array().expect("schemas");
    assert_eq!(groups.len(), 1, "{document}");
    let others = groups[0]["others"].as_array().expect("others");
    let words = |value: &Value| value.as_str().expect("a text").to_owned();
    let tenants = |value: &Value| value.as_array().expect("tenants").iter().map(words).collect();
    others.iter().map(|other| (words(&other["text"]), tenants(&other["tenants"]))).collect()
}

pub(crate) const RICH_POSTGRES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE place AS (street text, number integer);
CREATE SEQUENCE numbers START 7 INCREMENT 3;
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail email NOT NULL, mood mood DEFAULT 'glad',
    number integer DEFAULT nextval('numbers'), twice integer GENERATED ALWAYS AS (2 * 21) STORED, name varchar(100) COLLATE \"C\");
CREATE TABLE posts (id serial PRIMARY KEY, author bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE, title text UNIQUE,
    CONSTRAINT titled CHECK (title <> ''), at timestamptz DEFAULT '2026-01-01 00:00:00+02');
CREATE INDEX posts_author ON posts (author) WHERE title IS NOT NULL;
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW glad AS SELECT u.id, p.title FROM users u JOIN posts p ON p.author = u.id WHERE u.mood = 'glad'::mood;
CREATE MATERIALIZED VIEW counts AS SELECT author, count(*) AS n FROM posts GROUP BY author;
CREATE UNIQUE INDEX counts_author ON counts (author);
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$;
CREATE TRIGGER shouting BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION shout();
CREATE FUNCTION first_of(users) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT title FROM posts WHERE author = ($1).id; END;
CREATE PROCEDURE tidy() LANGUAGE sql AS 'DELETE FROM posts WHERE title IS NULL';
CREATE AGGREGATE total (integer) (sfunc = int4pl, stype = integer, initcond = '0');
CREATE RULE silent AS ON DELETE TO events DO INSTEAD NOTHING;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON users USING (id > 0);
DO $$ BEGIN
    EXECUTE format('CREATE FUNCTION pathed() RETURNS bigint LANGUAGE sql SET search_path = %I AS ''SELECT count(*) FROM %I.users''', current_schema(), current_schema());
END $$;
";

#[tokio::test]
async fn alike_tenants_are_alike_wherever_they_live() {
    let site = Site::new(&KINDS, 2).await;
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL); CREATE INDEX users_name ON users (name);");
    let _ = site.migrate(&[]).exits(0);
    let document = verified(&site, 0);
    let groups = document["schemas"].as_array().expect("schemas");
    let alike: Vec<_> =
        groups.iter().map(|g| (g["engine"].as_str().expect("an engine"), g["count"].clone())).collect();
    assert_eq!(alike, [("mysql", 2.into()), ("postgres", 4.into()), ("sqlite", 2.into())], "{document}");
    let text = site.home.run(&["verify", "--all", "--schema"]).exits(0).stdout;
    assert!(text.contains("4  alike (postgres, up to date)"), "{text}");
}

#[tokio::test]
async fn a_rich_schema_is_alike_in_schemas_and_in_databases() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::PostgresSchema], 2).await;
    site.home.migration("1_all.sql", RICH_POSTGRES);
    let _ = site.migrate(&[]).exits(0);
    let document = verified(&site, 0);
    assert_eq!(document["schemas"][0]["count"], 4, "{document}");
}

#[tokio::test]
async fn tenants_with_something_else_to_do_are_not_compared() {
    let site = Site::new(&[Kind::Sqlite], 3).await;
    site.home.migration("1_a.sql", "CREATE TABLE a (id INTEGER);");
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_b.sql", "CREATE TABLE b (id INTEGER);");
    let _ = site.home.run(&["migrate", "-t", &site.tenant().id]).exits(0);
    let document = verified(&site, 103);
    let counts: Vec<_> =
        document["schemas"].as_array().expect("groups").iter().map(|g| g["count"].clone()).collect();
    assert_eq!(counts, [2, 1], "{document}");
}

/// Trap: `pg_constraint` has the first tenant's, too.
const ONLY_ONCE: &str = "CREATE TABLE users (id INTEGER);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'users_key') THEN
        ALTER TABLE users ADD CONSTRAINT users_key UNIQUE (id);
    END IF;
END $$;";

#[tokio::test]
async fn a_constraint_that_only_the_first_tenant_got_is_found() {
    let site = Site::new(&[Kind::PostgresSchema], 4).await;
    site.home.migration("1_users.sql", ONLY_ONCE);
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let told = told(&document);
    assert_eq!((told.len(), told[0].0.as_str()), (1, "1 has constraint users_key on users"), "{document}");
    let text = site.home.run(&["verify", "--all", "--schema"]).exits(100).stdout;
    assert!(text.contains("3  alike (postgres, up to date)"), "{text}");
    assert!(
        text.contains(&format!("1  has constraint users_key on users\n        in  {}", told[0].1[0])),
        "{text}"
    );
}

#[tokio::test]
async fn the_fingerprint_of_each_changed_tenant_is_kept_and_each_schema_once() {
    let site = Site::new(&KINDS, 3).await;
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let _ = site.migrate(&[]).exits(0);
    let registry = ledger(&site.home);
    let number = async |sql: &str| registry.number(sql).await;
    assert_eq!(number("SELECT count(*) FROM catalogs").await, 3);
    assert_eq!(number("SELECT count(*) FROM targets g JOIN tenants t ON t.id = g.tenant_id AND t.schema_digest = g.schema_digest JOIN catalogs s ON s.digest = g.schema_digest").await, 12);

    site.home.migration("2_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY);");
    let _ = site.migrate(&["--no-fingerprint"]).exits(0);
    // What was known is not true any more.
    assert_eq!(number("SELECT count(*) FROM tenants WHERE schema_digest IS NOT NULL").await, 0);
    assert_eq!(number("SELECT count(*) FROM catalogs").await, 3);

    let _ = verified(&site, 0);
    assert_eq!(
        number("SELECT count(*) FROM tenants t JOIN catalogs s ON s.digest = t.schema_digest").await,
        12
    );
    assert_eq!(number("SELECT count(*) FROM catalogs").await, 6);
}

#[tokio::test]
async fn a_run_can_be_configured_to_keep_no_fingerprints() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    std::fs::write(site.home.path().join("tenantry.toml"), "[run]\nfingerprint = false\n").expect("a file");
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(ledger(&site.home).number("SELECT count(*) FROM catalogs").await, 0);
}

#[tokio::test]
async fn a_catalog_that_cannot_be_read_fails_no_tenant() {
    let name = unique("unreadable");
    create_postgres_database(&server::postgres(), &name).await;
    let url = server::with_database(&server::postgres(), &name);
    let mut fleet = Fleet::default();
    let admin = tenantry_tests::TenantDb {
        id: name.clone(),
        kind: Kind::PostgresDatabase,
        url: url.clone(),
        schema: None,
    };
    admin
        .execute(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'pw'; GRANT ALL ON SCHEMA public TO {name}; REVOKE SELECT ON pg_attrdef FROM PUBLIC"
        ))
        .await;
    fleet.tenants.push(tenantry_tests::TenantDb { url: with_account(&url, &name, "pw"), ..admin });
    let site = Site::of(quick_home(), fleet);
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let ran = site.migrate(&["--log", "warn"]).exits(0);
    assert!(ran.stderr.contains("the schema of a tenant could not be read"), "{}", ran.stderr);
    assert_eq!(ran.json()["counts"]["applied"], 1);
    let document = verified(&site, 100);
    assert_eq!(document["tenants"][0]["standing"], "unreadable", "{document}");
}

#[tokio::test]
async fn a_hundred_schemas_of_many_tables_are_compared_quickly() {
    let site = Site::new(&[Kind::PostgresSchema], 100).await;
    let tables: String = (0..40)
        .map(|n| format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT); CREATE INDEX t{n}_a ON t{n} (a);\n"))
        .collect();
    site.home.migration("1_tables.sql", &tables);
    let _ = site.migrate(&[]).exits(0);
    let begun = std::time::Instant::now();
    let document = verified(&site, 0);
    assert_eq!(document["schemas"][0]["count"], 100, "{document}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_known_of_schemas_is_kept_in_every_registry() {
    for home in quick_homes().await {
        let mut fleet = Fleet::default();
        fleet.add(Kind::PostgresSchema, 3, home.path()).await;
        let site = Site::of(home, fleet);
        site.home.migration(
            "1_users.sql",
            "CREATE TABLE users (id INTEGER); CREATE OR REPLACE VIEW public.totals AS SELECT count(*) FROM users;",
        );
        let _ = site.migrate(&["--concurrency", "1"]).exits(0);
        let known = "SELECT count(*) FROM targets g JOIN tenants t ON t.id = g.tenant_id AND t.schema_digest = g.schema_digest
            JOIN catalogs s ON s.digest = g.schema_digest";
        assert_eq!(ledger(&site.home).number(known).await, 3);
        site.tenant().execute("CREATE INDEX by_hand ON users (id)").await;
        let document = verified(&site, 100);
        assert_eq!(document["outside"][0]["object"], "view public.totals", "{document}");
        assert_eq!(told(&document)[0].0, "1 has index by_hand on users");
        site.tenant().execute("DROP INDEX by_hand").await;
        let _ = site.home.run(&["verify", "--all", "--schema", "--accept-outside"]).exits(0);
        assert_eq!(verified(&site, 0)["outside"].as_array().map(Vec::len), Some(0));
    }
}

#[tokio::test]
async fn a_schema_with_the_name_of_a_table_or_of_strange_letters_is_like_the_others() {
    let database = unique("named");
    create_postgres_database(&server::postgres(), &database).await;
    let url = server::with_database(&server::postgres(), &database);
    let mut fleet = Fleet::default();
    for (id, schema) in [("a", "users"), ("b", "beta"), ("c", "\"Ünï code\""), ("d", "\"a.b\"")] {
        let tenant = |schema: Option<String>, id: &str| tenantry_tests::TenantDb {
            id: id.into(),
            kind: Kind::PostgresDatabase,
            url: url.clone(),
            schema,
        };
        tenant(None, id).execute(&format!("CREATE SCHEMA {schema}")).await;
        fleet.tenants.push(tenant(Some(schema.trim_matches('"').to_owned()), id));
    }
    let site = Site::of(quick_home(), fleet);
    site.home.migration("1_all.sql", RICH_POSTGRES);
    site.home.migration(
        "2_body.sql",
        "CREATE FUNCTION newest() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT max(users.id) FROM users); END $$;",
    );
    let _ = site.migrate(&[]).exits(0);
    let document = verified(&site, 0);
    assert_eq!(document["schemas"][0]["count"], 4, "{document}");
}
