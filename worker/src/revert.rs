//! One attempt at bringing a tenant back: what it comes to, and the story of it.

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Entry,
    job::{Direction, Step},
    ledger::Traces,
    place::Engine,
    plan::{
        Applied, Pending, Progress, Refusal,
        revert::{Aim, left_alone, revert},
    },
    registry::Access,
    run::{ActionKind, Back},
    version::Version,
};

use crate::{
    attempt::{Found, Trail, Way, Work, admitted, proven},
    change,
    engine::{MySqlSession, PostgresSession, Seen, Session, SqliteSession},
    fingerprint::Surroundings,
    orders::Order,
};

/// A tenant in which nothing is left is known to be at this.
const NOTHING: &str = "0";

/// What is to be reverted in a tenant, the newest first, by the names in the bundle. Changes nothing.
///
/// # Errors
/// What the rollback would fail with at that point.
pub async fn fixed(order: &Order, access: &Access) -> Result<Vec<Version>, Failure> {
    match access.place.engine {
        Engine::Postgres => planned::<PostgresSession>(order, access).await,
        Engine::MySql => planned::<MySqlSession>(order, access).await,
        Engine::Sqlite => planned::<SqliteSession>(order, access).await,
    }
}

async fn planned<S: Session>(order: &Order, access: &Access) -> Result<Vec<Version>, Failure> {
    let ActionKind::Rollback { back } = &order.action else { return Ok(Vec::new()) };
    let work = Work::of(order, access);
    let mut session = work.limits.answered(S::connect(access, work.limits)).await?;
    let found = work.foreseen(&mut session, back).await;
    session.close().await;
    found
}

/// What a run applied to a tenant.
///
/// # Errors
/// When the ledger does not know it for sure, or a later run applied some of it again.
pub fn of_run(traces: Traces) -> Result<Vec<Version>, Failure> {
    let refused = |code: &str, message: String| {
        let failure = Failure::new(Class::Permanent, code, message);
        Err(Failure { refused: true, ..failure.with_hint("go by version: tenantry rollback --to VERSION") })
    };
    if let Some(number) = traces.again {
        return refused("newer", format!("run #{number} applied some of it again since"));
    }
    if traces.unsure {
        let cut = "an attempt was cut short in that run: what it applied is not known for sure";
        return refused("unsure", cut.into());
    }
    Ok(traces.applied)
}

impl<'a> Work<'a> {
    /// Steps and runs are told as [`Back::Exactly`] what they come to, so that every attempt reverts the same.
    pub(crate) async fn reverted(
        &self,
        session: &mut impl Session,
        seen: Result<Seen, Failure>,
        trail: &mut Trail,
        back: &Back,
        surroundings: &mut Surroundings<'_>,
    ) -> Result<Way, Failure> {
        let before = self.found(session, seen, trail).await?;
        let begun = self.untold(session, &before);
        let nothing =
            self.reverting(&before.histories, begun, back).is_ok_and(|reverting| reverting.is_empty());
        if nothing && self.left_alone(&before.histories, back).is_empty() {
            trail.to.get_or_insert_with(|| NOTHING.into());
            return Ok(Way::There);
        }

        let Found { histories, progress, .. } = self.held(session, before, trail).await?;
        let all = self.reverting(&histories, progress.as_ref(), back)?;
        if let Some(left) = &progress {
            self.is_worked(left)?;
        }
        admitted(session, &all, change::revert)?;
        surroundings.before(session).await;
        for reverting in all {
            if session.is_stained() {
                return Ok(Way::Further);
            }
            self.revert(session, &reverting, trail).await?;
        }

        let bare = self.look(session, trail).await?;
        for alone in self.left_alone(&bare, back) {
            self.forget(session, &alone).await?;
        }
        let after = self.look(session, trail).await?;
        trail.to.get_or_insert_with(|| NOTHING.into());
        proven(&self.reverting(&after, None, back)?, "was reverted and its history row is still there")
    }

    async fn revert(
        &self,
        session: &mut impl Session,
        reverting: &Pending<'_>,
        trail: &mut Trail,
    ) -> Result<(), Failure> {
        trail.notes.begins(&reverting.link.id).await;
        let (link, watch) = (reverting.link, Stopwatch::start());
        let site = session.site(&reverting.chain.table);
        trail.doing.migration(Some(&link.id));
        let reverted = match change::revert(&site, reverting) {
            Ok(change) => session.run(&change).await,
            Err(failure) => Err(failure),
        };
        trail.doing.migration(None);
        reverted.map_err(|failure| failure.in_migration(link.id.clone()))?;
        if std::ptr::eq(reverting.chain, self.taken[0].chain) {
            let previous = reverting.previous.map(|link| link.migration.version.clone());
            trail.to = Some(previous.unwrap_or_else(|| NOTHING.into()));
        }
        trail.steps.push(Step {
            direction: Direction::Down,
            version: link.id.clone(),
            file: link.migration.file.clone(),
            duration_ms: watch.elapsed_ms(),
        });
        Ok(())
    }

    /// What a reset forgets beside: the next migrate runs it again.
    fn left_alone(&self, histories: &[Vec<Applied>], back: &Back) -> Vec<Pending<'a>> {
        if *back == Back::To(None) { left_alone(&self.taken, histories) } else { Vec::new() }
    }

    async fn forget(&self, session: &mut impl Session, alone: &Pending<'_>) -> Result<(), Failure> {
        let (site, rules) = (session.site(&alone.chain.table), alone.chain.rules);
        let entry = Entry { migration: &alone.link.migration, previous: None };
        session.write(&[rules.select(&site)], &[rules.forget(&site, entry)]).await
    }

    async fn foreseen(&self, session: &mut impl Session, back: &Back) -> Result<Vec<Version>, Failure> {
        let histories = self.look(session, &mut Trail::default()).await?;
        let half_done = change::half_done(session, &self.taken, &histories);
        let progress = self.limits.answered(half_done).await?;
        let reverting = self.reverting(&histories, progress.as_ref(), back)?;
        Ok(reverting.into_iter().map(|reverting| reverting.link.id.clone()).collect())
    }

    fn reverting(
        &self,
        histories: &[Vec<Applied>],
        progress: Option<&Progress>,
        back: &Back,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        let aim = match back {
            Back::Steps(steps) => Aim::Steps(*steps),
            Back::To(version) => Aim::To(version.as_ref()),
            Back::Exactly(versions) => Aim::Exactly(versions),
            // Nobody has said what it applied here.
            Back::Run(_) => Aim::Exactly(&[]),
        };
        revert(&self.taken, histories, progress, aim)
    }
}
