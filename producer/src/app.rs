//! What a command works with: the configuration, and what it opens of registry, ledger, key and queue.

use secrecy::ExposeSecret as _;
use tenantry_shared::{
    config::{Config, Flags, environment},
    fault::Fault,
    ledger::Ledger,
    queue::Queue,
    registry::Registry,
    secret::MasterKey,
    store::Store,
};

use tokio::sync::OnceCell;

use crate::cli::Global;

/// A configuration, and the registry that it names.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) ledger: Ledger,
    /// The queue, once somebody needed it.
    opened: OnceCell<Queue>,
}

/// The merged configuration of this call.
pub(crate) fn config(global: &Global) -> Result<Config, Fault> {
    let flags = Flags {
        config: global.config.clone(),
        registry_url: global.registry_url.clone(),
        queue_url: global.queue_url.clone(),
        profile: global.profile.clone(),
    };
    Ok(Config::load(&flags, &environment)?)
}

impl App {
    /// Opens the registry, which must be there.
    pub(crate) async fn open(global: &Global) -> Result<Self, Fault> {
        Self::with(config(global)?).await
    }

    /// The same with a configuration at hand.
    pub(crate) async fn with(config: Config) -> Result<Self, Fault> {
        let store = Store::open(config.registry_url.expose_secret()).await?;
        store.keep_open();
        Ok(Self {
            config,
            registry: Registry::new(store.clone()),
            ledger: Ledger::new(store),
            opened: OnceCell::new(),
        })
    }

    /// The key, which must be the registry's.
    pub(crate) async fn key(&self) -> Result<MasterKey, Fault> {
        let key = self.config.master_key()?;
        self.registry.adopt_key(&key).await?;
        Ok(key)
    }

    /// The queue of this registry.
    pub(crate) async fn queue(&self) -> Result<Queue, Fault> {
        Ok(self.opened.get_or_try_init(|| self.open_queue()).await?.clone())
    }

    async fn open_queue(&self) -> Result<Queue, Fault> {
        let identity = self.registry.identity().await?;
        let url = self.config.queue_url.as_ref().map(|url| url.expose_secret());
        Ok(Queue::open(url, self.config.registry_url.expose_secret(), &identity).await?)
    }
}
