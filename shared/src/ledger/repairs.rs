//! The audit log of what was mended by hand.

use super::{Ledger, LedgerError};

impl Ledger {
    /// Notes that somebody mends a tenant's history: before it is done, so that no mend is without its note. What the
    /// tenant failed with is forgotten: the next run tries it.
    /// `forgets`: the tenant may have less afterwards than is known of it, and so nothing is, until it is read again.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn note_repair(
        &self,
        tenant: &str,
        actor: &str,
        what: &str,
        forgets: bool,
    ) -> Result<(), LedgerError> {
        let mut tx = self.store.begin().await?;
        let forget = "DELETE FROM held WHERE tenant_id = (SELECT t.id FROM tenants t WHERE t.slug = $1)";
        self.store.query(forget).bind(tenant).execute(&mut *tx).await?;
        if forgets {
            let sql = "UPDATE tenants SET version = NULL, version_at = NULL WHERE slug = $1";
            self.store.query(sql).bind(tenant).execute(&mut *tx).await?;
        }
        self.event(&mut tx, "tenant.repaired", None, actor, &format!("{tenant}: {what}")).await?;
        Ok(tx.commit().await?)
    }
}
