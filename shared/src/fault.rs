//! An error as the two binaries tell it: exit code, one line, and the way out. Made here, from every room's own
//! errors, so that both tell the same thing in the same way.

use std::fmt;

use crate::{
    bundle::BundleError, config::ConfigError, exit::Exit, format::FormatError, ledger::LedgerError,
    place::UrlError, queue::QueueError, registry::RegistryError, secret::SecretError, source::SourceError,
    store::StoreError,
};

/// What a person reads when a command does not do what it was asked for.
#[derive(Debug)]
pub struct Fault {
    /// How the process ends.
    pub exit: Exit,
    /// One line, lower case, that names what it is about.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without a way out.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A wrong call.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same fault with a way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        let fault = Self::new(Exit::Config, error.to_string());
        match error.hint() {
            Some(hint) => fault.with_hint(hint),
            None => fault,
        }
    }
}

impl From<UrlError> for Fault {
    fn from(error: UrlError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        let fault = Self::new(Exit::Config, error.to_string());
        match error {
            SecretError::WrongKey { .. } => Self::new(Exit::Config, format!("the registry is {error}")).with_hint(
                "give the key the registry was made with: TENANTRY_MASTER_KEY or TENANTRY_MASTER_KEY_FILE",
            ),
            _ => fault,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Unreachable(_) => Self::new(Exit::Temporary, message)
                .with_hint("is the registry's server up? check with: tenantry doctor"),
            StoreError::NoRegistry(_) => Self::new(Exit::Config, message)
                .with_hint("make one with: tenantry registry init (or set --registry-url)"),
            StoreError::Version { found, needed } if found < needed => {
                Self::new(Exit::Config, message).with_hint("bring it up to date with: tenantry registry init")
            }
            StoreError::Version { .. } => {
                Self::new(Exit::Config, message).with_hint("use the newer program that made it")
            }
            StoreError::Pooled => Self::new(Exit::Config, message).with_hint(
                "give a URL past the pooler; where it keeps a session for each client, say so in the URL: ?pooling=session",
            ),
            StoreError::Options(_) => Self::new(Exit::Config, message)
                .with_hint("name it in the pooler's ignore_startup_parameters, or give a URL past the pooler"),
            StoreError::Unusable { .. } => Self::new(Exit::Config, message)
                .with_hint("name a file that this user may read and write: --registry-url sqlite:PATH"),
            StoreError::Pooling | StoreError::Scheme | StoreError::NoDatabase => {
                Self::new(Exit::Config, message)
            }
            _ => Self::new(Exit::Error, message),
        }
    }
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::Store(error) => error.into(),
            RegistryError::Secret(error) => error.into(),
            RegistryError::UnknownTenant(_) => {
                Self::usage(message).with_hint("list them with: tenantry tenants list")
            }
            RegistryError::TenantExists(_) => {
                Self::usage(message).with_hint("change it with: tenantry tenants set")
            }
            RegistryError::Meanwhile(_) => {
                Self::new(Exit::Refused, message).with_hint("compare again: tenantry tenants sync")
            }
            RegistryError::Directory { .. } => Self::new(Exit::Config, message)
                .with_hint("give the directory with --source, or `migrations` in tenantry.toml"),
            RegistryError::Format { source: BundleError::Format(FormatError::Empty), .. } => {
                Self::new(Exit::Config, message).with_hint("make one with: tenantry new migration NAME")
            }
            RegistryError::Format { source: BundleError::Ambiguous { .. }, .. } => {
                Self::new(Exit::Config, message).with_hint("say which: `format` in tenantry.toml")
            }
            RegistryError::Format { source: BundleError::Untold { .. }, .. } => {
                Self::new(Exit::Config, message)
                    .with_hint("give it a history of its own: `table` in tenantry.toml")
            }
            RegistryError::CentralIsTenant => Self::new(Exit::Config, message)
                .with_hint("that tenant needs another id: the central database is not one of the tenants"),
            RegistryError::NotATenant => Self::usage(message).with_hint("change it there"),
            RegistryError::Set { set, source } => {
                let fault = Self::from(*source);
                let hint = Some("correct `migrations` of the set in the configuration".to_owned());
                Self { message: format!("set {set}: {}", fault.message), hint, ..fault }
            }
            RegistryError::Sets(BundleError::Set { source: FormatError::Empty, .. }) => {
                Self::new(Exit::Config, message)
                    .with_hint("give its directory a first migration, or take the set away")
            }
            RegistryError::Sets(BundleError::NoTenants) => Self::new(Exit::Config, message)
                .with_hint("give a set without `for = \"central\"`: that one is for the tenants"),
            RegistryError::Sets(BundleError::UnknownSet { .. }) => Self::usage(message),
            RegistryError::Sets(BundleError::Ambiguous { .. }) => {
                Self::new(Exit::Config, message).with_hint("say which: `format` of the set")
            }
            RegistryError::Sets(BundleError::Untold { .. }) => {
                Self::new(Exit::Config, message).with_hint("give it a history of its own: `table` of the set")
            }
            RegistryError::Sets(_) => Self::new(Exit::Config, message),
            RegistryError::Text(_) => Self::new(Exit::Config, message).with_hint("save it as UTF-8"),
            RegistryError::Bundle(_) => Self::new(Exit::Config, message)
                .with_hint("it was changed in the registry's database: restore that from a backup"),
            RegistryError::Format { .. } | RegistryError::Url(_) => Self::new(Exit::Config, message),
        }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        match error {
            SourceError::Config(error) => error.into(),
            SourceError::Unreachable { .. } => Self::new(Exit::Temporary, message)
                .with_hint("is it up, and reachable from here? check with: tenantry doctor"),
            SourceError::Unreadable { .. } => {
                Self::new(Exit::Config, message).with_hint("correct the source's table in tenantry.toml")
            }
            SourceError::UnknownColumn { .. } => Self::new(Exit::Config, message)
                .with_hint("name the right one in the source's columns, in tenantry.toml"),
            SourceError::BadRows { .. } => Self::new(Exit::Refused, message)
                .with_hint("nothing was changed; mend the row, or leave it out of the source"),
        }
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        let message = error.to_string();
        match error {
            LedgerError::Store(error) => error.into(),
            LedgerError::Registry(error) => error.into(),
            LedgerError::Run { source, .. } => Self { message, ..(*source).into() },
            LedgerError::UnknownRun(name) if name == "latest" => {
                Self::usage("there is no run yet").with_hint("start one with: tenantry enqueue --all")
            }
            LedgerError::UnknownRun(name) if name == "latest-failed" => Self::usage("no run has failed"),
            LedgerError::UnknownRun(_) => Self::usage(message).with_hint("list them with: tenantry runs"),
            LedgerError::UnknownTenants(_) => {
                Self::usage(message).with_hint("list them with: tenantry tenants list")
            }
            LedgerError::Inactive(_) => Self::usage(message)
                .with_hint("make one active with: tenantry tenants set ID --status active"),
            LedgerError::NotFailed(_) => {
                Self::usage(message).with_hint("see who failed with: tenantry status RUN --state failed")
            }
            LedgerError::NoCanary(_) => {
                Self::usage(message).with_hint("see who has which labels with: tenantry tenants list")
            }
            LedgerError::UnknownServer(_) => {
                Self::usage(message).with_hint("list them with: tenantry servers")
            }
            LedgerError::NoConnections(_) => Self::usage(message)
                .with_hint("set how many tenants a worker works: tenantry-worker run --concurrency"),
            LedgerError::KeyTaken { number, .. } => {
                let hint =
                    format!("see that one with: tenantry status {number}; another request needs another key");
                Self::usage(message).with_hint(hint)
            }
            LedgerError::UnderWay { number, .. } => Self::usage(message).with_hint(format!(
                "wait for it with: tenantry wait {number}, stop it with: tenantry cancel {number}, or start beside it with --overlap"
            )),
            LedgerError::NothingSelected => Self::new(Exit::NothingSelected, message).with_hint(
                "see who there is with: tenantry tenants list (or end with 0 by --no-tenants pass)",
            ),
        }
    }
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        let message = error.to_string();
        match error {
            QueueError::Unreachable(_) => Self::new(Exit::Temporary, message)
                .with_hint("is the queue's server up? check with: tenantry doctor"),
            QueueError::Scheme | QueueError::OtherDatabase => Self::new(Exit::Config, message),
            QueueError::Ledger(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn hint(fault: impl Into<Fault>) -> String {
        fault.into().hint.unwrap_or_default()
    }

    #[test]
    fn a_setting_that_cannot_be_looked_up_has_a_way_out() {
        let unset = ConfigError::Unset { name: "DB".into(), setting: "registry-url" };
        assert!(hint(unset).contains("set it"));
        let unreadable = ConfigError::Unreadable { path: PathBuf::from("/x"), reason: "gone".into() };
        assert!(hint(unreadable).contains("may read"));
        assert!(hint(ConfigError::Central(UrlError::Malformed)).contains("[central]"));
    }

    #[test]
    fn sets_of_which_none_is_for_tenants_have_a_way_out() {
        assert!(hint(RegistryError::Sets(BundleError::NoTenants)).contains("for = \"central\""));
    }

    #[test]
    fn a_bundle_that_is_damaged_has_a_way_out() {
        assert!(hint(RegistryError::Bundle("b1".into())).contains("backup"));
    }
}
