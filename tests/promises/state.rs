//! What a home holds, to prove that a refused call changed nothing: the rows of its SQLite registry, and its files.

use std::{fmt::Write as _, path::Path};

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use tenantry_tests::Home;

/// Tables whose rows only change when something is done.
const TABLES: [&str; 11] = [
    "servers",
    "tenants",
    "tenant_labels",
    "bundles",
    "bundle_files",
    "runs",
    "targets",
    "attempts",
    "events",
    "counters",
    "held",
];

/// Every row of the registry, where there is one, and every file with its size.
pub(crate) async fn of(home: &Home) -> String {
    let mut text = String::new();
    files(home.path(), &mut text);
    if !home.path().join(".tenantry/registry.db").exists() {
        return text;
    }
    let url = format!("sqlite:{}", home.path().join(".tenantry/registry.db").display());
    let mut registry = SqliteConnection::connect(&url).await.expect("the registry");
    for table in TABLES {
        let columns =
            format!("SELECT group_concat('quote(' || name || ')', ' || ') FROM pragma_table_info('{table}')");
        let columns: String = row(&mut registry, &columns).await;
        let rows = format!(
            "SELECT group_concat(line, char(10)) FROM (SELECT {columns} AS line FROM {table} ORDER BY 1)"
        );
        let rows: Option<String> = row(&mut registry, &rows).await;
        let _ = writeln!(text, "{table}:\n{}", rows.unwrap_or_default());
    }
    registry.close().await.expect("close");
    text
}

async fn row<T>(registry: &mut SqliteConnection, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(registry).await.expect(sql).get(0)
}

fn files(dir: &Path, text: &mut String) {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, text);
        } else if !path.display().to_string().contains("registry.db") {
            let size = path.metadata().expect("a file").len();
            let _ = writeln!(text, "{} {size}", path.display());
        }
    }
}
