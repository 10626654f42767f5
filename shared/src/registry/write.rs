//! Writing tenants, inside of somebody's transaction: by hand and by a sync in the same way.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::Entry},
};

use super::{
    Registry, RegistryError,
    tenants::{Change, NewTenant},
};
use crate::{
    id::TenantId,
    place::{Engine, Place},
    secret::MasterKey,
    store::{StoreError, Tx, expect_rows, parameters},
    tenant::Status,
};

/// How many rows one statement inserts: well below every database's limit of parameters.
const ROWS_PER_STATEMENT: usize = 100;

impl Registry {
    /// Inserts tenants of a source, or of nobody's; many rows a statement, and no more of them in memory.
    pub(super) async fn insert_tenants(
        &self,
        tx: &mut Tx,
        key: &MasterKey,
        tenants: impl IntoIterator<Item: Borrow<NewTenant>>,
        source: Option<&str>,
    ) -> Result<(), RegistryError> {
        let (mut tenants, mut servers) = (tenants.into_iter(), HashMap::new());
        loop {
            let some: Vec<_> = tenants.by_ref().take(ROWS_PER_STATEMENT).collect();
            let some: Vec<&NewTenant> = some.iter().map(Borrow::borrow).collect();
            if some.is_empty() {
                return Ok(());
            }
            for place in some.iter().map(|tenant| &tenant.place) {
                if let Entry::Vacant(new) = servers.entry((place.engine, place.server.clone())) {
                    new.insert(self.server_id(tx, place).await?);
                }
            }
            self.insert_some(tx, key, &some, source, &servers).await?;
        }
    }

    async fn insert_some(
        &self,
        tx: &mut Tx,
        key: &MasterKey,
        tenants: &[&NewTenant],
        source: Option<&str>,
        servers: &HashMap<(Engine, String), i64>,
    ) -> Result<(), RegistryError> {
        let ids: Vec<TenantId> = tenants.iter().map(|_| TenantId::new()).collect();
        let mut insert = self.store.query(&insert_of(tenants, source.is_some()));
        for (id, tenant) in ids.iter().zip(tenants) {
            let place = &tenant.place;
            insert = insert
                .bind(id.to_string())
                .bind(tenant.slug.as_str())
                .bind(tenant.status.as_str())
                .bind(servers.get(&(place.engine, place.server.clone())).copied())
                .bind(place.database.as_str())
                .bind(place.schema.as_deref())
                .bind(key.seal(*id, tenant.url.expose())?)
                .bind(source);
        }
        if !insert.insert_rows(&mut **tx, tenants.len() as u64).await? {
            return Err(self.taken(tx, &ids, tenants).await?);
        }
        let labels: Vec<_> =
            ids.iter().zip(tenants).flat_map(|(id, t)| t.labels.iter().map(|label| (*id, label))).collect();
        self.set_labels(tx, &labels).await
    }

    /// Which of these names was taken.
    async fn taken(
        &self,
        tx: &mut Tx,
        ids: &[TenantId],
        tenants: &[&NewTenant],
    ) -> Result<RegistryError, RegistryError> {
        for (id, tenant) in ids.iter().zip(tenants) {
            let count = self.store.query("SELECT count(*) FROM tenants WHERE slug = $1 AND id <> $2");
            let row = count.bind(tenant.slug.as_str()).bind(id.to_string()).fetch_one(&mut **tx).await?;
            if row.try_get::<i64>(0)? > 0 {
                return Ok(RegistryError::TenantExists(tenant.slug.to_string()));
            }
        }
        Ok(StoreError::Guard { touched: 0, expected: tenants.len() as u64 }.into())
    }

    /// Changes one tenant. `by_sync`: a status other than active is the sync's doing, which it may undo.
    pub(super) async fn apply_change(
        &self,
        tx: &mut Tx,
        key: Option<&MasterKey>,
        id: TenantId,
        change: &Change,
        by_sync: bool,
    ) -> Result<(), RegistryError> {
        if let (Some((url, place)), Some(key)) = (&change.url, key) {
            let server = self.server_id(tx, place).await?;
            self.move_targets(tx, id, place.engine, server).await?;
            let update =
                "UPDATE tenants SET server_id = $1, database_name = $2, schema_name = $3, sealed_url = $4,
                version = NULL, version_at = NULL WHERE id = $5";
            let update = self.store.query(update).bind(server).bind(place.database.as_str());
            let update = update.bind(place.schema.as_deref()).bind(key.seal(id, url.expose())?);
            let done = update.bind(id.to_string()).execute(&mut **tx).await?;
            expect_rows(done.rows_affected(), 1)?;
        }
        if let Some(status) = change.status {
            let since = if by_sync && status != Status::Active { "{now}" } else { "NULL" };
            let update = format!("UPDATE tenants SET status = $1, sync_suspended_at = {since} WHERE id = $2");
            let update = self.store.query(&update).bind(status.as_str()).bind(id.to_string());
            expect_rows(update.execute(&mut **tx).await?.rows_affected(), 1)?;
        }
        for name in change.remove_labels.iter().chain(change.set_labels.keys()) {
            let delete = self.store.query("DELETE FROM tenant_labels WHERE tenant_id = $1 AND name = $2");
            delete.bind(id.to_string()).bind(name.as_str()).execute(&mut **tx).await?;
        }
        let labels: Vec<_> = change.set_labels.iter().map(|label| (id, label)).collect();
        self.set_labels(tx, &labels).await
    }

    /// What is to be done to the tenant counts for its new server from now on. First of all, as whoever records an outcome
    /// locks a target before its tenant.
    async fn move_targets(
        &self,
        tx: &mut Tx,
        id: TenantId,
        engine: Engine,
        server: i64,
    ) -> Result<(), RegistryError> {
        let update = "UPDATE targets SET server_id = $1 WHERE tenant_id = $2 AND state IN ('pending', 'running', 'retryable')";
        let server = if engine == Engine::Sqlite { 0 } else { server };
        self.store.query(update).bind(server).bind(id.to_string()).execute(&mut **tx).await?;
        Ok(())
    }

    async fn server_id(&self, tx: &mut Tx, place: &Place) -> Result<i64, RegistryError> {
        let insert = self.store.query("INSERT INTO servers (engine, address) VALUES ($1, $2)");
        insert.bind(place.engine.as_str()).bind(place.server.as_str()).insert(&mut **tx).await?;
        let select = self.store.query("SELECT id FROM servers WHERE engine = $1 AND address = $2");
        let row = select.bind(place.engine.as_str()).bind(place.server.as_str()).fetch_one(&mut **tx).await?;
        Ok(row.try_get(0)?)
    }

    async fn set_labels(
        &self,
        tx: &mut Tx,
        labels: &[(TenantId, (&String, &String))],
    ) -> Result<(), RegistryError> {
        for chunk in labels.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<String> =
                (0..chunk.len()).map(|at| format!("({})", parameters(at * 3 + 1, 3))).collect();
            let insert =
                format!("INSERT INTO tenant_labels (tenant_id, name, value) VALUES {}", rows.join(", "));
            let insert = chunk.iter().fold(self.store.query(&insert), |insert, (id, (name, value))| {
                insert.bind(id.to_string()).bind(name.as_str()).bind(value.as_str())
            });
            insert.execute(&mut **tx).await?;
        }
        Ok(())
    }
}

/// The statement that inserts these tenants, eight values each. One that its source lists and does not want in runs is
/// suspended by the sync.
fn insert_of(tenants: &[&NewTenant], by_sync: bool) -> String {
    let row = |(at, tenant): (usize, &&NewTenant)| {
        let since = if by_sync && tenant.status != Status::Active { "{now}" } else { "NULL" };
        format!("({}, {{now}}, ${}, {since})", parameters(at * 8 + 1, 7), at * 8 + 8)
    };
    let rows: Vec<String> = tenants.iter().enumerate().map(row).collect();
    format!(
        "INSERT INTO tenants (id, slug, status, server_id, database_name, schema_name, sealed_url, created_at, source, sync_suspended_at)
         VALUES {}",
        rows.join(", ")
    )
}
