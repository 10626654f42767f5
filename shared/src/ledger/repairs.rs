//! The audit log of what was mended by hand.

use super::{Ledger, LedgerError};

impl Ledger {
    /// Notes that somebody mends a tenant's history: before it is done, so that no mend is without its note.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn note_repair(&self, tenant: &str, actor: &str, what: &str) -> Result<(), LedgerError> {
        let mut tx = self.store.begin().await?;
        self.event(&mut tx, "tenant.repaired", None, actor, &format!("{tenant}: {what}")).await?;
        Ok(tx.commit().await?)
    }
}
