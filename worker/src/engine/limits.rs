//! How long a session waits for what.

use std::time::Duration;

use tenantry_shared::{
    failure::{Class, Failure},
    run::Policy,
};

use super::failure::hint;

/// MySQL counts in seconds.
pub(super) const SHORTEST_LOCK: Duration = Duration::from_secs(1);

/// The time limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For any lock.
    pub lock: Duration,
    /// For one statement; none is without limit.
    pub statement: Option<Duration>,
}

impl Limits {
    /// Ends a look at a tenant whose server has stopped answering: a server that answers ends it by its own limits
    /// before that.
    ///
    /// # Errors
    /// What the look fails with, or a transient failure after too long.
    pub async fn answered<T>(self, look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.connect + 2 * self.lock.max(SHORTEST_LOCK);
        let silent = || {
            Failure::new(Class::Transient, "no-answer", format!("the server has not answered for {limit:?}"))
        };
        tokio::time::timeout(limit, look).await.unwrap_or_else(|_| Err(silent()))
    }
}

impl From<&Policy> for Limits {
    fn from(policy: &Policy) -> Self {
        Self {
            connect: Duration::from_millis(policy.connect_timeout_ms),
            lock: Duration::from_millis(policy.lock_timeout_ms),
            statement: Some(Duration::from_millis(policy.statement_timeout_ms))
                .filter(|limit| !limit.is_zero()),
        }
    }
}

/// Ends a wait for a connection in time.
pub(super) async fn in_time<T>(
    limit: Duration,
    connect: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || {
        let failure =
            Failure::new(Class::Transient, "connect-timeout", format!("no connection within {limit:?}"));
        failure.with_hint(hint("connect-timeout").unwrap_or_default())
    };
    tokio::time::timeout(limit, connect).await.unwrap_or_else(|_| Err(late()))
}
