//! A rehearsal of one tenant: an attempt whose migrations all run in one transaction, which is rolled back. It takes the
//! tenant's lock, reads, plans and refuses as the attempt would. Neither a history nor a schema is changed; what no
//! transaction takes back (numbers of sequences, notifications, calls to other servers) is not undone.
//!
//! What one transaction cannot hold is told, and nothing from there on is run.

use tenantry_shared::{failure::Failure, place::Engine, plan::Pending, registry::Access, version::Version};

use crate::{
    attempt::{Trail, Work},
    change,
    engine::{Change, MySqlSession, PostgresSession, Session, SqliteSession, first_bar},
    orders::Order,
    preview::settled,
};

const PROGRAM: &str = "a program applies it";
const NEW_VALUE: &str =
    "it uses a value of an enumerated type that a migration before it adds, and must commit first";

/// PostgreSQL: a new value of an enumerated type is not to be used before the transaction that added it has ended.
const UNSAFE_NEW_VALUE: &str = "55P04";

/// How a rehearsal went that did not fail. Neither passed nor left: nothing is pending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// The migrations that ran, in order.
    pub passed: Vec<Version>,
    /// Where it had to stop.
    pub left: Option<Left>,
}

/// What was not rehearsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The first such migration.
    pub at: Version,
    /// Why.
    pub why: &'static str,
    /// How many migrations, with that one.
    pub count: usize,
}

/// Rehearses what is pending in a database.
///
/// # Errors
/// What an attempt would fail with.
pub async fn rehearse(order: &Order, access: &Access) -> Result<Rehearsed, Failure> {
    match access.place.engine {
        Engine::Postgres => within::<PostgresSession>(order, access).await,
        Engine::MySql => within::<MySqlSession>(order, access).await,
        Engine::Sqlite => within::<SqliteSession>(order, access).await,
    }
}

async fn within<S: Session>(order: &Order, access: &Access) -> Result<Rehearsed, Failure> {
    let work = Work::of(order, access);
    let mut session = work.limits.answered(S::connect(access, work.limits)).await?;
    let result = rehearsed(&mut session, &work).await;
    session.close().await;
    result
}

async fn rehearsed(session: &mut impl Session, work: &Work<'_>) -> Result<Rehearsed, Failure> {
    let pending = pending(session, work).await?;
    if !Rehearsal::of(session, &pending).runs() {
        return Rehearsal::of(session, &pending).over(&pending);
    }
    // What was read without the lock may be somebody's work in progress.
    work.limits.answered(session.lock()).await?;
    let pending = self::pending(session, work).await?;
    let rehearsal = Rehearsal::of(session, &pending);
    match session.rehearse(&rehearsal.changes).await {
        Ok(()) => rehearsal.over(&pending),
        Err((at, failure)) if failure.code == UNSAFE_NEW_VALUE && at > 0 => {
            Ok(Rehearsed::up_to(at, NEW_VALUE, &pending))
        }
        Err((at, failure)) => Err(failure.in_migration(pending[at].link.id.clone())),
    }
}

/// What is pending, without a change: how a statement in doubt has ended is not written down.
async fn pending<'a>(session: &mut impl Session, work: &Work<'a>) -> Result<Vec<Pending<'a>>, Failure> {
    let histories = work.look(session, &mut Trail::default()).await?;
    if work.pending(&histories, None).is_ok_and(|pending| pending.is_empty()) {
        return Ok(Vec::new());
    }
    let half_done = change::half_done(session, &work.taken, &histories);
    let progress = work.limits.answered(half_done).await?.map(settled);
    work.allowed(session, &histories, progress.as_ref(), None).await
}

/// What can be run of what is pending, and what comes behind it.
struct Rehearsal<'a> {
    changes: Vec<Change<'a>>,
    end: End,
}

enum End {
    /// Nothing: all of it was run.
    Whole,
    /// This one cannot be rehearsed.
    Bar(&'static str),
    /// This one cannot be applied.
    Broken(Failure),
}

impl<'a> Rehearsal<'a> {
    fn of(session: &impl Session, pending: &'a [Pending<'_>]) -> Self {
        let mut rehearsal = Self { changes: Vec::with_capacity(pending.len()), end: End::Whole };
        for next in pending {
            let site = session.site(&next.chain.table);
            match change::apply(&site, next) {
                _ if next.chain.command.is_some() => rehearsal.end = End::Bar(PROGRAM),
                Err(failure) => rehearsal.end = End::Broken(failure.in_migration(next.link.id.clone())),
                Ok(change) => {
                    rehearsal.changes.push(change);
                    continue;
                }
            }
            break;
        }
        if let Some((at, why)) = first_bar(&rehearsal.changes, session.site("").engine) {
            rehearsal.changes.truncate(at);
            rehearsal.end = End::Bar(why);
        }
        rehearsal
    }

    fn runs(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What is to be told once all the changes have run.
    fn over(self, pending: &[Pending<'_>]) -> Result<Rehearsed, Failure> {
        match self.end {
            End::Whole => Ok(Rehearsed { passed: names(pending), left: None }),
            End::Bar(why) => Ok(Rehearsed::up_to(self.changes.len(), why, pending)),
            End::Broken(failure) => Err(failure),
        }
    }
}

impl Rehearsed {
    fn up_to(at: usize, why: &'static str, pending: &[Pending<'_>]) -> Self {
        let (passed, rest) = pending.split_at(at);
        let left = rest.first().map(|first| Left { at: first.link.id.clone(), why, count: rest.len() });
        Self { passed: names(passed), left }
    }
}

fn names(pending: &[Pending<'_>]) -> Vec<Version> {
    pending.iter().map(|pending| pending.link.id.clone()).collect()
}
