//! What is MySQL's own: routines with and without a delimiter, a session's preamble, syntax of other versions.

use tenantry_shared::bundle::SetSpec;
use tenantry_tests::{
    fleet::Kind,
    server::{is_mysql, skipped_on_mysql},
};

use super::{applied, hint, rows, told, with};
use crate::formats::partner;

const TABLES: &str = "CREATE TABLE a (n INTEGER);";
const PROCEDURE: &str =
    "CREATE PROCEDURE fill()\nBEGIN\n  INSERT INTO a VALUES (1);\n  INSERT INTO a VALUES (2);\nEND";

// Trap 16: one directory holds procedures with DELIMITER and without.
#[tokio::test]
async fn procedures_with_and_without_a_delimiter_stand_in_one_directory() {
    let files = [
        ("1_a.sql", TABLES),
        ("2_plain.sql", &format!("DROP PROCEDURE IF EXISTS fill;\n{PROCEDURE};\nCALL fill();")),
        (
            "3_client.sql",
            &format!("DELIMITER ;;\nDROP PROCEDURE fill ;;\n{PROCEDURE} ;;\nDELIMITER ;\nCALL fill();"),
        ),
        ("4_alone.sql", &format!("DROP PROCEDURE fill;\n{PROCEDURE}")),
    ];
    let site = applied(&[Kind::MariaDb], &files.map(|(name, text)| (name, text as &str))).await;
    assert_eq!(rows(site.tenant(), "a").await, 4);
}

// Trap 16: DDL commits by itself.
#[tokio::test]
async fn what_ddl_committed_is_kept_in_mind_until_the_rest_is_mended() {
    let text = "ALTER TABLE a ADD COLUMN b INTEGER;\nINSERT INTO a VALUES (1, 1);\nALTER TABLE later ADD COLUMN b INTEGER;";
    let site = with(&[Kind::MariaDb], &[("1_a.sql", TABLES), ("2_b.sql", text)]).await;
    let cause = site.fails(100, &[]);
    assert_eq!((told(&cause), &cause["statement"]), (("1146", "permanent"), &3.into()), "{cause}");
    assert!(hint(&cause).starts_with("statements 1 to 2 are done"), "{cause}");
    site.tenant().execute("CREATE TABLE later (n INTEGER)").await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!((rows(site.tenant(), "a").await, site.tenant().versions().await), (1, vec![1, 2]));
}

// Trap 16: syntax that MySQL 8 has and MariaDB has not.
#[tokio::test]
async fn syntax_of_another_version_is_a_plain_failure() {
    if skipped_on_mysql("MySQL has that syntax") {
        return;
    }
    let cases = [
        ("1064", "CREATE TABLE b (n INTEGER);\nCREATE TABLE c (t TEXT, KEY k ((lower(t))));", 2),
        ("1273", "CREATE TABLE b (t TEXT) COLLATE utf8mb4_0900_ai_ci_no;", 1),
        (
            "1064",
            "CREATE TABLE b (n INTEGER);\nINSERT INTO b VALUES (1) AS new ON DUPLICATE KEY UPDATE n = new.n;",
            2,
        ),
    ];
    for (code, text, statement) in cases {
        let site = with(&[Kind::MariaDb], &[("1_eight.sql", text)]).await;
        let cause = site.fails(100, &["--retries", "3"]);
        assert_eq!((told(&cause), &cause["migration"]), ((code, "permanent"), &"1".into()), "{cause}");
        assert_eq!((&cause["statement"], &cause["line"]), (&statement.into(), &statement.into()), "{cause}");
        assert_eq!(site.attempts(site.tenant()).len(), 1);
    }
}

// Trap 16: a session's preamble.
#[tokio::test]
async fn a_preamble_is_set_before_each_migration_and_before_what_is_gone_on_with() {
    const CHILDREN: &str = "CREATE TABLE children (id INTEGER, parent INTEGER, FOREIGN KEY (parent) REFERENCES parents (id));\nINSERT INTO children VALUES (1, 7);\n";
    let files = |last: &'static str| [("1_children.sql", CHILDREN), ("2_more.sql", last)];
    let site = with(&[Kind::MariaDb], &[]).await;
    let set = |preamble: Option<&str>| SetSpec {
        name: "main".into(),
        preamble: preamble.map(str::to_owned),
        ..SetSpec::default()
    };
    let without = partner::applied_as(set(None), &files(""), site.tenant()).await.expect_err("a failure");
    assert_eq!(without.code, if is_mysql() { "1824" } else { "1005" }, "{without:?}");
    let off = || set(Some("SET FOREIGN_KEY_CHECKS = 0"));
    let bad = files("CREATE TABLE c (n INTEGER);\nINSERT INTO later VALUES (1);");
    let half = partner::applied_as(off(), &bad, site.tenant()).await.expect_err("a failure");
    assert_eq!((half.code.as_str(), half.statement), ("1146", Some(2)), "{half:?}");
    let mended = files("CREATE TABLE c (n INTEGER);\nINSERT INTO children VALUES (2, 8);");
    let rest = partner::applied_as(off(), &mended, site.tenant()).await.expect("applied");
    assert_eq!((rest, rows(site.tenant(), "children").await), (vec!["2_more.sql".to_owned()], 2));
}
