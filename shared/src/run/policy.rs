//! How the targets of a run are worked.

use serde::{Deserialize, Serialize};

use crate::{plan::Order, wave::Rollout};

/// How the targets of a run are worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Attempts per tenant, the first one included.
    pub max_attempts: u32,
    /// Ceiling of the first retry's delay, in milliseconds.
    pub backoff_base_ms: u64,
    /// Ceiling of every delay, in milliseconds.
    pub backoff_cap_ms: u64,
    /// Longest wait for a connection to a tenant, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait of a statement for a lock, and of an attempt for the tenant's own lock, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Longest run of one statement, in milliseconds; 0 is without limit.
    pub statement_timeout_ms: u64,
    /// What to do with a pending migration that is older than an applied one.
    pub order: Order,
    /// Whether the schema of a tenant that was changed is read afterwards, and kept.
    #[serde(default = "yes")]
    pub fingerprint: bool,
    /// Who comes first, and what stops the run.
    #[serde(default = "Rollout::unlimited")]
    pub rollout: Rollout,
}

/// What a run asks for that was written before it could be said.
fn yes() -> bool {
    true
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            backoff_base_ms: 1_000,
            backoff_cap_ms: 60_000,
            connect_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            statement_timeout_ms: 0,
            order: Order::Linear,
            fingerprint: true,
            rollout: Rollout::default(),
        }
    }
}
