//! The histories in one file.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tenantry_shared::{
    failure::Failure,
    place::{Engine, Place},
    registry::Access,
    site::Row,
};

use super::{failed, texts};
use crate::engine::{
    PROGRESS_TABLE,
    heads::{Heads, Table, answers},
    in_time,
};

/// A file that somebody writes to for longer is left for later.
const BUSY: Duration = Duration::from_millis(200);

/// An SQLite file.
pub(crate) struct FileHeads(SqliteConnection);

impl Heads for FileHeads {
    async fn open(access: &Access, limit: Duration) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::from_str(access.url.expose()).map_err(|e| failed(&e))?;
        let options = options.create_if_missing(false).busy_timeout(BUSY).disable_statement_logging();
        let connect = async { SqliteConnection::connect_with(&options).await.map_err(|e| failed(&e)) };
        Ok(Self(in_time(limit, connect).await?))
    }

    async fn whole(&mut self, _: &Place, tables: &[Table]) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        let mut sql = format!("SELECT name FROM sqlite_master WHERE name = '{PROGRESS_TABLE}'");
        for table in tables {
            sql += "; ";
            sql += &table.select(Engine::Sqlite, None);
        }
        let results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.0);
        let mut rows = answers(results, texts).await.map_err(|e| failed(&e))?;
        if rows.len() != tables.len() + 1 || !rows.remove(0).is_empty() {
            return Ok(None);
        }
        Ok(Some(rows))
    }

    async fn close(self) {
        // The file is read only here: nothing is lost when this fails.
        let _ = self.0.close().await;
    }
}
