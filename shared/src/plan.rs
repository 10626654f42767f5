//! Planning: what is left to do for one tenant, or why nothing may be done. Pure.
//!
//! Every check is made before the first change. sqlx compares checksums while it applies, so that an older
//! pending migration can run before a changed one is found; here a refused tenant is an untouched one.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{bundle::Bundle, format::Migration};

/// One row of a tenant's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version applied.
    pub version: i64,
    /// The checksum of what was applied.
    pub checksum: Vec<u8>,
    /// Whether it ran to its end. `false` marks a migration that was begun outside a transaction and not finished.
    pub success: bool,
}

/// What to do with a pending migration that is older than the newest one applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Refuse the tenant.
    #[default]
    Linear,
    /// Leave the older one out.
    Skip,
    /// Apply it, as sqlx does.
    Any,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "linear" => Ok(Self::Linear),
            "skip" => Ok(Self::Skip),
            "any" => Ok(Self::Any),
            _ => Err(format!("'{text}' is not an order (linear, skip or any)")),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Skip => "skip",
            Self::Any => "any",
        })
    }
}

/// The pending migrations of one tenant, computed and not run.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    /// The newest version in the tenant's history.
    pub from: Option<i64>,
    /// What is to be applied, in this order.
    pub pending: Vec<&'a Migration>,
}

/// Why a tenant may not be migrated. Nothing was changed in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A migration was begun outside a transaction and never finished.
    #[error("the history is dirty: {file} was begun and not finished")]
    Dirty {
        /// Its version.
        version: i64,
        /// Its file, or its version where the bundle has no file of it.
        file: String,
    },
    /// A file changed after it had been applied.
    #[error("{file} is not what was applied: its checksum changed")]
    Changed {
        /// Its version.
        version: i64,
        /// Its file.
        file: String,
    },
    /// The history knows a version the bundle does not have.
    #[error("version {version} was applied and is missing from the migrations")]
    Missing {
        /// The version.
        version: i64,
    },
    /// A pending migration is older than the newest applied one.
    #[error("{file} is older than version {newest}, which is applied already")]
    OutOfOrder {
        /// Its version.
        version: i64,
        /// Its file.
        file: String,
        /// The newest version applied.
        newest: i64,
    },
}

impl Refusal {
    /// A stable name of the reason, in place of a database's error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dirty { .. } => "dirty",
            Self::Changed { .. } => "checksum",
            Self::Missing { .. } => "missing",
            Self::OutOfOrder { .. } => "out-of-order",
        }
    }

    /// The version it is about.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Dirty { version, .. }
            | Self::Changed { version, .. }
            | Self::Missing { version }
            | Self::OutOfOrder { version, .. } => *version,
        }
    }

    /// The way out, in one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Dirty { version, .. } => format!(
                "see how far it came, finish or undo it by hand, then set success to true in, or delete, row {version} of the history table"
            ),
            Self::Changed { .. } => {
                "restore the file as it was applied, and put the change into a new migration".into()
            }
            Self::Missing { .. } => {
                "use the directory that holds it (a newer release's?), or put the file back".into()
            }
            Self::OutOfOrder { .. } => {
                "give it a newer version, or allow it with --order any (apply) or --order skip (leave out)"
                    .into()
            }
        }
    }
}

/// What is pending for a tenant with this history, up to and including `target`.
///
/// # Errors
/// A [`Refusal`]: the first reason found, in the order dirty, missing, changed, out of order.
pub fn plan<'a>(
    bundle: &'a Bundle,
    history: &[Applied],
    target: i64,
    order: Order,
) -> Result<Plan<'a>, Refusal> {
    let applied: BTreeMap<i64, &Applied> = history.iter().map(|row| (row.version, row)).collect();
    if let Some(row) = applied.values().find(|row| !row.success) {
        let file =
            bundle.get(row.version).map_or_else(|| format!("version {}", row.version), |m| m.file.clone());
        return Err(Refusal::Dirty { version: row.version, file });
    }
    if let Some(&version) = applied.keys().find(|&&version| bundle.get(version).is_none()) {
        return Err(Refusal::Missing { version });
    }
    for migration in bundle.migrations() {
        if applied.get(&migration.version).is_some_and(|row| row.checksum != migration.checksum) {
            return Err(Refusal::Changed { version: migration.version, file: migration.file.clone() });
        }
    }
    let newest = applied.keys().next_back().copied();
    let mut pending: Vec<&Migration> = bundle
        .migrations()
        .iter()
        .filter(|m| m.version <= target && !applied.contains_key(&m.version))
        .collect();
    if let Some(newest) = newest
        && let Some(old) = pending.iter().find(|m| m.version < newest)
    {
        match order {
            Order::Linear => {
                return Err(Refusal::OutOfOrder { version: old.version, file: old.file.clone(), newest });
            }
            Order::Skip => pending.retain(|m| m.version > newest),
            Order::Any => {}
        }
    }
    Ok(Plan { from: newest, pending })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::File;
    use proptest::prelude::*;

    fn bundle(versions: &[i64]) -> Bundle {
        let files =
            versions.iter().map(|v| File { name: format!("{v}_m.sql"), content: format!("SELECT {v};") });
        Bundle::new(files.collect()).unwrap()
    }

    fn history(bundle: &Bundle, versions: &[i64]) -> Vec<Applied> {
        let row = |v: &i64| Applied {
            version: *v,
            checksum: bundle.get(*v).unwrap().checksum.clone(),
            success: true,
        };
        versions.iter().map(row).collect()
    }

    fn versions(plan: &Plan<'_>) -> Vec<i64> {
        plan.pending.iter().map(|m| m.version).collect()
    }

    #[test]
    fn what_is_not_applied_is_pending_up_to_the_target() {
        let b = bundle(&[1, 2, 3, 4]);
        let plan = plan(&b, &history(&b, &[1]), 3, Order::Linear).unwrap();
        assert_eq!((plan.from, versions(&plan)), (Some(1), vec![2, 3]));
    }

    #[test]
    fn a_tenant_beyond_the_target_has_nothing_pending() {
        let b = bundle(&[1, 2, 3]);
        assert!(plan(&b, &history(&b, &[1, 2, 3]), 2, Order::Linear).unwrap().pending.is_empty());
    }

    #[test]
    fn a_dirty_history_is_refused() {
        let b = bundle(&[1, 2]);
        let mut rows = history(&b, &[1, 2]);
        rows[1].success = false;
        assert_eq!(plan(&b, &rows, 2, Order::Any).unwrap_err().code(), "dirty");
    }

    #[test]
    fn a_changed_file_is_refused_before_an_older_pending_one_is_planned() {
        let b = bundle(&[1, 2, 3]);
        let mut rows = history(&b, &[3]);
        rows[0].checksum = vec![0];
        assert_eq!(plan(&b, &rows, 3, Order::Any).unwrap_err().code(), "checksum");
    }

    #[test]
    fn an_applied_version_that_no_file_has_is_refused() {
        let b = bundle(&[1]);
        let rows = [Applied { version: 7, checksum: vec![], success: true }];
        assert_eq!(plan(&b, &rows, 1, Order::Any), Err(Refusal::Missing { version: 7 }));
    }

    #[test]
    fn an_older_pending_migration_is_refused_left_out_or_applied() {
        let b = bundle(&[1, 2, 3, 4]);
        let rows = history(&b, &[1, 3]);
        assert_eq!(plan(&b, &rows, 4, Order::Linear).unwrap_err().code(), "out-of-order");
        assert_eq!(versions(&plan(&b, &rows, 4, Order::Skip).unwrap()), [4]);
        assert_eq!(versions(&plan(&b, &rows, 4, Order::Any).unwrap()), [2, 4]);
    }

    proptest! {
        #[test]
        fn applying_a_plan_leaves_nothing_pending(mask in proptest::collection::vec(any::<bool>(), 1..20), target in 0_i64..20) {
            let all: Vec<i64> = (1..=mask.len() as i64).collect();
            let b = bundle(&all);
            let done: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
            let before = history(&b, &done);
            let first = plan(&b, &before, target, Order::Any).unwrap();
            let after: Vec<i64> = done.iter().copied().chain(versions(&first)).collect();
            prop_assert!(plan(&b, &history(&b, &after), target, Order::Any).unwrap().pending.is_empty());
            prop_assert!(versions(&first).iter().all(|v| *v <= target && !done.contains(v)));
        }
    }
}
