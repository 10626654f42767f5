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

mod request;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest, id::RunId, plan::Order, selector::Selector, tenant::Slug, version::Version, wave::Rollout,
};

pub use request::parse_key;

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every state, in the order of a life.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the ledger and in every output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|s| s.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
                    format!("'{text}' is not a state ({})", all.join(", "))
                })
            }
        }
    };
}

states!(
    /// Where a run is in its life.
    RunState {
        /// Written; no worker has looked at it yet.
        Pending = "pending",
        /// Workers take its targets.
        Running = "running",
        /// Ended: every target was proven to be at the run's version.
        Succeeded = "succeeded",
        /// Ended: at least one target failed.
        Failed = "failed",
        /// Ended before its time: stopped by a gate, by its deadline or by an operator.
        Halted = "halted",
    }
);

impl RunState {
    /// Whether it can change no more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Halted)
    }
}

states!(
    /// Where a target is in its life.
    TargetState {
        /// Not worked on yet.
        Pending = "pending",
        /// A worker holds its lease.
        Running = "running",
        /// Waits for its next attempt.
        Retryable = "retryable",
        /// Migrations were applied, and its history proves that it is at the run's version.
        Applied = "applied",
        /// Nothing was to be done: its history proves that it was at the run's version.
        Current = "current",
        /// It will not be tried again in this run.
        Failed = "failed",
        /// Never begun, because what had to come first failed, or the run was stopped.
        Skipped = "skipped",
    }
);

impl TargetState {
    /// Whether it can change no more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Applied | Self::Current | Self::Failed | Self::Skipped)
    }
}

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

/// Why a run was stopped before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// What stopped it: `halted` (a gate), `canceled` (an operator) or `deadline`.
    pub code: String,
    /// The same in words.
    pub reason: String,
}

/// Which tenants a run takes. Only active ones are ever taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Every active tenant.
    All,
    /// Exactly these; an unknown or inactive one is an error.
    Tenants(Vec<Slug>),
    /// Those whose labels match.
    Labels(Selector),
    /// The failed targets of an earlier run, and those that were skipped there.
    FailedIn {
        /// That run.
        run: RunId,
        /// Only failures of this cause.
        fingerprint: Option<String>,
        /// Only these; one that did not fail there is an error. Empty means all.
        tenants: Vec<Slug>,
    },
}

/// A pick without some, and not more than so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What is chosen.
    pub pick: Pick,
    /// What is left out of it again.
    pub exclude: Vec<Slug>,
    /// At most so many, in the order of their slugs.
    pub limit: Option<u32>,
}

impl Selection {
    /// Whether somebody has named the tenants, themselves or by the run in which they failed.
    #[must_use]
    pub fn names_tenants(&self) -> bool {
        matches!(self.pick, Pick::Tenants(_) | Pick::FailedIn { .. })
    }

    /// Whether tenants that failed for good with the same bytes are left as they are by such a run: where nobody has named
    /// them, or asked for them (`retry_failed`).
    #[must_use]
    pub fn holds_back(&self, action: &ActionKind, retry_failed: bool) -> bool {
        action.goes_forward() && !retry_failed && !self.names_tenants()
    }

    /// The selection in a few words, as the ledger keeps it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = match &self.pick {
            Pick::All => "all".to_owned(),
            Pick::Tenants(slugs) if slugs.len() == 1 => format!("tenant {}", slugs[0]),
            Pick::Tenants(slugs) => format!("{} named tenants", slugs.len()),
            Pick::Labels(selector) => format!("labels {selector}"),
            Pick::FailedIn { fingerprint: None, .. } => "failed tenants of an earlier run".to_owned(),
            Pick::FailedIn { fingerprint: Some(print), .. } => {
                format!("tenants failed with {print} in an earlier run")
            }
        };
        if !self.exclude.is_empty() {
            text.push_str(&format!(" without {}", self.exclude.len()));
        }
        if let Some(limit) = self.limit {
            text.push_str(&format!(", at most {limit}"));
        }
        text
    }
}

/// What a run does to its tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its kind.
    #[serde(flatten)]
    pub kind: ActionKind,
    /// Only these sets of the bundle are worked; none named is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<String>,
}

/// The kinds of actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ActionKind {
    /// Applies migrations up to the run's version.
    #[default]
    Apply,
    /// Reverts migrations, the newest first.
    Rollback {
        /// How far.
        #[serde(flatten)]
        back: Back,
    },
    /// Records the migrations up to the run's version as applied, without running them.
    Baseline,
}

/// How far a rollback goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Back {
    /// So many migrations, from the newest on.
    Steps(u32),
    /// To this migration, which stays; none is back to nothing.
    To(Option<Version>),
    /// What this run applied, tenant by tenant.
    Run(RunId),
    /// These migrations: what steps and runs come to for one tenant.
    Exactly(Vec<Version>),
}

impl ActionKind {
    /// What became of a tenant that was changed.
    #[must_use]
    pub fn done(&self) -> &'static str {
        match self {
            Self::Apply => "applied",
            Self::Rollback { .. } => "reverted",
            Self::Baseline => "recorded",
        }
    }

    /// Whether it is for the newest version to be applied, so that a fleet without it is behind.
    #[must_use]
    pub fn goes_forward(&self) -> bool {
        matches!(self, Self::Apply)
    }
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

/// How a person names a run: its number, its UUID, `latest` or `latest-failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRef {
    /// The newest run.
    Latest,
    /// The newest run that failed, or was stopped.
    LatestFailed,
    /// By number.
    Number(i64),
    /// By identity.
    Id(RunId),
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "latest-failed" => Ok(Self::LatestFailed),
            _ => text
                .trim_start_matches('#')
                .parse()
                .map(Self::Number)
                .or_else(|_| text.parse().map(Self::Id))
                .map_err(|_| format!("'{text}' is not a run (a number, a UUID, latest or latest-failed)")),
        }
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::LatestFailed => f.write_str("latest-failed"),
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_number_uuid_or_word() {
        let id = RunId::new();
        assert_eq!("412".parse(), Ok(RunRef::Number(412)));
        assert_eq!("#412".parse(), Ok(RunRef::Number(412)));
        assert_eq!(id.to_string().parse(), Ok(RunRef::Id(id)));
        assert_eq!("latest-failed".parse(), Ok(RunRef::LatestFailed));
        assert!("newest".parse::<RunRef>().is_err());
    }

    #[test]
    fn an_action_is_kept_as_it_was_before_there_were_sets() {
        assert_eq!(serde_json::to_string(&Action::default()).unwrap(), r#"{"kind":"apply"}"#);
        let some = Action { sets: vec!["shop".into()], ..Action::default() };
        let kept = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<Action>(&kept).unwrap(), some);
    }

    #[test]
    fn actions_are_kept_as_flat_objects() {
        let run = RunId::new();
        let to = |to: Option<i64>| ActionKind::Rollback { back: Back::To(to.map(Version::from)) };
        for (kind, text) in [
            (ActionKind::Apply, r#"{"kind":"apply"}"#.to_owned()),
            (ActionKind::Baseline, r#"{"kind":"baseline"}"#.to_owned()),
            (ActionKind::Rollback { back: Back::Steps(2) }, r#"{"kind":"rollback","steps":2}"#.to_owned()),
            (to(Some(7)), r#"{"kind":"rollback","to":"7"}"#.to_owned()),
            (to(None), r#"{"kind":"rollback","to":null}"#.to_owned()),
            (
                ActionKind::Rollback { back: Back::Run(run) },
                format!(r#"{{"kind":"rollback","run":"{run}"}}"#),
            ),
        ] {
            let action = Action { kind, ..Action::default() };
            assert_eq!(serde_json::to_string(&action).unwrap(), text);
            assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), action);
        }
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in TargetState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert!("done".parse::<TargetState>().is_err());
    }
}
