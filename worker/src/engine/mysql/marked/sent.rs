//! The messages of a migration that goes by its mark: what is ours in them, and the statements behind that.

use tenantry_shared::{failure::Failure, statement::Statement};

use super::{
    Walk,
    pieces::{Step, together},
};
use crate::engine::{
    mysql::{ask::results, traces::SEEN},
    steps::placed,
    unrecorded,
};

/// How far a message came.
pub(super) struct Sent {
    /// Whether what is ours in it is done.
    pub(super) begun: bool,
    /// How many of the statements behind that are.
    pub(super) done: usize,
    pub(super) failed: Option<Failure>,
}

impl Walk<'_, '_> {
    /// Statements that commit by themselves, in as few messages as they can be. False: something of them is there, and nothing
    /// was done.
    pub(super) async fn stretch(&mut self, steps: &[Step<'_>]) -> Result<bool, Failure> {
        let mut rest = steps;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(together(rest));
            if !self.sent(now).await? {
                return Ok(false);
            }
            rest = later;
        }
        Ok(true)
    }

    /// These in one message, with what must be done before the first of all.
    pub(super) async fn sent(&mut self, steps: &[Step<'_>]) -> Result<bool, Failure> {
        let opening = self.opening.take();
        let ours = opening.iter().flat_map(|o| [o.create.as_deref(), o.guard.as_deref(), Some(&o.mark)]);
        let ours: Vec<&str> = ours.flatten().collect();
        let statements: Vec<_> = steps.iter().map(|step| (step.number, step.statement)).collect();
        let sent = self.send(&ours, &statements).await;
        if sent.begun && opening.is_some() {
            self.session.made = Some(self.change.create.clone());
            self.session.unended = None;
            self.marked = true;
        }
        self.done = sent.done.checked_sub(1).map_or(self.done, |last| steps[last].number);
        match sent.failed {
            None => Ok(true),
            Some(failure) if sent.begun => Err(failure),
            Some(failure) if failure.code == SEEN => Ok(false),
            Some(failure) => Err(unrecorded(failure, self.change)),
        }
    }

    /// Sends SQL of ours, and statements of the migration behind it, as one message.
    pub(super) async fn send(&mut self, ours: &[&str], statements: &[(u32, &Statement)]) -> Sent {
        let message = ours.iter().copied().chain(statements.iter().map(|(_, statement)| &*statement.text));
        // A statement may end in a comment of its line.
        let message = message.collect::<Vec<_>>().join("\n;\n");
        let ours: usize = ours.iter().copied().map(results).sum();
        let doing = self.session.doing.clone();
        let come = |results: usize| {
            let next = results.checked_sub(ours).and_then(|at| statements.get(at));
            next.into_iter().for_each(|(number, _)| doing.statement(Some(*number)));
        };
        let (came, failed) = self.session.ran(message, ours, come).await;
        let ended = statements.len().saturating_sub(usize::from(failed.is_some()));
        let (begun, done) = (came >= ours, came.saturating_sub(ours).min(ended));
        let of = statements.get(done).filter(|_| begun);
        let placed = |failure| match of {
            Some((number, statement)) => placed(failure, self.change.script.line, *number, Some(statement)),
            None => failure,
        };
        Sent { begun, done, failed: failed.map(placed) }
    }
}
