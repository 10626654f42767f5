//! A source's tenants in the registry: reading what is known of all tenants, page by page, and writing a sync.

use super::{
    Registry, RegistryError,
    tenants::{COLUMNS, Change, NewTenant, opened_url, read_tenant},
};
use crate::{
    id::TenantId,
    place::{DatabaseUrl, Place},
    secret::MasterKey,
    store::{Row, expect_rows},
    tenant::{Labels, Slug, Status, Tenant},
};

/// A tenant as the registry knows it, with its URL opened.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its identity.
    pub id: TenantId,
    /// Its name.
    pub slug: Slug,
    /// Whether runs take it.
    pub status: Status,
    /// Where it lives.
    pub place: Place,
    /// Its URL.
    pub url: DatabaseUrl,
    /// Its labels.
    pub labels: Labels,
    /// The source that lists it; none: it was added by hand.
    pub source: Option<String>,
    /// Whether it was a sync that took it out of runs.
    pub suspended_by_sync: bool,
}

/// What a sync changes of one tenant.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The tenant.
    pub id: TenantId,
    /// Its name.
    pub slug: Slug,
    /// The status that it was seen with.
    pub was: Status,
    /// The source that it was seen with.
    pub was_of: Option<String>,
    /// What changes.
    pub change: Change,
}

/// A sync of one source, to be written.
pub struct Mirror<'a> {
    /// The source.
    pub source: &'a str,
    /// Tenants that are new, of which a few are held at once.
    pub added: Box<dyn Iterator<Item = NewTenant> + Send + 'a>,
    /// Tenants that change, and are the source's own from then on.
    pub edits: Vec<&'a Edit>,
    /// For the audit log.
    pub detail: String,
}

impl Registry {
    /// A page of all tenants but the central one behind a name, in the order of names, with their URLs opened.
    ///
    /// # Errors
    /// When a URL does not open with this key, or the registry cannot be reached.
    pub async fn known(
        &self,
        key: &MasterKey,
        after: Option<&Slug>,
        limit: u32,
    ) -> Result<Vec<Known>, RegistryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM tenants t JOIN servers s ON s.id = t.server_id WHERE t.central = 0 AND t.slug > $1 ORDER BY t.slug LIMIT {limit}"
        );
        let after = after.map(ToString::to_string).unwrap_or_default();
        let rows = self.store.query(&sql).bind(after).fetch_all(self.store.pool()).await?;
        let mut tenants = rows.iter().map(read_tenant).collect::<Result<Vec<_>, _>>()?;
        self.load_labels(&mut tenants).await?;
        let known = |(tenant, row): (Tenant, &Row)| {
            let url = opened_url(key, &tenant, row)?;
            let suspended_at: Option<i64> = row.try_get(11)?;
            let Tenant { id, slug, status, place, labels, source, .. } = tenant;
            Ok(Known {
                id,
                slug,
                status,
                place,
                url,
                labels,
                source,
                suspended_by_sync: suspended_at.is_some(),
            })
        };
        tenants.into_iter().zip(&rows).map(known).collect()
    }

    /// Writes syncs and notes in the audit log who did it: all of it, or nothing.
    ///
    /// # Errors
    /// When a tenant was added or changed by somebody else since the comparison.
    pub async fn mirror(
        &self,
        key: &MasterKey,
        mirrors: Vec<Mirror<'_>>,
        actor: &str,
    ) -> Result<(), RegistryError> {
        self.adopt_key(key).await?;
        let mut tx = self.store.begin().await?;
        for mirror in mirrors {
            self.insert_tenants(&mut tx, key, mirror.added, Some(mirror.source)).await?;
            // In the order in which outcomes lock tenants, too.
            let mut edits: Vec<_> = mirror.edits.iter().collect();
            edits.sort_unstable_by_key(|edit| edit.id);
            for edit in edits {
                // The row is locked by this guard until the commit.
                let guard = "UPDATE tenants SET source = $1 WHERE id = $2 AND status = $3 AND coalesce(source, '') = $4";
                let guard = self.store.query(guard).bind(mirror.source).bind(edit.id.to_string());
                let guard = guard.bind(edit.was.as_str()).bind(edit.was_of.as_deref().unwrap_or_default());
                let guarded = guard.execute(&mut *tx).await?;
                expect_rows(guarded.rows_affected(), 1)
                    .map_err(|_| RegistryError::Meanwhile(edit.slug.to_string()))?;
                self.apply_change(&mut tx, Some(key), edit.id, &edit.change, true).await?;
            }
            let event =
                "INSERT INTO events (at, kind, actor, detail) VALUES ({now}, 'tenants.synced', $1, $2)";
            self.store.query(event).bind(actor).bind(mirror.detail.as_str()).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }
}
