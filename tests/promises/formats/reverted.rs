//! Going back in the histories of other tools.

use tenantry_shared::{
    failure::Failure,
    plan::mend::Mend,
    run::{ActionKind, Back},
};
use tenantry_tests::{TenantDb, fleet::Kind};

use tenantry_shared::version::Version;
use tenantry_worker::{
    mend::{self, Foreseen},
    revert::fixed,
};

use super::partner::{applied, done, history, order};
use crate::site::{KINDS, Site};

/// Three migrations of a format that has both sides in one file.
fn in_one(up: &str, down: &str) -> Vec<(String, String)> {
    let file =
        |table: &str| format!("{up}\nCREATE TABLE {table} (n INTEGER);\n{down}\nDROP TABLE {table};\n");
    ["1_a", "2_b", "3_c"].map(|stem| (format!("{stem}.sql"), file(&stem[2..]))).into()
}

fn in_two() -> Vec<(String, String)> {
    let up = |stem: &str| (format!("{stem}.up.sql"), format!("CREATE TABLE {} (n INTEGER);", &stem[2..]));
    let down = |stem: &str| (format!("{stem}.down.sql"), format!("DROP TABLE {};", &stem[2..]));
    ["1_a", "2_b", "3_c"].iter().flat_map(|stem| [up(stem), down(stem)]).collect()
}

/// The same with a directory each, and other names in it.
fn in_directories(up: &str, prefix: &str) -> Vec<(String, String)> {
    let name = |stem: &str, side: &str| format!("{prefix}{stem}/{side}");
    let moved = |(name_of, text): (String, String)| match name_of.split_once('.') {
        Some((stem, "up.sql")) => (name(stem, up), text),
        Some((stem, _)) => (name(stem, "down.sql"), text),
        None => (name_of, text),
    };
    in_two().into_iter().map(moved).collect()
}

/// The same as Flyway names them.
fn done_and_undone() -> Vec<(String, String)> {
    let moved = |(name, text): (String, String)| {
        let (number, rest) = name.split_once('_').expect("a name");
        let (table, side) = rest.split_once('.').expect("a side");
        (format!("{}{number}__{table}.sql", if side == "up.sql" { "V" } else { "U" }), text)
    };
    in_two().into_iter().map(moved).collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

fn rollback(back: Back) -> ActionKind {
    ActionKind::Rollback { back }
}

async fn tables(tenant: &TenantDb) -> Vec<String> {
    tenant.tables().await.into_keys().filter(|name| name.len() == 1).collect()
}

/// The names of the two newest migrations.
async fn trail(format: &str, files: &[(&str, &str)], tenant: &TenantDb) -> Vec<Version> {
    let (order, access) = order(rollback(Back::Steps(2)), format, files, tenant);
    fixed(&order, &access).await.expect("two migrations")
}

#[tokio::test]
async fn the_histories_of_other_tools_go_back_and_forth() {
    let formats = [
        ("golang-migrate", in_two()),
        ("goose", in_one("-- +goose Up", "-- +goose Down")),
        ("dbmate", in_one("-- migrate:up", "-- migrate:down")),
        ("diesel", in_directories("up.sql", "0000")),
        ("prisma", in_directories("migration.sql", "2024010100000")),
        ("flyway", done_and_undone()),
    ];
    for (format, files) in &formats {
        let (site, files) = (Site::new(&KINDS, 1).await, borrowed(files));
        for tenant in &site.fleet.tenants {
            let _ = applied(format, &files, tenant).await.expect("a migrated tenant");
            let newest = trail(format, &files, tenant).await;
            let steps = rollback(Back::Exactly(newest));
            let reverted = done(steps.clone(), format, &files, tenant).await.expect("a tenant at 1");
            assert_eq!(
                (reverted.len(), tables(tenant).await),
                (2, vec!["a".into()]),
                "{format} {}",
                tenant.id
            );
            assert!(done(steps, format, &files, tenant).await.expect("the same").is_empty());
            assert_eq!(
                applied(format, &files, tenant).await.expect("all").len(),
                2,
                "{format} {}",
                tenant.id
            );
            let all = done(rollback(Back::To(None)), format, &files, tenant).await.expect("nothing");
            assert_eq!((all.len(), tables(tenant).await.len()), (3, 0), "{format} {}", tenant.id);
            assert_eq!(
                applied(format, &files, tenant).await.expect("all").len(),
                3,
                "{format} {}",
                tenant.id
            );
        }
    }
}

/// The third migration's way back fails at its second statement.
fn failing(files: &[(String, String)], mended: bool) -> Vec<(String, String)> {
    let second = if mended { "DROP TABLE b2" } else { "DROP TABLE nowhere" };
    let down = |text: &str| text.replace("DROP TABLE c;", &format!("DROP TABLE c;\n{second};"));
    let up = |text: String| {
        text.replace("TABLE c (n INTEGER);", "TABLE c (n INTEGER); CREATE TABLE b2 (n INTEGER);")
    };
    files.iter().map(|(name, text)| (name.clone(), up(down(text)))).collect()
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.expect_err("a failure").code
}

#[tokio::test]
async fn what_is_half_reverted_is_known_in_histories_with_a_mark_and_in_those_without() {
    for (format, files, table, columns, half, gone) in [
        (
            "golang-migrate",
            in_two(),
            "schema_migrations",
            &["version", "dirty"][..],
            &["3|1"][..],
            &["2|0"][..],
        ),
        (
            "flyway",
            done_and_undone(),
            "flyway_schema_history",
            &["version", "type", "success"],
            &["1|SQL|1", "2|SQL|1", "3|DELETE|1", "3|SQL|0", "3|SQL|1"],
            // The mark was made anew meanwhile.
            &["1|SQL|1", "2|SQL|1", "3|DELETE|1", "3|DELETE|1", "3|SQL|1", "3|SQL|1"],
        ),
        (
            "goose",
            in_one("-- +goose Up", "-- +goose Down"),
            "goose_db_version",
            &["version_id"],
            &["0", "1", "2", "3"],
            &["0", "1", "2"],
        ),
    ] {
        let (site, broken, mended) =
            (Site::new(&[Kind::MariaDb], 1).await, failing(&files, false), failing(&files, true));
        let (tenant, broken, mended) = (site.tenant(), borrowed(&broken), borrowed(&mended));
        let _ = applied(format, &broken, tenant).await.expect("a migrated tenant");
        let back = rollback(Back::Exactly(vec!["3".into()]));
        let failure = done(back.clone(), format, &broken, tenant).await.expect_err("a failing down");
        assert_eq!((failure.code.as_str(), failure.statement), ("1051", Some(2)), "{failure:?}");
        assert_eq!(sorted(history(tenant, table, columns).await), half, "{format}");
        assert_eq!(code(applied(format, &mended, tenant).await), "half-reverted", "{format}");
        assert_eq!(done(back, format, &mended, tenant).await.expect("a tenant at 2").len(), 1);
        assert_eq!(sorted(history(tenant, table, columns).await), gone, "{format}");
        assert!(!tenant.tables().await.contains_key("b2"), "{format}");
        assert_eq!(applied(format, &mended, tenant).await.expect("all").len(), 1, "{format}");
    }
}

#[tokio::test]
async fn what_is_half_applied_is_not_taken_for_nothing_to_revert() {
    let site = Site::new(&[Kind::MariaDb], 1).await;
    let half = "-- +goose Up\nCREATE TABLE a (n INTEGER);\nINSERT INTO nowhere VALUES (1);\n-- +goose Down\nDROP TABLE a;\n";
    let files = [("1_a.sql", half)];
    assert_eq!(code(applied("goose", &files, site.tenant()).await), "1146");
    for back in [Back::To(None), Back::To(Some("1".into()))] {
        assert_eq!(code(done(rollback(back), "goose", &files, site.tenant()).await), "dirty");
    }
    assert_eq!(code(done(ActionKind::Baseline, "goose", &files, site.tenant()).await), "dirty");
}

#[tokio::test]
async fn tenants_of_other_tools_are_taken_over_as_they_are() {
    for (format, files, table, columns, known) in [
        ("golang-migrate", in_two(), "schema_migrations", &["version", "dirty"][..], &["2|0"][..]),
        (
            "dbmate",
            in_one("-- migrate:up", "-- migrate:down"),
            "schema_migrations",
            &["version"],
            &["1", "2"],
        ),
    ] {
        let (site, files) = (Site::new(&[Kind::MariaDb], 1).await, borrowed(&files));
        let tenant = site.tenant();
        tenant.execute("CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)").await;
        // It is recorded up to the newest of the files.
        let some: Vec<_> = files.iter().copied().filter(|(name, _)| !name.starts_with('3')).collect();
        assert_eq!(done(ActionKind::Baseline, format, &some, tenant).await.expect("a baseline").len(), 2);
        assert_eq!(history(tenant, table, columns).await, known, "{format}");
        assert_eq!(applied(format, &files, tenant).await.expect("the rest").len(), 1, "{format}");
    }
}

#[tokio::test]
async fn what_may_run_again_does_when_nothing_else_is_left() {
    for kind in KINDS {
        let site = Site::new(&[kind], 1).await;
        let seed = [("1_seed.sql", "CREATE TABLE IF NOT EXISTS a (n INTEGER); INSERT INTO a VALUES (1);")];
        let tenant = site.tenant();
        assert_eq!(applied("repeatable", &seed, tenant).await.expect("seeds").len(), 1);
        assert!(applied("repeatable", &seed, tenant).await.expect("the same").is_empty());
        assert!(
            done(rollback(Back::To(None)), "repeatable", &seed, tenant).await.expect("nothing").is_empty()
        );
        assert_eq!(applied("repeatable", &seed, tenant).await.expect("seeds again").len(), 1, "{kind:?}");
        assert_eq!(tenant.number("SELECT count(*) FROM a").await, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_changed_file_is_accepted_in_the_histories_of_other_tools() {
    for (format, name, columns) in [
        ("flyway", "V1__a.sql", &["version", "type"][..]),
        ("prisma", "20240101000001_a/migration.sql", &["migration_name"]),
        ("repeatable", "1_a.sql", &["name"]),
    ] {
        let site = Site::new(&[Kind::PostgresDatabase], 1).await;
        let tenant = site.tenant();
        let _ = applied(format, &[(name, "SELECT 1;")], tenant).await.expect("a migrated tenant");
        let changed = [(name, "SELECT 2;")];
        let (order, access) = order(ActionKind::Apply, format, &changed, tenant);
        let foreseen = mend::foresee(&order, &access, &Mend::Checksums).await.expect("a look");
        if format == "repeatable" {
            assert_eq!(foreseen, Foreseen::Nothing("every file is what was applied".into()));
            continue;
        }
        assert_eq!(code(applied(format, &changed, tenant).await), "checksum", "{format}");
        let Foreseen::Edits(edits) = foreseen else { panic!("{foreseen:?}") };
        mend::apply(&order, &access, &Mend::Checksums, &edits).await.expect("a mended history");
        assert!(applied(format, &changed, tenant).await.expect("nothing to do").is_empty(), "{format}");
        let table = if format == "flyway" { "flyway_schema_history" } else { "_prisma_migrations" };
        let rows = history(tenant, table, columns).await;
        assert_eq!(rows.len(), if format == "flyway" { 1 } else { 2 }, "{rows:?}");
    }
}
