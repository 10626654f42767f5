//! What would be done to a database, and tenants put together that the same would be done to.

use tenantry_shared::{exit::Exit, failure::Failure, ledger::Held};
use tenantry_worker::preview::Step;

use super::super::few::Alike;

/// How many tenants of a group are named.
const NAMED: usize = 10;

/// What would be done to a database.
pub(crate) enum Would {
    /// These migrations, in this order; none: it is where it should be.
    Apply(Vec<Step>),
    /// Nothing: it would be refused, or cannot be read.
    Fail(Failure),
    /// Nothing: it failed for good in the same bytes before, and is not tried again.
    Hold(Held),
}

/// What tells one [`Would`] from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Steps(Vec<Step>),
    Cause(String),
    Held(String, i64),
}

impl Would {
    pub(crate) fn of(result: Result<Vec<Step>, Failure>) -> Self {
        result.map_or_else(Self::Fail, Self::Apply)
    }

    pub(crate) fn known(&self) -> Known {
        match self {
            Self::Apply(steps) => Known::Steps(steps.clone()),
            Self::Fail(failure) => Known::Cause(failure.fingerprint()),
            Self::Hold(held) => Known::Held(held.failure.fingerprint(), held.failed_in),
        }
    }

    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Apply(steps) if steps.is_empty() => "current",
            Self::Apply(_) => "pending",
            Self::Fail(failure) if failure.refused => "refused",
            Self::Fail(_) => "failed",
            Self::Hold(_) => "held",
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.state() {
            "current" => Exit::Ok,
            "pending" => Exit::ChangesPending,
            "refused" => Exit::Refused,
            _ => Exit::TenantsFailed,
        }
    }
}

/// Tenants that the same would be done to.
pub(crate) struct Group {
    /// Its only tenant, where that is not put together with others.
    pub(super) name: Option<String>,
    pub(super) would: Would,
    pub(super) tenants: Alike<NAMED>,
}

impl Group {
    pub(crate) fn new(name: Option<String>, would: Would) -> Self {
        Self { name, would, tenants: Alike::default() }
    }

    /// One more; the first ones by name are kept.
    pub(crate) fn add(&mut self, tenant: String) {
        self.tenants.add(tenant);
    }

    /// Where it stands among others: what is to be done first, and what goes wrong last.
    pub(super) fn rank(&self) -> usize {
        ["pending", "current", "refused", "failed", "held"]
            .iter()
            .position(|s| *s == self.would.state())
            .unwrap_or(0)
    }
}
