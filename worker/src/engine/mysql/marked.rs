//! Migrations of MySQL and MariaDB without a record of their own beside the history.
//!
//! Statements that one transaction can hold run in it together with what the history says of them. Those that commit by
//! themselves are told by their traces: before the first of a stretch begins, none of the stretch is to be seen in the
//! database, and the mark says so with its tally. After a crash what is to be seen is done, and the rest is not. The
//! tenant's lock keeps other programs of ours out meanwhile, but not a person who makes, by hand and at that moment, the very
//! object that the migration is about to make: after a crash that is taken for the migration's own.
//!
//! A message is the look for a stretch, which fails where any of it is to be seen and all behind it with it; the record of
//! the migration before; the mark; and the statements of the stretch. So where a message was cut off is known from how many
//! of its results came, and after a crash from the mark and the traces, as if each had been sent by itself.
//!
//! | left | by | the next attempt |
//! |---|---|---|
//! | no mark | an error, nothing being done; a crash before | begins anew |
//! | mark with a tally | a crash, a lost connection | asks for the traces, writes the record of `steps`, goes on there |
//! | mark and record | an error later | goes on there |
//!
//! Whatever else leaves a migration half done goes by `steps`.

mod pieces;
mod sent;

use std::iter::once;

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Tally,
    place::Engine,
    plan::Progress,
    statement::Unit,
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
    let watch = Stopwatch::start();
    let mut walk = Walk { session, change, opening: None, marked: false, done: 0, ended: false, watch };
    let ended = match walk.worked(units, &pieces).await {
        Ok(true) => walk.end().await,
        Ok(false) if !walk.marked => return None,
        Ok(false) => return Some(walk.goes_on_recorded(units).await),
        Err(failure) => Err(failure),
    };
    Some(match ended {
        Err(failure) => Err(walk.stopped(failure, units).await),
        ended => ended,
    })
}

/// What a migration that begins with what commits by itself has before its first statement.
struct Opening {
    /// Makes the history.
    create: Option<String>,
    /// Fails where something of the first stretch is there.
    guard: Option<String>,
    /// Its mark, with the record of the migration before.
    mark: String,
}

struct Walk<'s, 'c> {
    session: &'s mut MySqlSession,
    change: &'c Change<'c>,
    /// What must be done before its first statement.
    opening: Option<Opening>,
    /// Whether the history has the mark.
    marked: bool,
    /// How many statements are done.
    done: u32,
    /// Whether its record is written.
    ended: bool,
    watch: Stopwatch,
}

impl Walk<'_, '_> {
    /// False: it cannot go on so.
    async fn worked(&mut self, units: &[Unit], pieces: &[Piece<'_>]) -> Result<bool, Failure> {
        if !self.open(pieces).await? {
            return Ok(false);
        }
        self.session.runs(units);
        for (at, piece) in pieces.iter().enumerate() {
            if !self.piece(piece, &pieces[at + 1..]).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the history, and the mark if it begins with what commits by itself: with its first statement, where that is the
    /// very next. False: something of it is there.
    async fn open(&mut self, pieces: &[Piece<'_>]) -> Result<bool, Failure> {
        let made = self.session.made.as_ref() == Some(&self.change.create);
        let create = (!made).then(|| self.change.create.clone());
        let first = pieces.iter().find(|piece| !matches!(piece, Piece::Settings(_)));
        if let Some(Piece::Stretch(steps)) = first {
            let mark = self.mark(0, steps.last().map_or(0, |step| step.number));
            let unended = self.session.unended.as_ref();
            let mark =
                unended.map_or(mark.clone(), |end| format!("START TRANSACTION; {end}; {mark}; COMMIT"));
            self.opening = Some(Opening { create, guard: self.session.guard(&traces(steps)), mark });
            return if matches!(pieces.first(), Some(Piece::Stretch(_))) {
                Ok(true)
            } else {
                self.sent(&[]).await
            };
        }
        if let Some(create) = create {
            let created = self.session.execute(&create).await;
            created.map_err(|failure| unrecorded(failure, self.change))?;
            self.session.made = Some(create);
        }
        Ok(true)
    }

    /// False: it cannot go on so.
    async fn piece(&mut self, piece: &Piece<'_>, rest: &[Piece<'_>]) -> Result<bool, Failure> {
        let next = rest.iter().find(|piece| !matches!(piece, Piece::Settings(_)));
        match piece {
            Piece::Settings(unit) => {
                for statement in &unit.statements {
                    self.send(&[], &[(unit.first, statement)]).await.failed.map_or(Ok(()), Err)?;
                }
                Ok(true)
            }
            Piece::Data(unit) => self.data(unit, next, rest.is_empty()).await,
            Piece::Stretch(steps) => {
                if !self.stretch(steps).await? {
                    return Ok(false);
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
        let begin: Vec<String> =
            once("START TRANSACTION".to_owned()).chain(self.session.unended.clone()).collect();
        let mut begin: Vec<&str> = begin.iter().map(String::as_str).collect();
        for numbered in (unit.first..).zip(&unit.statements) {
            let sent = self.send(&std::mem::take(&mut begin), &[numbered]).await;
            sent.failed.map_or(Ok(()), Err)?;
        }
        let next = match next {
            Some(Piece::Stretch(steps)) => Some(steps.as_slice()),
            _ => None,
        };
        let unseen = if is_last {
            self.ended = true;
            self.session.doing.statement(None);
            let record = (self.change.record)(self.watch.elapsed(), self.marked);
            let recorded = self.session.execute_last(&[&record, "COMMIT"]).await;
            recorded.map_err(|failure| unrecorded(failure, self.change))?;
            true
        } else {
            let unseen = self.reach(behind(unit), next).await?;
            let committed = self.session.execute("COMMIT").await;
            committed.map_err(|failure| placed(failure, self.change.script.line, behind(unit), None))?;
            unseen
        };
        self.session.unended = None;
        (self.done, self.marked) = (behind(unit), true);
        Ok(unseen)
    }

    /// Says how many statements are done, and that nothing of the next ones is there: false if something is.
    async fn reach(&mut self, done: u32, next: Option<&[Step<'_>]>) -> Result<bool, Failure> {
        let unseen = match next {
            Some(steps) => self.session.unseen(&traces(steps)).await?,
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
        let recorded = self.session.execute_last(&[&record]).await;
        recorded.map_err(|failure| unrecorded(failure, self.change))
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
