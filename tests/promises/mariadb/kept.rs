//! Sessions that one tenant's attempt leaves to the next one's, on one server.

use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, create_mariadb_database},
    server::{self, Private, skipped_on_mysql},
};

use crate::site::{Site, quick_home, with_account};

const TABLE: &str =
    "CREATE TABLE made (id INTEGER PRIMARY KEY, n INTEGER);\nCREATE INDEX by_n ON made (n);\n";

fn is_left_out() -> bool {
    skipped_on_mysql("MySQL has a session for each tenant")
}

/// Tenants of a server that writes down all that it is told.
async fn site(count: usize) -> (Private, Site) {
    let server = Private::start("mariadb", "--general-log --log-output=TABLE");
    let mut tenants = Vec::new();
    for name in ["one", "two", "three", "four"].into_iter().take(count) {
        create_mariadb_database(&server.url, name).await;
        let url = server::with_database(&server.url, name);
        tenants.push(TenantDb { id: name.into(), kind: Kind::MariaDb, url, schema: None });
    }
    (server, Site::of(quick_home(), Fleet { tenants }))
}

/// Counts the sessions that have told their server something like this.
fn sessions_of(like: &str) -> String {
    format!(
        "SELECT COUNT(DISTINCT thread_id) FROM mysql.general_log WHERE argument LIKE '%{like}%' AND argument NOT LIKE '%general\\_log%'"
    )
}

async fn sessions(site: &Site, like: &str) -> i64 {
    site.tenant().number(&sessions_of(like)).await
}

/// How many sessions migrated these tenants, one after the other.
async fn migrated(site: &Site, sql: &str) -> i64 {
    site.home.migration("1_made.sql", sql);
    let run = site.migrate(&["--concurrency", "1"]).exits(0).json();
    assert_eq!(run["counts"]["applied"], site.fleet.tenants.len(), "{run}");
    sessions(site, "CREATE TABLE made").await
}

#[tokio::test]
async fn tenants_whose_tables_are_changed_have_one_session_after_the_other() {
    if is_left_out() {
        return;
    }
    let (_server, site) = site(4).await;
    assert_eq!(migrated(&site, TABLE).await, 1);
    for tenant in &site.fleet.tenants {
        assert_eq!(tenant.versions().await, [1], "{}", tenant.id);
        assert!(tenant.tables().await.contains_key("made"), "{}", tenant.id);
    }
}

#[tokio::test]
async fn a_session_in_which_something_may_be_left_is_not_kept() {
    if is_left_out() {
        return;
    }
    let leaves = [
        "SET @gossip = 1;",
        "SET SESSION sql_mode = 'ANSI_QUOTES';",
        "INSERT INTO made VALUES (1, 1);",
        "CREATE TABLE computed AS SELECT 1 AS n;",
        "CREATE TEMPORARY TABLE gossip (n INTEGER);",
        "PREPARE gossip FROM 'SELECT 1';",
        "CREATE TRIGGER gossip BEFORE INSERT ON made FOR EACH ROW SET @gossip = NEW.n;",
    ];
    for sql in leaves {
        let (_server, site) = site(2).await;
        assert_eq!(migrated(&site, &format!("{TABLE}{sql}")).await, 2, "{sql}");
    }
}

#[tokio::test]
async fn an_account_that_may_not_see_all_triggers_has_a_session_for_each_tenant() {
    if is_left_out() {
        return;
    }
    let (server, Site { mut fleet, .. }) = site(2).await;
    let mut admin = fleet.tenants[0].clone();
    admin.url.clone_from(&server.url);
    admin
        .execute(
            "CREATE USER owner IDENTIFIED BY 'own'; GRANT ALL ON one.* TO owner; GRANT ALL ON two.* TO owner",
        )
        .await;
    for tenant in &mut fleet.tenants {
        tenant.url = with_account(&tenant.url, "owner", "own");
    }
    let site = Site::of(quick_home(), fleet);
    site.home.migration("1_made.sql", TABLE);
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    assert_eq!(admin.number(&sessions_of("CREATE TABLE made")).await, 2);
}

/// Tells what a session has when the history is written.
const SEES: &str = "CREATE TABLE seen (thread BIGINT, at VARCHAR(64), locks BIGINT, last BIGINT);
CREATE TRIGGER sees AFTER UPDATE ON _sqlx_migrations FOR EACH ROW INSERT INTO seen SELECT CONNECTION_ID(), DATABASE(),
    (SELECT COUNT(*) FROM (SELECT 'one' AS name UNION SELECT 'two' UNION SELECT 'three' UNION SELECT 'four') AS names
        WHERE IS_USED_LOCK(CONCAT('tenantry:', LEFT(SHA2(name, 256), 32))) = CONNECTION_ID()), LAST_INSERT_ID();";

#[tokio::test]
async fn a_tenant_finds_nothing_of_another_one_in_a_session_that_was_kept() {
    if is_left_out() {
        return;
    }
    let (_server, site) = site(4).await;
    let _ = migrated(&site, TABLE).await;
    for tenant in &site.fleet.tenants {
        tenant.execute(SEES).await;
    }
    site.home.migration("2_more.sql", "ALTER TABLE made ADD COLUMN more INTEGER;");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    for tenant in &site.fleet.tenants {
        let alone =
            format!("SELECT COUNT(*) FROM seen WHERE at = '{}' AND locks = 1 AND last = 0", tenant.id);
        assert_eq!(tenant.number(&alone).await, 1, "{}", tenant.id);
    }
    // Whoever has a trigger leaves his session to nobody.
    assert_eq!(sessions(&site, "ADD COLUMN more").await, 4);
}

#[tokio::test]
async fn the_lock_of_a_tenant_is_free_while_its_session_works_another_tenant() {
    if is_left_out() {
        return;
    }
    let (_server, site) = site(4).await;
    let last = &site.fleet.tenants[3];
    let _ = migrated(&site, TABLE).await;
    // Only the last one has a trigger: its session may have been another tenant's.
    last.execute(SEES).await;
    site.home.migration("2_more.sql", "ALTER TABLE made ADD COLUMN more INTEGER;");
    let _ = site.migrate(&["--concurrency", "1"]).exits(0);
    assert!(sessions(&site, "ADD COLUMN more").await < 4);
    assert_eq!(
        last.number("SELECT COUNT(*) FROM seen WHERE at = 'four' AND locks = 1 AND last = 0").await,
        1
    );
}

#[tokio::test]
async fn a_column_that_is_there_before_its_migration_is_seen_in_tables_with_rows_and_without() {
    if is_left_out() {
        return;
    }
    for (rows, there, messages) in
        [("", true, 2), ("INSERT INTO made VALUES (1, 1), (2, 2)", true, 2), ("", false, 1)]
    {
        let (_server, site) = site(1).await;
        let _ = migrated(&site, TABLE).await;
        let tenant = site.tenant();
        if !rows.is_empty() {
            tenant.execute(rows).await;
        }
        if there {
            tenant.execute("ALTER TABLE made ADD COLUMN `more``s` INTEGER").await;
        }
        site.home.migration("2_more.sql", "ALTER TABLE made ADD COLUMN `more``s` BIGINT;");
        let _ = site.migrate(&[]);
        // With a look for it and a mark in one message, and then once more by itself if it was seen.
        let sent = "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%more``s` BIGINT%' AND argument NOT LIKE '%general\\_log%'";
        assert_eq!(tenant.number(sent).await, messages, "{rows}");
        assert_eq!(tenant.versions().await, if there { vec![1] } else { vec![1, 2] });
    }
}
