//! What a run asks for, fetched once per run and bundle and kept: every worker applies the same bytes by digest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tenantry_shared::{
    bundle::{Bundle, Digest},
    id::RunId,
    ledger::{Ledger, LedgerError},
    registry::{Registry, RegistryError},
    run::{ActionKind, Policy, RunRef},
    version::Version,
};

/// How many runs' orders are kept. One that is dropped is fetched again when it is needed.
const KEPT: usize = 16;

/// What to do to each tenant of a run.
#[derive(Clone, Debug)]
pub struct Order {
    /// The migrations, of which only the run's sets are worked.
    pub bundle: Arc<Bundle>,
    /// The version to reach.
    pub target: Version,
    /// How.
    pub policy: Policy,
    /// What to do.
    pub action: ActionKind,
}

/// The orders of the runs this worker has met lately.
#[derive(Debug, Default)]
pub struct Orders {
    runs: Mutex<HashMap<RunId, Arc<Order>>>,
    bundles: Mutex<HashMap<Digest, Arc<Bundle>>>,
}

impl Orders {
    /// The order of a run.
    ///
    /// # Errors
    /// When the run or its bundle cannot be read.
    pub async fn get(
        &self,
        registry: &Registry,
        ledger: &Ledger,
        run: RunId,
    ) -> Result<Arc<Order>, LedgerError> {
        if let Some(order) = self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(&run) {
            return Ok(order.clone());
        }
        let row = ledger.find_run(RunRef::Id(run)).await?;
        let mut bundle = self.bundle(registry, &row.digest).await?;
        if !row.action.sets.is_empty() {
            bundle = Bundle::clone(&bundle).only(&row.action.sets).map_err(RegistryError::Sets)?.into();
        }
        let order =
            Arc::new(Order { bundle, target: row.target, policy: row.policy, action: row.action.kind });
        keep(&self.runs, run, order.clone());
        Ok(order)
    }

    async fn bundle(&self, registry: &Registry, digest: &Digest) -> Result<Arc<Bundle>, LedgerError> {
        if let Some(bundle) = self.bundles.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(bundle.clone());
        }
        let bundle = Arc::new(registry.bundle(digest).await?);
        keep(&self.bundles, digest.clone(), bundle.clone());
        Ok(bundle)
    }
}

fn keep<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= KEPT {
        map.clear();
    }
    map.insert(key, value);
}
