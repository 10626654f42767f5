//! Why a tenant may not be migrated, in words and with the way out.

use crate::version::Version;

/// Why a tenant may not be migrated. Nothing was changed in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A migration was begun outside a transaction and never finished.
    #[error("the history is dirty: {file} was begun and not finished")]
    Dirty {
        /// Its version.
        version: Version,
        /// Its file, or its version where the bundle has no file of it.
        file: String,
        /// How its history is told what became of it.
        mend: String,
    },
    /// A statement was begun that commits by itself, and how it ended is not known.
    #[error("how statement {statement} of {file} ended is not known: its worker was lost meanwhile")]
    Doubt {
        /// The migration's version.
        version: Version,
        /// Its file.
        file: String,
        /// The statement, counted from 1.
        statement: u32,
    },
    /// A file changed after it had been applied.
    #[error("{file} is not what was applied: its checksum changed")]
    Changed {
        /// Its version.
        version: Version,
        /// Its file.
        file: String,
    },
    /// The history knows a version the bundle does not have.
    #[error("version {version} was applied and is missing from the migrations")]
    Missing {
        /// The version.
        version: Version,
    },
    /// A pending migration is older than the newest applied one.
    #[error("{file} is older than version {newest}, which is applied already")]
    OutOfOrder {
        /// Its version.
        version: Version,
        /// Its file.
        file: String,
        /// The newest version applied.
        newest: Version,
    },
    /// A migration was begun to be reverted, and never finished.
    #[error("{file} is half reverted")]
    HalfReverted {
        /// Its version.
        version: Version,
        /// Its file.
        file: String,
    },
    /// Nothing says how to revert a migration.
    #[error("{file} cannot be reverted: it has no down script")]
    NoDown {
        /// Its version.
        version: Version,
        /// Its file.
        file: String,
    },
    /// A program applied a migration, and only it knows how to revert it.
    #[error("{file} is reverted by its own tool alone")]
    NotOurs {
        /// Its version.
        version: Version,
        /// Its file.
        file: String,
    },
    /// Something that stays is built on what is to be reverted.
    #[error("version {version} is newer than what is to be reverted, and was applied too")]
    Newer {
        /// Its version.
        version: Version,
    },
    /// A history with rows that are no beginning of the migrations.
    #[error("the history has version {version} already, and does not have {file}, which comes before it")]
    Gap {
        /// The version that is there.
        version: Version,
        /// The file of one that is not.
        file: String,
    },
}

impl Refusal {
    /// A stable name of the reason, in place of a database's error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dirty { .. } => "dirty",
            Self::Doubt { .. } => "doubt",
            Self::Changed { .. } => "checksum",
            Self::Missing { .. } => "missing",
            Self::OutOfOrder { .. } => "out-of-order",
            Self::HalfReverted { .. } => "half-reverted",
            Self::NoDown { .. } => "no-down",
            Self::NotOurs { .. } => "command",
            Self::Newer { .. } => "newer",
            Self::Gap { .. } => "history",
        }
    }

    /// The version it is about.
    #[must_use]
    pub fn version(&self) -> &Version {
        match self {
            Self::Dirty { version, .. }
            | Self::Doubt { version, .. }
            | Self::Changed { version, .. }
            | Self::Missing { version }
            | Self::OutOfOrder { version, .. }
            | Self::HalfReverted { version, .. }
            | Self::NoDown { version, .. }
            | Self::NotOurs { version, .. }
            | Self::Newer { version }
            | Self::Gap { version, .. } => version,
        }
    }

    /// The way out, in one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Dirty { mend, .. } => {
                format!("see how far it came, finish or undo it by hand, then tell: tenantry repair --tenant ID --finished or --undone (or {mend})")
            }
            Self::Doubt { statement, .. } => format!(
                "see in the tenant whether statement {statement} is done, then tell: tenantry repair --tenant ID --done or --not-done"
            ),
            Self::Changed { .. } => {
                "restore the file as it was applied, and put the change into a new migration; or accept it as it is now: tenantry repair --tenant ID --checksums".into()
            }
            Self::Missing { version } => format!(
                "use the directory that holds it (a newer release's?), or put the file back; if it is gone for good: tenantry repair --tenant ID --forget {version}"
            ),
            Self::OutOfOrder { .. } => {
                "give it a newer version, or allow it with --order any (apply) or --order skip (leave out)"
                    .into()
            }
            Self::HalfReverted { .. } => {
                "go on with the rollback, or finish or undo it by hand and tell: tenantry repair --tenant ID --finished or --undone".into()
            }
            Self::NoDown { .. } => {
                "undo it with a new migration, or write a down script for it".into()
            }
            Self::NotOurs { .. } => "revert it with that tool, in the tenant itself".into(),
            Self::Newer { version } => format!("revert {version} first: tenantry rollback --to VERSION reverts all that is newer"),
            Self::Gap { .. } => {
                "a baseline is for tenants without a history; apply what is missing: tenantry enqueue --order any, or record it: tenantry repair --tenant ID --mark-applied VERSION".into()
            }
        }
    }
}
