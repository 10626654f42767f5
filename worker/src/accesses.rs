//! Where tenants are and how they are reached, read for several attempts in one statement: those that ask while the registry
//! answers share the next one. Each is read after its claim, and nothing is kept.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tenantry_shared::{
    id::TenantId,
    registry::{Access, Registry, RegistryError, Sealed},
    secret::MasterKey,
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Not more than these in one statement.
const MOST: usize = 32;

/// Those that wait for an answer.
#[derive(Default)]
pub struct Accesses {
    asked: Mutex<Vec<(TenantId, oneshot::Sender<Access>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Accesses {
    /// What a worker needs to reach one tenant, without its labels.
    ///
    /// # Errors
    /// When it is not there, its URL does not open with this key, or the registry cannot be reached.
    pub async fn get(
        &self,
        registry: &Registry,
        key: &MasterKey,
        tenant: TenantId,
    ) -> Result<Access, RegistryError> {
        let (answer, mut answered) = oneshot::channel();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((tenant, answer));
        // Claims come in batches: the others ask now.
        tokio::task::yield_now().await;
        loop {
            let _turn = self.turn.lock().await;
            match answered.try_recv() {
                Ok(access) => return Ok(access),
                Err(TryRecvError::Empty) => self.answer(registry, key).await,
                Err(TryRecvError::Closed) => break,
            }
        }
        // It has an error of its own, or they all have: what it is, one alone is told.
        Box::pin(registry.access(key, tenant, false)).await
    }

    async fn answer(&self, registry: &Registry, key: &MasterKey) {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let later = asked.split_off(asked.len().min(MOST));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).splice(..0, later);
        let tenants: Vec<TenantId> = asked.iter().map(|(tenant, _)| *tenant).collect();
        let found = registry.sealed(&tenants, false).await.unwrap_or_default();
        let open = |sealed: Sealed| sealed.open(key).map(|found| (found.id, found.access));
        let mut found: HashMap<TenantId, Access> = found.into_iter().filter_map(open).collect();
        for (tenant, answer) in asked {
            if let Some(access) = found.remove(&tenant) {
                // Whoever asked may be gone.
                let _ = answer.send(access);
            }
        }
    }
}
