//! A plan for a person.

use std::fmt::Write as _;

use tenantry_shared::{bundle::Scope, failure::Failure, ledger::Held};

use super::{
    super::{DIM, ERROR, failure_line, plural},
    PlanView, Would,
};

/// How many tenants of a group are named to a person.
const SHOWN: usize = 3;

/// The waves of a run with their sizes, where it has any.
pub(crate) fn waves_line(waves: &[u64]) -> Option<String> {
    let sizes: Vec<String> = waves.iter().map(ToString::to_string).collect();
    let total = plural(waves.iter().sum(), "tenant");
    let word = if waves.len() == 1 { "wave" } else { "waves" };
    (!waves.is_empty()).then(|| format!("{} {word} of {total}: {}", waves.len(), sizes.join(", ")))
}

impl PlanView {
    pub(in crate::output) fn text(&self) -> String {
        let mut out = self.sets_text();
        if let Some(line) = waves_line(&self.waves) {
            let _ = writeln!(out, "{line}");
        }
        if let Some(central) = &self.central {
            self.would_text(&mut out, "central", central);
        }
        for group in &self.groups {
            let who = group.name.clone().unwrap_or_else(|| plural(group.tenants.count, "tenant"));
            self.would_text(&mut out, &who, &group.would);
            if group.name.is_none() {
                let _ = writeln!(out, "    {DIM}in{DIM:#} {}", group.tenants.few(SHOWN));
            }
            self.sql_text(&mut out, &group.would);
        }
        if self.groups.is_empty() {
            let _ = writeln!(out, "0 tenants");
        }
        out
    }

    /// The sets in the order in which they are worked, where there are several.
    fn sets_text(&self) -> String {
        if self.bundle.sets().len() < 2 {
            return String::new();
        }
        let mut sets: Vec<(bool, String)> = Vec::new();
        for set in self.bundle.sets().iter().filter(|set| set.chosen) {
            let central = set.spec.scope == Scope::Central;
            let which = match (&set.spec.when, central) {
                (_, true) => " (for central)".to_owned(),
                (Some(when), _) => format!(" ({when})"),
                (None, _) => String::new(),
            };
            sets.push((!central, format!("{}{which}", set.spec.name)));
        }
        sets.sort_by_key(|(tenants, _)| *tenants);
        let names: Vec<String> = sets.into_iter().map(|(_, name)| name).collect();
        format!("order of sets: {}\n", names.join(", "))
    }

    fn would_text(&self, out: &mut String, who: &str, would: &Would) {
        let _ = match would {
            Would::Apply(steps) if steps.is_empty() => writeln!(out, "{who}: current"),
            Would::Apply(steps) => {
                let count = plural(steps.len() as u64, "migration");
                let files: Vec<String> = steps.iter().map(|step| self.file(step)).collect();
                writeln!(out, "{who}: {count} ({})", files.join(", "))
            }
            Would::Fail(failure) => {
                let line = self.failure(failure);
                let _ = writeln!(out, "{who} {ERROR}{}:{ERROR:#} {line}", would.state());
                match &failure.hint {
                    Some(hint) => writeln!(out, "    {DIM}hint{DIM:#} {hint}"),
                    None => Ok(()),
                }
            }
            Would::Hold(held) => self.held_text(out, who, held),
        };
        if who == "central" {
            self.sql_text(out, would);
        }
    }

    fn held_text(&self, out: &mut String, who: &str, held: &Held) -> std::fmt::Result {
        let line = self.failure(&held.failure);
        writeln!(out, "{who} {ERROR}held:{ERROR:#} {line}")?;
        let way_out = "once it is mended: --retry-failed";
        writeln!(out, "    {DIM}hint{DIM:#} not tried again: failed in run #{}; {way_out}", held.failed_in)
    }

    fn failure(&self, failure: &Failure) -> String {
        let place = failure.version.as_ref().and_then(|id| self.bundle.link(id));
        let place = place.map(|link| link.migration.file.as_str());
        failure_line(place, failure.statement, &failure.code, &failure.message)
    }

    fn sql_text(&self, out: &mut String, would: &Would) {
        let Would::Apply(steps) = would else { return };
        for step in steps.iter().filter(|_| self.sql) {
            let set = self.bundle.link(&step.id).map(|link| self.sets(link).join("+")).unwrap_or_default();
            let set = if self.bundle.sets().len() > 1 { format!("set {set}: ") } else { String::new() };
            let (file, sql) =
                (self.bundle.link(&step.id).map_or("", |link| &link.migration.file), self.script(step));
            let _ = writeln!(out, "\n-- {set}{file}");
            if step.done > 0 {
                let _ = writeln!(out, "-- {} done already", plural(u64::from(step.done), "statement"));
            }
            if let Some(command) = self.command(&step.id) {
                let _ = writeln!(out, "-- applied by: {command}");
            }
            let _ = writeln!(out, "{}", sql.trim_end());
        }
        if self.sql && !steps.is_empty() {
            let _ = writeln!(out);
        }
    }
}
