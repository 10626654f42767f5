//! What is SQLite's own: functions of an application, foreign keys, tables that are rebuilt.

use tenantry_shared::bundle::SetSpec;
use tenantry_tests::fleet::Kind;

use super::{applied, hint, rows, told, with};
use crate::formats::partner;

const FAMILY: &str = "CREATE TABLE parents (id INTEGER PRIMARY KEY);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id) ON DELETE CASCADE);
INSERT INTO parents VALUES (1), (2);
INSERT INTO children VALUES (10, 1), (20, 2);";

/// SQLite's own way to change a table: a new one with its rows takes its place.
const REBUILD: &str = "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO new (id) SELECT id FROM parents;
DROP TABLE parents;
ALTER TABLE new RENAME TO parents;";

// Trap 17: functions that only the application defines.
#[tokio::test]
async fn a_function_of_the_application_fails_by_its_name_and_changes_nothing() {
    let text = "CREATE TABLE a (id TEXT);\nINSERT INTO a VALUES (new_uuid());";
    let site = with(&[Kind::Sqlite], &[("1_a.sql", text)]).await;
    let cause = site.fails(100, &["--retries", "3"]);
    assert_eq!(
        (told(&cause), &cause["statement"], &cause["line"]),
        (("1", "permanent"), &2.into(), &2.into()),
        "{cause}"
    );
    assert_eq!(cause["message"], "no such function: new_uuid", "{cause}");
    assert!(!site.tenant().tables().await.contains_key("a"));
}

// Trap 17: `foreign_keys` cannot change inside a transaction.
#[tokio::test]
async fn a_table_that_is_rebuilt_with_foreign_keys_off_keeps_its_children() {
    let around = [
        format!("PRAGMA foreign_keys = OFF;\n{REBUILD}\nPRAGMA foreign_keys = ON;"),
        format!(
            "PRAGMA foreign_keys=off;\nBEGIN TRANSACTION;\n{REBUILD}\nPRAGMA foreign_key_check;\nCOMMIT;\nPRAGMA foreign_keys=on;"
        ),
        format!("-- no-transaction\nPRAGMA foreign_keys = 0;\nBEGIN;\n{REBUILD}\nCOMMIT;"),
    ];
    for text in around {
        let next = "DELETE FROM parents WHERE id = 2;";
        let site = applied(&[Kind::Sqlite], &[("1_family.sql", FAMILY), ("2_rebuild.sql", &text)]).await;
        assert_eq!(
            (rows(site.tenant(), "children").await, rows(site.tenant(), "parents").await),
            (2, 2),
            "{text}"
        );
        // The next one is in a session in which they hold, as sqlx sets it.
        site.home.migration("3_next.sql", next);
        let _ = site.migrate(&[]).exits(0);
        assert_eq!(rows(site.tenant(), "children").await, 1, "{text}");
    }
}

/// Whether a rebuild that says nothing of foreign keys keeps the children, in a directory of this format.
async fn keeps_children(format: &str, preamble: Option<&str>) -> bool {
    let up = |sql: &str| match format {
        "goose" => format!("-- +goose Up\n{sql}\n"),
        "dbmate" => format!("-- migrate:up\n{sql}\n-- migrate:down\n"),
        _ => sql.to_owned(),
    };
    let [first, second] = match format {
        "golang-migrate" => ["1_family.up.sql", "2_rebuild.up.sql"],
        "diesel" => ["2026-01-01-000000_family/up.sql", "2026-01-02-000000_rebuild/up.sql"],
        "prisma" => ["20260101000000_family/migration.sql", "20260102000000_rebuild/migration.sql"],
        "flyway" | "refinery" => ["V1__family.sql", "V2__rebuild.sql"],
        _ => ["1_family.sql", "2_rebuild.sql"],
    };
    let site = with(&[Kind::Sqlite], &[]).await;
    let (preamble, format) = (preamble.map(str::to_owned), Some(format.to_owned()));
    let spec = SetSpec { name: "main".into(), format, preamble, ..SetSpec::default() };
    let files = [(first, up(FAMILY)), (second, up(REBUILD))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let steps = partner::applied_as(spec, &files, site.tenant()).await.expect("applied");
    assert_eq!((steps.len(), rows(site.tenant(), "parents").await), (2, 2));
    rows(site.tenant(), "children").await == 2
}

// Trap 17: whether foreign keys hold is what the format's own tool sets.
#[tokio::test]
async fn foreign_keys_hold_in_a_migration_where_the_format_s_own_tool_lets_them() {
    for format in ["golang-migrate", "dbmate", "goose", "flyway", "diesel"] {
        assert!(keeps_children(format, None).await, "{format}");
    }
    for format in ["sqlx", "prisma", "refinery"] {
        assert!(!keeps_children(format, None).await, "{format}");
        assert!(keeps_children(format, Some("PRAGMA foreign_keys = OFF")).await, "{format}");
    }
}

// Trap 17: a check that a file asks for.
#[tokio::test]
async fn a_foreign_key_check_in_a_file_that_finds_something_fails_and_changes_nothing() {
    let lost = format!("{}\nDELETE FROM parents WHERE id = 1;", REBUILD);
    let around = [
        format!(
            "PRAGMA foreign_keys = OFF;\nBEGIN;\n{lost}\nPRAGMA foreign_key_check;\nCOMMIT;\nPRAGMA foreign_keys = ON;"
        ),
        format!("PRAGMA defer_foreign_keys = ON;\n{lost}\nPRAGMA foreign_key_check(children);"),
    ];
    for text in around {
        let family = FAMILY.replace(" ON DELETE CASCADE", "");
        let site = with(&[Kind::Sqlite], &[("1_family.sql", &family)]).await;
        let _ = site.migrate(&[]).exits(0);
        site.home.migration("2_rebuild.sql", &text);
        let cause = site.fails(100, &[]);
        assert_eq!(told(&cause), ("787", "permanent"), "{cause}");
        assert!(cause["message"].as_str().is_some_and(|m| m.contains("children")), "{cause}");
        assert_eq!(hint(&cause), "", "{cause}");
        assert_eq!(
            (rows(site.tenant(), "parents").await, rows(site.tenant(), "children").await),
            (2, 2),
            "{text}"
        );
        assert_eq!(site.tenant().tables().await["parents"], "id", "{text}");
    }
}

// Trap 17.
#[tokio::test]
async fn a_foreign_key_that_is_violated_is_no_failure_where_nobody_asks() {
    let lost = "PRAGMA foreign_keys = OFF;\nDELETE FROM parents WHERE id = 1;";
    let next = "-- PRAGMA foreign_key_check;\nINSERT INTO children VALUES (30, NULL);";
    let files = [("1_family.sql", FAMILY), ("2_lost.sql", lost), ("3_next.sql", next)];
    let site = applied(&[Kind::Sqlite], &files).await;
    assert_eq!((rows(site.tenant(), "parents").await, rows(site.tenant(), "children").await), (1, 3));
}
