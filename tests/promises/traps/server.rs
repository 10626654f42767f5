//! What belongs to the whole server or needs a right of it: extensions, roles; and schemas that depend on the day.

use tenantry_tests::{
    Fleet,
    fleet::{Kind, unique},
};

use super::{KINDS, applied, hint, told, with};
use crate::site::{Site, quick_home, with_account};

// Trap 9: CREATE EXTENSION without the right to it.
#[tokio::test]
async fn an_extension_that_only_a_superuser_may_make_fails_and_changes_nothing() {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(Kind::PostgresDatabase, 1, home.path()).await;
    let (role, tenant) = (unique("owner"), &mut fleet.tenants[0]);
    let owner = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'owner'; ALTER DATABASE {} OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}",
        tenant.id
    );
    tenant.execute(&owner).await;
    tenant.url = with_account(&tenant.url, &role, "owner");
    let site = Site::of(home, fleet);
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER);");
    site.home.migration(
        "2_inspect.sql",
        "CREATE TABLE pages (id INTEGER);\nCREATE EXTENSION IF NOT EXISTS pageinspect;",
    );
    let cause = site.fails(100, &[]);
    assert_eq!((told(&cause), &cause["statement"]), (("42501", "permanent"), &2.into()), "{cause}");
    assert!(cause["message"].as_str().is_some_and(|m| m.contains("pageinspect")), "{cause}");
    assert!(hint(&cause).contains("right"), "{cause}");
    let tables = site.tenant().tables().await;
    assert!(tables.contains_key("users") && !tables.contains_key("pages"), "{tables:?}");
    assert_eq!(site.tenant().versions().await, [1]);
}

// Trap 9: an extension that the server has not.
#[tokio::test]
async fn an_extension_that_is_not_installed_fails_at_once_under_its_name() {
    let site = with(
        &super::POSTGRES,
        &[("1_gis.sql", "CREATE TABLE a (n INTEGER);\nCREATE EXTENSION no_such_thing;")],
    )
    .await;
    let cause = site.fails(100, &["--retries", "3"]);
    assert_eq!((cause["class"].as_str(), &cause["statement"]), (Some("permanent"), &2.into()), "{cause}");
    assert!(cause["message"].as_str().is_some_and(|m| m.contains("no_such_thing")), "{cause}");
    assert!(!site.tenant().tables().await.contains_key("a"));
}

/// Two tenants of which the first makes an object of the whole server, so that the second cannot.
async fn made_once(kind: Kind, sql: &str, code: &str) {
    let (home, mut fleet) = (quick_home(), Fleet::default());
    fleet.add(kind, 2, home.path()).await;
    let site = Site::of(home, fleet);
    site.home.migration("1_users.sql", "CREATE TABLE users (id INTEGER);");
    site.home.migration("2_role.sql", sql);
    let run = site.migrate(&["--concurrency", "1", "--retries", "3"]).exits(100).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["failed"]), (&1.into(), &1.into()), "{run}");
    let cause = &run["failures"][0];
    assert_eq!(
        (told(cause), &cause["migration"], &cause["statement"]),
        ((code, "permanent"), &"2".into(), &1.into()),
        "{cause}"
    );
    for tenant in &site.fleet.tenants {
        let applied = site.target(tenant).is_some_and(|target| target["state"] == "applied");
        assert_eq!(tenant.versions().await, if applied { vec![1, 2] } else { vec![1] }, "{}", tenant.id);
        assert_eq!(site.attempts(tenant).len(), 1, "{}", tenant.id);
        assert_eq!(tenant.tables().await.contains_key("a"), applied, "{}", tenant.id);
    }
}

// Trap 20: roles belong to the whole server.
#[tokio::test]
async fn a_role_is_made_by_the_first_tenant_and_fails_the_others_by_its_name() {
    for kind in super::POSTGRES {
        let role = unique("reader");
        made_once(kind, &format!("CREATE ROLE {role};\nCREATE TABLE a (n INTEGER);"), "42710").await;
    }
    let user = unique("reader");
    made_once(Kind::MariaDb, &format!("CREATE USER {user};\nCREATE TABLE a (n INTEGER);"), "1396").await;
}

// Trap 19: a schema that depends on the day.
#[tokio::test]
async fn a_table_named_after_today_is_made() {
    for kind in KINDS {
        let text = match kind {
            Kind::MariaDb => {
                "SET @make = CONCAT('CREATE TABLE day_', DATE_FORMAT(CURDATE(), '%Y%m%d'), ' (n INTEGER)');\nPREPARE make FROM @make;\nEXECUTE make;\nDEALLOCATE PREPARE make;"
            }
            Kind::Sqlite => {
                "CREATE TABLE day_20260101 (at TEXT DEFAULT (date('now')));\nINSERT INTO day_20260101 DEFAULT VALUES;"
            }
            _ => {
                "CREATE TABLE days (at DATE) PARTITION BY RANGE (at);\nDO $$ BEGIN EXECUTE format('CREATE TABLE %I PARTITION OF days FOR VALUES FROM (%L) TO (%L)', 'day_' || to_char(now(), 'YYYYMMDD'), current_date, current_date + 1); END $$;"
            }
        };
        let site =
            applied(&[kind], &[("1_days.sql", text), ("2_next.sql", "CREATE TABLE a (n INTEGER);")]).await;
        let tables = site.tenant().tables().await;
        assert!(tables.keys().any(|name| name.starts_with("day_20")), "{kind:?} {tables:?}");
    }
}
