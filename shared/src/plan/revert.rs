//! Planning what to revert in one tenant, in which order, or why nothing may be. Pure.
//!
//! Chains are reverted in reverse order, and so is each chain's sequence. Repeatable migrations have no way back: they
//! stay.

use super::{Applied, Pending, Progress, Refusal, View, views};
use crate::{
    bundle::{Link, Taken},
    version::Version,
};

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim<'a> {
    /// To this migration, which stays, in its chain; none is back to nothing in every chain.
    To(Option<&'a Version>),
    /// So many migrations, from the newest on.
    Steps(u32),
    /// These and no others, by their names in the bundle. Those that are not applied any more are done.
    Exactly(&'a [Version]),
}

/// What is left to revert for a database with these histories, in the order of reverting. What an earlier attempt left
/// half reverted comes first.
///
/// # Errors
/// A [`Refusal`]: the first reason found, before any change.
pub fn revert<'a>(
    taken: &[Taken<'a>],
    histories: &[Vec<Applied>],
    progress: Option<&Progress>,
    aim: Aim<'_>,
) -> Result<Vec<Pending<'a>>, Refusal> {
    let mut views = views(taken, histories, progress);
    if let Aim::To(Some(version)) = aim {
        views.retain(|view| view.place(version).is_some());
    }
    for view in &views {
        view.is_told(aim)?;
        view.may_be_reverted(aim)?;
    }
    let all = views.iter().rev().flat_map(|view| view.revertible().map(move |at| (view, at)));
    let mut chosen: Vec<(&View<'_, 'a>, usize)> = match aim {
        Aim::To(None) => all.collect(),
        Aim::To(Some(version)) => all.filter(|(view, at)| Some(*at) > view.place(version)).collect(),
        Aim::Steps(count) => all.take(count as usize).collect(),
        Aim::Exactly(ids) => all.filter(|(view, at)| ids.contains(&view.at(*at).id)).collect(),
    };
    for view in &views {
        let of_it: Vec<usize> =
            chosen.iter().filter(|(other, _)| std::ptr::eq(*other, view)).map(|(_, at)| *at).collect();
        view.nothing_newer_stays(&of_it)?;
        view.what_was_begun_is_in(&of_it)?;
    }
    chosen.sort_by_key(|(view, at)| view.half_reverted(view.at(*at)).is_none());
    chosen.into_iter().map(|(view, at)| view.reverting(at)).collect()
}

/// The repeatable migrations of chains in which nothing else is left. They are not reverted: their rows are taken away,
/// so that they run again when the rest does.
#[must_use]
pub fn left_alone<'a>(taken: &[Taken<'a>], histories: &[Vec<Applied>]) -> Vec<Pending<'a>> {
    let views = views(taken, histories, None);
    let bare = views.iter().filter(|view| view.revertible().next().is_none());
    bare.flat_map(|view| {
        let recorded =
            |link: &&Link| link.migration.repeatable && view.applied.contains_key(&link.migration.version);
        let pending = |link| Pending { chain: view.taken.chain, link, previous: None, resume: None };
        view.taken.chain.links.iter().filter(recorded).map(pending).collect::<Vec<_>>()
    })
    .collect()
}

impl<'a> View<'_, 'a> {
    fn may_be_reverted(&self, aim: Aim<'_>) -> Result<(), Refusal> {
        self.nothing_is_in_doubt()?;
        let reverting = |row: &&Applied| {
            self.progress.is_some_and(|progress| progress.down && progress.version == row.version)
        };
        let dirty = self.history.iter().find(|row| !row.success && !reverting(row));
        let begun = self.progress.filter(|progress| !progress.down).map(|progress| &progress.version);
        if let Some(version) = begun.or(dirty.map(|row| &row.version)) {
            let (version, file) = self.name(version);
            let mend = self.taken.chain.rules.mend(&version);
            return Err(Refusal::Dirty { version, file, mend });
        }
        self.all_is_known().map_err(|refusal| self.newer(refusal, aim))?;
        self.nothing_changed()
    }

    /// Of a history that tells nothing, nobody can say that nothing of it is left.
    fn is_told(&self, aim: Aim<'_>) -> Result<(), Refusal> {
        let asked = |link: &&Link| match aim {
            Aim::To(_) => true,
            Aim::Exactly(ids) => ids.contains(&link.id),
            Aim::Steps(_) => false,
        };
        let untold = self.taken.chain.links.iter().find(asked).filter(|_| !self.taken.chain.rules.proves());
        let Some(first) = untold else { return Ok(()) };
        Err(Refusal::NotOurs { version: first.id.clone(), file: first.migration.file.clone() })
    }

    /// A version that the files of an earlier run do not have may have come after it.
    fn newer(&self, refusal: Refusal, aim: Aim<'_>) -> Refusal {
        let Aim::Exactly(ids) = aim else { return refusal };
        let of_it = self.taken.chain.links.iter().filter(|link| ids.contains(&link.id));
        let newest = of_it.map(|link| &link.migration.version).max();
        match refusal {
            Refusal::Missing { version } if newest.is_some_and(|newest| *newest < version) => {
                Refusal::Newer { version }
            }
            refusal => refusal,
        }
    }

    /// What can be reverted at all, the newest first.
    fn revertible(&self) -> impl Iterator<Item = usize> + '_ {
        let links = &self.taken.chain.links;
        let applied = |at: &usize| {
            let link = &links[*at];
            !link.migration.repeatable
                && (self.applied.contains_key(&link.migration.version) || self.half_reverted(link).is_some())
        };
        (0..links.len()).rev().filter(applied)
    }

    fn nothing_newer_stays(&self, chosen: &[usize]) -> Result<(), Refusal> {
        let Some(oldest) = chosen.iter().min() else { return Ok(()) };
        match self.revertible().find(|at| at > oldest && !chosen.contains(at)) {
            None => Ok(()),
            Some(at) => Err(Refusal::Newer { version: self.at(at).id.clone() }),
        }
    }

    fn what_was_begun_is_in(&self, chosen: &[usize]) -> Result<(), Refusal> {
        let Some(progress) = self.progress else { return Ok(()) };
        if chosen.iter().any(|at| self.at(*at).migration.version == progress.version) {
            return Ok(());
        }
        let (version, file) = self.name(&progress.version);
        Err(Refusal::HalfReverted { version, file })
    }

    fn reverting(&self, at: usize) -> Result<Pending<'a>, Refusal> {
        let link = self.at(at);
        let (version, file) = (link.id.clone(), link.migration.file.clone());
        if self.taken.chain.command.is_some() {
            return Err(Refusal::NotOurs { version, file });
        }
        if link.migration.down.is_none() {
            return Err(Refusal::NoDown { version, file });
        }
        let previous = self.revertible().find(|before| *before < at).map(|before| self.at(before));
        Ok(Pending { chain: self.taken.chain, link, previous, resume: self.half_reverted(link).cloned() })
    }

    fn half_reverted(&self, link: &Link) -> Option<&Progress> {
        self.progress.filter(|progress| progress.down && progress.version == link.migration.version)
    }

    pub(super) fn at(&self, at: usize) -> &'a Link {
        &self.taken.chain.links[at]
    }

    /// Where in this chain the migration of this name is.
    pub(super) fn place(&self, id: &Version) -> Option<usize> {
        self.taken.chain.links.iter().position(|link| link.id == *id)
    }
}

#[cfg(test)]
mod tests;
