//! The histories in one file.

use std::time::Duration;

use tenantry_shared::{
    failure::Failure,
    place::{Engine, Place},
    registry::Access,
    site::Row,
};

use super::{SqliteSession, file::File};
use crate::engine::{
    Limits, PROGRESS_TABLE,
    heads::{Heads, Table},
};

/// A file that somebody writes to for longer is left for later.
const BUSY: Duration = Duration::from_millis(200);

/// An SQLite file, which is opened, read and closed in one call.
pub(crate) struct FileHeads(SqliteSession);

impl Heads for FileHeads {
    async fn open(access: &Access, limit: Duration) -> Result<Self, Failure> {
        let limits = Limits { connect: limit, lock: BUSY, statement: None };
        Ok(Self(SqliteSession::at(access.url.expose(), limits)?))
    }

    async fn whole(&mut self, _: &Place, tables: &[Table]) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        let selects: Vec<String> = tables.iter().map(|table| table.select(Engine::Sqlite, None)).collect();
        self.0.at_last_with(move |file| file.heads(&selects)).await?
    }

    async fn close(self) {
        self.0.leave().await;
    }
}

impl File {
    /// Reads histories, unless one of them is not there or something is half done.
    fn heads(&mut self, selects: &[String]) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        let progress = format!("SELECT name FROM sqlite_master WHERE name = '{PROGRESS_TABLE}'");
        self.at_one_moment(|file| {
            if file.rows(&progress)?.is_none_or(|rows| !rows.is_empty()) {
                return Ok(None);
            }
            selects.iter().map(|select| file.rows(select)).collect()
        })
    }
}
