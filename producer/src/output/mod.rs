//! All that is printed. Standard output is data only; progress, notes and errors go to standard error.

mod ask;
mod causes;
mod document;
mod few;
mod gate;
mod plan;
mod progress;
mod rehearsal;
mod run;
mod sightings;
mod summary;
mod table;

use std::{
    io::{BufWriter, IsTerminal as _, Write as _},
    path::Path,
    sync::OnceLock,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};
use tenantry_shared::{exit::Exit, fault::Fault, ledger::Joined};

pub(crate) use document::RunView;
pub(crate) use few::few;
pub(crate) use gate::{GateView, Missing};
pub(crate) use plan::{Group, Known, PlanView, Would, waves_line};
pub(crate) use progress::{Progress, Tally};
pub(crate) use rehearsal::{Groups as RehearsalGroups, RehearsalView};
pub(crate) use run::{Causes, exit_of, ignored_files, ignored_line};
pub(crate) use sightings::lines as sighting_lines;
pub(crate) use summary::{aim, failure_line};
pub(crate) use table::{Table, ago, or_dash, plural, short_duration};

use crate::cli::{self, Color, Global, Unread};

pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

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
        // A reader that went away wants no more.
        if let Some(error) = written(value).err().filter(|error| !error.is_io()) {
            self.error(&error.to_string());
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

    /// A command that did not do what it was asked for.
    pub(crate) fn fault(&self, fault: &Fault) {
        self.error(&fault.message);
        if let Some(hint) = &fault.hint {
            self.line(&format!(
                "{DIM}hint:{DIM:#} {}",
                hint.replace("tenantry ", &format!("{} ", self.program))
            ));
        }
        if self.json {
            self.document(&error_document(fault));
        }
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
            self.error(&line);
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
            self.error(&line);
        }
    }

    /// How a rehearsal went.
    pub(crate) fn rehearsal(&self, view: &RehearsalView) {
        self.either(&view.document(), || view.text());
        if let Some(line) = view.verdict().filter(|_| !self.json) {
            self.error(&line);
        }
    }

    fn error(&self, text: &str) {
        self.line(&format!("{ERROR}error:{ERROR:#} {text}"));
    }

    fn line(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

/// A call that cannot be read, or help that was asked for, in clap's words; and how the process ends.
pub(crate) fn unread(unread: &Unread) -> Exit {
    // Where nobody reads it there is nobody to tell.
    let _ = match unread.redacted() {
        None => unread.error.print(),
        Some(text) => write!(anstream::stderr(), "{text}"),
    };
    let Some(fault) = unread.fault() else { return Exit::Ok };
    if unread.json {
        let _ = written(&error_document(&fault));
    }
    fault.exit
}

fn error_document(fault: &Fault) -> Value {
    json!({
        "schema": "tenantry.error/v1", "exit_code": fault.exit.code(), "error": fault.message, "hint": fault.hint,
    })
}

/// Writes a document while it is made: it may be long.
fn written(value: &impl Serialize) -> Result<(), serde_json::Error> {
    let mut out = BufWriter::new(anstream::stdout());
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out).and_then(|()| out.flush()).map_err(serde_json::Error::io)
}
