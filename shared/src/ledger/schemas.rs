//! What is known of tenants' schemas: a digest for each tenant, each distinct catalog once, and what appeared outside.

use super::{Ledger, LedgerError};
use crate::{
    clock::rfc3339,
    digest::Digest,
    id::TenantId,
    job::Claim,
    schema::{Catalog, Object, Outsider},
    store::{Row, StoreError, Tx},
};

/// Something that appeared outside of every tenant's schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OutsiderRow {
    /// What it is: `view public.totals`.
    pub object: String,
    /// Whether it is still there is known by this.
    #[serde(skip)]
    pub id: Digest,
    /// The tenant that was migrated then.
    pub tenant: String,
    /// The number of that run.
    pub run: i64,
    /// When, as RFC 3339.
    pub seen_at: String,
}

/// What the object is known by, on its server and in its database.
#[must_use]
pub fn outsider_id(object: &Object) -> Digest {
    Digest::of([(object.kind.as_str(), object.to_string().as_str())])
}

impl Ledger {
    /// Keeps a catalog under its digest. One that is there already is left as it is.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn keep_schema(&self, catalog: &Catalog) -> Result<Digest, LedgerError> {
        let digest = catalog.digest();
        // A large text is sent only if it is new.
        let known =
            self.store.query("SELECT count(*) FROM catalogs WHERE digest = $1").bind(digest.to_string());
        let known: i64 = known.fetch_one(self.store.pool()).await?.try_get(0)?;
        if known == 0 {
            let insert = "INSERT INTO catalogs (digest, content, created_at) VALUES ($1, $2, {now})";
            self.store
                .query(insert)
                .bind(digest.to_string())
                .bind(serde_json::to_string(catalog).unwrap_or_default())
                .insert(self.store.pool())
                .await?;
        }
        Ok(digest.clone())
    }

    /// The catalog of this digest; none when it was never kept.
    ///
    /// # Errors
    /// When the registry cannot be reached, or what it holds is damaged.
    pub async fn schema(&self, digest: &Digest) -> Result<Option<Catalog>, LedgerError> {
        let select =
            self.store.query("SELECT content FROM catalogs WHERE digest = $1").bind(digest.to_string());
        let Some(row) = select.fetch_optional(self.store.pool()).await? else { return Ok(None) };
        let catalog = serde_json::from_str(&row.try_get::<String>(0)?);
        Ok(Some(catalog.map_err(|_| StoreError::Value("catalogs.content".into()))?))
    }

    /// Notes what a tenant's schema is now.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn set_schema(&self, tenant: TenantId, digest: &Digest) -> Result<(), LedgerError> {
        self.store
            .query("UPDATE tenants SET schema_digest = $1 WHERE id = $2")
            .bind(digest.to_string())
            .bind(tenant.to_string())
            .execute(self.store.pool())
            .await?;
        Ok(())
    }

    /// What appeared outside of the tenants in this one's database. What is in a schema that is a tenant's by now is
    /// not outside.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn outsiders(&self, tenant: TenantId) -> Result<Vec<OutsiderRow>, LedgerError> {
        let select = "SELECT o.name, o.id, o.tenant, o.run, o.seen_at FROM tenants t
            JOIN outsiders o ON o.server_id = t.server_id AND o.database_name = t.database_name
            WHERE t.id = $1 AND NOT EXISTS (SELECT 1 FROM tenants n
                WHERE n.server_id = o.server_id AND n.database_name = o.database_name AND n.schema_name = o.schema_name)
            ORDER BY o.name";
        let rows = self.store.query(select).bind(tenant.to_string()).fetch_all(self.store.pool()).await?;
        let row = |row: &Row| {
            Ok(OutsiderRow {
                object: row.try_get(0)?,
                id: row.try_get::<String>(1)?.parse().unwrap_or_else(|never| match never {}),
                tenant: row.try_get(2)?,
                run: row.try_get(3)?,
                seen_at: rfc3339(row.try_get(4)?),
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Takes something that appeared outside of this tenant's database off the list: it belongs there, or is gone.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn forget_outsider(&self, tenant: TenantId, id: &Digest) -> Result<(), LedgerError> {
        let delete = "DELETE FROM outsiders WHERE id = $1 AND server_id = (SELECT server_id FROM tenants WHERE id = $2)
            AND database_name = (SELECT database_name FROM tenants WHERE id = $2)";
        self.store
            .query(delete)
            .bind(id.to_string())
            .bind(tenant.to_string())
            .execute(self.store.pool())
            .await?;
        Ok(())
    }

    /// Notes what appeared outside while a tenant was migrated; what is noted already stays as it is.
    pub(super) async fn insert_outsider(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        outsider: &Outsider,
    ) -> Result<(), LedgerError> {
        let insert =
            "INSERT INTO outsiders (server_id, database_name, id, name, schema_name, tenant, run, seen_at)
            SELECT t.server_id, t.database_name, $1, $2, $3, t.slug, r.number, {now} FROM tenants t, runs r
            WHERE r.id = $4 AND t.id = $5";
        self.store
            .query(insert)
            .bind(outsider_id(&outsider.object).to_string())
            .bind(outsider.object.to_string())
            .bind(outsider.schema.clone())
            .bind(claim.job.run.to_string())
            .bind(claim.job.tenant.to_string())
            .insert(&mut **tx)
            .await?;
        Ok(())
    }
}
