//! One attempt at one tenant, from top to bottom. How it is brought back is told in `revert`, and how it is taken over
//! as it is in `baseline`.

mod apply;
mod trail;
mod work;

use tenantry_shared::{
    failure::{Class, Failure},
    place::Engine,
    plan::Pending,
    registry::Access,
    run::ActionKind,
    site::Site,
};

pub use self::trail::Trail;
pub(crate) use self::work::{Found, Work, tells};
use crate::{
    engine::{Asks, Change, MySqlSession, PostgresSession, Session, SqliteSession},
    fingerprint::Surroundings,
    orders::Order,
};

/// Brings one tenant to the order's version, and proves it by reading its history afterwards.
///
/// # Errors
/// A [`Failure`] that carries what to do about it.
pub async fn attempt(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    // Each in a place of its own: where it is large it is not moved with all that waits for it.
    match access.place.engine {
        Engine::Postgres => Box::pin(migrate::<PostgresSession>(order, access, trail)).await,
        Engine::MySql => Box::pin(migrate::<MySqlSession>(order, access, trail)).await,
        Engine::Sqlite => Box::pin(migrate::<SqliteSession>(order, access, trail)).await,
    }
}

async fn migrate<S: Session>(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    let work = Work::of(order, access);
    let mut surroundings = Surroundings::of(order, work.limits);
    loop {
        let kept = trail.keeping.take::<S>(access, work.limits);
        let asks = |site: &Site| Asks { doing: trail.doing.clone(), ..work.asks(site) };
        let begun = S::begin(kept, access, work.limits, &asks);
        let (mut session, seen) = work.limits.answered(begun).await?;
        let result = match &order.action {
            ActionKind::Apply => work.done(&mut session, access, seen, trail, &mut surroundings).await,
            ActionKind::Rollback { back } => {
                work.reverted(&mut session, seen, trail, back, &mut surroundings).await
            }
            ActionKind::Baseline => work.recorded(&mut session, seen, trail).await,
        };
        trail.doing.migration(None);
        if result.is_err() && session.make_durable().await {
            trail.stays();
        }
        let result = result.map_err(|failure| trail.failed(failure));
        match &result {
            Ok(Way::There) if trail.steps.is_empty() => {}
            Ok(Way::There) => trail.fingerprint = surroundings.after(&mut session).await,
            Ok(Way::Further) => {}
            Err(_) => trail.fingerprint = surroundings.after_failure(&mut session).await,
        }
        let there = matches!(result, Ok(Way::There));
        if there {
            trail.keeping.leave(session, access, work.limits).await;
        } else {
            session.close().await;
        }
        if result? == Way::There {
            return Ok(());
        }
    }
}

/// How far a session has brought a tenant.
#[derive(PartialEq, Eq)]
pub(crate) enum Way {
    /// It is where it should be.
    There,
    /// The rest needs a session without the settings that a migration left in this one.
    Further,
}

/// Makes sure that a session can do all of this, before anything is done. What is no SQL fails when it is its turn.
pub(crate) fn admitted<'a, S: Session>(
    session: &S,
    pending: &'a [Pending<'_>],
    change: impl Fn(&Site, &'a Pending<'_>) -> Result<Change<'a>, Failure>,
) -> Result<(), Failure> {
    for next in pending.iter().filter(|_| session.is_lent()) {
        let admits = match change(&session.site(&next.chain.table), next) {
            _ if next.chain.command.is_some() => session.admits(None),
            Ok(change) => session.admits(Some(&change)),
            Err(_) => Ok(()),
        };
        admits.map_err(|failure| failure.in_migration(next.link.id.clone()))?;
    }
    Ok(())
}

/// What was read after the last change has nothing left to do.
pub(crate) fn proven(left: &[Pending<'_>], says: &str) -> Result<Way, Failure> {
    let Some(left) = left.first() else { return Ok(Way::There) };
    let unproven = format!("{} {says}", left.link.migration.file);
    Err(Failure::new(Class::Permanent, "unproven", unproven).in_migration(left.link.id.clone()))
}
