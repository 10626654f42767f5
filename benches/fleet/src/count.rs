//! Counting what is applied, by other code than what has applied it.

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, Row as _, SqliteConnection};

use crate::{
    fleet,
    places::{Kind, Places},
};

/// How many tenants one look covers, where it can.
const TOGETHER: usize = 50;

/// How many tenants are looked at at once, where each has to be connected to.
const AT_ONCE: usize = 8;

/// Counts the rows of a table of all tenants.
pub async fn rows(places: &Places, table: &str) -> usize {
    match places.kind {
        Kind::Schemas | Kind::Mariadb => together(places, table).await,
        Kind::Databases | Kind::Sqlite => one_by_one(places, table).await,
    }
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
