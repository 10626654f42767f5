//! A run: one operator's request of one bundle, a set of tenants and a policy. Pure.
//!
//! ```text
//! run     pending ─► running ─► succeeded | failed | halted
//! target  pending ─► running ─► applied | current | failed
//!            │          │ ▲
//!            │          ▼ │
//!            │       retryable ─► failed | skipped
//!            └─► skipped
//! ```
//!
//! A run whose bundle has a set for the central database has that as its wave 0. Its tenants are in the waves from 1 on
//! (see [`crate::wave`]). A target of a wave that is not open is pending and not due. Wave 1 opens when wave 0 has
//! succeeded, and its targets are skipped when that failed; every later one opens when all before it are final and the
//! gate is passed.
//!
//! A run is *stopped* by a gate, by its deadline or by an operator: from then on nothing of it is claimed. Targets that were
//! never begun, or only claimed and given back, become skipped; those that failed and wait for another attempt become
//! failed; those that run end by themselves.
//! Then the run is `halted`, unless every target came to its version nevertheless. Nothing is undone.
//!
//! A run that is *paused* is pending or running; nothing of it is claimed until it is resumed.

mod action;
mod policy;
mod reference;
mod request;
mod selection;
mod state;

use serde::Serialize;

use crate::{digest::Digest, id::RunId, version::Version};

pub use self::{
    action::{Action, ActionKind, Back},
    policy::Policy,
    reference::RunRef,
    request::parse_key,
    selection::{Pick, Selection},
    state::{RunState, TargetState},
};

/// Why a run was stopped before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// What stopped it: `halted` (a gate), `canceled` (an operator) or `deadline`.
    pub code: String,
    /// The same in words.
    pub reason: String,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The bundle, which is in the registry already.
    pub digest: Digest,
    /// The version every tenant should have afterwards.
    pub target: Version,
    /// Which tenants.
    pub selection: Selection,
    /// What to do.
    pub action: Action,
    /// Whether the central database comes first. It is in the registry then.
    pub central: bool,
    /// How.
    pub policy: Policy,
    /// The run this one retries.
    pub parent: Option<RunId>,
    /// Who asks.
    pub requested_by: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// What the caller calls this request: asked for again under the same name, it is the same run.
    pub key: Option<String>,
    /// Whether it may have tenants that another run has not ended with.
    pub overlap: bool,
    /// The bytes of the migrations that it applies, or records as applied: see [`crate::bundle::Link::bytes`].
    pub migrations: Vec<Digest>,
    /// Whether it tries tenants that failed for good with the same bytes before.
    pub retry_failed: bool,
}

impl RunSpec {
    /// As [`Selection::holds_back`].
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.selection.holds_back(&self.action.kind, self.retry_failed)
    }
}

/// A run as the ledger keeps it. Times are milliseconds since 1970 by the registry's clock.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// The number people use.
    pub number: i64,
    /// Its bundle.
    pub digest: Digest,
    /// The version every tenant should have afterwards.
    pub target: Version,
    /// The target migration's description.
    pub description: String,
    /// Its selection in a few words.
    pub selection: String,
    /// What it does.
    pub action: Action,
    /// How its targets are worked.
    pub policy: Policy,
    /// Where it is in its life.
    pub state: RunState,
    /// The number of the run that this one retries.
    pub parent: Option<i64>,
    /// Who asked.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// What its caller called the request.
    pub key: Option<String>,
    /// When it was written.
    pub created_at: i64,
    /// When a worker first looked at it.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// How many tenants are in each of its waves, from wave 1 on.
    pub waves: Vec<u64>,
    /// The last wave that was opened; 0 is the central database.
    pub wave: u64,
    /// When the wave after that opens, once it went well.
    pub soak_until: Option<i64>,
    /// Since when nothing of it is claimed.
    pub paused_at: Option<i64>,
    /// When it is stopped.
    pub deadline_at: Option<i64>,
    /// Why it was stopped before its time.
    pub stop: Option<Stop>,
}
