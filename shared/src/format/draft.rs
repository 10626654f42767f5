//! A new migration, before anybody has written it.

use super::{File, NO_TRANSACTION};

/// A migration that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Its number, with as many digits as it shall have.
    pub number: &'a str,
    /// What it does: words joined by `_`.
    pub words: &'a str,
    /// Whether it has a down side.
    pub reversible: bool,
    /// Whether it runs outside a transaction.
    pub no_transaction: bool,
}

impl Draft<'_> {
    /// The comment that stands where the SQL shall be.
    #[must_use]
    pub fn comment(&self, verb: &str) -> String {
        format!("-- {verb}: {}\n", self.words.replace('_', " "))
    }

    /// The files of a tool that has a file for each side, and for one without a down side perhaps one of a plainer
    /// name.
    #[must_use]
    pub fn files(&self, base: &str, only: &str) -> Vec<File> {
        let marker = if self.no_transaction { format!("{NO_TRANSACTION}\n") } else { String::new() };
        let up = if self.reversible { ".up.sql" } else { only };
        let up = File { name: format!("{base}{up}"), content: marker + &self.comment("apply") };
        let down = || File { name: format!("{base}.down.sql"), content: self.comment("revert") };
        std::iter::once(up).chain(self.reversible.then(down)).collect()
    }
}
