//! One attempt at one tenant, from top to bottom.

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    job::Step,
    place::Engine,
    plan::{Applied, plan},
    registry::Access,
};

use crate::{
    engine::{Limits, MySqlSession, PostgresSession, Session, SqliteSession},
    orders::Order,
};

/// What an attempt has come to know and done so far; it outlives a failure.
#[derive(Debug, Default)]
pub struct Trail {
    /// The newest version before.
    pub from: Option<i64>,
    /// The newest version at the last look.
    pub to: Option<i64>,
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
    let result = work(&mut session, order, trail).await;
    session.close().await;
    result
}

async fn work(session: &mut impl Session, order: &Order, trail: &mut Trail) -> Result<(), Failure> {
    let limits = Limits::from(&order.policy);
    let pending = |history: &[Applied]| plan(&order.bundle, history, order.target, order.policy.order);

    // A tenant that has nothing to do is read and left alone: no lock, no write.
    let before = limits.answered(session.history()).await?;
    trail.from = newest(&before);
    trail.to = trail.from;
    if pending(&before).is_ok_and(|plan| plan.pending.is_empty()) {
        return Ok(());
    }

    // What was read without the lock may be somebody's work in progress.
    limits.answered(session.lock()).await?;
    let history = limits.answered(session.history()).await?;
    trail.from = newest(&history);
    trail.to = trail.from;
    for migration in pending(&history)?.pending {
        let watch = Stopwatch::start();
        session.apply(migration).await.map_err(|failure| failure.in_migration(migration.version))?;
        trail.to = Some(migration.version);
        trail.steps.push(Step {
            version: migration.version,
            file: migration.file.clone(),
            duration_ms: watch.elapsed_ms(),
        });
    }

    let after = limits.answered(session.history()).await?;
    trail.to = newest(&after);
    match pending(&after)?.pending.first() {
        None => Ok(()),
        Some(left) => {
            let unproven = format!("{} was applied and its history row is not there", left.file);
            Err(Failure::new(Class::Permanent, "unproven", unproven).in_migration(left.version))
        }
    }
}

fn newest(history: &[Applied]) -> Option<i64> {
    history.iter().filter(|row| row.success).map(|row| row.version).max()
}
