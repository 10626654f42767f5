//! Counting what is applied, by other code than what has applied it.

use std::{
    path::Path,
    time::{Duration, Instant, UNIX_EPOCH},
};

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _, SqliteConnection};

use crate::{
    fleet,
    places::{Kind, Places},
};

/// How many tenants one look covers, where it can.
const TOGETHER: usize = 50;

/// How many tenants are looked at at once, where each has to be connected to.
const AT_ONCE: usize = 8;

/// How long a session may take to end that has been closed, and how often it is looked for.
const END_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Counts the rows of a table of all tenants.
pub async fn rows(places: &Places, table: &str) -> usize {
    match places.kind {
        Kind::Schemas | Kind::Mariadb => together(places, table).await,
        Kind::Databases | Kind::Sqlite => one_by_one(places, table).await,
    }
}

/// How much has been written to tenants so far, in some measure: where all only read, it stays as it is.
pub async fn writes(places: &Places) -> u64 {
    match places.kind {
        Kind::Schemas | Kind::Databases => rows_written(places).await,
        Kind::Mariadb => rows_handled(places).await,
        Kind::Sqlite => (0..places.count).map(|at| changed(&places.file(at))).sum(),
    }
}

/// A session of PostgreSQL tells what it did when it ends.
async fn rows_written(places: &Places) -> u64 {
    let mut server = fleet::postgres(&places.at_server("postgres")).await;
    let tenants = format!("(datname = '{}' OR datname ~ '^t[0-9]{{5}}$')", places.database);
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE {tenants}");
    let until = Instant::now() + END_LIMIT;
    while one(&mut server, &sessions).await > 0 {
        assert!(Instant::now() < until, "sessions do not end");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let written = "sum(tup_inserted + tup_updated + tup_deleted)::BIGINT";
    one(&mut server, &format!("SELECT {written} FROM pg_stat_database WHERE {tenants}")).await
}

async fn one(server: &mut PgConnection, select: &str) -> u64 {
    let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(select)).fetch_one(server).await;
    u64::try_from(count.expect("a count")).expect("a count")
}

/// MariaDB counts it for the whole server; what is in temporary tables is counted apart.
async fn rows_handled(places: &Places) -> u64 {
    let mut server = MySqlConnection::connect(&places.at_server("mysql")).await.expect("mariadb");
    let counters =
        "SHOW GLOBAL STATUS WHERE variable_name IN ('handler_write', 'handler_update', 'handler_delete')";
    let rows = sqlx::raw_sql(counters).fetch_all(&mut server).await.expect("counters");
    rows.iter().map(|row| row.get::<String, _>(1).parse::<u64>().expect("a count")).sum()
}

/// When a file was changed last, in microseconds: the sum over all tenants fits.
fn changed(file: &Path) -> u64 {
    let changed = file.metadata().and_then(|found| found.modified()).expect("a file");
    let since = changed.duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(since.as_micros()).expect("microseconds")
}

/// Counts all of them by few statements.
async fn together(places: &Places, table: &str) -> usize {
    let starts = (0..places.count).step_by(TOGETHER);
    let selects = starts.map(|at| select(at..(at + TOGETHER).min(places.count), table));
    let mut counts = Vec::new();
    if places.kind == Kind::Schemas {
        let mut server = fleet::postgres(&places.url(0)).await;
        for select in selects {
            let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(&mut server).await;
            counts.extend(rows.expect("counts").iter().map(|row| row.get::<i64, _>(0)));
        }
    } else {
        let mut server = MySqlConnection::connect(&places.at_server("mysql")).await.expect("mariadb");
        for select in selects {
            let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(&mut server).await;
            counts.extend(rows.expect("counts").iter().map(|row| row.get::<i64, _>(0)));
        }
    }
    usize::try_from(counts.iter().sum::<i64>()).expect("a count")
}

fn select(tenants: std::ops::Range<usize>, table: &str) -> String {
    let one = |at| format!("SELECT count(*) FROM {}.{table}", Places::name(at));
    tenants.map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

async fn one_by_one(places: &Places, table: &str) -> usize {
    let one = |at: usize| async move {
        let select = AssertSqlSafe(format!("SELECT * FROM {table}"));
        let read = sqlx::raw_sql(select);
        let rows = if places.kind == Kind::Databases {
            let mut tenant = fleet::postgres(&places.url(at)).await;
            read.fetch_all(&mut tenant).await.map(|rows| rows.len())
        } else {
            let mut tenant = SqliteConnection::connect(&places.url(at)).await.expect("sqlite");
            read.fetch_all(&mut tenant).await.map(|rows| rows.len())
        };
        rows.unwrap_or_else(|error| panic!("{table} of tenant {at}: {error}"))
    };
    let all = stream::iter(0..places.count).map(one).buffer_unordered(AT_ONCE);
    all.fold(0, |sum, rows| async move { sum + rows }).await
}
