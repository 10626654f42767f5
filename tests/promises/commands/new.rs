//! New migrations.

use std::collections::BTreeSet;

use serde_json::json;
use tenantry_tests::Home;

#[test]
fn a_new_migration_prints_its_path_and_never_takes_a_version_twice() {
    let home = Home::new();
    let new = |args: &[&str]| home.run(&[&["new", "migration"], args].concat()).exits(0).stdout;
    let stamped: BTreeSet<String> = (0..3).map(|_| new(&["Add Email!"])).collect();
    assert_eq!(stamped.len(), 3);
    for path in &stamped {
        let version = path.strip_prefix("migrations/").and_then(|p| p.strip_suffix("_add_email.sql\n"));
        assert!(version.is_some_and(|v| v.len() == 14 && v.parse::<i64>().is_ok()), "{path}");
    }
    let numbered = ["--sequential", "--source", "numbered"];
    assert_eq!(new(&[&["first"], &numbered[..]].concat()), "numbered/0001_first.sql\n");
    let pair = new(&[&["second step", "--reversible", "--no-transaction"], &numbered[..]].concat());
    assert_eq!(pair, "numbered/0002_second_step.up.sql\nnumbered/0002_second_step.down.sql\n");
    let read = |name: &str| std::fs::read_to_string(home.path().join("numbered").join(name)).expect("a file");
    assert!(read("0002_second_step.up.sql").starts_with("-- no-transaction\n"));
    assert!(!read("0002_second_step.down.sql").contains("no-transaction"));
    let document =
        home.run(&[&["new", "migration", "third\nDROP TABLE users;", "--json"], &numbered[..]].concat());
    let document = document.exits(0).json();
    assert_eq!(document["files"], json!(["numbered/0003_third_drop_table_users.sql"]));
    let lines = read("0003_third_drop_table_users.sql");
    assert!(lines.lines().all(|line| line.starts_with("--")), "a name became SQL: {lines}");
    let _ = home.run(&["new", "migration", "!?"]).exits(2);
}

#[test]
fn a_new_migration_is_of_the_format_of_those_beside_it() {
    let home = Home::new();
    for (name, text, expected, begins) in [
        (
            "1_a.sql",
            "-- migrate:up\n-- migrate:down\n",
            "2_add_email.sql",
            "-- migrate:up transaction:false\n",
        ),
        ("00001_a.sql", "-- +goose Up\n", "00002_add_email.sql", "-- +goose NO TRANSACTION\n-- +goose Up\n"),
        ("0001_a.sql", "-- Up Migration\n", "0002_add-email.sql", "-- no-transaction\n-- Up Migration\n"),
        ("tenant:1-a.sql", "", "tenant:2-add-email.sql", "-- no-transaction\n"),
        ("20240101000000-a.sql", "", "20240101000001-add-email.sql", "-- no-transaction\n"),
    ] {
        let directory = home.path().join(format!("of {name}"));
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join(name), text).expect("a file");
        let source = directory.to_str().expect("a path");
        let words = ["new", "migration", "add email", "--no-transaction", "--sequential", "--source", source];
        let made = home.run(&words).exits(0).stdout;
        assert!(made.trim_end().ends_with(&format!("/{expected}")), "{made}");
        let text = std::fs::read_to_string(directory.join(expected)).expect("a file");
        assert!(text.starts_with(begins) && text.contains("-- apply: add email\n"), "{text}");
    }
    let both = home.path().join("both");
    std::fs::create_dir(&both).expect("a directory");
    std::fs::write(both.join("1_a.sql"), "-- migrate:up\n-- migrate:down\n").expect("a file");
    std::fs::write(both.join("2_b.sql"), "-- +goose Up\n").expect("a file");
    let ran = home.run(&["new", "migration", "c", "--source", "both"]).exits(78);
    assert!(ran.stderr.contains("dbmate or goose") && ran.stderr.contains("hint: say which"), "{ran:?}");
}

#[test]
fn what_cannot_be_written_is_named() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "").expect("a file");
    let ran = home.run(&["new", "migration", "a", "--source", "file/below"]).exits(1);
    assert!(
        ran.stderr.starts_with("error: file/below/") && ran.stderr.contains("cannot be written"),
        "{ran:?}"
    );
    let home = home.with("TENANTRY_REGISTRY_URL", "sqlite:file/below/registry.db");
    let ran = home.run(&["registry", "init"]);
    assert!(ran.code != 0 && ran.stderr.contains("file/below"), "{ran:?}");
}
