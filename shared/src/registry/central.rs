//! The central database: a row among the tenants that no selection chooses and no list of tenants shows.

use super::{Change, NewTenant, Registry, RegistryError};
use crate::{
    place::{DatabaseUrl, Place},
    secret::MasterKey,
    store::{StoreError, expect_rows},
    tenant::{Labels, Scope, Slug, Status, Tenant},
};

/// What the central database is called in every output.
pub const CENTRAL: &str = "central";

impl Registry {
    /// The central database, where there is one.
    ///
    /// # Errors
    /// [`RegistryError::CentralIsTenant`] when a tenant has its name, or when the registry cannot be reached.
    pub async fn central(&self) -> Result<Option<Tenant>, RegistryError> {
        match self.tenant(&slug()?).await {
            Ok(tenant) if tenant.scope == Scope::Central => Ok(Some(tenant)),
            Ok(_) => Err(RegistryError::CentralIsTenant),
            Err(RegistryError::UnknownTenant(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the central database as it is configured: sealed as a tenant's URL is, and written only if it changed.
    ///
    /// # Errors
    /// [`RegistryError::CentralIsTenant`] when a tenant has its name, or when the registry cannot be reached.
    pub async fn put_central(
        &self,
        key: &MasterKey,
        url: &DatabaseUrl,
        place: &Place,
    ) -> Result<(), RegistryError> {
        self.adopt_key(key).await?;
        let known = self.central().await?.map(|central| central.id);
        if let Some(id) = known {
            let access = self.access(key, id, false).await;
            if access.is_ok_and(|known| known.url.expose() == url.expose() && known.place == *place) {
                return Ok(());
            }
        }
        let mut tx = self.store.begin().await?;
        match known {
            Some(id) => {
                let change = Change { url: Some((url.clone(), place.clone())), ..Change::default() };
                self.apply_change(&mut tx, Some(key), id, &change, false).await?;
            }
            None => {
                let (slug, url, place) = (slug()?, url.clone(), place.clone());
                let row = NewTenant { slug, url, place, status: Status::Active, labels: Labels::new() };
                self.insert_tenants(&mut tx, key, &[row], None).await?;
                let mark = self.store.query("UPDATE tenants SET central = 1 WHERE slug = $1").bind(CENTRAL);
                expect_rows(mark.execute(&mut *tx).await?.rows_affected(), 1)?;
            }
        }
        Ok(tx.commit().await?)
    }
}

fn slug() -> Result<Slug, RegistryError> {
    Ok(CENTRAL.parse().map_err(|_| StoreError::Value(CENTRAL.into()))?)
}
