//! All that is printed. Standard output is data only; progress, notes and errors go to standard error.

mod causes;
mod document;
mod few;
mod gate;
mod plan;
mod progress;
mod rehearsal;
mod sightings;
mod summary;
mod table;

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    sync::OnceLock,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tenantry_shared::{
    bundle::Bundle,
    exit::Exit,
    fault::Fault,
    ledger::{Enqueued, Joined},
};

pub(crate) use document::RunView;
pub(crate) use gate::{GateView, Missing};
pub(crate) use plan::{Group, Known, PlanView, Would, waves_line};
pub(crate) use progress::{Progress, Tally};
pub(crate) use rehearsal::{Groups as RehearsalGroups, RehearsalView};
pub(crate) use sightings::lines as sighting_lines;
pub(crate) use summary::{aim, failure_line};
pub(crate) use table::{Table, ago, or_dash, plural, short_duration};

use crate::cli::{self, Color, Global};

pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// How many causes of a run's failures are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Causes {
    /// The commonest.
    Some,
    /// All.
    All,
}

/// Where and how to print.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    no_input: bool,
    progress: cli::Progress,
    /// What was said to be ignored, for the document of the run that comes.
    ignored: OnceLock<Vec<String>>,
    /// Why that run was there before it was asked for now, if it was.
    joined: OnceLock<Joined>,
    /// How this program was called, with the flag that names its configuration: what a person types to call it again.
    program: String,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        match global.color {
            Color::Auto => anstream::ColorChoice::Auto.write_global(),
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        let called = std::env::args().next().unwrap_or_default();
        let name = if called.starts_with('/') || called.is_empty() { "tenantry".to_owned() } else { called };
        let program = match &global.config {
            Some(path) => format!("{name} -c {}", path.display()),
            None => name,
        };
        let (json, quiet) = (global.is_json(), global.quiet);
        let (no_input, progress) = (global.no_input, global.progress);
        Self { json, quiet, no_input, progress, ignored: OnceLock::new(), joined: OnceLock::new(), program }
    }

    /// The same output for somebody who would name this configuration in the next call.
    pub(crate) fn with_config(&self, file: &Path) -> Self {
        let program = format!("{} -c {}", self.program, file.display());
        Self { program, ignored: OnceLock::new(), joined: OnceLock::new(), ..*self }
    }

    /// The words that call this program again in the same way.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Whether standard output is to be one JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether standard error takes color.
    pub(crate) fn colored_errors(&self) -> bool {
        anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
    }

    /// A line of data.
    pub(crate) fn data(&self, text: &str) {
        // A reader that went away (`| head`) wants no more; there is nobody to tell.
        let _ = writeln!(anstream::stdout(), "{text}");
    }

    /// The one JSON document.
    pub(crate) fn document(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&text),
            Err(error) => self.line(&format!("error: {error}")),
        }
    }

    /// Either text or a document, as it is wanted.
    pub(crate) fn either(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json { self.document(value) } else { self.data(text().trim_end()) }
    }

    /// Something good to know, for a person.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// The SQL files of a directory that are no migrations; nothing where there are none.
    pub(crate) fn ignored(&self, bundle: &Bundle) {
        if let Some(line) = ignored_line(bundle) {
            self.note(&format!("ignored: {line}"));
        }
        let _ = self.ignored.set(ignored_files(bundle));
    }

    /// The document of a run, with what its directory held beside migrations where that was looked at.
    pub(crate) fn run_document(&self, view: &RunView) -> serde_json::Value {
        let mut document = view.document();
        if let Some(ignored) = self.ignored.get() {
            document["ignored"] = serde_json::json!(ignored);
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

    /// A command that did not do what it was asked for.
    pub(crate) fn fault(&self, fault: &Fault) {
        self.line(&format!("{ERROR}error:{ERROR:#} {}", fault.message));
        if let Some(hint) = &fault.hint {
            self.line(&format!(
                "{DIM}hint:{DIM:#} {}",
                hint.replace("tenantry ", &format!("{} ", self.program))
            ));
        }
        if self.json {
            self.document(&serde_json::json!({
                "schema": "tenantry.error/v1", "exit_code": fault.exit.code(), "error": fault.message, "hint": fault.hint,
            }));
        }
    }

    /// The end of a run: the document, or the summary for a person. `on_stdout`: it is what was asked for.
    pub(crate) fn run_ended(&self, view: &RunView, on_stdout: bool) {
        self.summary(view, on_stdout);
        if let Some(line) = summary::verdict(view).filter(|_| !self.json) {
            self.line(&format!("{ERROR}error:{ERROR:#} {line}"));
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

    /// A view of a run's progress on standard error.
    pub(crate) fn progress(&self) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        match self.progress {
            _ if self.quiet => Progress::none(),
            cli::Progress::None => Progress::none(),
            cli::Progress::Bar => Progress::bar(),
            cli::Progress::Lines => Progress::lines(),
            cli::Progress::Auto if terminal => Progress::bar(),
            cli::Progress::Auto => Progress::lines(),
        }
    }

    /// The same for looking at so many tenants without a run.
    pub(crate) fn tally(&self, total: u64) -> Tally {
        Tally::new(self.progress(), total)
    }

    /// What a run would do.
    pub(crate) fn plan(&self, view: &PlanView) {
        self.either(&view.document(), || view.text());
        if let Some(line) = view.verdict().filter(|_| !self.json) {
            self.line(&format!("{ERROR}error:{ERROR:#} {line}"));
        }
    }

    /// Whether enough tenants are where they should be.
    pub(crate) fn gate(&self, view: &GateView) {
        self.either(&view.document(), || view.text());
        if self.json {
            return;
        }
        if let Some(more) = view.more(&self.program) {
            self.note(&more);
        }
        if let Some(line) = view.verdict() {
            self.line(&format!("{ERROR}error:{ERROR:#} {line}"));
        }
    }

    /// How a rehearsal went.
    pub(crate) fn rehearsal(&self, view: &RehearsalView) {
        self.either(&view.document(), || view.text());
        if let Some(line) = view.verdict().filter(|_| !self.json) {
            self.line(&format!("{ERROR}error:{ERROR:#} {line}"));
        }
    }

    /// Asks before something is begun. Without a terminal nobody can be asked, and it goes on.
    ///
    /// # Errors
    /// When it should ask and must not: `flag` says how to answer beforehand.
    pub(crate) fn confirm(&self, question: &str, flag: &str) -> Result<bool, Fault> {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Ok(true);
        }
        if self.no_input {
            return Err(Fault::usage(format!("'{question}' cannot be asked with --no-input"))
                .with_hint(format!("answer it with {flag}")));
        }
        let mut error = anstream::stderr();
        write!(error, "{question} [y/N] ")?;
        error.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a word to be typed before something is begun that cannot be taken back. Without a terminal it is not begun.
    ///
    /// # Errors
    /// When nobody can be asked: `flag` says how to answer beforehand.
    pub(crate) fn confirm_typed(&self, question: &str, word: &str, flag: &str) -> Result<bool, Fault> {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if self.no_input || !terminal {
            return Err(Fault::usage(format!("'{question}' needs an answer on a terminal"))
                .with_hint(format!("answer it with {flag}")));
        }
        let mut error = anstream::stderr();
        write!(error, "{question} Type {word} to go on: ")?;
        error.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(answer.trim() == word)
    }

    fn line(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{text}");
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
