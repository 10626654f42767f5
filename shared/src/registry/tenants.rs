//! Tenants in the registry.

use std::{borrow::Borrow, collections::HashMap};

use super::{Registry, RegistryError, clause::Clause};
use crate::{
    bundle::Scope,
    id::TenantId,
    place::{DatabaseUrl, Place},
    secret::MasterKey,
    selector::Selector,
    store::{Row, StoreError, parameters},
    tenant::{Labels, Slug, Status, Tenant},
    version::Version,
};

/// A tenant to be added.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its name.
    pub slug: Slug,
    /// Its URL, which is sealed before it is stored.
    pub url: DatabaseUrl,
    /// Where that points.
    pub place: Place,
    /// Whether runs take it.
    pub status: Status,
    /// Its labels.
    pub labels: Labels,
}

/// What to change of a tenant; what is empty stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Whether runs take it.
    pub status: Option<Status>,
    /// A new URL and where it points.
    pub url: Option<(DatabaseUrl, Place)>,
    /// Labels to set.
    pub set_labels: Labels,
    /// Labels to take away.
    pub remove_labels: Vec<String>,
}

impl Change {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.url.is_none()
            && self.set_labels.is_empty()
            && self.remove_labels.is_empty()
    }
}

/// What a worker needs to reach a tenant.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its name.
    pub slug: Slug,
    /// Where it lives.
    pub place: Place,
    /// Its URL, opened.
    pub url: DatabaseUrl,
    /// Its labels, where they were asked for.
    pub labels: Labels,
    /// Whether it is a tenant or the central database.
    pub scope: Scope,
}

/// Which tenants to list: a page in the order of their slugs.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only those whose labels match.
    pub selector: Option<Selector>,
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those behind this slug.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

pub(super) const COLUMNS: &str = "t.id, t.slug, t.status, s.engine, s.address, t.database_name, t.schema_name, t.version, t.version_at, t.sealed_url, t.source, t.sync_suspended_at, t.central";

impl Registry {
    /// Adds tenants: all of them, or none.
    ///
    /// # Errors
    /// [`RegistryError::TenantExists`] when one of the names is taken.
    pub async fn add_tenants(
        &self,
        key: &MasterKey,
        tenants: impl IntoIterator<Item: Borrow<NewTenant>>,
    ) -> Result<(), RegistryError> {
        self.adopt_key(key).await?;
        let mut tx = self.store.begin().await?;
        self.insert_tenants(&mut tx, key, tenants, None).await?;
        Ok(tx.commit().await?)
    }

    /// Changes one tenant.
    ///
    /// # Errors
    /// [`RegistryError::UnknownTenant`] when there is none of this name.
    pub async fn change_tenant(
        &self,
        key: Option<&MasterKey>,
        slug: &Slug,
        change: &Change,
    ) -> Result<(), RegistryError> {
        let Tenant { id, scope: Scope::Tenants, .. } = self.tenant(slug).await? else {
            return Err(RegistryError::NotATenant);
        };
        let mut tx = self.store.begin().await?;
        self.apply_change(&mut tx, key, id, change, false).await?;
        Ok(tx.commit().await?)
    }

    /// One tenant by its name.
    ///
    /// # Errors
    /// [`RegistryError::UnknownTenant`] when there is none.
    pub async fn tenant(&self, slug: &Slug) -> Result<Tenant, RegistryError> {
        let sql =
            format!("SELECT {COLUMNS} FROM tenants t JOIN servers s ON s.id = t.server_id WHERE t.slug = $1");
        let row =
            self.store.query(&sql).bind(slug.as_str().to_owned()).fetch_optional(self.store.pool()).await?;
        let row = row.ok_or_else(|| RegistryError::UnknownTenant(slug.to_string()))?;
        let mut tenants = vec![read_tenant(&row)?];
        self.load_labels(&mut tenants).await?;
        Ok(tenants.remove(0))
    }

    /// A page of tenants.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn list_tenants(&self, query: &ListQuery) -> Result<Vec<Tenant>, RegistryError> {
        let mut clause = Clause::of_tenants(1);
        if let Some(selector) = &query.selector {
            clause.labels(selector);
        }
        if let Some(status) = query.status {
            clause.compare("t.status =", status.as_str());
        }
        if let Some(after) = &query.after {
            clause.compare("t.slug >", after);
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM tenants t JOIN servers s ON s.id = t.server_id WHERE {} ORDER BY t.slug LIMIT {}",
            clause.text(),
            query.limit
        );
        let rows = clause.bind(self.store.query(&sql)).fetch_all(self.store.pool()).await?;
        let mut tenants = rows.iter().map(read_tenant).collect::<Result<Vec<_>, _>>()?;
        self.load_labels(&mut tenants).await?;
        Ok(tenants)
    }

    /// What a worker needs to reach one tenant; its labels only if they are needed.
    ///
    /// # Errors
    /// When it is not there, its URL does not open with this key, or the registry cannot be reached.
    pub async fn access(&self, key: &MasterKey, id: TenantId, labels: bool) -> Result<Access, RegistryError> {
        let sql =
            format!("SELECT {COLUMNS} FROM tenants t JOIN servers s ON s.id = t.server_id WHERE t.id = $1");
        let row = self.store.query(&sql).bind(id.to_string()).fetch_optional(self.store.pool()).await?;
        let row = row.ok_or_else(|| RegistryError::UnknownTenant(id.to_string()))?;
        let mut tenant = read_tenant(&row)?;
        if labels {
            self.load_labels(std::slice::from_mut(&mut tenant)).await?;
        }
        let url = opened_url(key, &tenant, &row)?;
        Ok(access_of(tenant, url))
    }

    pub(super) async fn load_labels(&self, tenants: &mut [Tenant]) -> Result<(), RegistryError> {
        let mut labels = self.labels_of(tenants.iter().map(|tenant| tenant.id).collect()).await?;
        for tenant in tenants {
            tenant.labels = labels.remove(&tenant.id.to_string()).unwrap_or_default();
        }
        Ok(())
    }

    pub(super) async fn labels_of(
        &self,
        ids: Vec<TenantId>,
    ) -> Result<HashMap<String, Labels>, RegistryError> {
        let mut labels = HashMap::<String, Labels>::new();
        for chunk in ids.chunks(500) {
            let sql = format!(
                "SELECT tenant_id, name, value FROM tenant_labels WHERE tenant_id IN ({})",
                parameters(1, chunk.len())
            );
            let query = self.store.query(&sql).bind_all(chunk.iter().map(ToString::to_string));
            for row in query.fetch_all(self.store.pool()).await? {
                labels.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, row.try_get(2)?);
            }
        }
        Ok(labels)
    }
}

pub(super) fn scope(central: i64) -> Scope {
    if central == 1 { Scope::Central } else { Scope::Tenants }
}

fn access_of(tenant: Tenant, url: DatabaseUrl) -> Access {
    Access { slug: tenant.slug, place: tenant.place, url, labels: tenant.labels, scope: tenant.scope }
}

/// A tenant's URL out of its row.
pub(super) fn opened_url(key: &MasterKey, tenant: &Tenant, row: &Row) -> Result<DatabaseUrl, RegistryError> {
    open_url(key, tenant.id, &tenant.slug, &row.try_get::<String>(9)?)
}

pub(super) fn open_url(
    key: &MasterKey,
    id: TenantId,
    slug: &Slug,
    sealed: &str,
) -> Result<DatabaseUrl, RegistryError> {
    let text = key.open(id, sealed)?;
    DatabaseUrl::kept(&text).map_err(|_| RegistryError::Url(slug.to_string()))
}

pub(super) fn read_tenant(row: &Row) -> Result<Tenant, RegistryError> {
    let damaged = |what: String| RegistryError::Store(StoreError::Value(what));
    let text = |at: usize| row.try_get::<String>(at);
    let version: (Option<String>, Option<i64>) = (row.try_get(7)?, row.try_get(8)?);
    Ok(Tenant {
        id: text(0)?.parse().map_err(|_| damaged("tenants.id".into()))?,
        slug: text(1)?.parse().map_err(|_| damaged("tenants.slug".into()))?,
        status: text(2)?.parse().map_err(damaged)?,
        place: Place {
            engine: text(3)?.parse().map_err(|_| damaged("servers.engine".into()))?,
            server: text(4)?,
            database: text(5)?,
            schema: row.try_get(6)?,
        },
        labels: Labels::new(),
        scope: scope(row.try_get(12)?),
        version: version.0.map(Version::from).zip(version.1),
        source: row.try_get(10)?,
    })
}
