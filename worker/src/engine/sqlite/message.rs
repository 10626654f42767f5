//! What is said to SQLite in one message. It runs in a thread of its own, and each message costs two switches of threads,
//! which is more than most statements of ours.

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Either};
use tenantry_shared::{failure::Failure, site::Row};

use super::{ENDS, READS, SqliteSession, WRITES, catalog::CATALOG, fail, texts};
use crate::engine::{Ahead, Asks, Select, doing::Lock, steps::Stepwise as _};

/// What was read right after a migration, each to be given once.
#[derive(Default)]
pub(super) struct After {
    selects: Vec<Select>,
    rows: Option<Vec<Option<Vec<Row>>>>,
    histories: Vec<String>,
    catalog: Option<Vec<Row>>,
}

impl After {
    /// Of what was read ahead, all of it, or nothing.
    fn of(ahead: Ahead, mut rows: Vec<Vec<Row>>) -> Self {
        let Ahead { selects, catalog } = ahead;
        let wanted = selects.len() + usize::from(catalog.is_some());
        // The first are those of the mark.
        if rows.len() != wanted + 1 {
            return Self::default();
        }
        let read_catalog = catalog.as_ref().and_then(|_| rows.pop());
        let rows = Some(rows.into_iter().skip(1).map(Some).collect());
        Self { selects, rows, histories: catalog.unwrap_or_default(), catalog: read_catalog }
    }

    pub(super) fn rows_of(&mut self, selects: &[Select]) -> Option<Vec<Option<Vec<Row>>>> {
        self.rows.take().filter(|_| self.selects == selects)
    }

    pub(super) fn catalog_without(&mut self, histories: &[&str]) -> Option<Vec<Row>> {
        self.catalog.take().filter(|_| self.histories == histories)
    }
}

/// Says that the transaction has ended, in what no history holds.
const SAY_ENDED: &str = "SELECT 'ended' || char(10)";

fn has_ended(rows: &[Row]) -> bool {
    matches!(rows, [row] if matches!(row.as_slice(), [Some(text)] if text == "ended\n"))
}

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
    /// Then it reads what comes next; what of that cannot be read is read anew when it is asked for.
    pub(super) async fn end_change(
        &mut self,
        record: &str,
        select: &str,
        ahead: Option<Ahead>,
    ) -> Result<(), Failure> {
        let mut message = format!("{record}; {select}; COMMIT");
        if let Some(ahead) = &ahead {
            let catalog = ahead.catalog.as_ref().map(|_| CATALOG);
            let further = ahead.selects.iter().map(|select| select.sql.as_str()).chain(catalog);
            message =
                further.fold(format!("{message}; {SAY_ENDED}"), |message, sql| format!("{message}; {sql}"));
        }
        let Answer { mut ended, failed } = self.send(ENDS, message).await;
        let mark = ended.iter().rposition(|rows| has_ended(rows));
        let further = mark.map(|at| ended.split_off(at));
        match (failed, further) {
            (Some(error), None) => return Err(fail(&error)),
            (None, Some(further)) => self.after = After::of(ahead.unwrap_or_default(), further),
            _ => {}
        }
        ended.pop();
        self.seen.insert(select.to_owned(), ended.pop());
        Ok(())
    }

    /// What an attempt asks at its beginning. Where all that is needed is there, what is wanted of no table is left out.
    pub(super) async fn first_look(&mut self, asks: Asks) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let needed = asks.needed.len();
        self.look(&[asks.needed, asks.wanted].concat(), needed).await
    }

    /// Reads all of them. A table that is not there ends a message, and the rest is another one.
    pub(super) async fn look(
        &mut self,
        selects: &[Select],
        needed: usize,
    ) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let mut rows = vec![None; selects.len()];
        let mut left: Vec<usize> = (0..selects.len()).collect();
        left.sort_by_key(|&at| selects[at].table.is_none());
        while !left.is_empty() {
            let message: Vec<&str> = left.iter().map(|&at| selects[at].sql.as_str()).collect();
            let Answer { ended, failed } = self.send(READS, message.join("; ")).await;
            let absent = left.get(ended.len()).copied();
            for (at, found) in left.drain(..ended.len()).zip(ended) {
                rows[at] = Some(found);
            }
            match failed {
                None => break,
                Some(error) if is_no_table(&error) => left.retain(|at| Some(*at) != absent),
                Some(error) => return Err(fail(&error)),
            }
            let enough = rows[..needed].iter().all(Option::is_some);
            left.retain(|&at| !enough || selects[at].table.is_some());
            left.sort_by_key(|&at| selects[at].table.is_some());
        }
        self.seen.extend(selects.iter().map(|select| select.sql.clone()).zip(rows.iter().cloned()));
        Ok(rows)
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
