//! What an attempt would do to one tenant: the attempt up to its lock. It connects, reads and plans, refuses as the
//! attempt would, and changes nothing.

use tenantry_shared::{
    failure::Failure,
    place::Engine,
    plan::{Pending, Progress},
    registry::Access,
    version::Version,
};

use crate::{
    attempt::{Trail, Work},
    change,
    engine::{MySqlSession, PostgresSession, Session, SqliteSession},
    orders::Order,
};

/// A migration that would be applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Its name in the bundle.
    pub id: Version,
    /// How many of its statements are done already, from an attempt that was cut off.
    pub done: u32,
}

/// What would be applied to a database, in order. Nothing: it is where it should be.
///
/// # Errors
/// What an attempt would fail with before its first change.
pub async fn preview(order: &Order, access: &Access) -> Result<Vec<Step>, Failure> {
    match access.place.engine {
        Engine::Postgres => look::<PostgresSession>(order, access).await,
        Engine::MySql => look::<MySqlSession>(order, access).await,
        Engine::Sqlite => look::<SqliteSession>(order, access).await,
    }
}

async fn look<S: Session>(order: &Order, access: &Access) -> Result<Vec<Step>, Failure> {
    let work = Work::of(order, access);
    let mut session = work.limits.answered(S::connect(access, work.limits)).await?;
    let steps = steps(&mut session, &work).await;
    session.close().await;
    steps
}

async fn steps(session: &mut impl Session, work: &Work<'_>) -> Result<Vec<Step>, Failure> {
    let histories = work.look(session, &mut Trail::default()).await?;
    if work.pending(&histories, None).is_ok_and(|pending| pending.is_empty()) {
        return Ok(Vec::new());
    }
    let half_done = change::half_done(session, &work.taken, &histories);
    let progress = work.limits.answered(half_done).await?.map(settled);
    let pending = work.allowed(session, &histories, progress.as_ref(), None).await?;
    let step = |pending: Pending<'_>| Step {
        id: pending.link.id.clone(),
        done: pending.resume.map_or(0, |progress| progress.done),
    };
    Ok(pending.into_iter().map(step).collect())
}

/// An attempt asks the database how the last statement of a worker that was lost has ended, under the tenant's lock. It
/// can go on from there, unless there is nothing to tell by.
pub(crate) fn settled(progress: Progress) -> Progress {
    Progress { doubt: progress.doubt && progress.traceless, ..progress }
}
