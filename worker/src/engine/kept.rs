//! Sessions that are kept for a moment: the next tenant that the same session can reach takes it over, and need not wait
//! for a new one.
//!
//! What is kept has been freed of everything that an attempt left in it, which the engine itself answers for
//! ([`Session::reset`]). It holds a connection without a claim, so nothing is kept while a server has a cap, and
//! nothing for longer than a moment. A session that is in use is its attempt's: dropping that cuts the connection.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tenantry_shared::{clock::Stopwatch, registry::Access};

use super::{Limits, MySqlSession, PostgresSession, Session};

/// How long a session waits for its next tenant.
const MOMENT: Duration = Duration::from_secs(1);

/// What sessions have in common that can take each other's tenants over. It holds a URL, and is shown nowhere.
#[derive(PartialEq, Eq)]
pub struct Key(pub(super) Limits, pub(super) String);

/// The sessions of one kind that are kept.
pub struct Shelf<S>(Mutex<Vec<Kept<S>>>);

struct Kept<S> {
    key: Key,
    session: S,
    since: Stopwatch,
}

/// All sessions that a process keeps.
pub struct Keeper {
    most: usize,
    closed: AtomicBool,
    /// Those with PostgreSQL.
    pub(super) postgres: Shelf<PostgresSession>,
    /// Those with MariaDB.
    pub(super) mysql: Shelf<MySqlSession>,
}

impl Keeper {
    /// Keeps so many sessions at the most.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            closed: AtomicBool::new(false),
            postgres: Shelf::default(),
            mysql: Shelf::default(),
        })
    }

    /// Closes what is kept, and keeps nothing from now on.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.postgres.close_older(Duration::ZERO).await;
        self.mysql.close_older(Duration::ZERO).await;
    }
}

/// What an attempt may do with kept sessions: none may be kept by default.
#[derive(Clone, Default)]
pub struct Keeping(Option<Arc<Keeper>>);

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "sessions are kept" } else { "no session is kept" })
    }
}

impl Keeping {
    /// Takes from this keeper and gives back to it.
    #[must_use]
    pub fn with(keeper: &Arc<Keeper>) -> Self {
        Self(Some(keeper.clone()))
    }

    /// Whether a session may be kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.0.is_some()
    }

    /// A session for a tenant that was another one's before.
    #[must_use]
    pub fn take<S: Session>(&self, access: &Access, limits: Limits) -> Option<S> {
        let keeper = self.0.as_deref()?;
        S::shelf(keeper)?.take(&S::key(access, limits)?)
    }

    /// Keeps a session whose attempt has ended well, or closes it.
    pub async fn leave<S: Session>(&self, session: S, access: &Access, limits: Limits) {
        let kept = self.0.as_ref().zip(S::key(access, limits));
        match kept {
            Some((keeper, key)) if S::shelf(keeper).is_some() => {
                // One that does not answer in time is cut off.
                let reset = limits.answered(async { Ok(session.reset().await) }).await;
                if let Ok(Some(session)) = reset {
                    keep(keeper, key, session).await;
                }
            }
            _ => session.close().await,
        }
    }
}

async fn keep<S: Session>(keeper: &Arc<Keeper>, key: Key, session: S) {
    let refused = match S::shelf(keeper) {
        Some(shelf) if !keeper.closed.load(Ordering::SeqCst) => {
            shelf.put(Kept { key, session, since: Stopwatch::start() }, keeper.most)
        }
        _ => Some(session),
    };
    if let Some(session) = refused {
        return session.close().await;
    }
    let keeper = Arc::downgrade(keeper);
    tokio::spawn(async move {
        tokio::time::sleep(MOMENT).await;
        let Some(keeper) = keeper.upgrade() else { return };
        if let Some(shelf) = S::shelf(&keeper) {
            shelf.close_older(MOMENT).await;
        }
    });
}

impl<S> Default for Shelf<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Shelf<S> {
    fn all(&self) -> MutexGuard<'_, Vec<Kept<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was in use last: those behind it are left to be closed.
    fn take(&self, key: &Key) -> Option<S> {
        let mut all = self.all();
        let at = all.iter().rposition(|kept| kept.key == *key)?;
        Some(all.remove(at).session)
    }

    /// Gives the session back that there is no room for.
    fn put(&self, kept: Kept<S>, most: usize) -> Option<S> {
        let mut all = self.all();
        if all.len() >= most {
            return Some(kept.session);
        }
        all.push(kept);
        None
    }
}

impl<S: Session> Shelf<S> {
    async fn close_older(&self, than: Duration) {
        let old: Vec<Kept<S>> = self.all().extract_if(.., |kept| kept.since.elapsed() >= than).collect();
        for kept in old {
            kept.session.close().await;
        }
    }
}
