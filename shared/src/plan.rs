//! Planning: what is left to do for one tenant, or why nothing may be done. Pure.
//!
//! Every check is made before the first change. sqlx compares checksums while it applies, so that an older
//! pending migration can run before a changed one is found; here a refused tenant is an untouched one.

pub mod baseline;
pub mod mend;
pub mod revert;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

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
mod tests {
    use super::*;
    use crate::{
        bundle::{Bundle, Scope, SetFiles, SetSpec},
        command::CommandSpec,
        format::File,
        tenant::Labels,
    };
    use proptest::prelude::*;

    fn bundle(versions: &[i64]) -> Bundle {
        let files =
            versions.iter().map(|v| File { name: format!("{v}_m.sql"), content: format!("SELECT {v};") });
        Bundle::new(files.collect()).unwrap()
    }

    fn history(bundle: &Bundle, versions: &[i64]) -> Vec<Applied> {
        let row = |v: &i64| Applied {
            version: (*v).into(),
            checksum: bundle.get(&(*v).into()).unwrap().checksum.clone(),
            success: true,
        };
        versions.iter().map(row).collect()
    }

    fn planned<'a>(
        bundle: &'a Bundle,
        history: &[Applied],
        target: i64,
        order: Order,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        with_progress(bundle, history, target, order, None)
    }

    fn with_progress<'a>(
        bundle: &'a Bundle,
        history: &[Applied],
        target: i64,
        order: Order,
        progress: Option<&Progress>,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        let goal = Goal { main: bundle.main(), target: &target.into(), order };
        plan(&bundle.taken_by(Scope::Tenants, &Labels::new()), &[history.to_vec()], progress, goal)
    }

    fn versions(pending: &[Pending<'_>]) -> Vec<i64> {
        pending.iter().map(|p| p.link.migration.version.as_str().parse().unwrap()).collect()
    }

    fn progress(version: i64, doubt: bool) -> Progress {
        Progress {
            table: "_sqlx_migrations".into(),
            version: version.into(),
            done: 3,
            doubt,
            ..Progress::default()
        }
    }

    #[test]
    fn what_is_not_applied_is_pending_up_to_the_target() {
        let b = bundle(&[1, 2, 3, 4]);
        assert_eq!(versions(&planned(&b, &history(&b, &[1]), 3, Order::Linear).unwrap()), [2, 3]);
    }

    #[test]
    fn a_tenant_beyond_the_target_has_nothing_pending() {
        let b = bundle(&[1, 2, 3]);
        assert!(planned(&b, &history(&b, &[1, 2, 3]), 2, Order::Linear).unwrap().is_empty());
    }

    #[test]
    fn a_dirty_history_is_refused() {
        let b = bundle(&[1, 2]);
        let mut rows = history(&b, &[1, 2]);
        rows[1].success = false;
        assert_eq!(planned(&b, &rows, 2, Order::Any).unwrap_err().code(), "dirty");
    }

    #[test]
    fn a_migration_whose_statements_are_known_is_resumed() {
        let b = bundle(&[1, 2, 3]);
        let mut rows = history(&b, &[1, 2]);
        (rows[1].success, rows[1].checksum) = (false, Some("of the file before it was mended".into()));
        let plan = with_progress(&b, &rows, 3, Order::Linear, Some(&progress(2, false))).unwrap();
        assert_eq!((versions(&plan), plan[0].resume.as_ref().unwrap().done), (vec![2, 3], 3));
        // Formats without a mark have no row for it.
        let plan = with_progress(&b, &rows[..1], 3, Order::Linear, Some(&progress(2, false))).unwrap();
        assert_eq!((versions(&plan), plan[1].resume.is_some()), (vec![2, 3], false));
        let doubt = with_progress(&b, &rows, 3, Order::Linear, Some(&progress(2, true))).unwrap_err();
        assert_eq!(doubt, Refusal::Doubt { version: 2.into(), file: "2_m.sql".into(), statement: 4 });
    }

    #[test]
    fn what_is_half_reverted_is_not_taken_for_applied() {
        let b = bundle(&[1, 2]);
        let down = Progress { down: true, ..progress(2, false) };
        // Formats without a mark say that it is applied.
        let refusal = with_progress(&b, &history(&b, &[1, 2]), 2, Order::Any, Some(&down)).unwrap_err();
        assert_eq!(refusal, Refusal::HalfReverted { version: 2.into(), file: "2_m.sql".into() });
    }

    #[test]
    fn a_changed_file_is_refused_before_an_older_pending_one_is_planned() {
        let b = bundle(&[1, 2, 3]);
        let mut rows = history(&b, &[3]);
        rows[0].checksum = Some("0".into());
        assert_eq!(planned(&b, &rows, 3, Order::Any).unwrap_err().code(), "checksum");
    }

    #[test]
    fn an_applied_version_that_no_file_has_is_refused() {
        let b = bundle(&[1]);
        let rows = [Applied { version: 7.into(), checksum: None, success: true }];
        assert_eq!(planned(&b, &rows, 1, Order::Any).unwrap_err(), Refusal::Missing { version: 7.into() });
    }

    #[test]
    fn an_older_pending_migration_is_refused_left_out_or_applied() {
        let b = bundle(&[1, 2, 3, 4]);
        let rows = history(&b, &[1, 3]);
        assert_eq!(planned(&b, &rows, 4, Order::Linear).unwrap_err().code(), "out-of-order");
        assert_eq!(versions(&planned(&b, &rows, 4, Order::Skip).unwrap()), [4]);
        assert_eq!(versions(&planned(&b, &rows, 4, Order::Any).unwrap()), [2, 4]);
    }

    #[test]
    fn a_set_that_is_taken_later_begins_at_its_own_beginning() {
        let set = |name: &str, when: Option<&str>, file: &str| SetFiles {
            spec: SetSpec { name: name.into(), when: when.map(Into::into), ..SetSpec::default() },
            files: vec![File { name: file.into(), content: "SELECT 1;".into() }],
        };
        let sets = vec![set("core", None, "2_core.sql"), set("shop", Some("shop"), "1_shop.sql")];
        let b = Bundle::of_sets(sets).unwrap();
        let goal = Goal { main: b.main(), target: &2.into(), order: Order::Linear };
        let rows = [history(&b, &[2])];
        let without = b.taken_by(Scope::Tenants, &Labels::new());
        assert!(plan(&without, &rows, None, goal).unwrap().is_empty());
        let with = b.taken_by(Scope::Tenants, &Labels::from([("shop".into(), "yes".into())]));
        assert_eq!(versions(&plan(&with, &rows, None, goal).unwrap()), [1]);
        // It was taken once, and is not any more: its history is known all the same.
        assert!(plan(&without, &[history(&b, &[1, 2])], None, goal).unwrap().is_empty());
    }

    #[test]
    fn what_says_itself_what_it_comes_after_is_out_of_order_only_for_that() {
        let file = |name: &str, dependencies: &str| File {
            name: format!("{name}.py"),
            content: format!("    dependencies = [{dependencies}]\n"),
        };
        let command = CommandSpec { preset: Some("django".into()), ..CommandSpec::default() };
        let files = vec![
            file("a/migrations/0001_x", ""),
            file("a/migrations/0002_y", "('a', '0001_x')"),
            file("b/migrations/0001_z", ""),
        ];
        let spec = SetSpec { name: "app".into(), command: Some(command), ..SetSpec::default() };
        let b = Bundle::of_sets(vec![SetFiles { spec, files }]).unwrap();
        let planned = |applied: &[&str]| -> Result<Vec<String>, Refusal> {
            let row = |version: &&str| Applied { version: (*version).into(), checksum: None, success: true };
            let goal = Goal { main: b.main(), target: &b.latest().version, order: Order::Linear };
            let taken = b.taken_by(Scope::Tenants, &Labels::new());
            let pending = plan(&taken, &[applied.iter().map(row).collect()], None, goal)?;
            Ok(pending.iter().map(|p| p.link.migration.version.to_string()).collect())
        };
        assert_eq!(planned(&["b.0001_z"]), Ok(vec!["a.0001_x".to_owned(), "a.0002_y".to_owned()]));
        assert_eq!(planned(&["a.0002_y"]).unwrap_err().code(), "out-of-order");
    }

    proptest! {
        #[test]
        fn applying_a_plan_leaves_nothing_pending(mask in proptest::collection::vec(any::<bool>(), 1..20), target in 1_i64..20) {
            let all: Vec<i64> = (1..=mask.len() as i64).collect();
            let b = bundle(&all);
            let done: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
            let before = history(&b, &done);
            let target = target.min(all.len() as i64);
            let first = versions(&planned(&b, &before, target, Order::Any).unwrap());
            let after: Vec<i64> = done.iter().copied().chain(first.iter().copied()).collect();
            prop_assert!(planned(&b, &history(&b, &after), target, Order::Any).unwrap().is_empty());
            prop_assert!(first.iter().all(|v| *v <= target && !done.contains(v)));
        }
    }
}
