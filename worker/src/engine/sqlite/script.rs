//! Running a script within its time limit, on SQLite.

use tenantry_shared::{
    failure::{Class, Failure},
    place::Engine,
    statement::{Statement, split},
};

use super::file::{File, to_its_end};

/// What asks whether foreign keys hold, and the code of the answer that they do not.
const CHECK: &str = "foreign_key_check";
const VIOLATED: &str = "787";

/// Lists a row whose foreign key does not hold.
const ASTRAY: &str = "SELECT '\"' || \"table\" || '\" row ' || coalesce(rowid, '?') || ' refers to no row of \"' || parent || '\"' FROM pragma_foreign_key_check LIMIT 1";

impl File {
    /// Runs a script, after SQL of ours that is no part of it.
    pub(super) fn run_script(&self, ours: &str, text: &str) -> Result<(), Failure> {
        if text.contains('\0') {
            return Err(Failure::new(Class::Permanent, "script", "there is a NUL byte in it"));
        }
        self.deadline.in_time(self.limit());
        let ran = self.run(ours).and_then(|()| self.run_statements(text));
        self.deadline.ends();
        ran?;
        if asks_for_check(text) { self.foreign_keys_hold() } else { Ok(()) }
    }

    /// On an error, which statement it was, counted from 1.
    fn run_statements(&self, text: &str) -> Result<(), Failure> {
        let mut number = 1;
        let ran = self.each(text, |statement| {
            to_its_end(statement)?;
            number += 1;
            self.deadline.in_time(self.limit());
            self.doing.next();
            Ok(())
        });
        ran.map_err(|failure| Failure { statement: Some(number), ..failure })
    }

    /// A file that asks for it is heard: what it finds would be rows that nobody reads.
    fn foreign_keys_hold(&self) -> Result<(), Failure> {
        let found = self.rows(ASTRAY)?.unwrap_or_default();
        match found.into_iter().next().and_then(|row| row.into_iter().next()).flatten() {
            None => Ok(()),
            Some(message) => Err(Failure::new(Class::Permanent, VIOLATED, message)),
        }
    }
}

/// Whether a script asks if foreign keys hold.
fn asks_for_check(text: &str) -> bool {
    let is_check = |statement: &Statement| {
        let text = statement.text.to_ascii_lowercase();
        text.starts_with("pragma") && text.contains(CHECK)
    };
    text.to_ascii_lowercase().contains(CHECK)
        && split(text, Engine::Sqlite).is_ok_and(|statements| statements.iter().any(is_check))
}
