//! Planning: what is left to do for one tenant, or why nothing may be done. Pure.
//!
//! Every check is made before the first change. sqlx compares checksums while it applies, so that an older
//! pending migration can run before a changed one is found; here a refused tenant is an untouched one.

pub mod baseline;
pub mod mend;
mod refusal;
pub mod revert;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::refusal::Refusal;
pub use crate::format::Applied;
use crate::{
    bundle::{Chain, Link, Taken},
    version::Version,
};

/// How far a migration came that is run statement by statement, as the tenant itself keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The history table that the migration belongs to.
    pub table: String,
    /// The migration's name there.
    pub version: Version,
    /// Whether it is being reverted.
    pub down: bool,
    /// How many statements are done, from the first on.
    pub done: u32,
    /// The statement after them was begun, and nobody knows whether it is done.
    pub doubt: bool,
    /// What the doubtful statement leaves behind was there before it: the database cannot tell.
    pub traceless: bool,
    /// The fingerprints of the statements done, in order.
    pub fingerprints: Vec<String>,
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

/// One migration that is to be applied, or reverted.
#[derive(Clone, Debug)]
pub struct Pending<'a> {
    /// The chain it belongs to.
    pub chain: &'a Chain,
    /// The migration there.
    pub link: &'a Link,
    /// The one before it in its chain; when it is reverted, the one before it that is applied.
    pub previous: Option<&'a Link>,
    /// How far it came in an earlier attempt.
    pub resume: Option<Progress>,
}

/// Where a plan ends.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// The chain that the target belongs to; the others are brought to their newest version.
    pub main: &'a Chain,
    /// The version to reach there.
    pub target: &'a Version,
    /// What to do with older pending migrations.
    pub order: Order,
}

/// What is pending for a database with these histories, one for each chain that it takes, in the order of application.
///
/// # Errors
/// A [`Refusal`]: the first reason found in the first chain that has one, in the order dirty, missing, changed, out
/// of order.
pub fn plan<'a>(
    taken: &[Taken<'a>],
    histories: &[Vec<Applied>],
    progress: Option<&Progress>,
    goal: Goal<'_>,
) -> Result<Vec<Pending<'a>>, Refusal> {
    let mut pending = Vec::new();
    for view in views(taken, histories, progress) {
        let target = std::ptr::eq(view.taken.chain, goal.main).then_some(goal.target);
        pending.extend(view.plan(target, goal.order)?);
    }
    Ok(pending)
}

/// The newest version that a history of this chain has, by the chain's own order.
#[must_use]
pub fn newest(chain: &Chain, history: &[Applied]) -> Option<Version> {
    let known = chain.links.iter().rev().filter(|link| !link.migration.repeatable);
    let applied = |version: &Version| history.iter().any(|row| row.success && row.version == *version);
    let found = known.map(|link| &link.migration.version).find(|version| applied(version)).cloned();
    found.or_else(|| history.iter().filter(|row| row.success).map(|row| row.version.clone()).max())
}

fn by_version(history: &[Applied]) -> BTreeMap<&Version, &Applied> {
    history.iter().map(|row| (&row.version, row)).collect()
}

fn views<'v, 'a>(
    taken: &'v [Taken<'a>],
    histories: &'v [Vec<Applied>],
    progress: Option<&'v Progress>,
) -> Vec<View<'v, 'a>> {
    let view = |(taken, history): (&'v Taken<'a>, &'v Vec<Applied>)| {
        let progress = progress.filter(|progress| progress.table == taken.chain.table);
        View { taken, history, progress, applied: by_version(history) }
    };
    taken.iter().zip(histories).map(view).collect()
}

/// One chain of one database.
struct View<'v, 'a> {
    taken: &'v Taken<'a>,
    history: &'v [Applied],
    progress: Option<&'v Progress>,
    applied: BTreeMap<&'v Version, &'v Applied>,
}

impl<'a> View<'_, 'a> {
    fn plan(&self, target: Option<&Version>, order: Order) -> Result<Vec<Pending<'a>>, Refusal> {
        self.agrees()?;
        let links = &self.taken.chain.links;
        let last = target.and_then(|target| self.taken.chain.position(target));
        let last = last.unwrap_or(links.len());
        let mut pending: Vec<usize> = (0..links.len()).filter(|at| self.is_pending(*at, last)).collect();
        self.in_order(&mut pending, order)?;
        Ok(pending.into_iter().map(|at| self.pending(at)).collect())
    }

    /// Whether the history is whole, and of these files.
    fn agrees(&self) -> Result<(), Refusal> {
        self.nothing_is_half_done()?;
        self.all_is_known()?;
        self.nothing_changed()
    }

    fn nothing_is_in_doubt(&self) -> Result<(), Refusal> {
        let Some(progress) = self.progress.filter(|progress| progress.doubt) else { return Ok(()) };
        let (version, file) = self.name(&progress.version);
        Err(Refusal::Doubt { version, file, statement: progress.done + 1 })
    }

    fn nothing_is_half_done(&self) -> Result<(), Refusal> {
        self.nothing_is_in_doubt()?;
        if let Some(progress) = self.progress.filter(|progress| progress.down) {
            let (version, file) = self.name(&progress.version);
            return Err(Refusal::HalfReverted { version, file });
        }
        let resumable = |row: &&Applied| self.progress.is_some_and(|p| p.version == row.version && !p.down);
        match self.history.iter().filter(|row| !row.success).find(|row| !resumable(row)) {
            None => Ok(()),
            Some(row) => {
                let (version, file) = self.name(&row.version);
                let mend = self.taken.chain.rules.mend(&row.version);
                Err(Refusal::Dirty { version, file, mend })
            }
        }
    }

    fn all_is_known(&self) -> Result<(), Refusal> {
        let known = |version: &Version| self.link(version).is_some();
        match self.applied.keys().find(|version| !known(version)) {
            None => Ok(()),
            Some(version) => Err(Refusal::Missing { version: self.name(version).0 }),
        }
    }

    fn nothing_changed(&self) -> Result<(), Refusal> {
        let changed = |link: &&Link| !link.migration.repeatable && self.differs(link);
        match self.taken.chain.links.iter().find(changed) {
            None => Ok(()),
            Some(link) => {
                Err(Refusal::Changed { version: link.id.clone(), file: link.migration.file.clone() })
            }
        }
    }

    fn in_order(&self, pending: &mut Vec<usize>, order: Order) -> Result<(), Refusal> {
        let links = &self.taken.chain.links;
        let newer = |at: usize| self.newer_applied(at).map(|newest| (at, newest));
        let Some((old, newest)) = pending.iter().find_map(|at| newer(*at)) else { return Ok(()) };
        match order {
            Order::Linear => Err(Refusal::OutOfOrder {
                version: links[old].id.clone(),
                file: links[old].migration.file.clone(),
                newest: links[newest].id.clone(),
            }),
            Order::Skip => {
                pending.retain(|at| self.newer_applied(*at).is_none());
                Ok(())
            }
            Order::Any => Ok(()),
        }
    }

    /// Versioned migrations up to the last one; repeatable ones where all of those are to be there, and they are new
    /// or changed.
    fn is_pending(&self, at: usize, last: usize) -> bool {
        let links = &self.taken.chain.links;
        let link = &links[at];
        let row = self.applied.get(&link.migration.version);
        let wanted = if link.migration.repeatable {
            let complete = links.iter().skip(last + 1).all(|later| later.migration.repeatable);
            complete && (row.is_none() || self.differs(link))
        } else {
            at <= last && row.is_none_or(|row| !row.success)
        };
        wanted && self.taken.links[at]
    }

    /// The newest applied migration behind this one that is in one of its sets. A set that a tenant takes later than
    /// others begins at its own beginning.
    fn newer_applied(&self, here: usize) -> Option<usize> {
        let links = &self.taken.chain.links;
        let (link, behind) = (&links[here], here + 1..links.len());
        if link.migration.repeatable || self.resume(link).is_some() {
            return None;
        }
        let applied = |at: &usize| {
            let other = &links[*at];
            !other.migration.repeatable
                && self.taken.chain.comes_after(*at, here)
                && self.applied.contains_key(&other.migration.version)
                && other.sets.iter().any(|set| link.sets.contains(set))
        };
        behind.rev().find(applied)
    }

    fn differs(&self, link: &Link) -> bool {
        let row = self.applied.get(&link.migration.version).filter(|row| row.success);
        row.is_some_and(|row| !link.migration.is_what_was_applied(row.checksum.as_deref()))
    }

    fn pending(&self, at: usize) -> Pending<'a> {
        let links = &self.taken.chain.links;
        let previous = at.checked_sub(1).map(|before| &links[before]);
        Pending { chain: self.taken.chain, link: &links[at], previous, resume: self.resume(&links[at]) }
    }

    fn resume(&self, link: &Link) -> Option<Progress> {
        let progress = self.progress.filter(|p| p.version == link.migration.version && !p.down);
        progress.cloned()
    }

    fn link(&self, version: &Version) -> Option<&'a Link> {
        self.taken.chain.position(version).map(|at| &self.taken.chain.links[at])
    }

    /// What a version is called in the bundle, and its file.
    fn name(&self, version: &Version) -> (Version, String) {
        match self.link(version) {
            Some(link) => (link.id.clone(), link.migration.file.clone()),
            None => (version.clone(), format!("version {version}")),
        }
    }
}

#[cfg(test)]
mod tests;
