//! What a tenant's schema is: alike tenants are alike wherever they live, and every difference is told exactly.

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

/// What somebody did by hand, and what is told of it.
const BY_HAND_POSTGRES: [(&str, &str); 27] = [
    ("DROP INDEX posts_author", "1 lacks index posts_author on posts"),
    ("ALTER TABLE posts ADD COLUMN x integer", "1 has column posts.x"),
    ("ALTER TABLE posts DROP COLUMN at", "1 lacks column posts.at"),
    ("ALTER TABLE posts ALTER COLUMN at DROP DEFAULT", "1 differs in column posts.at"),
    ("ALTER TABLE posts ALTER COLUMN at TYPE timestamp", "1 differs in column posts.at"),
    ("ALTER TABLE posts DROP CONSTRAINT posts_author_fkey", "1 lacks constraint posts_author_fkey on posts"),
    ("ALTER TABLE posts DROP CONSTRAINT posts_title_key", "1 lacks constraint posts_title_key on posts"),
    ("ALTER TABLE posts DROP CONSTRAINT titled", "1 lacks constraint titled on posts"),
    ("ALTER TYPE mood ADD VALUE 'mad'", "1 differs in type mood"),
    ("ALTER DOMAIN email DROP CONSTRAINT email_check", "1 differs in type email"),
    ("ALTER TYPE place ADD ATTRIBUTE town text", "1 differs in type place"),
    ("ALTER SEQUENCE numbers INCREMENT 4", "1 differs in sequence numbers"),
    ("DROP VIEW glad", "1 lacks view glad"),
    ("CREATE OR REPLACE VIEW glad AS SELECT u.id, ''::text AS title FROM users u", "1 differs in view glad"),
    ("DROP INDEX counts_author", "1 lacks index counts_author on counts"),
    ("DROP MATERIALIZED VIEW counts", "1 lacks materialized view counts"),
    ("DROP TRIGGER shouting ON posts", "1 lacks trigger shouting on posts"),
    ("ALTER TABLE posts DISABLE TRIGGER shouting", "1 differs in trigger shouting on posts"),
    (
        "CREATE OR REPLACE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "1 differs in function shout()",
    ),
    ("DROP FUNCTION first_of(users)", "1 lacks function first_of(users)"),
    ("DROP PROCEDURE tidy", "1 lacks function tidy()"),
    ("DROP RULE silent ON events", "1 lacks rule silent on events"),
    ("ALTER TABLE users DISABLE ROW LEVEL SECURITY", "1 differs in table users"),
    ("DROP POLICY own ON users", "1 lacks policy own on users"),
    (
        "CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
        "1 has table events_2027",
    ),
    ("DROP TABLE events_2026", "1 lacks table events_2026"),
    ("ALTER TABLE posts SET UNLOGGED", "1 differs in table posts"),
];

/// Does each of these by hand in a tenant of its own, and finds exactly that told.
async fn each_is_told(kind: Kind, migration: &str, by_hand: &[(&str, &str)]) {
    let site = Site::new(&[kind], by_hand.len() + 2).await;
    site.home.migration("1_all.sql", migration);
    let _ = site.migrate(&[]).exits(0);
    let document = verified(&site, 0);
    assert_eq!(document["schemas"][0]["count"], by_hand.len() + 2, "{document}");
    for (tenant, (sql, _)) in site.fleet.tenants.iter().zip(by_hand) {
        tenant.execute(sql).await;
    }
    let told = told(&verified(&site, 100));
    for (tenant, (sql, expected)) in site.fleet.tenants.iter().zip(by_hand) {
        let alone = [tenant.id.clone()];
        let found = told.iter().find(|(_, tenants)| *tenants == alone).map(|(text, _)| text.as_str());
        assert_eq!(found, Some(*expected), "{sql}");
    }
    assert_eq!(told.len(), by_hand.len());
}

#[tokio::test]
async fn each_change_by_hand_in_a_postgres_schema_is_told_exactly() {
    each_is_told(Kind::PostgresSchema, RICH_POSTGRES, &BY_HAND_POSTGRES).await;
}

#[tokio::test]
async fn each_change_by_hand_in_mariadb_is_told_exactly() {
    let migration = "
        CREATE TABLE users (id INTEGER AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL DEFAULT 'x', twice INTEGER AS (id * 2) VIRTUAL, CONSTRAINT named CHECK (name <> ''));
        CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER, title VARCHAR(100), UNIQUE KEY one_title (title),
            CONSTRAINT written FOREIGN KEY (author) REFERENCES users (id) ON DELETE CASCADE);
        CREATE INDEX posts_title ON posts (title(10), author);
        CREATE TABLE logs (y INTEGER) PARTITION BY RANGE (y) (PARTITION p2026 VALUES LESS THAN (2027));
        CREATE VIEW authors AS SELECT u.name, p.title FROM users u JOIN posts p ON p.author = u.id;
        CREATE FUNCTION twice(n INTEGER) RETURNS INTEGER DETERMINISTIC RETURN n * 2;
        CREATE PROCEDURE tidy() DELETE FROM posts WHERE title IS NULL;
        CREATE TRIGGER shouting BEFORE INSERT ON posts FOR EACH ROW SET NEW.title = UPPER(NEW.title);
        CREATE TABLE plain (id INTEGER);
        CREATE SEQUENCE numbers;";
    let by_hand = [
        ("DROP INDEX posts_title ON posts", "1 lacks index posts_title on posts"),
        ("ALTER TABLE users ADD COLUMN x INTEGER AFTER id", "1 has column users.x"),
        ("ALTER TABLE users MODIFY name VARCHAR(200) NOT NULL DEFAULT 'x'", "1 differs in column users.name"),
        (
            "ALTER TABLE posts MODIFY title VARCHAR(100) AFTER id",
            "1 differs in the order of the columns of posts",
        ),
        ("ALTER TABLE posts DROP FOREIGN KEY written", "1 lacks constraint written on posts"),
        ("ALTER TABLE users DROP CONSTRAINT named", "1 lacks constraint named on users"),
        ("ALTER TABLE posts DROP INDEX one_title", "1 lacks index one_title on posts"),
        (
            "ALTER TABLE logs ADD PARTITION (PARTITION p2027 VALUES LESS THAN (2028))",
            "1 has partition p2027 on logs",
        ),
        ("CREATE OR REPLACE VIEW authors AS SELECT name FROM users", "1 differs in view authors"),
        ("DROP FUNCTION twice", "1 lacks function twice"),
        ("DROP PROCEDURE tidy", "1 lacks function tidy (procedure)"),
        ("DROP TRIGGER shouting", "1 lacks trigger shouting on posts"),
        ("DROP SEQUENCE numbers", "1 lacks sequence numbers"),
        ("ALTER TABLE plain ENGINE = Aria", "1 differs in table plain"),
        ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "1 has table more"),
    ];
    each_is_told(Kind::MariaDb, migration, &by_hand).await;
}

#[tokio::test]
async fn each_change_by_hand_in_sqlite_is_told_exactly() {
    let migration = "
        CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT 'x, (', CONSTRAINT named CHECK (name <> ''));
        CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER REFERENCES users (id), title TEXT, UNIQUE (title, author)) STRICT;
        CREATE INDEX posts_title ON posts (title) WHERE title IS NOT NULL;
        CREATE VIEW authors AS SELECT u.name, p.title FROM users u JOIN posts p ON p.author = u.id;
        CREATE TRIGGER tidy AFTER DELETE ON users BEGIN DELETE FROM posts WHERE author = OLD.id; END;";
    let by_hand = [
        ("DROP INDEX posts_title", "1 lacks index posts_title on posts"),
        ("ALTER TABLE posts ADD COLUMN x TEXT", "1 has column posts.x"),
        ("DROP VIEW authors; CREATE VIEW authors AS SELECT name FROM users", "1 differs in view authors"),
        ("DROP TRIGGER tidy", "1 lacks trigger tidy on users"),
        ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "1 has table more"),
        (
            "DROP TABLE posts; CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER REFERENCES users (id), title TEXT) STRICT; CREATE INDEX posts_title ON posts (title) WHERE title IS NOT NULL",
            "1 lacks constraint unique(title, author) on posts",
        ),
        (
            "DROP TABLE posts; CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER, title TEXT, UNIQUE (title, author)) STRICT; CREATE INDEX posts_title ON posts (title) WHERE title IS NOT NULL",
            "1 differs in column posts.author",
        ),
    ];
    each_is_told(Kind::Sqlite, migration, &by_hand).await;
}

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
async fn a_view_that_a_migration_put_into_public_is_found_until_it_is_gone() {
    let site = Site::new(&[Kind::PostgresSchema], 3).await;
    let [first, ..] = &site.fleet.tenants[..] else { panic!("tenants") };
    first.execute("CREATE TABLE public.shared (id INTEGER); CREATE VIEW public.old AS SELECT 1 AS one").await;
    site.home.migration(
        "1_users.sql",
        "CREATE TABLE users (id INTEGER); CREATE OR REPLACE VIEW public.totals AS SELECT count(*) FROM users; ALTER TABLE public.shared ADD COLUMN IF NOT EXISTS x INTEGER;",
    );
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let outside: Vec<_> = document["outside"]
        .as_array()
        .expect("outside")
        .iter()
        .map(|row| (row["object"].as_str().expect("an object"), row["run"].clone()))
        .collect();
    assert_eq!(
        outside,
        [("column public.shared.x", 1.into()), ("view public.totals", 1.into())],
        "{document}"
    );
    assert!(told(&document).is_empty(), "{document}");

    first.execute("DROP VIEW public.totals").await;
    assert_eq!(verified(&site, 100)["outside"].as_array().map(Vec::len), Some(1));
    let _ = site.home.run(&["verify", "--all", "--schema", "--accept-outside"]).exits(0);
    let _ = verified(&site, 0);
}

#[tokio::test]
async fn what_a_failed_migration_left_outside_is_found() {
    let site = Site::new(&[Kind::PostgresSchema], 1).await;
    site.home.migration("1_view.sql", "CREATE VIEW public.one AS SELECT 1 AS one;");
    site.home.migration("2_broken.sql", "SELECT 1/0;");
    let _ = site.fails(100, &[]);
    let document = verified(&site, 100);
    assert_eq!(document["outside"][0]["object"], "view public.one", "{document}");
}

#[tokio::test]
async fn what_tenants_make_in_their_own_schemas_at_once_is_not_outside() {
    let site = Site::new(&[Kind::PostgresSchema], 6).await;
    site.home.migration("1_all.sql", RICH_POSTGRES);
    let _ = site.migrate(&["--concurrency", "6"]).exits(0);
    let document = verified(&site, 0);
    assert_eq!(document["outside"].as_array().map(Vec::len), Some(0), "{document}");
}

#[tokio::test]
async fn an_extension_in_the_first_tenants_schema_is_found() {
    let site = Site::new(&[Kind::PostgresSchema], 3).await;
    site.home.migration(
        "1_extension.sql",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE TABLE users (id INTEGER);",
    );
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let told = told(&verified(&site, 100));
    assert_eq!((told.len(), told[0].0.as_str()), (1, "1 has extension pg_trgm"));
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
async fn a_fleet_that_had_its_tables_before_its_history_has_them_not_outside() {
    let site = Site::new(&[Kind::PostgresSchema], 60).await;
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE legacy (id INTEGER PRIMARY KEY)").await;
    }
    site.home.migration("1_view.sql", "CREATE OR REPLACE VIEW public.totals AS SELECT count(*) FROM legacy;");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    let document = verified(&site, 100);
    let outside = document["outside"].as_array().expect("outside");
    assert_eq!((outside.len(), &outside[0]["object"]), (1, &"view public.totals".into()), "{document}");
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
