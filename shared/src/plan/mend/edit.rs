//! One change of a history, as a value and in words.

use std::fmt;

use super::super::Progress;
use crate::{
    bundle::{Chain, Link},
    version::Version,
};

/// What an edit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// Gives its row the checksum of its file.
    Rewrite,
    /// Takes its row away.
    Forget,
    /// Writes its row.
    Record,
    /// Says that the statement in doubt is done.
    Done,
    /// Says that it is not.
    NotDone,
    /// Takes mark and progress away: it is as it was before it was begun.
    Undo,
    /// Takes mark and progress away: it is done.
    Finish,
}

/// One change of a history.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// What it does.
    pub kind: EditKind,
    /// The history that it is in.
    pub chain: &'a Chain,
    /// The migration's version there.
    pub version: Version,
    /// The migration, where the bundle has it.
    pub link: Option<&'a Link>,
    /// The one before it in its chain that is applied.
    pub previous: Option<&'a Link>,
    /// Its row says that it was begun and not finished.
    pub marked: bool,
    /// How far it came, where that is known.
    pub progress: Option<Progress>,
}

impl fmt::Display for Edit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.link {
            Some(link) => link.migration.file.clone(),
            None => format!("version {}", self.version),
        };
        let reverted = self.progress.as_ref().is_some_and(|progress| progress.down);
        let statement = self.progress.as_ref().map_or(1, |progress| progress.done + 1);
        match self.kind {
            EditKind::Rewrite => write!(f, "accept {name} as it is now"),
            EditKind::Forget => write!(f, "forget that {name} was applied"),
            EditKind::Record => write!(f, "record {name} as applied, without running it"),
            EditKind::Done => write!(f, "take statement {statement} of {name} for done"),
            EditKind::NotDone => write!(f, "take statement {statement} of {name} for not done"),
            EditKind::Undo if reverted => {
                write!(f, "take {name} for applied, as before it was begun to be reverted")
            }
            EditKind::Undo => write!(f, "take {name} for not applied, as before it was begun"),
            EditKind::Finish if reverted => write!(f, "take {name} for reverted"),
            EditKind::Finish => write!(f, "take {name} for applied"),
        }
    }
}
