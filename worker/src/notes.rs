//! Notes of what an attempt begins, written to the ledger before it begins. Only for a tenant that is worked alone: its
//! migration may end this process, and nobody else could tell which one it was.

use tenantry_shared::{job::Claim, ledger::Ledger, version::Version};

/// Where an attempt's notes go.
#[derive(Clone, Debug, Default)]
pub struct Notes(Option<(Ledger, Claim)>);

impl Notes {
    /// Those of this claim. None are written unless it is worked alone.
    #[must_use]
    pub fn of(ledger: &Ledger, claim: &Claim) -> Self {
        Self(claim.alone.then(|| (ledger.clone(), claim.clone())))
    }

    /// A migration is about to begin. The attempt goes on without the note where the registry does not take it.
    pub async fn begins(&self, version: &Version) {
        let Some((ledger, claim)) = &self.0 else { return };
        if let Err(error) = ledger.note_begun(claim, version).await {
            tracing::warn!(%error, migration = version.as_str(), "what begins could not be noted");
        }
    }
}
