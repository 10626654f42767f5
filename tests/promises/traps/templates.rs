//! Templates that nobody has filled in.

use tenantry_tests::fleet::Kind;

use super::{KINDS, told, with};

/// What each kind of server says of a script that it cannot read.
fn refused_with(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::MariaDb => &["1064"],
        Kind::Sqlite => &["1", "script"],
        _ => &["42601"],
    }
}

// Trap 18: templates.
#[tokio::test]
async fn a_template_that_nobody_filled_in_fails_by_its_line_and_changes_nothing() {
    let templates = [
        "GRANT SELECT ON own TO {{ role }};",
        "INSERT INTO own VALUES ({{ n }});",
        "INSERT INTO own VALUES (${n});",
        "CREATE TABLE ${prefix}_users (n INTEGER);",
        "CREATE TABLE :SCHEMA.users (n INTEGER);",
        "INSERT INTO own VALUES (:N);",
        "INSERT INTO own VALUES (:'n');",
    ];
    for kind in KINDS {
        let site = with(&[kind], &[("1_own.sql", "CREATE TABLE own (n INTEGER);")]).await;
        let _ = site.migrate(&[]).exits(0);
        for template in templates {
            // What goes before DDL is not taken back there.
            let first =
                if kind == Kind::MariaDb { "SELECT n FROM own" } else { "INSERT INTO own VALUES (1)" };
            site.home.migration("2_template.sql", &format!("{first};\n\n{template}\n"));
            let cause = site
                .fails(if kind == Kind::Sqlite { cause_exit(template) } else { 100 }, &["--retries", "3"]);
            let (code, class) = told(&cause);
            assert!(
                class == "permanent" && refused_with(kind).contains(&code),
                "{kind:?} {template} {cause}"
            );
            assert_eq!(
                (&cause["migration"], &cause["line"]),
                (&"2".into(), &3.into()),
                "{kind:?} {template} {cause}"
            );
            let logs = site.home.run(&["logs", "latest", "-t", &site.tenant().id]).exits(0);
            assert!(logs.stdout.contains("(line 3)"), "{logs:?}");
            assert_eq!(super::rows(site.tenant(), "own").await, 0, "{kind:?} {template}");
            assert_eq!(site.tenant().versions().await, [1], "{kind:?} {template}");
        }
    }
}

/// What SQLite would take for a parameter, and so for NULL, is refused before anything runs.
fn cause_exit(template: &str) -> i32 {
    if template.contains("(:") || template.contains(":SCHEMA") || template.contains('$') { 104 } else { 100 }
}

// Trap 18: placeholders that the format's own tool would have filled in.
#[tokio::test]
async fn a_placeholder_of_the_format_s_own_is_refused_by_file_and_line_before_anything_runs() {
    let site = with(
        &KINDS[3..],
        &[
            ("V1__a.sql", "CREATE TABLE a (n INTEGER);"),
            ("V2__b.sql", "\nINSERT INTO ${schema}.a VALUES (1);"),
        ],
    )
    .await;
    let ran = site.migrate(&[]).exits(78);
    assert!(ran.stderr.contains("V2__b.sql line 2"), "{ran:?}");
    assert!(site.tenant().tables().await.is_empty());
}
