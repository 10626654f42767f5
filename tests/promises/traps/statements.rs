//! Statements: several in a file, data, bodies that hold statements, files that end oddly or hold nothing.

use std::process::Command;

use tenantry_tests::{Home, TenantDb, fleet::Kind};

use super::{KINDS, POSTGRES, applied, rows, with};

// Trap 1: several statements in a file.
#[tokio::test]
async fn statements_of_a_file_are_one_transaction_and_on_mysql_each_is_recorded() {
    const THREE: &str =
        "CREATE TABLE a (n INTEGER);\nINSERT INTO a VALUES (1);\nINSERT INTO later VALUES (1);\n";
    for kind in KINDS {
        let site = with(&[kind], &[("1_three.sql", THREE)]).await;
        let cause = site.fails(100, &[]);
        assert_eq!(cause["statement"], 3, "{cause}");
        let there = site.tenant().tables().await.contains_key("a");
        assert_eq!(there, kind == Kind::MariaDb, "{kind:?}");
        site.tenant().execute("CREATE TABLE later (n INTEGER)").await;
        let _ = site.migrate(&[]).exits(0);
        assert_eq!((rows(site.tenant(), "a").await, rows(site.tenant(), "later").await), (1, 1), "{kind:?}");
    }
}

const DATA: [(&str, &str); 3] = [
    (
        "1_tables.sql",
        "CREATE TABLE countries (code CHAR(2) PRIMARY KEY, name VARCHAR(100));\nCREATE TABLE copies (name VARCHAR(100));\n",
    ),
    (
        "2_seed.sql",
        "INSERT INTO countries (code, name) VALUES ('ch', 'Schweiz; Suisse'), ('de', 'it''s -- this'),\n  ('fr', 'France');\nINSERT INTO countries VALUES ('xx', 'nowhere');",
    ),
    (
        "3_copy.sql",
        "INSERT INTO copies SELECT name FROM countries;\nDELETE FROM countries WHERE code = 'xx';\nUPDATE copies SET name = 'Suisse' WHERE name LIKE 'Schweiz%';\n",
    ),
];

/// Applies a file with the engine's own client; false where there is none.
fn client(home: &Home, tenant: &TenantDb, file: &str) -> bool {
    let path = home.path().join("migrations").join(file);
    let text = std::fs::File::open(&path).expect("a file");
    let (account, place) =
        tenant.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).unwrap_or_default();
    let (user, password) = account.split_once(':').unwrap_or_default();
    let (address, database) = place.split_once('/').unwrap_or_default();
    let (host, port) = address.split_once(':').unwrap_or_default();
    let mut command = match tenant.kind {
        Kind::Sqlite => {
            let mut command = Command::new("sqlite3");
            command.args(["-bail", tenant.url.trim_start_matches("sqlite:")]);
            command
        }
        Kind::MariaDb => {
            let mut command = Command::new("mariadb");
            command
                .args(["--no-defaults", "-h", host, "-P", port, "-u", user, database])
                .env("MYSQL_PWD", password);
            command
        }
        _ => {
            let mut command = Command::new("psql");
            command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", user, database]);
            let path = tenant.schema.as_ref().map(|schema| format!("-c search_path={schema}"));
            command.env("PGPASSWORD", password).env("PGOPTIONS", path.unwrap_or_default());
            command
        }
    };
    match command.stdin(text).status() {
        Ok(status) => {
            assert!(status.success(), "{file} in {}", tenant.id);
            true
        }
        Err(error) => {
            eprintln!("skipped: no client of {:?}: {error}", tenant.kind);
            false
        }
    }
}

// Trap 2: data statements.
#[tokio::test]
async fn the_same_rows_arrive_as_by_the_engine_s_own_client() {
    let ours = applied(&KINDS, &DATA).await;
    let theirs = with(&KINDS, &DATA).await;
    for (tenant, other) in ours.fleet.tenants.iter().zip(&theirs.fleet.tenants) {
        if !DATA.iter().all(|(file, _)| client(&theirs.home, other, file)) {
            continue;
        }
        for sql in [
            "SELECT count(*) FROM countries",
            "SELECT count(*) FROM copies",
            "SELECT sum(length(name)) * 1000 + sum(length(code)) FROM countries",
            "SELECT sum(length(name)) FROM copies WHERE name <> 'Schweiz; Suisse'",
        ] {
            let text = match tenant.kind {
                Kind::MariaDb => {
                    sql.replacen("SELECT ", "SELECT CAST(", 1).replacen(" FROM", " AS SIGNED) FROM", 1)
                }
                _ => sql.to_owned(),
            };
            assert_eq!(tenant.number(&text).await, other.number(&text).await, "{}: {sql}", tenant.id);
        }
        assert_eq!((rows(tenant, "countries").await, rows(tenant, "copies").await), (3, 4), "{}", tenant.id);
    }
}

// Trap 7: functions, procedures, triggers, DO blocks and named dollar tags.
#[tokio::test]
async fn bodies_that_hold_statements_go_to_postgresql_whole() {
    const BODIES: &str = "
CREATE TABLE a (n INTEGER); CREATE TABLE log (what TEXT);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $func$
BEGIN -- it's; COMMIT;
  INSERT INTO log VALUES ($$a; 'quoted'; $$ || NEW.n);
  RETURN NEW;
END;
$func$;
CREATE TRIGGER noted AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION note();
CREATE OR REPLACE PROCEDURE add(n INTEGER) LANGUAGE plpgsql AS $BODY$ BEGIN INSERT INTO a VALUES (n); END; $BODY$;
DO $$ BEGIN FOR i IN 1..2 LOOP CALL add(i); END LOOP; END $$;
CREATE FUNCTION twice(n INTEGER) RETURNS INTEGER LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2 * n; END;
CREATE INDEX CONCURRENTLY i ON a (n);
INSERT INTO a VALUES (twice(2));";
    // With one statement that runs alone, and all in one transaction.
    for text in [BODIES.to_owned(), BODIES.replace("CONCURRENTLY", "")] {
        let site = applied(&POSTGRES, &[("1_bodies.sql", &text)]).await;
        for tenant in &site.fleet.tenants {
            assert_eq!((rows(tenant, "a").await, rows(tenant, "log").await), (3, 3), "{}", tenant.id);
            let quoted = "SELECT count(*) FROM log WHERE what = 'a; ''quoted''; 4'";
            assert_eq!(tenant.number(quoted).await, 1, "{}", tenant.id);
        }
    }
}

// Trap 7.
#[tokio::test]
async fn bodies_that_hold_statements_go_to_mariadb_whole_with_and_without_a_delimiter() {
    const TABLES: &str = "CREATE TABLE a (n INTEGER); CREATE TABLE log (what VARCHAR(100));";
    const PROCEDURE: &str = "CREATE PROCEDURE add_two(IN n INTEGER)
BEGIN
  DECLARE i INTEGER DEFAULT 0;
  WHILE i < 2 DO INSERT INTO a VALUES (n + i); SET i = i + 1; END WHILE;
END";
    const TRIGGER: &str = "CREATE TRIGGER noted AFTER INSERT ON a FOR EACH ROW
BEGIN
  IF NEW.n > 1 THEN INSERT INTO log VALUES ('more; than one'); END IF;
  INSERT INTO log VALUES (CASE NEW.n WHEN 1 THEN 'one' ELSE 'other' END);
END";
    let plain = format!("{TABLES}\n{PROCEDURE};\n{TRIGGER};\nCALL add_two(1);\n");
    let client =
        format!("{TABLES}\nDELIMITER $$\n{PROCEDURE} $$\n{TRIGGER}$$\ndelimiter ;\nCALL add_two(1);\n");
    for text in [plain, client] {
        let site = applied(&[Kind::MariaDb], &[("1_bodies.sql", &text)]).await;
        assert_eq!((rows(site.tenant(), "a").await, rows(site.tenant(), "log").await), (2, 3), "{text}");
    }
}

// Trap 7.
#[tokio::test]
async fn triggers_go_to_sqlite_whole() {
    const TRIGGER: &str = "CREATE TABLE a (n INTEGER); CREATE TABLE log (what TEXT);
CREATE TRIGGER noted AFTER INSERT ON a WHEN NEW.n > 0 BEGIN
  INSERT INTO log VALUES (CASE NEW.n WHEN 1 THEN 'one; BEGIN' ELSE 'other' END);
  UPDATE a SET n = -n WHERE n = NEW.n; -- COMMIT;
END;
INSERT INTO a VALUES (1);";
    for text in
        [TRIGGER.to_owned(), TRIGGER.replace("INSERT INTO a VALUES (1);", "VACUUM; INSERT INTO a VALUES (1)")]
    {
        let site = applied(&[Kind::Sqlite], &[("1_trigger.sql", &text)]).await;
        assert_eq!(site.tenant().number("SELECT n FROM a").await, -1);
        assert_eq!(site.tenant().text("SELECT what FROM log").await.as_deref(), Some("one; BEGIN"));
    }
}

// Trap 8: no final semicolon, files of comments alone, empty files.
#[tokio::test]
async fn files_without_an_end_and_without_a_statement_are_recorded_as_applied() {
    let files = [
        ("1_empty.sql", ""),
        ("2_comments.sql", "-- nothing here\n/* nor;\n   here */\n"),
        ("3_comment_without_a_line_end.sql", "-- nothing"),
        ("4_no_semicolon.sql", "CREATE TABLE a (n INTEGER);\nINSERT INTO a VALUES (1)"),
        ("5_comment_behind.sql", "INSERT INTO a VALUES (2) -- the end; of it"),
        ("6_only_semicolons.sql", ";\n;;\n"),
    ];
    let site = applied(&KINDS, &files).await;
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.versions().await.len(), rows(tenant, "a").await), (6, 2), "{}", tenant.id);
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], KINDS.len(), "{run}");
}

// Trap 12: text that is not ASCII, CRLF, a byte order mark.
#[tokio::test]
async fn every_byte_of_a_text_arrives_and_the_checksum_is_of_the_file_as_it_is() {
    const TEXT: &str = "\u{feff}-- Größe\r\nCREATE TABLE größe (näme VARCHAR(100));\r\nINSERT INTO größe VALUES ('naïve 漢字\r\nß');\r\n";
    for kind in KINDS {
        let text = if kind == Kind::MariaDb {
            TEXT.replace("(100))", "(100)) CHARACTER SET utf8mb4")
        } else {
            TEXT.into()
        };
        let site = applied(&[kind], &[("1_größe.sql", &text)]).await;
        assert_eq!(
            site.tenant().text("SELECT näme FROM größe").await.as_deref(),
            Some("naïve 漢字\r\nß"),
            "{kind:?}"
        );
        let hex = match kind {
            Kind::MariaDb | Kind::Sqlite => "SELECT lower(hex(checksum)) FROM _sqlx_migrations",
            _ => "SELECT encode(checksum, 'hex') FROM _sqlx_migrations",
        };
        assert_eq!(site.tenant().text(hex).await, sha384(&text).await, "{kind:?}");
    }
}

/// The SHA-384 of a text, by PostgreSQL.
async fn sha384(text: &str) -> Option<String> {
    let server = TenantDb::registry(&tenantry_tests::server::postgres());
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    server.text(&format!("SELECT encode(sha384(decode('{hex}', 'hex')), 'hex')")).await
}
