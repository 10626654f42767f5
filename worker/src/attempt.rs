//! One attempt at one tenant, from top to bottom.

use tenantry_shared::{
    bundle::Taken,
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Script,
    job::Step,
    place::Engine,
    plan::{Applied, Goal, Pending, Progress, Refusal, newest, plan},
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
    let work = Work::of(order, access);
    loop {
        let mut session = work.limits.answered(S::connect(access, work.limits)).await?;
        let result = work.done(&mut session, trail).await;
        session.close().await;
        if result? == Way::There {
            return Ok(());
        }
    }
}

/// How far a session has brought a tenant.
#[derive(PartialEq, Eq)]
enum Way {
    /// It is where it should be.
    There,
    /// The rest needs a session without the settings that a migration left in this one.
    Further,
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

    async fn done(&self, session: &mut impl Session, trail: &mut Trail) -> Result<Way, Failure> {
        // A tenant that has nothing to do is read and left alone: no lock, no write.
        let before = self.look(session, trail).await?;
        if self.pending(&before, None).is_ok_and(|pending| pending.is_empty()) {
            return Ok(Way::There);
        }

        // What was read without the lock may be somebody's work in progress.
        self.limits.answered(session.lock()).await?;
        let history = self.look(session, trail).await?;
        let progress = self.limits.answered(self.progress(session)).await?;
        for pending in self.pending(&history, progress.as_ref())? {
            if session.is_stained() {
                return Ok(Way::Further);
            }
            self.apply(session, &pending, trail).await?;
        }

        let after = self.look(session, trail).await?;
        match self.pending(&after, None)?.first() {
            None => Ok(Way::There),
            Some(left) => {
                let file = &left.link.migration.file;
                let unproven = format!("{file} was applied and its history row is not there");
                let failure = Failure::new(Class::Permanent, "unproven", unproven);
                Err(failure.in_migration(left.link.id.clone()))
            }
        }
    }

    /// How far a migration came that an earlier attempt did not finish, with its last statement's end found out.
    async fn progress(&self, session: &mut impl Session) -> Result<Option<Progress>, Failure> {
        let Some(progress) = change::progress(session).await? else { return Ok(None) };
        let script = self.script_of(&progress).filter(|_| progress.doubt);
        match script {
            Some(script) => session.settle(progress, script).await.map(Some),
            None => Ok(Some(progress)),
        }
    }

    fn script_of(&self, progress: &Progress) -> Option<&'a Script> {
        let chain = self.taken.iter().map(|taken| taken.chain).find(|chain| chain.table == progress.table)?;
        let migration = &chain.links[chain.position(&progress.version)?].migration;
        if progress.down { migration.down.as_ref() } else { migration.up.as_ref() }
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

    async fn look(
        &self,
        session: &mut impl Session,
        trail: &mut Trail,
    ) -> Result<Vec<Vec<Applied>>, Failure> {
        let histories = self.limits.answered(histories(session, &self.taken)).await?;
        trail.to = self.newest(&histories);
        // What was applied before it is not what it was found with.
        if trail.steps.is_empty() {
            trail.from.clone_from(&trail.to);
        }
        Ok(histories)
    }

    fn pending(
        &self,
        histories: &[Vec<Applied>],
        progress: Option<&Progress>,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        let Order { bundle, target, policy } = self.order;
        plan(&self.taken, histories, progress, Goal { main: bundle.main(), target, order: policy.order })
    }

    /// The newest version of the first chain that the database takes.
    fn newest(&self, histories: &[Vec<Applied>]) -> Option<Version> {
        self.taken.iter().zip(histories).next().and_then(|(taken, history)| newest(taken.chain, history))
    }
}
