//! Histories of many databases of a server.
//!
//! The rows themselves are read: MariaDB makes a table of its own for each part of a union that is folded, which takes it
//! twenty times as long.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use tenantry_shared::{
    failure::Failure,
    place::{Engine, Place},
    registry::Access,
    site::{Row, Site},
};

use super::{opened::options, texts};
use crate::engine::{
    PROGRESS_TABLE, failure,
    heads::{Heads, Seen, Table, Together, answers},
    in_time,
};

/// A connection to a MySQL or MariaDB server.
pub(crate) struct MyHeads {
    connection: MySqlConnection,
    /// Makes its settings, with what is asked first.
    settings: Option<String>,
    password: Option<String>,
}

impl Heads for MyHeads {
    async fn open(access: &Access, limit: Duration) -> Result<Self, Failure> {
        let password = access.url.password();
        let fail = |e: sqlx::Error| failure(&e, Engine::MySql, password.as_deref());
        let (options, more) = options(access).map_err(fail)?;
        let connect = async { MySqlConnection::connect_with(&options).await.map_err(fail) };
        let connection = in_time(limit, connect).await?;
        let settings = Some(format!("SET lock_wait_timeout = 1, wait_timeout = 15{more}"));
        Ok(Self { connection, settings, password })
    }

    async fn whole(&mut self, place: &Place, tables: &[Table]) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        if self.ready(&[place], tables).await? != [true] {
            return Ok(None);
        }
        let selects: Vec<_> =
            tables.iter().map(|table| table.select(Engine::MySql, Some(&place.database))).collect();
        let rows = self.ask(selects.join("; ")).await?;
        Ok(Some(rows).filter(|rows| rows.len() == tables.len()))
    }

    async fn close(self) {
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl Together for MyHeads {
    async fn read(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        _: Option<&[usize]>,
    ) -> Result<Vec<Option<Seen>>, Failure> {
        let ready = self.ready(places, tables).await?;
        let one = |table: &Table, at: usize, place: &Place| {
            numbered(at, &table.select(Engine::MySql, Some(&place.database)))
        };
        let union = |table: &Table| {
            let parts = places.iter().enumerate().map(|(at, place)| one(table, at, place));
            parts.collect::<Vec<_>>().join(" UNION ALL ")
        };
        let answers = self.ask(tables.iter().map(union).collect::<Vec<_>>().join("; ")).await?;
        let mut found: Vec<_> = ready.into_iter().map(|ready| ready.then(Vec::new)).collect();
        for rows in answers {
            for (found, rows) in found.iter_mut().zip(by_number(rows, places.len())) {
                match found {
                    Some(found) if !rows.is_empty() => found.push(rows),
                    _ => *found = None,
                }
            }
        }
        Ok(found.into_iter().map(|found| found.map(Seen::Rows)).collect())
    }
}

impl MyHeads {
    /// Of each tenant whether no migration of it is half done. What a history marks as begun is told by itself. Asking for a
    /// table in many databases makes MariaDB look for a file in each.
    async fn ready(&mut self, places: &[&Place], tables: &[Table]) -> Result<Vec<bool>, Failure> {
        if tables.iter().all(|table| table.marks) {
            return Ok(vec![true; places.len()]);
        }
        let site = Site { engine: Engine::MySql, schema: None, table: String::new() };
        let all: Vec<_> = places.iter().map(|place| site.text(&place.database)).collect();
        let sql = format!(
            "SELECT CAST(table_schema AS CHAR) FROM information_schema.tables WHERE table_name = '{PROGRESS_TABLE}' AND table_schema IN ({})",
            all.join(",")
        );
        let found: Vec<String> = self.ask(sql).await?.into_iter().flatten().flatten().flatten().collect();
        let is_half = |place: &&Place| found.iter().any(|name| name.eq_ignore_ascii_case(&place.database));
        Ok(places.iter().map(|place| !is_half(place)).collect())
    }

    /// The rows of each statement of a message.
    async fn ask(&mut self, sql: String) -> Result<Vec<Vec<Row>>, Failure> {
        let settings = self.settings.take();
        let sql = settings.iter().cloned().chain([sql]).collect::<Vec<_>>().join("; ");
        let results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        let fail = |e: sqlx::Error| failure(&e, Engine::MySql, self.password.as_deref());
        let mut answers = answers(results, texts).await.map_err(fail)?;
        Ok(answers.split_off(usize::from(settings.is_some())))
    }
}

/// A history with a number before each row. The order of a part of a union is kept only where it has a limit.
fn numbered(at: usize, select: &str) -> String {
    let select = select.replacen("SELECT ", &format!("SELECT '{at}', "), 1);
    match select.contains(" ORDER BY ") {
        true => format!("({select} LIMIT 18446744073709551615)"),
        false => select,
    }
}

/// The rows of each number, in their order.
fn by_number(rows: Vec<Row>, count: usize) -> Vec<Vec<Row>> {
    let mut found = vec![Vec::new(); count];
    for mut row in rows {
        let number = row.remove(0).and_then(|number| number.parse::<usize>().ok());
        if let Some(rows) = number.and_then(|number| found.get_mut(number)) {
            rows.push(row);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_in_an_order_keeps_it_among_others() {
        assert_eq!(numbered(3, "SELECT a FROM t"), "SELECT '3', a FROM t");
        let ordered = numbered(0, "SELECT a FROM t ORDER BY id");
        assert_eq!(ordered, "(SELECT '0', a FROM t ORDER BY id LIMIT 18446744073709551615)");
    }
}
