//! What somebody changed by hand in one tenant, told exactly.

use tenantry_tests::{fleet::Kind, server::is_mysql};

use super::{RICH_POSTGRES, told, verified};
use crate::site::Site;

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
        CREATE TABLE users (id INTEGER AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL DEFAULT 'x', twice INTEGER AS (LENGTH(name) * 2) VIRTUAL, CONSTRAINT named CHECK (name <> ''));
        CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER, title VARCHAR(100), UNIQUE KEY one_title (title),
            CONSTRAINT written FOREIGN KEY (author) REFERENCES users (id) ON DELETE CASCADE);
        CREATE INDEX posts_title ON posts (title(10), author);
        CREATE TABLE logs (y INTEGER) PARTITION BY RANGE (y) (PARTITION p2026 VALUES LESS THAN (2027));
        CREATE VIEW authors AS SELECT u.name, p.title FROM users u JOIN posts p ON p.author = u.id;
        CREATE FUNCTION twice(n INTEGER) RETURNS INTEGER DETERMINISTIC RETURN n * 2;
        CREATE PROCEDURE tidy() DELETE FROM posts WHERE title IS NULL;
        CREATE TRIGGER shouting BEFORE INSERT ON posts FOR EACH ROW SET NEW.title = UPPER(NEW.title);
        CREATE TABLE plain (id INTEGER);";
    let of_mariadb = "CREATE SEQUENCE numbers;";
    let mut by_hand = vec![
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
        ("ALTER TABLE plain ENGINE = MyISAM", "1 differs in table plain"),
        ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "1 has table more"),
    ];
    if is_mysql() {
        each_is_told(Kind::MariaDb, migration, &by_hand).await;
    } else {
        by_hand.push(("DROP SEQUENCE numbers", "1 lacks sequence numbers"));
        each_is_told(Kind::MariaDb, &format!("{migration}\n{of_mariadb}"), &by_hand).await;
    }
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
