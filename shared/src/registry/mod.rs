//! The registry: which tenants there are, where each lives, and the bundles. One SQL database.
//!
//! It stores a tenant's URL sealed only; opening it takes the master key, which is not in the database.

mod bundles;
mod central;
pub(crate) mod clause;
mod mirror;
mod sealed;
mod tenants;
mod write;

pub use bundles::{read_directory, read_files, read_sets};
pub use central::CENTRAL;
pub use mirror::{Edit, Known, Mirror};
pub use sealed::{Located, Sealed};
pub use tenants::{Access, Change, ListQuery, NewTenant};

use crate::{
    bundle::BundleError,
    secret::{MasterKey, SecretError},
    store::{Store, StoreError},
};

/// What can go wrong with the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database under it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key, or what is sealed with it.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No tenant of this name.
    #[error("there is no tenant '{0}'")]
    UnknownTenant(String),
    /// The name is taken.
    #[error("tenant '{0}' exists already")]
    TenantExists(String),
    /// Somebody else changed a tenant between a comparison and its sync.
    #[error("tenant '{0}' was changed meanwhile, and nothing is synced")]
    Meanwhile(String),
    /// A tenant has the name of the central database.
    #[error("a tenant is called '{CENTRAL}', which is the name of the central database")]
    CentralIsTenant,
    /// The central database's row is not a tenant's to be changed.
    #[error("'{CENTRAL}' is the central database: it is as [central] in the configuration says")]
    NotATenant,
    /// A stored URL is not one.
    #[error("the URL of tenant '{0}' cannot be read")]
    Url(String),
    /// The migration directory cannot be read.
    #[error("the migration directory {path} cannot be read: {reason}")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// The directories of one set among others.
    #[error("set {set}: {source}")]
    Set {
        /// The set, and where it is configured.
        set: String,
        /// What is wrong.
        source: Box<RegistryError>,
    },
    /// Sets that are not valid, by themselves or together.
    #[error("the sets of migrations: {0}")]
    Sets(BundleError),
    /// A migration is in another encoding.
    #[error("{0} is not UTF-8 text")]
    Text(String),
    /// The migrations in it are not valid.
    #[error("{path}: {source}")]
    Format {
        /// The directory.
        path: String,
        /// What is wrong.
        source: BundleError,
    },
    /// A stored bundle is not there or is not what its digest says.
    #[error("bundle {0} is not in the registry, or is damaged")]
    Bundle(String),
}

impl From<sqlx::Error> for RegistryError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// The registry.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
}

impl Registry {
    /// The registry in a database that has one.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The database under it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes sure that this is the key the registry is sealed with; the first key ever used becomes that key.
    ///
    /// # Errors
    /// [`SecretError::WrongKey`] when it is another one.
    pub async fn adopt_key(&self, key: &MasterKey) -> Result<(), RegistryError> {
        let stored = self.setting("key_id", key.id()).await?;
        same_key(stored, key)
    }

    /// Makes sure that this is the key the registry is sealed with, and writes nothing: before its first use, every
    /// key is.
    ///
    /// # Errors
    /// [`SecretError::WrongKey`] when it is another one.
    pub async fn expect_key(&self, key: &MasterKey) -> Result<(), RegistryError> {
        let row = self.store.query("SELECT value FROM settings WHERE name = 'key_id'");
        match row.fetch_optional(self.store.pool()).await? {
            Some(row) => same_key(row.try_get(0)?, key),
            None => Ok(()),
        }
    }

    /// What tells this registry from every other: its part of a shared queue is named by it.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn identity(&self) -> Result<String, RegistryError> {
        self.setting("registry_id", &uuid::Uuid::now_v7().to_string()).await
    }

    /// A setting, which is `first` if it was never set.
    async fn setting(&self, name: &str, first: &str) -> Result<String, RegistryError> {
        let read = || self.store.query("SELECT value FROM settings WHERE name = $1").bind(name.to_owned());
        if let Some(row) = read().fetch_optional(self.store.pool()).await? {
            return Ok(row.try_get(0)?);
        }
        let insert = self.store.query("INSERT INTO settings (name, value) VALUES ($1, $2)");
        insert.bind(name).bind(first).insert(self.store.pool()).await?;
        Ok(read().fetch_one(self.store.pool()).await?.try_get(0)?)
    }
}

fn same_key(stored: String, key: &MasterKey) -> Result<(), RegistryError> {
    if stored == key.id() {
        return Ok(());
    }
    Err(SecretError::WrongKey { sealed_with: stored, given: key.id().to_owned() }.into())
}
