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
mod tests {
    use super::*;
    use crate::{
        bundle::{Bundle, Scope, SetFiles, SetSpec},
        command::CommandSpec,
        format::File,
        tenant::Labels,
    };
    use proptest::prelude::*;

    fn file(name: String) -> File {
        File { content: format!("SELECT '{name}';"), name }
    }

    /// Migrations, of which these have no way back.
    fn bundle(versions: &[i64], one_way: &[i64]) -> Bundle {
        let up =
            |v: &i64| file(if one_way.contains(v) { format!("{v}_m.sql") } else { format!("{v}_m.up.sql") });
        let downs = versions.iter().filter(|v| !one_way.contains(v)).map(|v| file(format!("{v}_m.down.sql")));
        Bundle::new(versions.iter().map(up).chain(downs).collect()).unwrap()
    }

    fn history(bundle: &Bundle, versions: &[i64]) -> Vec<Applied> {
        let row = |v: &i64| Applied {
            version: (*v).into(),
            checksum: bundle.get(&(*v).into()).unwrap().checksum.clone(),
            success: true,
        };
        versions.iter().map(row).collect()
    }

    fn planned(
        bundle: &Bundle,
        rows: &[Applied],
        progress: Option<&Progress>,
        aim: Aim<'_>,
    ) -> Result<Vec<i64>, Refusal> {
        let taken = bundle.taken_by(Scope::Tenants, &Labels::new());
        let plan = revert(&taken, &[rows.to_vec()], progress, aim)?;
        Ok(plan.iter().map(|p| p.link.migration.version.as_str().parse().unwrap()).collect())
    }

    fn half_way(version: i64, down: bool) -> Progress {
        Progress {
            table: "_sqlx_migrations".into(),
            version: version.into(),
            down,
            done: 1,
            ..Progress::default()
        }
    }

    #[test]
    fn the_newest_is_reverted_first_as_far_as_is_asked_for() {
        let b = bundle(&[1, 2, 3, 4], &[]);
        let rows = history(&b, &[1, 2, 4]);
        let two = Version::from(2);
        assert_eq!(planned(&b, &rows, None, Aim::Steps(2)).unwrap(), [4, 2]);
        assert_eq!(planned(&b, &rows, None, Aim::Steps(9)).unwrap(), [4, 2, 1]);
        assert_eq!(planned(&b, &rows, None, Aim::To(Some(&two))).unwrap(), [4]);
        assert_eq!(planned(&b, &rows, None, Aim::To(None)).unwrap(), [4, 2, 1]);
        assert_eq!(planned(&b, &rows, None, Aim::Exactly(&[4.into(), 3.into()])).unwrap(), [4]);
    }

    #[test]
    fn nothing_is_reverted_under_what_stays() {
        let b = bundle(&[1, 2, 3], &[]);
        let rows = history(&b, &[1, 2, 3]);
        let newer = planned(&b, &rows, None, Aim::Exactly(&[2.into()])).unwrap_err();
        assert_eq!(newer, Refusal::Newer { version: 3.into() });
        // The files of the run that is reverted do not have what came later.
        let older = bundle(&[1, 2], &[]);
        assert_eq!(planned(&older, &rows, None, Aim::Exactly(&[2.into()])).unwrap_err(), newer);
        assert_eq!(planned(&older, &rows, None, Aim::Steps(1)).unwrap_err().code(), "missing");
    }

    #[test]
    fn one_migration_without_a_way_back_refuses_all_of_it() {
        let b = bundle(&[1, 2, 3], &[2]);
        let rows = history(&b, &[1, 2, 3]);
        let refusal = planned(&b, &rows, None, Aim::Steps(2)).unwrap_err();
        assert_eq!(refusal, Refusal::NoDown { version: 2.into(), file: "2_m.sql".into() });
        assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap(), [3]);
    }

    #[test]
    fn a_history_that_does_not_agree_is_refused() {
        let b = bundle(&[1, 2], &[]);
        let mut rows = history(&b, &[1, 2]);
        rows[0].checksum = Some("0".into());
        assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap_err().code(), "checksum");
        let mut rows = history(&b, &[1, 2]);
        rows[1].success = false;
        assert_eq!(planned(&b, &rows, None, Aim::Steps(1)).unwrap_err().code(), "dirty");
        assert_eq!(planned(&b, &rows, Some(&half_way(2, false)), Aim::Steps(1)).unwrap_err().code(), "dirty");
        let doubt = Progress { doubt: true, ..half_way(2, true) };
        assert_eq!(planned(&b, &rows, Some(&doubt), Aim::Steps(1)).unwrap_err().code(), "doubt");
    }

    #[test]
    fn what_is_half_reverted_is_gone_on_with_and_counts() {
        let b = bundle(&[1, 2, 3], &[]);
        let mut rows = history(&b, &[1, 2]);
        rows[1].success = false;
        let progress = half_way(2, true);
        assert_eq!(planned(&b, &rows, Some(&progress), Aim::Steps(1)).unwrap(), [2]);
        let two = Version::from(2);
        let refusal = planned(&b, &rows, Some(&progress), Aim::To(Some(&two))).unwrap_err();
        assert_eq!(refusal, Refusal::HalfReverted { version: 2.into(), file: "2_m.up.sql".into() });
    }

    #[test]
    fn the_last_chain_is_reverted_first() {
        let set = |name: &str, table: Option<&str>, files: &[&str]| SetFiles {
            spec: SetSpec { name: name.into(), table: table.map(Into::into), ..SetSpec::default() },
            files: files.iter().map(|name| file((*name).into())).collect(),
        };
        let core = set("core", None, &["1_a.up.sql", "1_a.down.sql"]);
        let shop = set("shop", Some("shop"), &["1_b.up.sql", "1_b.down.sql", "2_c.up.sql", "2_c.down.sql"]);
        let b = Bundle::of_sets(vec![core, shop]).unwrap();
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let row = |v: i64| Applied { version: v.into(), checksum: None, success: true };
        let rows = [vec![row(1)], vec![row(1), row(2)]];
        let ids = |aim| -> Vec<String> {
            let plan = revert(&taken, &rows, None, aim).unwrap();
            plan.iter().map(|p| p.link.id.to_string()).collect()
        };
        assert_eq!(ids(Aim::To(None)), ["shop/2", "shop/1", "1"]);
        let (one, shop) = (Version::from(1), Version::from("shop/1"));
        assert!(ids(Aim::To(Some(&one))).is_empty());
        assert_eq!(ids(Aim::To(Some(&shop))), ["shop/2"]);
    }

    #[test]
    fn a_repeatable_migration_is_left_alone_only_when_nothing_else_is_left() {
        let b = bundle(&[1, 2], &[2]);
        let mut chain = b.main().clone();
        chain.links[1].migration.repeatable = true;
        let taken = [Taken { chain: &chain, links: vec![true, true] }];
        let alone = |versions: &[i64]| left_alone(&taken, &[history(&b, versions)]).len();
        assert_eq!((alone(&[1, 2]), alone(&[2]), alone(&[])), (0, 1, 0));
        assert!(revert(&taken, &[history(&b, &[2])], None, Aim::To(None)).unwrap().is_empty());
    }

    #[test]
    fn what_a_program_applied_is_not_ours_to_revert() {
        let command = CommandSpec { run: vec!["x".into()], ..CommandSpec::default() };
        let django = CommandSpec { preset: Some("django".into()), ..CommandSpec::default() };
        let python =
            File { name: "a/migrations/0001_x.py".into(), content: "    dependencies = []\n".into() };
        for (format, command, files, known) in [
            (None, django, vec![python], Some("a.0001_x")),
            (Some("none".to_owned()), command, Vec::new(), None),
        ] {
            let spec = SetSpec { name: "app".into(), command: Some(command), format, ..SetSpec::default() };
            let b = Bundle::of_sets(vec![SetFiles { spec, files }]).unwrap();
            let row = |version: &str| Applied { version: version.into(), checksum: None, success: true };
            let rows = [known.map(row).into_iter().collect()];
            let taken = b.taken_by(Scope::Tenants, &Labels::new());
            let id = b.main().links[0].id.clone();
            for aim in [Aim::To(None), Aim::Exactly(std::slice::from_ref(&id))] {
                assert_eq!(revert(&taken, &rows, None, aim).unwrap_err().code(), "command", "{aim:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn reverting_a_plan_leaves_nothing_to_revert(mask in proptest::collection::vec(any::<bool>(), 1..20), to in 0_i64..20) {
            let all: Vec<i64> = (1..=mask.len() as i64).collect();
            let b = bundle(&all, &[]);
            let done: Vec<i64> = all.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| *v).collect();
            let to = to.min(all.len() as i64);
            let version = Version::from(to);
            let aim = Aim::To((to > 0).then_some(&version));
            let plan = planned(&b, &history(&b, &done), None, aim).unwrap();
            let left: Vec<i64> = done.iter().copied().filter(|v| !plan.contains(v)).collect();
            prop_assert!(left.iter().all(|v| *v <= to) && plan.is_sorted_by(|a, b| a > b));
            prop_assert!(planned(&b, &history(&b, &left), None, aim).unwrap().is_empty());
        }
    }
}
