//! Which tenants a run takes.

use super::ActionKind;
use crate::{id::RunId, selector::Selector, tenant::Slug};

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
