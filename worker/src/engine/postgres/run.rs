//! How a migration runs: in one transaction with its record, as one message where that can be, or statement by statement.

use sqlx::AssertSqlSafe;
use tenantry_shared::{failure::Failure, format::Script, place::Engine, statement::Course};

use super::{PostgresSession, line_of, message::Message};
use crate::engine::{Change, course_of, numbered, run_all, steps};

impl PostgresSession {
    pub(super) async fn run_change(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        match course_of(change, Engine::Postgres)? {
            Course::Whole { text } => self.run_in_transaction(change, text).await,
            Course::Steps(units) => {
                self.clean = false;
                let settings = self.settings.of_session();
                self.raw(format!("{settings}{}", change.preamble.unwrap_or_default())).await?;
                steps::run(self, change, &units).await?;
                self.unawaited = false;
                Ok(())
            }
        }
    }

    async fn run_in_transaction(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        if self.lent.is_some() {
            return self.run_lent(change, text).await;
        }
        // What a session begins with is what a migration begins with.
        let clean = std::mem::replace(&mut self.clean, false);
        let settings = if clean { String::new() } else { self.settings.of_session() };
        let there = self.there.contains(&change.select);
        let create = if there { "" } else { change.create.as_str() };
        match Message::of(change, &settings, create, &text) {
            Some(message) => self.send(change, &message).await?,
            None => self.send_in_parts(change, &settings, create, text).await?,
        }
        self.unawaited = change.more;
        // A script that names it may have taken it away.
        if change.script.text.contains(&change.progress.table) {
            self.there.clear();
        } else {
            self.there.insert(change.select.clone());
        }
        Ok(())
    }

    pub(super) async fn run_script(&mut self, script: &Script, text: String) -> Result<(), Failure> {
        let statements = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute_many(&mut self.connection);
        run_all(statements).await.map_err(|(statement, error)| {
            let line = line_of(&error, &text, 0).map(|line| script.line + line - 1);
            // The server reads the whole file before it runs any of it: only the line tells which statement it means.
            let statement = Some(statement).filter(|n| *n > 1 || line.is_none());
            numbered(Failure { statement, line, ..self.fail(&error) }, script, Engine::Postgres)
        })
    }
}
