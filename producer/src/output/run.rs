//! What is told of a run while it begins and when it ends, and of the files that its bundle leaves out.

use serde_json::{Value, json};
use tenantry_shared::{
    bundle::Bundle,
    exit::Exit,
    ledger::{Enqueued, Joined},
};

use super::{Output, RunView, causes, summary};

/// How many causes of a run's failures are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Causes {
    /// The commonest.
    Some,
    /// All.
    All,
}

impl Output {
    /// The SQL files of a directory that are no migrations; nothing where there are none.
    pub(crate) fn ignored(&self, bundle: &Bundle) {
        if let Some(line) = ignored_line(bundle) {
            self.note(&format!("ignored: {line}"));
        }
        let _ = self.ignored.set(ignored_files(bundle));
    }

    /// The document of a run, with what its directory held beside migrations where that was looked at.
    pub(crate) fn run_document(&self, view: &RunView) -> Value {
        let mut document = view.document();
        if let Some(ignored) = self.ignored.get() {
            document["ignored"] = json!(ignored);
        }
        if let Some(joined) = self.joined.get() {
            document["joined"] = true.into();
            document["not_in_run"] = match joined {
                Joined::Key => 0.into(),
                Joined::UnderWay { absent } => (*absent).into(),
            };
        }
        document
    }

    /// The number of a run that was asked for, and whether it was there before.
    pub(crate) fn run_begun(&self, run: &Enqueued) {
        self.joined(run);
        if !self.json {
            self.data(&run.number.to_string());
        }
    }

    /// That a run was there before it was asked for, if it was.
    pub(crate) fn joined(&self, run: &Enqueued) {
        let Some(why) = run.joined else { return };
        let _ = self.joined.set(why);
        self.note(&summary::joined_line(why, run.number));
    }

    /// The end of a run: the document, or the summary for a person. `on_stdout`: it is what was asked for.
    pub(crate) fn run_ended(&self, view: &RunView, on_stdout: bool) {
        self.summary(view, on_stdout);
        if let Some(line) = summary::verdict(view).filter(|_| !self.json) {
            self.error(&line);
        }
    }

    /// The same where a failure is no error.
    pub(crate) fn summary(&self, view: &RunView, on_stdout: bool) {
        if self.json {
            return self.document(&self.run_document(view));
        }
        let summary = summary::text(view, &self.program, causes::SHOWN);
        if on_stdout { self.data(summary.trim_end()) } else { self.note(summary.trim_end()) }
    }

    /// A run as it is now, with so many of its causes.
    pub(crate) fn standing(&self, view: &RunView, causes: Causes) {
        let shown = if causes == Causes::All { usize::MAX } else { causes::SHOWN };
        self.data(summary::text(view, &self.program, shown).trim_end());
    }
}

/// The names of the SQL files that a bundle leaves out.
pub(crate) fn ignored_files(bundle: &Bundle) -> Vec<String> {
    bundle.ignored().iter().map(|ignored| ignored.file.clone()).collect()
}

/// The same as a line that says why, if there are any.
pub(crate) fn ignored_line(bundle: &Bundle) -> Option<String> {
    let first = bundle.ignored().first()?;
    let kind = if bundle.ignored().len() == 1 { "migration" } else { "migrations" };
    Some(format!("{} (no {kind} by the rules of {})", ignored_files(bundle).join(", "), first.format))
}

/// What a run that has ended makes the process end with.
pub(crate) fn exit_of(view: &RunView) -> Exit {
    tenantry_shared::summary::exit_of(view.run.state, &view.counts, view.causes.refused)
}
