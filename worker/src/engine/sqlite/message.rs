//! What is said to SQLite in one message. It runs in a thread of its own, and each message costs two switches of threads,
//! which is more than most statements of ours.

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Either};
use tenantry_shared::{failure::Failure, site::Row};

use super::{ENDS, READS, SqliteSession, WRITES, fail, texts};
use crate::engine::{doing::Lock, steps::Stepwise as _};

/// What the statements of a message gave, up to the one that failed.
struct Answer {
    /// The rows of each statement that has ended.
    ended: Vec<Vec<Row>>,
    failed: Option<sqlx::Error>,
}

impl SqliteSession {
    /// Begins a transaction with the write lock. What the plan was made of must still be so.
    pub(super) async fn begin_change(&mut self, select: &str) -> Result<(), Failure> {
        let Answer { mut ended, failed } = self.send(WRITES, format!("{}; {select}", Self::BEGIN)).await;
        let began = !ended.is_empty();
        let now = match failed {
            None => ended.pop(),
            Some(error) if began && is_no_table(&error) => None,
            Some(error) => return Err(fail(&error)),
        };
        self.is_as_planned(select, &now)
    }

    /// Writes the record of a migration and ends its transaction. What the history is by then is what was seen of it.
    pub(super) async fn end_change(&mut self, record: &str, select: &str) -> Result<(), Failure> {
        let Answer { mut ended, failed } = self.send(ENDS, format!("{record}; {select}; COMMIT")).await;
        if let Some(error) = failed {
            return Err(fail(&error));
        }
        ended.pop();
        self.seen.insert(select.to_owned(), ended.pop());
        Ok(())
    }

    /// Reads rows of texts. None: the table is not there.
    pub(super) async fn rows(&mut self, select: &str) -> Result<Option<Vec<Row>>, Failure> {
        let Answer { mut ended, failed } = self.send(READS, select.to_owned()).await;
        match failed {
            None => Ok(Some(ended.pop().unwrap_or_default())),
            Some(error) if is_no_table(&error) => Ok(None),
            Some(error) => Err(fail(&error)),
        }
    }

    async fn send(&mut self, waits_for: &'static str, sql: String) -> Answer {
        self.doing.lock(Some(Lock::File(waits_for)));
        let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        let (mut ended, mut rows, mut failed) = (Vec::new(), Vec::new(), None);
        while let Some(result) = results.next().await {
            let read = match result {
                Ok(Either::Left(_)) => {
                    ended.push(std::mem::take(&mut rows));
                    continue;
                }
                Ok(Either::Right(row)) => texts(&row),
                Err(error) => Err(error),
            };
            match read {
                Ok(row) => rows.push(row),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(results);
        self.doing.lock(None);
        Answer { ended, failed }
    }
}

/// SQLite has no code of its own for it.
fn is_no_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.message().starts_with("no such table"))
}
