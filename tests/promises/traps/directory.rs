//! A directory: the order of its files, and what lies among them that is no migration.

use tenantry_tests::Home;

use super::{KINDS, applied, with};

/// Each of these can run only after the one before it.
const RENAMES: [&str; 4] = [
    "CREATE TABLE a (n INTEGER);",
    "ALTER TABLE a RENAME TO b;",
    "ALTER TABLE b RENAME TO c;",
    "ALTER TABLE c RENAME TO d;",
];

// Trap 5: the order of files is not that of their names as text.
#[tokio::test]
async fn files_are_applied_in_the_order_of_their_numbers() {
    let names = [
        ["1_a.sql", "2_b.sql", "10_c.sql", "20200101_d.sql"],
        ["9_a.sql", "0010_b.sql", "11_c.sql", "20200101120000_d.sql"],
        ["20200101_a.sql", "1577900000000_b.sql", "20200101120000_c.sql", "20200101120001_d.sql"],
    ];
    for names in names {
        let files: Vec<(&str, &str)> = names.into_iter().zip(RENAMES).rev().collect();
        let site = applied(&KINDS, &files).await;
        for tenant in &site.fleet.tenants {
            assert!(tenant.tables().await.contains_key("d"), "{} {names:?}", tenant.id);
        }
    }
}

// Trap 5: versions of several parts.
#[tokio::test]
async fn versions_of_several_parts_are_compared_part_by_part() {
    let names = [
        ["V4_9_2__a.sql", "V4_101__b.sql", "V10_1.2.9__c.sql", "V10_1.3.0__d.sql"],
        ["V1.9__a.sql", "V1_10__b.sql", "V2__c.sql", "V2.0.1__d.sql"],
    ];
    for names in names {
        let files: Vec<(&str, &str)> = names.into_iter().zip(RENAMES).rev().collect();
        let site = applied(&KINDS, &files).await;
        for tenant in &site.fleet.tenants {
            assert!(tenant.tables().await.contains_key("d"), "{} {names:?}", tenant.id);
        }
    }
}

// Trap 5: versions are not always unique.
#[tokio::test]
async fn two_files_of_one_number_are_refused_by_their_names() {
    for [first, second] in [["0001_b.sql", "1_a.sql"], ["V01.0__a.sql", "V1__b.sql"]] {
        let site = with(&KINDS[3..], &[(first, "SELECT 1;"), (second, "SELECT 1;")]).await;
        let ran = site.migrate(&[]).exits(78);
        assert!(ran.stderr.contains(first) && ran.stderr.contains(second), "{ran:?}");
        assert!(ran.stderr.contains("same version"), "{ran:?}");
        assert!(site.tenant().tables().await.is_empty());
    }
}

fn write(home: &Home, name: &str, text: &str) {
    let path = home.path().join("migrations").join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(path, text).expect("a file");
}

/// Papers and locks of other tools, which nobody would take for migrations.
const PAPERS: [&str; 4] = ["README.md", "migration_lock.toml", ".gitkeep", "2_notes.txt"];

// Trap 6: a sum that Atlas keeps of its directory.
#[tokio::test]
async fn a_sum_that_is_not_of_the_files_is_an_error_that_names_it() {
    let site = with(&KINDS[3..], &[("1_a.sql", "CREATE TABLE a (n INTEGER);")]).await;
    write(&site.home, "atlas.sum", "h1:MdmYnkeEzAbCCTvUKzN0oBzZvy2OVr6JnKdqGHyxZNI=\n");
    let ran = site.migrate(&[]).exits(78);
    assert!(ran.stderr.contains("atlas.sum line 1"), "{ran:?}");
    assert!(site.tenant().tables().await.is_empty());
}

// Trap 6: not everything in the directory is a migration.
#[tokio::test]
async fn sql_that_is_no_migration_is_left_out_and_said_to_be() {
    let site = with(&KINDS[3..], &[("1_a.sql", "CREATE TABLE a (n INTEGER);")]).await;
    PAPERS.iter().for_each(|name| write(&site.home, name, "no SQL"));
    let plain = site.migrate(&[]).exits(0);
    assert!(
        !plain.stderr.contains("ignored") && plain.json()["ignored"] == serde_json::json!([]),
        "{plain:?}"
    );
    write(&site.home, "seed.sql", "INSERT INTO a VALUES (1);");
    write(&site.home, "old/2_b.sql", "DROP TABLE a;");
    let said = "ignored: old/2_b.sql, seed.sql (no migrations by the rules of sqlx)";
    let commands =
        [vec!["plan", "--all"], vec!["migrate", "--all"], vec!["enqueue", "--all"], vec!["doctor"]];
    for words in commands {
        let ran = site.home.run(&words).exits(0);
        assert!(format!("{}{}", ran.stderr, ran.stdout).contains(said), "{words:?} {ran:?}");
    }
    for command in ["plan", "migrate", "enqueue"] {
        let run = site.home.run(&[command, "--all", "--json"]).exits(0).json();
        assert_eq!(run["ignored"], serde_json::json!(["old/2_b.sql", "seed.sql"]), "{run}");
    }
    assert!(site.tenant().tables().await.contains_key("a"));
}

// Trap 6.
#[tokio::test]
async fn one_database_alone_is_told_what_was_left_out() {
    let site =
        with(&KINDS[3..], &[("1_a.sql", "CREATE TABLE a (n INTEGER);"), ("seed.sql", "SELECT 1;")]).await;
    let home = site.home.with("DATABASE_URL", &site.fleet.tenants[0].url);
    for command in ["plan", "migrate"] {
        let ran = home.run(&[command, "--json"]).exits(0);
        assert!(ran.stderr.contains("ignored: seed.sql (no migration by the rules of sqlx)"), "{ran:?}");
        assert_eq!(ran.json()["ignored"], serde_json::json!(["seed.sql"]));
    }
}

// Trap 6: migrations in another language between those in SQL.
#[tokio::test]
async fn a_program_between_the_files_is_an_error_that_names_it() {
    for name in ["2_backfill.go", "2_backfill.ts", "2_backfill.py"] {
        let site =
            with(&KINDS[3..], &[("1_a.sql", "CREATE TABLE a (n INTEGER);"), ("3_c.sql", "SELECT 1;")]).await;
        write(&site.home, name, "a program");
        for command in ["migrate", "enqueue"] {
            let ran = site.home.run(&[command, "--all"]).exits(78);
            assert!(ran.stderr.contains(&format!("{name}: a migration that is not SQL")), "{ran:?}");
        }
        assert!(site.tenant().tables().await.is_empty());
    }
}
