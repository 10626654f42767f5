//! Mending a history on purpose: what is wrong with a tenant's, and what one mend would change of it. Pure.

mod edit;

use super::{Applied, Progress, Refusal, View, views};
use crate::{
    bundle::{Link, Taken},
    version::Version,
};

pub use self::edit::{Edit, EditKind};

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Accept files that changed after they had been applied.
    Checksums,
    /// Forget that this version was applied.
    Forget(Version),
    /// Take this migration for applied.
    MarkApplied(Version),
    /// The statement in doubt is done.
    Done,
    /// The statement in doubt is not done.
    NotDone,
    /// What was begun has been undone by hand.
    Undone,
    /// What was begun has been finished by hand.
    Finished,
}

/// What a mend changes of these histories.
///
/// # Errors
/// Why there is nothing that it could mend.
pub fn mend<'a>(
    taken: &[Taken<'a>],
    histories: &[Vec<Applied>],
    progress: Option<&Progress>,
    mend: &Mend,
) -> Result<Vec<Edit<'a>>, String> {
    let views = views(taken, histories, progress);
    let edits: Vec<Edit<'a>> = views.iter().flat_map(|view| view.edits(mend)).collect();
    if edits.is_empty() { Err(nothing(mend, &views)) } else { Ok(edits) }
}

fn nothing(mend: &Mend, views: &[View<'_, '_>]) -> String {
    match mend {
        Mend::Forget(id) | Mend::MarkApplied(id) if views.iter().any(|view| view.is_between(id)) => {
            format!("its history holds the newest version alone, and version {id} is not next to that")
        }
        Mend::Checksums => "every file is what was applied".into(),
        Mend::Forget(version) => format!("version {version} is not in its history"),
        Mend::MarkApplied(version) if views.iter().any(|view| view.place(version).is_some()) => {
            format!("version {version} is in its history already")
        }
        Mend::MarkApplied(version) => format!("there is no migration {version} for it"),
        Mend::Done | Mend::NotDone => "no statement is in doubt".into(),
        Mend::Undone | Mend::Finished => "nothing is half done".into(),
    }
}

/// All that is wrong with these histories, one reason each.
#[must_use]
pub fn troubles(
    taken: &[Taken<'_>],
    histories: &[Vec<Applied>],
    progress: Option<&Progress>,
) -> Vec<Refusal> {
    views(taken, histories, progress).iter().flat_map(View::troubles).collect()
}

impl<'a> View<'_, 'a> {
    fn edits(&self, mend: &Mend) -> Vec<Edit<'a>> {
        let changed = || self.taken.chain.links.iter().filter(|link| self.changed(link));
        match mend {
            Mend::Checksums => {
                changed().map(|link| self.edit(EditKind::Rewrite, &link.migration.version)).collect()
            }
            Mend::Forget(id) => {
                let known = self.history.iter().filter(|_| !self.is_between(id));
                let row = known.into_iter().find(|row| self.name(&row.version).0 == *id);
                row.map(|row| self.edit(EditKind::Forget, &row.version)).into_iter().collect()
            }
            Mend::MarkApplied(id) => {
                let place = self.place(id).filter(|_| !self.is_between(id));
                let link = place.map(|at| self.at(at)).filter(|link| !link.migration.repeatable);
                let unknown = link.filter(|link| !self.applied.contains_key(&link.migration.version));
                unknown.map(|link| self.edit(EditKind::Record, &link.migration.version)).into_iter().collect()
            }
            Mend::Done => self.doubtful(EditKind::Done),
            Mend::NotDone => self.doubtful(EditKind::NotDone),
            Mend::Undone => self.begun(EditKind::Undo),
            Mend::Finished => self.begun(EditKind::Finish),
        }
    }

    /// In a history that holds the newest version alone: whether telling of this one would tell of others too, which are
    /// newer and applied, or older and not.
    fn is_between(&self, id: &Version) -> bool {
        let applied = |link: &Link| self.applied.contains_key(&link.migration.version);
        let links = &self.taken.chain.links;
        let Some(at) = self.place(id).filter(|_| !self.taken.chain.rules.lists_all()) else { return false };
        if applied(&links[at]) {
            links[at + 1..].iter().any(applied)
        } else {
            links[..at].iter().any(|link| !applied(link))
        }
    }

    fn doubtful(&self, kind: EditKind) -> Vec<Edit<'a>> {
        let progress = self.progress.filter(|progress| progress.doubt);
        progress.map(|progress| self.edit(kind, &progress.version)).into_iter().collect()
    }

    /// What was begun and not finished: the migration of the progress, or else of a mark.
    fn begun(&self, kind: EditKind) -> Vec<Edit<'a>> {
        let marked = self.history.iter().find(|row| !row.success).map(|row| &row.version);
        let version = self.progress.map(|progress| &progress.version).or(marked);
        let known = version.filter(|version| kind == EditKind::Undo || self.link(version).is_some());
        known.map(|version| self.edit(kind, version)).into_iter().collect()
    }

    fn edit(&self, kind: EditKind, version: &Version) -> Edit<'a> {
        let chain = self.taken.chain;
        let applied = |link: &&Link| {
            !link.migration.repeatable
                && self.applied.get(&link.migration.version).is_some_and(|row| row.success)
        };
        let before = chain.position(version).unwrap_or(chain.links.len());
        Edit {
            kind,
            chain,
            version: version.clone(),
            link: self.link(version),
            previous: chain.links[..before].iter().rev().find(applied),
            marked: self.applied.get(version).is_some_and(|row| !row.success),
            progress: self.progress.filter(|progress| progress.version == *version).cloned(),
        }
    }

    fn changed(&self, link: &Link) -> bool {
        !link.migration.repeatable && self.differs(link)
    }

    fn troubles(&self) -> Vec<Refusal> {
        let half = self.nothing_is_half_done().err();
        let begun = self.progress.filter(|progress| !progress.down && half.is_none()).map(|progress| {
            let (version, file) = self.name(&progress.version);
            let mend = self.taken.chain.rules.mend(&version);
            Refusal::Dirty { version, file, mend }
        });
        let unknown = self.applied.keys().filter(|version| self.link(version).is_none());
        let missing = unknown.map(|version| Refusal::Missing { version: (*version).clone() });
        let changed = self
            .taken
            .chain
            .links
            .iter()
            .filter(|link| self.changed(link))
            .map(|link| Refusal::Changed { version: link.id.clone(), file: link.migration.file.clone() });
        half.into_iter().chain(begun).chain(missing).chain(changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::{Bundle, Scope, SetFiles, SetSpec},
        format::File,
        tenant::Labels,
    };

    fn bundle() -> Bundle {
        let files = (1..=3).map(|v| File { name: format!("{v}_m.sql"), content: format!("SELECT {v};") });
        Bundle::new(files.collect()).unwrap()
    }

    fn row(version: i64, checksum: Option<&str>, success: bool) -> Applied {
        Applied { version: version.into(), checksum: checksum.map(Into::into), success }
    }

    fn progress(down: bool, doubt: bool) -> Progress {
        Progress {
            table: "_sqlx_migrations".into(),
            version: 2.into(),
            down,
            done: 1,
            doubt,
            fingerprints: vec![],
            ..Progress::default()
        }
    }

    fn told(rows: &[Applied], progress: Option<&Progress>, one: &Mend) -> Result<Vec<String>, String> {
        let b = bundle();
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let edits = mend(&taken, &[rows.to_vec()], progress, one)?;
        Ok(edits.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_mend_says_what_it_changes() {
        let rows = [row(1, Some("other"), true), row(9, None, true)];
        assert_eq!(told(&rows, None, &Mend::Checksums).unwrap(), ["accept 1_m.sql as it is now"]);
        assert_eq!(
            told(&rows, None, &Mend::Forget(9.into())).unwrap(),
            ["forget that version 9 was applied"]
        );
        let marked = told(&rows, None, &Mend::MarkApplied(2.into())).unwrap();
        assert_eq!(marked, ["record 2_m.sql as applied, without running it"]);
        let half = [row(2, None, false)];
        let down = progress(true, true);
        assert_eq!(told(&half, Some(&down), &Mend::Done).unwrap(), ["take statement 2 of 2_m.sql for done"]);
        assert_eq!(told(&half, Some(&down), &Mend::Finished).unwrap(), ["take 2_m.sql for reverted"]);
        let undone = told(&half, None, &Mend::Undone).unwrap();
        assert_eq!(undone, ["take 2_m.sql for not applied, as before it was begun"]);
    }

    #[test]
    fn a_mend_of_nothing_says_why() {
        let rows = [row(1, None, true)];
        let all = [
            (Mend::Checksums, "every file is what was applied"),
            (Mend::Forget(2.into()), "version 2 is not in its history"),
            (Mend::MarkApplied(1.into()), "version 1 is in its history already"),
            (Mend::MarkApplied(7.into()), "there is no migration 7 for it"),
            (Mend::NotDone, "no statement is in doubt"),
            (Mend::Undone, "nothing is half done"),
        ];
        for (one, why) in all {
            assert_eq!(told(&rows, None, &one).unwrap_err(), why);
        }
        assert!(told(&[row(2, None, false)], Some(&progress(false, false)), &Mend::Done).is_err());
    }

    #[test]
    fn a_history_of_the_newest_version_alone_is_mended_at_its_end() {
        let file = |v: i64| File { name: format!("{v}_m.up.sql"), content: String::new() };
        let spec =
            SetSpec { name: "main".into(), format: Some("golang-migrate".into()), ..SetSpec::default() };
        let b = Bundle::of_sets(vec![SetFiles { spec, files: (1..=4).map(file).collect() }]).unwrap();
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let rows = [row(1, None, true), row(2, None, true)];
        let done = |one: &Mend| mend(&taken, &[rows.to_vec()], None, one).map(|edits| edits.len());
        assert_eq!((done(&Mend::Forget(2.into())), done(&Mend::MarkApplied(3.into()))), (Ok(1), Ok(1)));
        for one in [Mend::Forget(1.into()), Mend::MarkApplied(4.into())] {
            assert!(done(&one).is_err_and(|why| why.contains("the newest version alone")));
        }
    }

    #[test]
    fn every_trouble_is_told() {
        let b = bundle();
        let taken = b.taken_by(Scope::Tenants, &Labels::new());
        let codes = |rows: &[Applied], progress: Option<&Progress>| -> Vec<&str> {
            troubles(&taken, &[rows.to_vec()], progress).iter().map(Refusal::code).collect()
        };
        let rows = [row(1, Some("other"), true), row(2, None, false), row(9, None, true)];
        assert_eq!(codes(&rows, None), ["dirty", "missing", "checksum"]);
        assert_eq!(codes(&rows[1..2], Some(&progress(false, true))), ["doubt"]);
        assert_eq!(codes(&rows[1..2], Some(&progress(true, false))), ["half-reverted"]);
        assert_eq!(codes(&rows[1..2], Some(&progress(false, false))), ["dirty"]);
        assert!(codes(&[row(1, None, true)], None).is_empty());
    }
}
