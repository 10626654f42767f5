//! Transactions and sessions: what must run outside one, files with their own, settings that outlive their file.

use tenantry_tests::{Fleet, fleet::Kind};

use super::{KINDS, POSTGRES, applied, hint, rows, told, with};
use crate::site::{Site, quick_home};

const VALID: &str = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indisvalid AND c.relname IN ('marked', 'plain', 'mixed') AND c.relnamespace = current_schema()::regnamespace";

// Trap 10: what must run outside a transaction, with a marker, without one, and beside other statements.
#[tokio::test]
async fn what_must_run_outside_a_transaction_does_with_a_marker_and_without() {
    let files = [
        ("1_tables.sql", "CREATE TABLE a (n INTEGER);"),
        ("2_marked.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY marked ON a (n);"),
        ("3_plain.sql", "-- an index\nCREATE INDEX CONCURRENTLY plain ON a (n)"),
        (
            "4_mixed.sql",
            "INSERT INTO a VALUES (1);\nCREATE INDEX CONCURRENTLY mixed ON a (n);\nINSERT INTO a VALUES (2);",
        ),
        ("5_vacuum.sql", "VACUUM a;"),
    ];
    let site = applied(&POSTGRES, &files).await;
    for tenant in &site.fleet.tenants {
        assert_eq!((tenant.number(VALID).await, rows(tenant, "a").await), (3, 2), "{}", tenant.id);
    }
    let files = [
        ("1_tables.sql", "CREATE TABLE a (n INTEGER);"),
        ("2_vacuum.sql", "VACUUM;\nINSERT INTO a VALUES (1);"),
    ];
    let site = applied(&[Kind::Sqlite], &files).await;
    assert_eq!(rows(site.tenant(), "a").await, 1);
}

// Trap 10: what only the server can tell.
#[tokio::test]
async fn a_procedure_that_commits_fails_with_the_way_out_and_runs_once_it_is_marked() {
    const CALL: &str = "INSERT INTO a VALUES (1);\nCALL twice();";
    let files = [
        ("1_a.sql", "CREATE TABLE a (n INTEGER);"),
        (
            "2_twice.sql",
            "CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a VALUES (2); COMMIT; INSERT INTO a VALUES (3); END $$;",
        ),
        ("3_call.sql", CALL),
    ];
    let site = with(&POSTGRES, &files).await;
    let cause = site.fails(100, &["--retries", "3"]);
    assert_eq!((told(&cause), &cause["statement"]), (("2D000", "permanent"), &2.into()), "{cause}");
    assert!(hint(&cause).contains("-- no-transaction"), "{cause}");
    assert_eq!(rows(site.tenant(), "a").await, 0);
    site.home.migration("3_call.sql", &format!("-- no-transaction\n{CALL}"));
    let _ = site.migrate(&[]).exits(0);
    for tenant in &site.fleet.tenants {
        assert_eq!(rows(tenant, "a").await, 3, "{}", tenant.id);
    }
}

// Trap 11: values added to enumerated types.
#[tokio::test]
async fn a_value_added_to_a_type_can_be_used_in_the_next_file_and_in_the_same() {
    let files = [
        ("1_type.sql", "CREATE TYPE mood AS ENUM ('good');\nCREATE TABLE a (m mood);"),
        ("2_alone.sql", "ALTER TYPE mood ADD VALUE 'bad';"),
        ("3_use.sql", "INSERT INTO a VALUES ('bad');"),
        (
            "4_both.sql",
            "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'fair' BEFORE 'bad';\nINSERT INTO a VALUES ('fair');",
        ),
        (
            "5_default.sql",
            "ALTER TYPE mood ADD VALUE 'new';\nALTER TABLE a ALTER COLUMN m SET DEFAULT 'new';\nINSERT INTO a DEFAULT VALUES;",
        ),
    ];
    let site = applied(&POSTGRES, &files).await;
    for tenant in &site.fleet.tenants {
        assert_eq!(rows(tenant, "a").await, 3, "{}", tenant.id);
    }
}

// Trap 13: BEGIN and COMMIT inside a file.
#[tokio::test]
async fn a_transaction_around_a_whole_file_is_one_with_its_history_row() {
    for kind in [Kind::PostgresDatabase, Kind::PostgresSchema, Kind::Sqlite] {
        let text = "-- a dump\nBEGIN;\nCREATE TABLE a (n INTEGER);\nINSERT INTO later VALUES (1);\nCOMMIT;\n";
        let site = with(&[kind], &[("1_own.sql", text)]).await;
        let cause = site.fails(100, &[]);
        assert_eq!((&cause["migration"], &cause["statement"]), (&"1".into(), &3.into()), "{kind:?} {cause}");
        assert!(!site.tenant().tables().await.contains_key("a"), "{kind:?}");
        site.tenant().execute("CREATE TABLE later (n INTEGER)").await;
        let _ = site.migrate(&[]).exits(0);
        assert_eq!(
            (site.tenant().versions().await, rows(site.tenant(), "later").await),
            (vec![1], 1),
            "{kind:?}"
        );
    }
}

// Trap 13.
#[tokio::test]
async fn what_a_file_committed_itself_is_not_done_again_after_a_failure_behind_it() {
    for kind in KINDS {
        let text = "BEGIN;\nCREATE TABLE a (n INTEGER);\nINSERT INTO a VALUES (1);\nCOMMIT;\nINSERT INTO later VALUES (1);\n";
        let site = with(&[kind], &[("1_own.sql", text)]).await;
        for _ in 0..2 {
            let cause = site.fails(100, &[]);
            assert_eq!(cause["statement"], 5, "{kind:?} {cause}");
            assert!(hint(&cause).contains("done and stay"), "{kind:?} {cause}");
            assert_eq!(
                (rows(site.tenant(), "a").await, site.tenant().versions().await),
                (1, vec![]),
                "{kind:?}"
            );
        }
        site.tenant().execute("CREATE TABLE later (n INTEGER)").await;
        let _ = site.migrate(&[]).exits(0);
        assert_eq!(site.tenant().versions().await, [1], "{kind:?}");
        assert_eq!((rows(site.tenant(), "a").await, rows(site.tenant(), "later").await), (1, 1), "{kind:?}");
    }
}

// Trap 13.
#[tokio::test]
async fn an_sqlite_file_that_begins_with_a_commit_is_applied_once_whatever_fails_in_it() {
    const TEXT: &str = "COMMIT;\nPRAGMA foreign_keys = OFF;\nBEGIN;\nCREATE TABLE a (n INTEGER);\nCOMMIT;\nBEGIN;\nINSERT INTO later VALUES (1);\n";
    let site = with(&[Kind::Sqlite], &[("1_own.sql", TEXT)]).await;
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["statement"], &cause["line"]), (&7.into(), &7.into()), "{cause}");
    assert_eq!(site.tenant().versions().await, Vec::<i64>::new());
    site.tenant().execute("CREATE TABLE later (n INTEGER)").await;
    let _ = site.migrate(&[]).exits(0);
    assert_eq!((site.tenant().versions().await, rows(site.tenant(), "later").await), (vec![1], 1));
}

/// Two tenants of a kind, migrated one after the other by one worker.
async fn two_in_turn(kind: Kind, files: &[(&str, &str)]) -> Site {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(kind, 2, home.path()).await;
    let site = Site::of(home, fleet);
    for (name, text) in files {
        site.home.migration(name, text);
    }
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    site
}

// Trap 14: session settings.
#[tokio::test]
async fn the_settings_of_a_dump_reach_neither_the_next_migration_nor_the_next_tenant() {
    const DUMP: &str = "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);\nSET row_security = off;\nSET default_tablespace = '';
CREATE TABLE public.users (id integer NOT NULL);\nALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);\n";
    const LOOK: &str = "CREATE TABLE seen AS SELECT current_schema() AS s, current_setting('lock_timeout') AS l, current_setting('row_security') AS r;";
    let site = two_in_turn(Kind::PostgresDatabase, &[("1_dump.sql", DUMP), ("2_look.sql", LOOK)]).await;
    for tenant in &site.fleet.tenants {
        let clean = "SELECT count(*) FROM public.seen WHERE s = 'public' AND l <> '0' AND r = 'on'";
        assert_eq!((tenant.number(clean).await, tenant.versions().await), (1, vec![1, 2]), "{}", tenant.id);
    }
}

// Trap 14.
#[tokio::test]
async fn the_settings_of_a_mariadb_migration_reach_neither_the_next_one_nor_the_next_tenant() {
    const SET: &str = "SET NAMES latin1;\nSET FOREIGN_KEY_CHECKS = 0, UNIQUE_CHECKS = 0;\nSET sql_mode = 'ANSI';\nCREATE TABLE a (n INTEGER);";
    const LOOK: &str = "CREATE TABLE seen AS SELECT @@foreign_key_checks AS f, @@unique_checks AS u, @@character_set_client AS c, @@sql_mode AS m;";
    let site = two_in_turn(
        Kind::MariaDb,
        &[("1_look.sql", LOOK), ("2_set.sql", SET), ("3_look.sql", &LOOK.replace("seen", "again"))],
    )
    .await;
    for tenant in &site.fleet.tenants {
        let alike = "SELECT count(*) FROM seen s JOIN again a ON a.f = s.f AND a.u = s.u AND a.c = s.c AND a.m = s.m WHERE s.f = 1";
        assert_eq!(tenant.number(alike).await, 1, "{}", tenant.id);
    }
}

// Trap 14.
#[tokio::test]
async fn the_settings_of_an_sqlite_migration_reach_neither_the_next_one_nor_the_next_tenant() {
    const LOOK: &str = "CREATE TABLE seen AS SELECT (SELECT foreign_keys FROM pragma_foreign_keys) AS f, (SELECT recursive_triggers FROM pragma_recursive_triggers) AS r;";
    const SET: &str =
        "PRAGMA foreign_keys = OFF;\nPRAGMA recursive_triggers = ON;\nCREATE TABLE a (n INTEGER);";
    let site = two_in_turn(
        Kind::Sqlite,
        &[("1_look.sql", LOOK), ("2_set.sql", SET), ("3_look.sql", &LOOK.replace("seen", "again"))],
    )
    .await;
    for tenant in &site.fleet.tenants {
        let alike = "SELECT count(*) FROM seen s JOIN again a ON a.f = s.f AND a.r = s.r WHERE s.r = 0";
        assert_eq!(tenant.number(alike).await, 1, "{}", tenant.id);
    }
}
