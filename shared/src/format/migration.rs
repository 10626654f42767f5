//! Migrations as values: what is read from files, and what a history says of it.

use std::ops::Range;

use super::{NO_TRANSACTION, is_silent};
use crate::version::Version;

/// One file of a migration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the directory, parts joined by `/`.
    pub name: String,
    /// Its text, byte for byte.
    pub content: String,
}

/// SQL to run in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// In which line of its file it begins, counted from 1.
    pub line: u32,
    /// Whether the file says that it runs outside a transaction.
    pub marked: bool,
}

impl Script {
    /// A whole file.
    #[must_use]
    pub fn whole(text: &str, marked: bool) -> Self {
        Self::part(text, 0..text.len(), marked)
    }

    /// A whole file that says at its first byte whether it runs outside a transaction.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self::whole(text, text.starts_with(NO_TRANSACTION))
    }

    /// A part of a file, given in bytes. One of comments alone has an empty text: not every server takes it for nothing.
    #[must_use]
    pub fn part(file: &str, part: Range<usize>, marked: bool) -> Self {
        let breaks = file[..part.start].matches('\n').count();
        let text = &file[part];
        let text = if text.lines().all(is_silent) { "" } else { text };
        Self { text: text.to_owned(), line: u32::try_from(breaks + 1).unwrap_or(u32::MAX), marked }
    }
}

/// One versioned step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its name in the history, unique within its set.
    pub version: Version,
    /// What it says it does, in words.
    pub description: String,
    /// The file it came from.
    pub file: String,
    /// The SQL that applies it. None: it is not SQL, and only its own tool can run it.
    pub up: Option<Script>,
    /// The SQL that reverts it, where there is some.
    pub down: Option<Script>,
    /// What the history keeps of its contents, as the text that [`Rules::read`] gives. None where it keeps nothing.
    pub checksum: Option<String>,
    /// Other checksums that mean the same contents (other line ends, an older form).
    pub equivalents: Vec<String>,
    /// Whether it runs again when its checksum changes. Repeatable migrations come after all versioned ones.
    pub repeatable: bool,
    /// The migrations that it says itself it comes after, if it does: it is out of order only for those that come after
    /// it in turn. None: its place says it all.
    pub after: Option<Vec<Version>>,
}

impl Migration {
    /// Whether this checksum in a history is of these contents. A history without one is believed.
    #[must_use]
    pub fn is_what_was_applied(&self, recorded: Option<&str>) -> bool {
        match (recorded, &self.checksum) {
            (Some(recorded), Some(own)) => recorded == own || self.equivalents.iter().any(|e| e == recorded),
            _ => true,
        }
    }
}

/// One migration in a tenant's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its name there.
    pub version: Version,
    /// The checksum of what was applied, where the history keeps one.
    pub checksum: Option<String>,
    /// Whether it ran to its end. `false` marks a migration that was begun and not finished.
    pub success: bool,
}

/// What a row of the history is about.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The migration.
    pub migration: &'a Migration,
    /// The one before it in its set, which is the newest when this one is reverted.
    pub previous: Option<&'a Migration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_line_it_begins_in() {
        let text = "-- a\r\nSELECT 1;\n\n-- b\n";
        assert_eq!(
            Script::part(text, 6..16, true),
            Script { text: "SELECT 1;\n".into(), line: 2, marked: true }
        );
        assert_eq!(
            Script::part(text, 16..text.len(), false),
            Script { text: String::new(), line: 3, marked: false }
        );
    }
}
