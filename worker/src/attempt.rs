//! One attempt at one tenant, from top to bottom.

use tenantry_shared::{
    bundle::Taken,
    clock::Stopwatch,
    failure::{Class, Failure},
    job::Step,
    place::Engine,
    plan::{Applied, Goal, Pending, Refusal, newest, plan},
    registry::Access,
    version::Version,
};

use crate::{
    change,
    engine::{Limits, MySqlSession, PostgresSession, Session, SqliteSession, histories},
    orders::Order,
};

/// What an attempt has come to know and done so far; it outlives a failure.
#[derive(Debug, Default)]
pub struct Trail {
    /// The newest version before.
    pub from: Option<Version>,
    /// The newest version at the last look.
    pub to: Option<Version>,
    /// What was applied, in order.
    pub steps: Vec<Step>,
}

/// Brings one tenant to the order's version, and proves it by reading its history afterwards.
///
/// # Errors
/// A [`Failure`] that carries what to do about it.
pub async fn attempt(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    match access.place.engine {
        Engine::Postgres => migrate::<PostgresSession>(order, access, trail).await,
        Engine::MySql => migrate::<MySqlSession>(order, access, trail).await,
        Engine::Sqlite => migrate::<SqliteSession>(order, access, trail).await,
    }
}

async fn migrate<S: Session>(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    let limits = Limits::from(&order.policy);
    let mut session = limits.answered(S::connect(access, limits)).await?;
    let result = Work::of(order, access).done(&mut session, trail).await;
    session.close().await;
    result
}

/// What is asked for, as one database takes it.
struct Work<'a> {
    order: &'a Order,
    taken: Vec<Taken<'a>>,
    limits: Limits,
}

impl<'a> Work<'a> {
    fn of(order: &'a Order, access: &Access) -> Self {
        let taken = order.bundle.taken_by(access.scope, &access.labels);
        Self { order, taken, limits: Limits::from(&order.policy) }
    }

    async fn done(&self, session: &mut impl Session, trail: &mut Trail) -> Result<(), Failure> {
        // A tenant that has nothing to do is read and left alone: no lock, no write.
        let before = self.look(session).await?;
        trail.from = self.newest(&before);
        trail.to = trail.from.clone();
        if self.pending(&before, None).is_ok_and(|pending| pending.is_empty()) {
            return Ok(());
        }

        // What was read without the lock may be somebody's work in progress.
        self.limits.answered(session.lock()).await?;
        let history = self.look(session).await?;
        let progress = self.limits.answered(change::progress(session)).await?;
        trail.from = self.newest(&history);
        trail.to = trail.from.clone();
        for pending in self.pending(&history, progress.as_ref())? {
            self.apply(session, &pending, trail).await?;
        }

        let after = self.look(session).await?;
        trail.to = self.newest(&after);
        match self.pending(&after, None)?.first() {
            None => Ok(()),
            Some(left) => {
                let file = &left.link.migration.file;
                let unproven = format!("{file} was applied and its history row is not there");
                let failure = Failure::new(Class::Permanent, "unproven", unproven);
                Err(failure.in_migration(left.link.id.clone()))
            }
        }
    }

    async fn apply(
        &self,
        session: &mut impl Session,
        pending: &Pending<'_>,
        trail: &mut Trail,
    ) -> Result<(), Failure> {
        let (link, watch) = (pending.link, Stopwatch::start());
        let site = session.site(&pending.chain.table);
        let applied = match change::apply(&site, pending) {
            Ok(change) => session.run(&change).await,
            Err(failure) => Err(failure),
        };
        applied.map_err(|failure| failure.in_migration(link.id.clone()))?;
        if std::ptr::eq(pending.chain, self.taken[0].chain) && !link.migration.repeatable {
            trail.to = Some(link.migration.version.clone());
        }
        trail.steps.push(Step {
            version: link.id.clone(),
            file: link.migration.file.clone(),
            duration_ms: watch.elapsed_ms(),
        });
        Ok(())
    }

    async fn look(&self, session: &mut impl Session) -> Result<Vec<Vec<Applied>>, Failure> {
        self.limits.answered(histories(session, &self.taken)).await
    }

    fn pending(
        &self,
        histories: &[Vec<Applied>],
        progress: Option<&tenantry_shared::plan::Progress>,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        let Order { bundle, target, policy } = self.order;
        plan(&self.taken, histories, progress, Goal { main: bundle.main(), target, order: policy.order })
    }

    /// The newest version of the first chain that the database takes.
    fn newest(&self, histories: &[Vec<Applied>]) -> Option<Version> {
        self.taken.iter().zip(histories).next().and_then(|(taken, history)| newest(taken.chain, history))
    }
}
