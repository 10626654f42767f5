//! Several questions in one message. A server answers them one after the other, up to the first that it refuses.

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Column as _, Either, Row as _, mysql::MySqlRow};
use tenantry_shared::{failure::Failure, place::Engine, site::Row, statement::split};

use super::{MySqlSession, NO_SUCH_TABLE, opened::Who};

/// What a server calls the text that `SHOW CREATE TABLE` gives.
const WRITTEN: &str = "Create Table";

impl MySqlSession {
    /// The rows of each of these statements, up to the first one that failed, and what that failed with.
    pub(super) async fn asked<T: AsRef<str>>(
        &mut self,
        statements: &[T],
    ) -> Result<(Vec<Vec<Row>>, Option<Failure>), Failure> {
        let message = statements.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(";\n");
        let mut answers = vec![Vec::new()];
        let mut failed = None;
        {
            let mut results = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(&mut self.connection);
            while let Some(result) = results.next().await {
                match result {
                    Ok(Either::Left(_)) => answers.push(Vec::new()),
                    Ok(Either::Right(row)) => {
                        if self.number.is_none()
                            && let Some(who) = Who::of(&row)
                        {
                            self.number = Some(who.number);
                            (self.is_maria, self.sees_triggers) = (who.is_maria, who.sees_triggers);
                            self.stopper.arm(self.options.clone(), who.number);
                            self.doing.session(self.number);
                        }
                        if let Some(rows) = answers.last_mut() {
                            rows.push(row);
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
        }
        let _ = answers.pop();
        let read = |rows: Vec<MySqlRow>| rows.iter().map(texts).collect::<Result<Vec<Row>, _>>();
        let answers: Result<_, _> = answers.into_iter().map(read).collect();
        Ok((answers.map_err(|e| self.fail(&e))?, failed.map(|error| self.fail(&error))))
    }

    /// The same, where none may fail.
    pub(super) async fn all<T: AsRef<str>>(&mut self, statements: &[T]) -> Result<Vec<Vec<Row>>, Failure> {
        match self.asked(statements).await? {
            (answers, None) => Ok(answers),
            (_, Some(failed)) => Err(failed),
        }
    }

    /// What the first of these selections read, up to the first one whose table is not there.
    pub(super) async fn answers(&mut self, selects: &[&str]) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        let (answers, failed) = self.asked(selects).await?;
        let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
        match failed {
            None => {}
            Some(failed) if failed.code == NO_SUCH_TABLE => answers.push(None),
            Some(failed) => return Err(failed),
        }
        Ok(answers)
    }
}

/// How many results SQL of ours has.
pub(super) fn results(sql: &str) -> usize {
    if sql.contains(';') { split(sql, Engine::MySql).map_or(1, |statements| statements.len()) } else { 1 }
}

/// The columns of a row. What a table is written down as may have bytes in it that are no text: that is not read.
pub(super) fn texts(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    let text = |at: usize| match row.try_get(at) {
        Err(sqlx::Error::ColumnDecode { .. }) if row.column(at).name() == WRITTEN => Ok(None),
        read => read,
    };
    (0..row.len()).map(text).collect()
}
