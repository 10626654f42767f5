//! Applying what is pending, and the proof that it was.

use std::time::Duration;

use tenantry_shared::{
    clock::Stopwatch,
    command::CommandSpec,
    failure::{Class, Failure},
    job::{Direction, Step},
    plan::{Applied, Pending},
    registry::Access,
};

use super::{Found, Trail, Way, Work};
use crate::{
    change,
    engine::{Ahead, Change, Seen, Session, command, selects},
    fingerprint::Surroundings,
};

/// How often a session that waits for a program says that it is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(4);

impl Work<'_> {
    /// Brings a tenant to the version, as far as one session can.
    pub(super) async fn done(
        &self,
        session: &mut impl Session,
        access: &Access,
        seen: Result<Seen, Failure>,
        trail: &mut Trail,
        surroundings: &mut Surroundings<'_>,
    ) -> Result<Way, Failure> {
        // A tenant that has nothing to do is read and left alone: no wait for its lock, no write.
        let before = self.found(session, seen, trail).await?;
        let begun = self.untold(session, &before);
        if self.pending(&before.histories, begun).is_ok_and(|pending| pending.is_empty()) {
            return Ok(Way::There);
        }

        let Found { histories, progress, tables, .. } = self.held(session, before, trail).await?;
        let pending = match self.allowed(session, &histories, progress.as_ref(), tables).await {
            Err(failure) if failure.refused => {
                return Err(self.confirmed(session, &histories, failure, trail).await);
            }
            allowed => allowed?,
        };
        surroundings.before(session).await;
        let alike =
            |a: &Pending<'_>, b: &Pending<'_>| a.chain.command.is_some() && std::ptr::eq(a.chain, b.chain);
        let mut left = pending.len();
        for together in pending.chunk_by(alike) {
            if session.is_stained() {
                return Ok(Way::Further);
            }
            left -= together.len();
            if left == 0 {
                let selects = selects(&session.site(""), &self.taken);
                let (catalog, left) = (surroundings.wanted(), trail.keeping.keeps());
                let alone = pending.iter().all(|pending| pending.chain.command.is_none());
                session.foresee(Ahead { selects, catalog, left, alone });
            }
            match &together[0].chain.command {
                Some(command) => commanded(session, command, access, together, trail).await?,
                None => {
                    let next = pending.get(pending.len() - left);
                    let more = next.is_some_and(|next| next.chain.command.is_none());
                    self.apply(session, &together[0], more, trail).await?;
                }
            }
        }

        let after = self.look(session, trail).await?;
        let left = self.left(&after)?;
        match left.iter().find(|pending| pending.chain.rules.proves()) {
            None => {
                if !self.taken[0].chain.rules.proves() {
                    trail.to = Some(self.order.target.clone());
                }
                Ok(Way::There)
            }
            Some(left) => Err(unproven(left)),
        }
    }

    /// A refusal, if the history still is what was refused. SQLite has no lock that keeps others out between two looks: one
    /// at the history and one at the progress may tell of two moments.
    async fn confirmed(
        &self,
        session: &mut impl Session,
        refused: &[Vec<Applied>],
        failure: Failure,
        trail: &mut Trail,
    ) -> Failure {
        match self.look(session, trail).await {
            Ok(now) if now == refused => failure,
            Ok(_) => Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"),
            Err(failure) => failure,
        }
    }

    async fn apply(
        &self,
        session: &mut impl Session,
        pending: &Pending<'_>,
        more: bool,
        trail: &mut Trail,
    ) -> Result<(), Failure> {
        trail.notes.begins(&pending.link.id).await;
        let (link, watch) = (pending.link, Stopwatch::start());
        let site = session.site(&pending.chain.table);
        trail.doing.migration(Some(&link.id));
        let applied = match change::apply(&site, pending) {
            Ok(change) => session.run(&Change { more, ..change }).await,
            Err(failure) => Err(failure),
        };
        trail.doing.migration(None);
        applied.map_err(|failure| failure.in_migration(link.id.clone()))?;
        let is_main = std::ptr::eq(pending.chain, self.taken[0].chain) && !link.migration.repeatable;
        let step = Step {
            direction: Direction::Up,
            version: link.id.clone(),
            file: link.migration.file.clone(),
            duration_ms: watch.elapsed_ms(),
        };
        trail.applied(step, is_main.then(|| link.migration.version.clone()), session.durable_after());
        Ok(())
    }
}

fn unproven(left: &Pending<'_>) -> Failure {
    let file = &left.link.migration.file;
    let failure = match &left.chain.command {
        None => {
            let message = format!("{file} was applied and its history row is not there");
            let hint = format!("does a migration change the history table, {}?", left.chain.table);
            Failure::new(Class::Permanent, "unproven", message).with_hint(hint)
        }
        Some(command) => {
            let message = format!("{} ended well and has not applied {file}", command.run.join(" "));
            let hint = "see what it said in: tenantry logs; does it use this tenant's DATABASE_URL and these migrations?";
            Failure::new(Class::Permanent, "unproven", message).with_hint(hint)
        }
    };
    failure.in_migration(left.link.id.clone())
}

/// Lets a program apply what is pending in its chain. The session keeps the tenant's lock meanwhile.
async fn commanded(
    session: &mut impl Session,
    command: &CommandSpec,
    access: &Access,
    pending: &[Pending<'_>],
    trail: &mut Trail,
) -> Result<(), Failure> {
    if let Some(first) = pending.first() {
        trail.notes.begins(&first.link.id).await;
    }
    let watch = Stopwatch::start();
    trail.doing.migration(pending.first().map(|first| &first.link.id));
    let mut output = String::new();
    let kept = async {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            if let Err(failure) = session.read("SELECT '1'").await {
                return failure;
            }
        }
    };
    let ran = tokio::select! {
        ran = command::run(command, access, &mut output) => ran,
        lost = kept => Err(lost),
    };
    trail.output = output;
    trail.doing.migration(None);
    ran?;
    let each = watch.elapsed_ms() / pending.len().max(1) as u64;
    trail.steps.extend(pending.iter().map(|pending| Step {
        direction: Direction::Up,
        version: pending.link.id.clone(),
        file: pending.link.migration.file.clone(),
        duration_ms: each,
    }));
    Ok(())
}
