//! Migrations of MySQL and MariaDB without a record of their own beside the history.
//!
//! Statements that one transaction can hold run in it together with what the history says of them. Those that commit by
//! themselves are told by their traces: before the first of a stretch begins, none of the stretch is to be seen in the
//! database, and the mark says so with its tally. After a crash what is to be seen is done, and the rest is not. The
//! tenant's lock keeps other programs of ours out meanwhile, but not a person who makes, by hand and at that moment, the very
//! object that the migration is about to make: after a crash that is taken for the migration's own.
//!
//! | left | by | the next attempt |
//! |---|---|---|
//! | no mark | an error, nothing being done; a crash before | begins anew |
//! | mark with a tally | a crash, a lost connection | asks for the traces, writes the record of `steps`, goes on there |
//! | mark and record | an error later | goes on there |
//!
//! Whatever else leaves a migration half done goes by `steps`.

mod pieces;

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Tally,
    place::Engine,
    plan::Progress,
    statement::{Statement, Trace, Unit},
};

use self::pieces::{Piece, Step, pieces, traces};
use super::MySqlSession;
use crate::engine::{
    Change, PROGRESS_TABLE, Session as _,
    steps::{self, Stepwise as _, UNANSWERED, behind, fingerprints, placed, with_what_stays},
    unrecorded, written_down,
};

/// Runs a migration that was not begun before. None: it is not to be run so, and nothing was done.
pub(super) async fn run(
    session: &mut MySqlSession,
    change: &Change<'_>,
    units: &[Unit],
) -> Option<Result<(), Failure>> {
    let pieces = pieces(units, change.counted.is_some())?;
    let mut walk = Walk { session, change, marked: false, done: 0, ended: false, watch: Stopwatch::start() };
    match walk.open(pieces.iter().find(|piece| !matches!(piece, Piece::Settings(_)))).await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(failure) => return Some(Err(walk.stopped(failure, units).await)),
    }
    for (at, piece) in pieces.iter().enumerate() {
        match walk.piece(piece, &pieces[at + 1..]).await {
            Ok(true) => {}
            Ok(false) => return Some(walk.goes_on_recorded(units).await),
            Err(failure) => return Some(Err(walk.stopped(failure, units).await)),
        }
    }
    Some(match walk.end().await {
        Err(failure) => Err(walk.stopped(failure, units).await),
        ended => ended,
    })
}

struct Walk<'s, 'c> {
    session: &'s mut MySqlSession,
    change: &'c Change<'c>,
    /// Whether the history has the mark.
    marked: bool,
    /// How many statements are done.
    done: u32,
    /// Whether its record is written.
    ended: bool,
    watch: Stopwatch,
}

impl Walk<'_, '_> {
    /// Makes the history, and the mark if it begins with what commits by itself. False: something of it is there.
    async fn open(&mut self, first: Option<&Piece<'_>>) -> Result<bool, Failure> {
        let create = Some(&self.change.create).filter(|create| self.session.made.as_ref() != Some(create));
        let Some(Piece::Stretch(steps)) = first else {
            return self.made(&[], create).await.map(|_| true);
        };
        if !self.made(&traces(steps), create).await? {
            return Ok(false);
        }
        let mark = self.mark(0, steps.last().map_or(0, |step| step.number));
        let ended =
            self.session.unended.as_ref().map(|end| format!("START TRANSACTION; {end}; {mark}; COMMIT"));
        let written = self.session.execute(ended.as_ref().unwrap_or(&mark)).await;
        written.map_err(|failure| unrecorded(failure, self.change))?;
        self.session.unended = None;
        self.marked = true;
        Ok(true)
    }

    /// Makes the history, and asks in the same message whether none of these is to be seen.
    async fn made(&mut self, traces: &[&Trace], create: Option<&String>) -> Result<bool, Failure> {
        let Some(create) = create else { return self.session.unseen(traces, None).await };
        let unseen = self.session.unseen(traces, Some(create)).await;
        let unseen = unseen.map_err(|failure| unrecorded(failure, self.change))?;
        self.session.made = Some(create.clone());
        Ok(unseen)
    }

    /// False: it cannot go on so.
    async fn piece(&mut self, piece: &Piece<'_>, rest: &[Piece<'_>]) -> Result<bool, Failure> {
        let next = rest.iter().find(|piece| !matches!(piece, Piece::Settings(_)));
        match piece {
            Piece::Settings(unit) => {
                for statement in &unit.statements {
                    self.statement(unit.first, statement).await?;
                }
                Ok(true)
            }
            Piece::Data(unit) => self.data(unit, next, rest.is_empty()).await,
            Piece::Stretch(steps) => {
                for step in steps {
                    self.statement(step.number, step.statement).await?;
                    self.done = step.number;
                }
                match next {
                    Some(Piece::Stretch(next)) => self.reach(self.done, Some(next)).await,
                    // The transaction has the next tally, and until then the traces tell.
                    Some(_) | None => Ok(true),
                }
            }
        }
    }

    /// In one transaction with the tally, or with the record of the whole migration.
    async fn data(&mut self, unit: &Unit, next: Option<&Piece<'_>>, is_last: bool) -> Result<bool, Failure> {
        let end = self.session.unended.clone().unwrap_or_default();
        self.session.execute(&format!("START TRANSACTION; {end}")).await?;
        for (number, statement) in (unit.first..).zip(&unit.statements) {
            self.statement(number, statement).await?;
        }
        let next = match next {
            Some(Piece::Stretch(steps)) => Some(steps.as_slice()),
            _ => None,
        };
        let unseen = if is_last {
            self.ended = true;
            self.session.doing.statement(None);
            let record = (self.change.record)(self.watch.elapsed(), self.marked);
            self.session.execute(&record).await.map_err(|failure| unrecorded(failure, self.change))?;
            true
        } else {
            self.reach(behind(unit), next).await?
        };
        let committed = if is_last {
            self.session.execute_last("COMMIT").await
        } else {
            self.session.execute("COMMIT").await.map(|_| ())
        };
        committed.map_err(|failure| placed(failure, self.change.script.line, behind(unit), None))?;
        self.session.unended = None;
        (self.done, self.marked) = (behind(unit), true);
        Ok(unseen)
    }

    /// Says how many statements are done, and that nothing of the next ones is there: false if something is.
    async fn reach(&mut self, done: u32, next: Option<&[Step<'_>]>) -> Result<bool, Failure> {
        let unseen = match next {
            Some(steps) => self.session.unseen(&traces(steps), None).await?,
            None => true,
        };
        let last = next.filter(|_| unseen).and_then(|steps| steps.last());
        let mark = self.mark(done, last.map_or(done, |step| step.number));
        match self.session.execute(&mark).await.map_err(|failure| unrecorded(failure, self.change))? {
            1 => Ok(unseen),
            _ => Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant")),
        }
    }

    fn mark(&self, done: u32, looked: u32) -> String {
        let counted = self.change.counted.as_ref().zip(Tally { done, looked }.number());
        counted.map(|(mark, number)| mark(number, self.marked)).unwrap_or_default()
    }

    /// The record of it, where its last piece has not written it.
    async fn end(&mut self) -> Result<(), Failure> {
        if self.ended {
            return Ok(());
        }
        self.session.doing.statement(None);
        let record = (self.change.record)(self.watch.elapsed(), self.marked);
        if self.marked && self.change.more && !self.session.stained {
            self.session.unended = Some(record);
            return Ok(());
        }
        self.session.finish().await?;
        let recorded = self.session.execute_last(&record).await;
        recorded.map_err(|failure| unrecorded(failure, self.change))
    }

    async fn statement(&mut self, number: u32, statement: &Statement) -> Result<(), Failure> {
        self.session.doing.statement(Some(number));
        let ran = self.session.statement(&statement.text).await;
        ran.map_err(|failure| placed(failure, self.change.script.line, number, Some(statement)))
    }

    /// After an error. Where nobody knows how a statement ended, the mark stays, and the database is asked later.
    async fn stopped(mut self, failure: Failure, units: &[Unit]) -> Failure {
        if UNANSWERED.contains(&failure.code.as_str()) {
            return with_what_stays(failure, self.done);
        }
        let _ = self.session.execute("ROLLBACK").await;
        let _ = self.session.finish().await;
        if self.done == 0 && self.marked {
            let _ = self.session.execute(&self.change.unmark).await;
        } else if self.done > 0 {
            let _ = self.keep(units).await;
        }
        with_what_stays(failure, self.done)
    }

    /// Goes on with a record for each statement.
    async fn goes_on_recorded(mut self, units: &[Unit]) -> Result<(), Failure> {
        let progress = self.keep(units).await?;
        let from = units.iter().position(|unit| unit.first > self.done).unwrap_or(units.len());
        steps::run_from(self.session, self.change, units, Some(&progress), from).await
    }

    /// Writes down how far it came, so that a file that is mended meanwhile goes on behind what is done.
    async fn keep(&mut self, units: &[Unit]) -> Result<Progress, Failure> {
        let fingerprints = fingerprints(units, Engine::MySql).into_iter().take(self.done as usize);
        let progress = Progress {
            done: self.done,
            fingerprints: fingerprints.collect(),
            ..self.change.progress.clone()
        };
        for sql in written_down(self.session.site(PROGRESS_TABLE), &progress) {
            self.session.execute(&sql).await?;
        }
        Ok(progress)
    }
}

impl MySqlSession {
    /// Writes the record of the migration before, if it is not written yet.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        if let Some(end) = self.unended.clone() {
            self.execute(&end).await?;
            self.unended = None;
        }
        Ok(())
    }
}
