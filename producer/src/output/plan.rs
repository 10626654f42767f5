//! What a run would do, for a person and as `tenantry.plan/v1`. Fields are only ever added.

use std::{cmp::Reverse, collections::BTreeSet, fmt::Write as _, sync::Arc};

use serde_json::{Value, json};
use tenantry_shared::{
    bundle::{Bundle, Link, Scope},
    exit::Exit,
    failure::Failure,
    ledger::Held,
    version::Version,
};
use tenantry_worker::preview::Step;

use super::{DIM, ERROR, failure_line, ignored_files, plural};

/// How many tenants of a group are named in a document, and how many to a person.
const NAMED: usize = 10;
const SHOWN: usize = 3;

/// What would be done to a database.
pub(crate) enum Would {
    /// These migrations, in this order; none: it is where it should be.
    Apply(Vec<Step>),
    /// Nothing: it would be refused, or cannot be read.
    Fail(Failure),
    /// Nothing: it failed for good in the same bytes before, and is not tried again.
    Hold(Held),
}

/// The waves of a run with their sizes, where it has any.
pub(crate) fn waves_line(waves: &[u64]) -> Option<String> {
    let sizes: Vec<String> = waves.iter().map(ToString::to_string).collect();
    let total = plural(waves.iter().sum(), "tenant");
    let word = if waves.len() == 1 { "wave" } else { "waves" };
    (!waves.is_empty()).then(|| format!("{} {word} of {total}: {}", waves.len(), sizes.join(", ")))
}

/// What tells one [`Would`] from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Steps(Vec<Step>),
    Cause(String),
    Held(String, i64),
}

impl Would {
    pub(crate) fn of(result: Result<Vec<Step>, Failure>) -> Self {
        result.map_or_else(Self::Fail, Self::Apply)
    }

    pub(crate) fn known(&self) -> Known {
        match self {
            Self::Apply(steps) => Known::Steps(steps.clone()),
            Self::Fail(failure) => Known::Cause(failure.fingerprint()),
            Self::Hold(held) => Known::Held(held.failure.fingerprint(), held.failed_in),
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Apply(steps) if steps.is_empty() => "current",
            Self::Apply(_) => "pending",
            Self::Fail(failure) if failure.refused => "refused",
            Self::Fail(_) => "failed",
            Self::Hold(_) => "held",
        }
    }

    fn exit(&self) -> Exit {
        match self.state() {
            "current" => Exit::Ok,
            "pending" => Exit::ChangesPending,
            "refused" => Exit::Refused,
            _ => Exit::TenantsFailed,
        }
    }
}

/// Tenants that the same would be done to.
pub(crate) struct Group {
    /// Its only tenant, where that is not put together with others.
    name: Option<String>,
    would: Would,
    count: u64,
    first: BTreeSet<String>,
}

impl Group {
    pub(crate) fn new(name: Option<String>, would: Would) -> Self {
        Self { name, would, count: 0, first: BTreeSet::new() }
    }

    /// One more; the first ones by name are kept.
    pub(crate) fn add(&mut self, tenant: String) {
        self.count += 1;
        self.first.insert(tenant);
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }

    fn rank(&self) -> usize {
        ["pending", "current", "refused", "failed", "held"]
            .iter()
            .position(|s| *s == self.would.state())
            .unwrap_or(0)
    }
}

/// What a run would do to whom.
pub(crate) struct PlanView {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) target: Version,
    /// Which tenants were asked for; none for one dedicated database.
    pub(crate) selection: Option<String>,
    pub(crate) central: Option<Would>,
    pub(crate) groups: Vec<Group>,
    /// Whether the SQL is to be printed.
    pub(crate) sql: bool,
    /// Whether pending migrations make an exit code of their own.
    pub(crate) exit_code: bool,
    /// How many tenants are in each wave; empty without waves.
    pub(crate) waves: Vec<u64>,
}

impl PlanView {
    /// What is pending first, then what is current, then what would fail; the largest group of each first.
    pub(crate) fn sorted(mut self) -> Self {
        self.groups.sort_by_key(|group| (group.name.clone(), group.rank(), Reverse(group.count)));
        self
    }

    /// What the process ends with: the worst that would happen.
    pub(crate) fn exit(&self) -> Exit {
        let all = self.groups.iter().map(|group| &group.would).chain(&self.central).map(Would::exit);
        let found: Vec<Exit> = all.collect();
        let worst = [Exit::TenantsFailed, Exit::Refused, Exit::ChangesPending];
        match worst.into_iter().find(|exit| found.contains(exit)).unwrap_or(Exit::Ok) {
            Exit::ChangesPending if !self.exit_code => Exit::Ok,
            exit => exit,
        }
    }

    fn count(&self, state: &str) -> u64 {
        self.groups.iter().filter(|group| group.would.state() == state).map(|group| group.count).sum()
    }

    /// The last line, where not everything would go well.
    pub(super) fn verdict(&self) -> Option<String> {
        if matches!(&self.central, Some(Would::Fail(_))) {
            return Some("central would fail: no tenant would be started".into());
        }
        let total: u64 = self.groups.iter().map(|group| group.count).sum();
        match self.count("refused") + self.count("failed") + self.count("held") {
            0 => None,
            _ if self.selection.is_none() => Some("it would not be migrated".into()),
            bad => Some(format!("{bad} of {} would not be migrated", plural(total, "tenant"))),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = self.sets_text();
        if let Some(line) = waves_line(&self.waves) {
            let _ = writeln!(out, "{line}");
        }
        if let Some(central) = &self.central {
            self.would_text(&mut out, "central", central);
        }
        for group in &self.groups {
            let who = group.name.clone().unwrap_or_else(|| plural(group.count, "tenant"));
            self.would_text(&mut out, &who, &group.would);
            if group.name.is_none() {
                let names: Vec<&str> = group.first.iter().take(SHOWN).map(String::as_str).collect();
                let more = group.count - names.len() as u64;
                let more = if more > 0 { format!(", … (+{more})") } else { String::new() };
                let _ = writeln!(out, "    {DIM}in{DIM:#} {}{more}", names.join(", "));
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
        let place = failure.version.as_ref().and_then(|id| self.link(id));
        let place = place.map(|link| link.migration.file.as_str());
        failure_line(place, failure.statement, &failure.code, &failure.message)
    }

    fn sql_text(&self, out: &mut String, would: &Would) {
        let Would::Apply(steps) = would else { return };
        for step in steps.iter().filter(|_| self.sql) {
            let set = self.link(&step.id).map(|link| self.sets(link).join("+")).unwrap_or_default();
            let set = if self.bundle.sets().len() > 1 { format!("set {set}: ") } else { String::new() };
            let (file, sql) =
                (self.link(&step.id).map_or("", |link| &link.migration.file), self.script(step));
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

    /// What a migration runs: the settings that it begins with, and its own text.
    fn script(&self, step: &Step) -> String {
        let Some(link) = self.link(&step.id) else { return String::new() };
        let text = link.migration.up.as_ref().map(|script| script.text.as_str()).unwrap_or_default();
        match &link.preamble {
            Some(preamble) => format!("{};\n{text}", preamble.trim_end().trim_end_matches(';')),
            None => text.to_owned(),
        }
    }

    /// The program that applies a migration in place of our own engine.
    fn command(&self, id: &Version) -> Option<String> {
        let mut chains = self.bundle.chains().iter();
        let chain = chains.find(|chain| chain.links.iter().any(|link| link.id == *id))?;
        chain.command.as_ref().map(|command| command.run.join(" "))
    }

    fn file(&self, step: &Step) -> String {
        let Some(link) = self.link(&step.id) else { return step.id.to_string() };
        let again = if link.migration.repeatable { "repeatable " } else { "" };
        match self.bundle.sets() {
            [_] => format!("{again}{}", link.migration.file),
            _ => format!("{} {again}{}", self.sets(link).join("+"), link.migration.file),
        }
    }

    fn link(&self, id: &Version) -> Option<&Link> {
        self.bundle.chains().iter().flat_map(|chain| &chain.links).find(|link| link.id == *id)
    }

    fn sets(&self, link: &Link) -> Vec<&str> {
        let sets = link.sets.iter().map(|set| &self.bundle.sets()[*set]);
        sets.filter(|set| set.chosen).map(|set| set.spec.name.as_str()).collect()
    }

    pub(super) fn document(&self) -> Value {
        let set = |set: &tenantry_shared::bundle::Set| {
            let spec = &set.spec;
            json!({ "set": spec.name, "format": spec.format, "table": spec.table, "for": spec.scope, "when": spec.when })
        };
        let group = |group: &Group| {
            let mut value = self.would_document(&group.would);
            value["count"] = json!(group.count);
            value["tenants"] = json!(group.first);
            value["truncated"] = json!(group.count > group.first.len() as u64);
            value
        };
        json!({
            "schema": "tenantry.plan/v1",
            "exit_code": self.exit().code(),
            "target": self.target.to_string(),
            "bundle": self.bundle.digest().as_str(),
            "selection": self.selection,
            "ignored": ignored_files(&self.bundle),
            "sets": self.bundle.sets().iter().filter(|s| s.chosen).map(set).collect::<Vec<_>>(),
            "counts": {
                "total": self.groups.iter().map(|group| group.count).sum::<u64>(),
                "pending": self.count("pending"),
                "current": self.count("current"),
                "refused": self.count("refused"),
                "failed": self.count("failed"),
                "held": self.count("held"),
            },
            "central": self.central.as_ref().map(|would| self.would_document(would)),
            "waves": self.waves,
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
        })
    }

    fn would_document(&self, would: &Would) -> Value {
        let (steps, failure) = match would {
            Would::Apply(steps) => (steps.as_slice(), None),
            Would::Fail(failure) => (&[][..], Some(failure)),
            Would::Hold(held) => (&[][..], Some(&held.failure)),
        };
        let failed_in = if let Would::Hold(held) = would { Some(held.failed_in) } else { None };
        json!({
            "state": would.state(),
            "failed_in": failed_in,
            "migrations": steps.iter().map(|step| self.step_document(step)).collect::<Vec<_>>(),
            "error": failure.map(|f| json!({
                "class": f.class, "code": f.code, "message": f.message, "hint": f.hint, "refused": f.refused,
                "migration": f.version, "statement": f.statement, "line": f.line, "fingerprint": f.fingerprint(),
            })),
        })
    }

    fn step_document(&self, step: &Step) -> Value {
        let link = self.link(&step.id);
        let mut value = json!({
            "migration": step.id,
            "sets": link.map(|link| self.sets(link)),
            "file": link.map(|link| &link.migration.file),
            "description": link.map(|link| &link.migration.description),
            "repeatable": link.is_some_and(|link| link.migration.repeatable),
            "statements_done": step.done,
            "command": self.command(&step.id),
        });
        if self.sql {
            value["sql"] = json!(self.script(step));
        }
        value
    }
}
