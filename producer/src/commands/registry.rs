//! `registry`: making and checking it.

use std::{
    io::{ErrorKind, Write as _},
    path::Path,
};

use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::NamedTempFile;
use tenantry_shared::{
    config::{Config, ConfigError},
    exit::Exit,
    fault::Fault,
    registry::Registry,
    secret::MasterKey,
    store::Store,
};

use crate::{
    app::{self, App},
    cli::Global,
    output::Output,
};

pub(crate) async fn init(global: &Global, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    make(&config, output).await?;
    output.either(&json!({ "schema": "tenantry.registry/v1", "ready": true }), || {
        "the registry is ready".into()
    });
    Ok(Exit::Ok)
}

/// Makes the registry, and a key for it where it is a file and none is configured.
pub(crate) async fn make(config: &Config, output: &Output) -> Result<(), Fault> {
    // A key that is configured and is no key stops here, before anything is made.
    let configured = match config.master_key() {
        Ok(key) => Some(key),
        Err(ConfigError::NoKey) => None,
        Err(error) => return Err(error.into()),
    };
    let store = Store::init(config.registry_url.expose_secret()).await?;
    let key = match (configured, config.own_key_file()) {
        (Some(key), _) => Some(key),
        (None, Some(path)) => {
            if made_key_file(path)? {
                output.note(&format!(
                    "made a master key in {}: keep a copy, without it no tenant's URL can be read",
                    path.display()
                ));
            }
            Some(config.master_key()?)
        }
        (None, None) => None,
    };
    match key {
        Some(key) => Registry::new(store).adopt_key(&key).await?,
        None => output
            .note("no master key is configured yet; tenants can be added with one: openssl rand -hex 32"),
    }
    Ok(())
}

/// Makes a new key in a file that only its owner can read. `false`: somebody else has made one meanwhile.
fn made_key_file(path: &Path) -> Result<bool, Fault> {
    let key = MasterKey::generate()?;
    let write = || {
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("")))?;
        file.write_all(format!("{}\n", key.to_hex()).as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(true),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    };
    write().map_err(|e: std::io::Error| {
        Fault::new(Exit::Error, format!("{} cannot be written: {e}", path.display()))
    })
}

pub(crate) async fn check(app: &App, output: &Output) -> Result<Exit, Fault> {
    let key = app.key().await?;
    output.either(&json!({ "schema": "tenantry.registry/v1", "ready": true, "key": key.id() }), || {
        format!("the registry is ready and opens with key {}", key.id())
    });
    Ok(Exit::Ok)
}
