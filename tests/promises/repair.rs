//! Taking tenants over as they are, and mending their histories on purpose.

use tenantry_tests::{Fleet, Home, Ran, fleet::Kind, wait::until};

use crate::{
    site::{KINDS, Site, Stranger, quick_home},
    stage::ledger,
    state,
};

const DIRTY: &str = "SELECT count(*) FROM _sqlx_migrations WHERE NOT success";
const PROGRESS: &str = "_tenantry_progress";

fn three(home: &Home) {
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    home.migration("2_posts.sql", "CREATE TABLE posts (id INTEGER);");
    home.migration("3_more.sql", "CREATE TABLE more (id INTEGER);");
}

async fn all_are_at(site: &Site, versions: &[i64]) {
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, versions, "{}", tenant.id);
    }
}

/// Mends all tenants.
fn repair(site: &Site, flags: &[&str]) -> Ran {
    site.home.run(&[&["repair", "--all"], flags].concat())
}

async fn events(site: &Site) -> i64 {
    ledger(&site.home).number("SELECT count(*) FROM events WHERE kind = 'tenant.repaired'").await
}

#[tokio::test]
async fn tenants_that_have_the_schema_are_taken_over_and_migrated_on() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    for tenant in &site.fleet.tenants {
        tenant.execute("CREATE TABLE users (id INTEGER PRIMARY KEY); CREATE TABLE posts (id INTEGER)").await;
    }
    let words = ["baseline", "--all", "--to", "2", "--work", "--json"];
    let run = site.home.run(&words).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["action"]["kind"]), (&4.into(), &"baseline".into()), "{run}");
    all_are_at(&site, &[1, 2]).await;
    let run = site.home.run(&words).exits(0).json();
    assert_eq!(run["counts"]["current"], 4, "{run}");
    let ran = site.home.run(&["baseline", "--all", "--to", "1", "--work"]).exits(0);
    assert!(ran.stderr.contains("as of 1: 4 tenants: 0 recorded, 4 current"), "{ran:?}");
    for tenant in &site.fleet.tenants {
        let step = &site.home.run(&["logs", "1", "-t", &tenant.id, "--json"]).exits(0).json();
        assert_eq!(step["attempts"][0]["applied"][0]["direction"], "record", "{step}");
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], 4, "{run}");
    all_are_at(&site, &[1, 2, 3]).await;
    for tenant in site.fleet.tenants.iter().filter(|tenant| tenant.kind != Kind::PostgresSchema) {
        let mut command = std::process::Command::new("sqlx");
        command.args(["migrate", "info", "--source", "migrations"]).current_dir(site.home.path());
        let info = command.env("DATABASE_URL", &tenant.url).output().expect("sqlx").stdout;
        let expected = "1/installed users\n2/installed posts\n3/installed more\n";
        assert_eq!(String::from_utf8_lossy(&info), expected, "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_tenant_whose_history_another_tool_keeps_is_taken_over() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    for tenant in &site.fleet.tenants {
        let theirs = "CREATE TABLE flyway_schema_history (installed_rank INTEGER, version VARCHAR(50))";
        tenant.execute(&format!("CREATE TABLE users (id INTEGER PRIMARY KEY); {theirs}")).await;
    }
    assert_eq!(site.fails(104, &[])["code"], "foreign-history");
    let _ = site.home.run(&["baseline", "--all", "--to", "1", "--work"]).exits(0);
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;
}

#[tokio::test]
async fn a_history_that_is_no_beginning_of_the_migrations_is_not_taken_over() {
    let site = Site::new(&[Kind::PostgresDatabase, Kind::Sqlite], 1).await;
    site.home.migration("2_posts.sql", "CREATE TABLE posts (id INTEGER);");
    let _ = site.migrate(&[]).exits(0);
    three(&site.home);
    let run = site.home.run(&["baseline", "--all", "--to", "3", "--work", "--json"]).exits(104).json();
    assert_eq!(
        (&run["failures"][0]["code"], &run["failures"][0]["count"]),
        (&"history".into(), &2.into()),
        "{run}"
    );
    all_are_at(&site, &[2]).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_with_the_command_that_mends_it_and_nothing_is_changed() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(repair(&site, &[]).exits(0).stdout.trim(), "nothing is wrong with the histories");
    site.home.migration("1_users.sql", "CREATE TABLE users (id BIGINT PRIMARY KEY);");
    std::fs::remove_file(site.home.path().join("migrations/3_more.sql")).expect("a file");
    for tenant in &site.fleet.tenants {
        tenant.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await;
    }
    let before = state::of(&site.home).await;
    let told = repair(&site, &[]).exits(0);
    let document = repair(&site, &["--json"]).exits(0).json();
    for (at, tenant) in site.fleet.tenants.iter().enumerate() {
        for way in ["--finished or --undone", "--checksums", "--forget 3"] {
            let command = format!("repair --tenant {} {way}", tenant.id);
            assert!(told.stdout.contains(&command), "{command}: {told:?}");
        }
        let tenants = document["tenants"].as_array().expect("tenants");
        assert_eq!(tenants[at]["troubles"].as_array().map(Vec::len), Some(3), "{document}");
    }
    assert_eq!(state::of(&site.home).await, before);
    all_are_at(&site, &[1, 3]).await;
}

#[tokio::test]
async fn a_changed_file_is_accepted_as_it_is_now() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    let _ = site.migrate(&[]).exits(0);
    site.home.migration("2_posts.sql", "CREATE TABLE posts (id INTEGER); -- of the shop");
    assert_eq!(site.fails(104, &[])["code"], "checksum");
    let mended = repair(&site, &["--checksums"]).exits(0);
    assert_eq!(mended.stdout.matches("mended: accept 2_posts.sql as it is now").count(), 4, "{mended:?}");
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["current"], events(&site).await), (&4.into(), 4), "{run}");
    let nothing = repair(&site, &["--checksums"]).exits(104);
    assert!(nothing.stderr.contains("nothing to mend"), "{nothing:?}");
    assert_eq!(events(&site).await, 4);
}

#[tokio::test]
async fn a_version_is_forgotten_or_taken_for_applied() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    let _ = site.migrate(&["--target", "1"]).exits(0);
    let document = repair(&site, &["--mark-applied", "2", "--json"]).exits(0).json();
    assert_eq!(document["tenants"][3]["mended"], true, "{document}");
    all_are_at(&site, &[1, 2]).await;
    for tenant in &site.fleet.tenants {
        assert!(!tenant.tables().await.contains_key("posts"));
    }
    let _ = site.migrate(&[]).exits(0);
    all_are_at(&site, &[1, 2, 3]).await;

    let _ = repair(&site, &["--forget", "2"]).exits(0);
    all_are_at(&site, &[1, 3]).await;
    let _ = site.migrate(&["--order", "any"]).exits(0);
    for tenant in &site.fleet.tenants {
        assert!(tenant.tables().await.contains_key("posts"));
    }
    // Of a version without a file, too.
    std::fs::remove_file(site.home.path().join("migrations/3_more.sql")).expect("a file");
    let _ = repair(&site, &["--forget", "3"]).exits(0);
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["current"], events(&site).await), (&4.into(), 12), "{run}");
}

/// A MariaDB tenant whose migration 1 stopped after its first statement; its down does too.
async fn half_way() -> Site {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    site.home.migration("1_two.up.sql", "CREATE TABLE a (n INTEGER);\nINSERT INTO nowhere VALUES (1);");
    site.home.migration("1_two.down.sql", "DROP TABLE a;\nDROP TABLE nothing;");
    let _ = site.fails(100, &[]);
    assert_eq!(site.tenant().number(DIRTY).await, 1);
    site
}

async fn is_clean(site: &Site, versions: &[i64]) {
    assert_eq!((site.tenant().versions().await, site.tenant().number(DIRTY).await), (versions.to_vec(), 0));
    assert!(!site.tenant().tables().await.contains_key(PROGRESS));
}

#[tokio::test]
async fn what_was_begun_is_finished_by_hand_or_undone_both_ways() {
    let site = half_way().await;
    site.tenant().execute("DROP TABLE a").await;
    let told = repair(&site, &["--undone"]).exits(0);
    assert!(told.stderr.contains("take 1_two.up.sql for not applied, as before it was begun"), "{told:?}");
    is_clean(&site, &[]).await;

    let _ = site.fails(100, &[]);
    site.home.migration("1_two.up.sql", "CREATE TABLE a (n INTEGER);");
    let _ = repair(&site, &["--finished"]).exits(0);
    is_clean(&site, &[1]).await;
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["current"], 1, "{run}");

    let back = || site.home.run(&["rollback", "--all", "--work"]).exits(100);
    let _ = back();
    assert_eq!(site.tenant().number(DIRTY).await, 1);
    site.tenant().execute("CREATE TABLE a (n INTEGER)").await;
    let _ = repair(&site, &["--undone"]).exits(0);
    is_clean(&site, &[1]).await;
    let _ = back();
    let told = repair(&site, &["--finished"]).exits(0);
    assert!(told.stdout.contains("take 1_two.up.sql for reverted"), "{told:?}");
    is_clean(&site, &[]).await;
    assert_eq!(events(&site).await, 4);
}

#[tokio::test]
async fn a_mark_that_another_tool_left_is_taken_away() {
    let site = Site::new(&KINDS, 1).await;
    three(&site.home);
    let _ = site.migrate(&[]).exits(0);
    for (flag, versions) in [("--finished", &[1, 2, 3][..]), ("--undone", &[1, 2])] {
        for tenant in &site.fleet.tenants {
            tenant.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 3").await;
        }
        let _ = repair(&site, &[flag]).exits(0);
        all_are_at(&site, versions).await;
        for tenant in &site.fleet.tenants {
            assert_eq!(tenant.number(DIRTY).await, 0);
        }
    }
}

const THREE: &str =
    "CREATE TABLE a (n INTEGER);\nALTER TABLE b MODIFY n BIGINT, COMMENT 'wide';\nINSERT INTO a VALUES (1);";
const WIDENED: &str = "SELECT count(*) FROM information_schema.columns WHERE table_schema = database() AND table_name = 'b' AND data_type = 'bigint'";

/// A MariaDB tenant of which nobody knows whether the statement in the middle of its migration is done: its process was
/// killed then, and the statement leaves no sure trace.
async fn in_doubt() -> Site {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(Kind::MariaDb, 1, home.path()).await;
    home.migration("1_three.sql", THREE);
    let tenant = &fleet.tenants[0];
    tenant.execute("CREATE TABLE b (n INTEGER)").await;
    let reader = Stranger::that_runs(tenant, "START TRANSACTION; SELECT * FROM b").await;
    let home = home.with("ACME_URL", &tenant.url);
    let mut child = home.spawn(&["migrate", "--url-env", "ACME_URL", "--lock-timeout", "60s"]);
    let running = "SELECT CAST(coalesce(max(id), 0) AS SIGNED) FROM information_schema.processlist WHERE db = database() AND info LIKE 'ALTER TABLE b%'";
    until("the statement waits", async || tenant.number(running).await > 0).await;
    child.kill().expect("a kill");
    let _ = child.wait();
    tenant.execute(&format!("KILL {}", tenant.number(running).await)).await;
    until("the server has ended it", async || tenant.number(running).await == 0).await;
    drop(reader);
    Site::of(home, fleet)
}

#[tokio::test]
async fn a_statement_in_doubt_is_told_to_be_done() {
    let site = in_doubt().await;
    let cause = site.fails(104, &[]);
    assert_eq!(cause["code"], "doubt", "{cause}");
    let told = repair(&site, &[]).exits(0);
    let command = format!("repair --tenant {} --done or --not-done", site.tenant().id);
    assert!(told.stdout.contains(&command), "{told:?}");
    let told = repair(&site, &["--done"]).exits(0);
    assert!(told.stderr.contains("take statement 2 of 1_three.sql for done"), "{told:?}");
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().number("SELECT count(*) FROM a").await, 1);
    assert_eq!((site.tenant().number(WIDENED).await, site.tenant().versions().await), (0, vec![1]));
    assert_eq!(events(&site).await, 1);
}

#[tokio::test]
async fn a_statement_in_doubt_is_told_not_to_be_done() {
    let site = in_doubt().await;
    let _ = repair(&site, &["--not-done"]).exits(0);
    let _ = site.migrate(&[]).exits(0);
    assert_eq!(site.tenant().number("SELECT count(*) FROM a").await, 1);
    assert_eq!((site.tenant().number(WIDENED).await, site.tenant().versions().await), (1, vec![1]));
}

#[tokio::test]
async fn what_cannot_be_meant_mends_nothing() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    three(&site.home);
    let _ = site.migrate(&[]).exits(0);
    let before = state::of(&site.home).await;
    for (words, exit, says) in [
        (&["repair"][..], 2, "no tenants are selected"),
        (&["repair", "--all", "--done", "--not-done"], 2, "cannot be used with"),
        (&["repair", "-t", "nobody", "--done"], 2, "'nobody'"),
        (&["repair", "--all", "--done"], 104, "no statement is in doubt"),
        (&["repair", "--all", "--undone"], 104, "nothing is half done"),
        (&["repair", "--all", "--forget", "9"], 104, "version 9 is not in its history"),
        (&["repair", "--all", "--mark-applied", "9"], 104, "there is no migration 9"),
        (&["repair", "--all", "--mark-applied", "3"], 104, "in its history already"),
    ] {
        let ran = site.home.run(words).exits(exit);
        assert!(ran.stderr.contains(says), "{words:?}: {ran:?}");
    }
    assert_eq!(state::of(&site.home).await, before);
}
