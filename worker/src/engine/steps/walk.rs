//! The walk through a migration's units, from its record and mark to its history row.

use std::time::Duration;

use tenantry_shared::{
    failure::{Class, Failure},
    plan::Progress,
    statement::{Statement, Unit},
};

use super::{
    Stepwise, UNANSWERED, behind, fingerprints, placed,
    row::{DOUBT, PROGRESS_TABLE, Row, SURE, TRACELESS},
    with_what_stays,
};
use crate::engine::{Change, OWN_HISTORY, unrecorded};

/// A migration on its way.
pub(super) struct Walk<'s, S> {
    session: &'s mut S,
    sql: Row,
    /// The fingerprint of every statement, by its number less one.
    fingerprints: Vec<String>,
    done: u32,
    /// Whether an earlier attempt got somewhere.
    resumed: bool,
    first_line: u32,
}

impl<'s, S: Stepwise> Walk<'s, S> {
    pub(super) fn new(
        session: &'s mut S,
        change: &Change<'_>,
        units: &[Unit],
        known: Option<&Progress>,
    ) -> Result<Self, Failure> {
        let site = session.site(PROGRESS_TABLE);
        let fingerprints = fingerprints(units, site.engine);
        let progress = known.unwrap_or(&change.progress).clone();
        let done = progress.done;
        let differing = progress
            .fingerprints
            .iter()
            .take(done as usize)
            .enumerate()
            .find(|(at, print)| fingerprints.get(*at) != Some(print));
        if let Some((at, _)) = differing {
            return Err(changed_underneath(at + 1, done));
        }
        Ok(Self {
            session,
            sql: Row { site, progress },
            fingerprints,
            done,
            resumed: known.is_some(),
            first_line: change.script.line,
        })
    }

    /// Writes the row and the mark, or the mark anew: the script may have been mended since.
    pub(super) async fn begin(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let mark = change.begin.clone().unwrap_or_default();
        let unmark = if change.begin.is_some() { change.unmark.as_str() } else { "" };
        self.session.execute(S::BEGIN).await?;
        if self.resumed {
            self.still_ours().await?;
            self.all(&[unmark, &mark, "COMMIT"]).await
        } else {
            self.session.first(change).await?;
            let (create, insert) = (self.sql.create_table(), self.sql.insert());
            self.all(&[&change.create, &create, &insert, &mark, "COMMIT"])
                .await
                .map_err(|failure| unrecorded(failure, change))
        }
    }

    /// On MySQL taking the table away commits what is before it.
    pub(super) async fn end(&mut self, change: &Change<'_>, took: Duration) -> Result<(), Failure> {
        let record = (change.record)(took, change.begin.is_some());
        self.session.doing().statement(None);
        self.session.execute(S::BEGIN).await?;
        self.still_ours().await?;
        let recorded = self.session.execute(&record).await.map_err(|failure| unrecorded(failure, change));
        match recorded {
            // The history has it, so nothing is left to be gone on with.
            Err(failure) if failure.code == OWN_HISTORY => {
                self.all(&["ROLLBACK", S::BEGIN, &self.sql.forget(), &self.sql.drop_table(), "COMMIT"])
                    .await?;
                return Err(failure);
            }
            recorded => recorded?,
        };
        self.all(&[&self.sql.forget()]).await?;
        self.session.last(change).await?;
        self.all(&[&self.sql.drop_table(), "COMMIT"]).await
    }

    pub(super) async fn unit(&mut self, unit: &Unit) -> Result<(), Failure> {
        let behind = behind(unit);
        if unit.session {
            self.settings(unit).await
        } else if behind <= self.done {
            Ok(())
        } else if unit.atomic {
            self.atomic(unit, behind).await
        } else {
            self.alone(unit, behind).await
        }
    }

    /// In one transaction with the record of it.
    async fn atomic(&mut self, unit: &Unit, behind: u32) -> Result<(), Failure> {
        self.session.execute(S::BEGIN).await?;
        self.still_ours().await?;
        for (at, statement) in (unit.first..).zip(&unit.statements) {
            if at > self.done {
                self.statement(at, statement).await?;
            }
        }
        self.advance(behind).await?;
        self.session.execute("COMMIT").await.map_err(|failure| self.of(behind, None, failure))?;
        self.done = self.done.max(behind);
        Ok(())
    }

    /// Settings are gone with their session: they are made whenever the migration goes on, and are not recorded.
    async fn settings(&mut self, unit: &Unit) -> Result<(), Failure> {
        for statement in &unit.statements {
            self.statement(unit.first, statement).await?;
        }
        Ok(())
    }

    /// What cannot be rolled back: that it was begun is known before it begins.
    async fn alone(&mut self, unit: &Unit, behind: u32) -> Result<(), Failure> {
        for (at, statement) in (unit.first..).zip(&unit.statements) {
            let cleared = self.session.clear(&statement.text).await;
            cleared.map_err(|failure| self.of(at, Some(statement), failure))?;
            // What it makes may be there already: then it fails, and its trace would be taken for its own.
            let there = self.session.is_done(&statement.text).await? == Some(true);
            let doubt = if there { TRACELESS } else { DOUBT };
            let doubt = self.sql.doubt(doubt, self.done, &self.fingerprints[..at as usize]);
            self.touches_our_row(&doubt).await?;
            if let Err(failure) = self.statement(at, statement).await {
                self.undoubt(statement, &failure).await;
                return Err(failure);
            }
        }
        self.advance(behind).await?;
        self.done = behind;
        Ok(())
    }

    /// A server that reports an error has not done the statement. What an index build leaves is cleared at once, so
    /// that nothing has to keep it up to date meanwhile; if not now, then before the next try.
    async fn undoubt(&mut self, statement: &Statement, failure: &Failure) {
        if UNANSWERED.contains(&failure.code.as_str()) {
            return;
        }
        let _ = self.session.clear(&statement.text).await;
        let undoubt = self.sql.doubt(SURE, self.done, &self.fingerprints[..self.done as usize]);
        let _ = self.session.execute(&undoubt).await;
    }

    async fn statement(&mut self, at: u32, statement: &Statement) -> Result<(), Failure> {
        self.session.doing().statement(Some(at));
        let ran = self.session.statement(&statement.text).await;
        ran.map_err(|failure| self.of(at, Some(statement), failure))
    }

    /// The guard sees whether somebody else has gone on with it.
    async fn advance(&mut self, done: u32) -> Result<(), Failure> {
        let sql = self.sql.advance(self.done, done, &self.fingerprints);
        self.touches_our_row(&sql).await
    }

    /// At the beginning of a transaction: nobody has gone on with the migration meanwhile, or ended it. SQLite has no lock
    /// that keeps others out between two transactions.
    async fn still_ours(&mut self) -> Result<(), Failure> {
        let sql = self.sql.hold(self.done);
        self.touches_our_row(&sql).await
    }

    async fn touches_our_row(&mut self, sql: &str) -> Result<(), Failure> {
        match self.session.execute(sql).await {
            Ok(1) => Ok(()),
            Err(failure) if !is_missing_table(&failure) => Err(failure),
            Ok(_) | Err(_) => {
                Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
            }
        }
    }

    async fn all(&mut self, statements: &[&str]) -> Result<(), Failure> {
        for sql in statements.iter().filter(|sql| !sql.is_empty()) {
            self.session.execute(sql).await?;
        }
        Ok(())
    }

    /// After an error. Where nothing is done, nothing is to be seen of it; else the next attempt goes on from here.
    pub(super) async fn stopped(&mut self, change: &Change<'_>, failure: Failure) -> Failure {
        let _ = self.session.execute("ROLLBACK").await;
        if self.done == 0 && !self.resumed {
            let unmark = if change.begin.is_some() { change.unmark.as_str() } else { "" };
            let (forget, drop_table) = (self.sql.forget(), self.sql.drop_table());
            // What stays for want of a connection is a row that says that nothing is done. One that says more is
            // somebody else's by now.
            if self.session.execute(S::BEGIN).await.is_ok() && self.still_ours().await.is_ok() {
                let _ = self.all(&[unmark, &forget, &drop_table, "COMMIT"]).await;
            }
            return failure;
        }
        with_what_stays(failure, self.done)
    }

    /// Says which statement it was, and where in its file.
    fn of(&self, number: u32, statement: Option<&Statement>, failure: Failure) -> Failure {
        placed(failure, self.first_line, number, statement)
    }
}

/// Whether a failure says that a table is not there: the row is gone with its table when a migration has ended.
fn is_missing_table(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "42P01" | "1146") || failure.message.starts_with("no such table")
}

fn changed_underneath(statement: usize, done: u32) -> Failure {
    let message = format!("statement {statement} is not what it was when it was done");
    let hint = format!(
        "statements 1 to {done} are done in this tenant: leave them as they were and change only what follows, or undo them by hand, then tell: tenantry repair --tenant ID --undone"
    );
    let failure = Failure::new(Class::Permanent, "resume", message).with_hint(hint);
    Failure { refused: true, ..failure }
}
