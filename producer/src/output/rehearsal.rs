//! How a rehearsal went, for a person and as `tenantry.rehearsal/v1`. Fields are only ever added.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde_json::{Value, json};
use tenantry_shared::{bundle::Bundle, exit::Exit, failure::Failure, version::Version};
use tenantry_worker::{orders::Order, rehearse::Rehearsed};

use super::{DIM, ERROR, GOOD, document, failure_line, few::Alike, plural};

/// How many tenants of a group are named in a document, and how many to a person.
const NAMED: usize = 100;
const SHOWN: usize = 3;

type Outcome = Result<Rehearsed, Failure>;

/// Every state, in the order in which they are told.
const STATES: [&str; 5] = ["passed", "current", "unrehearsed", "refused", "failed"];

fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(Rehearsed { left: Some(_), .. }) => "unrehearsed",
        Ok(Rehearsed { passed, .. }) if passed.is_empty() => "current",
        Ok(_) => "passed",
        Err(failure) if failure.refused => "refused",
        Err(_) => "failed",
    }
}

/// Tenants in which it went the same way.
struct Group {
    outcome: Outcome,
    tenants: Alike<NAMED>,
}

/// All of them, as they come.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<String, Group>);

fn numbered(what: &str, number: Option<u32>) -> String {
    number.map(|number| format!(" {what} {number}")).unwrap_or_default()
}

impl Groups {
    /// One more tenant; the first ones of its group by name are kept.
    pub(crate) fn add(&mut self, tenant: String, outcome: Outcome) {
        let key = match &outcome {
            Ok(rehearsed) => format!("{rehearsed:?}"),
            Err(failure) => failure.fingerprint(),
        };
        let fresh = || Group { outcome, tenants: Alike::default() };
        self.0.entry(key).or_insert_with(fresh).tenants.add(tenant);
    }
}

/// How it went.
pub(crate) struct RehearsalView {
    bundle: Arc<Bundle>,
    target: Version,
    /// Which tenants were asked for; none for one dedicated database.
    selection: Option<String>,
    central: Option<Outcome>,
    groups: Vec<Group>,
}

impl RehearsalView {
    /// What passed first and what would fail last, the largest group of each first.
    pub(crate) fn new(
        order: &Order,
        central: Option<Outcome>,
        groups: Groups,
        selection: Option<String>,
    ) -> Self {
        let mut groups: Vec<Group> = groups.0.into_values().collect();
        let rank = |group: &Group| STATES.iter().position(|s| *s == state(&group.outcome));
        groups.sort_by_key(|group| (rank(group), Reverse(group.tenants.count)));
        let (bundle, target) = (order.bundle.clone(), order.target.clone());
        Self { bundle, target, selection, central, groups }
    }

    /// What the process ends with. What was not rehearsed has not failed.
    pub(crate) fn exit(&self) -> Exit {
        let outcomes = self.groups.iter().map(|group| &group.outcome).chain(&self.central);
        let states: Vec<&str> = outcomes.map(state).collect();
        match states {
            states if states.contains(&"failed") => Exit::TenantsFailed,
            states if states.contains(&"refused") => Exit::Refused,
            _ => Exit::Ok,
        }
    }

    fn count(&self, wanted: &str) -> u64 {
        self.groups
            .iter()
            .filter(|group| state(&group.outcome) == wanted)
            .map(|group| group.tenants.count)
            .sum()
    }

    fn total(&self) -> u64 {
        self.groups.iter().map(|group| group.tenants.count).sum()
    }

    /// The last line, where not everything would go well.
    pub(super) fn verdict(&self) -> Option<String> {
        if matches!(&self.central, Some(Err(_))) {
            return Some("central would fail: no tenant would be started".into());
        }
        match self.count("refused") + self.count("failed") {
            0 => None,
            _ if self.selection.is_none() => Some("it would fail".into()),
            bad => Some(format!("{bad} of {} would fail", plural(self.total(), "tenant"))),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let bad = self.count("refused") + self.count("failed");
        let style = if self.exit() == Exit::Ok { GOOD } else { ERROR };
        let _ = writeln!(
            out,
            "{style}{:>10}{style:#} to {}, all rolled back: {}: {} would pass, {} current, {bad} would fail, {} not rehearsed to the end",
            "Rehearsal",
            self.target,
            plural(self.total(), "tenant"),
            self.count("passed"),
            self.count("current"),
            self.count("unrehearsed"),
        );
        if let Some(central) = &self.central {
            self.outcome_text(&mut out, "central", central);
        }
        for group in &self.groups {
            self.outcome_text(&mut out, &group.tenants.count.to_string(), &group.outcome);
            let _ = writeln!(out, "{:>10}  {}", "in", group.tenants.few(SHOWN));
            if let Err(Failure { hint: Some(hint), .. }) = &group.outcome {
                let _ = writeln!(out, "{DIM}{:>10}{DIM:#}  {hint}", "hint");
            }
        }
        out
    }

    fn outcome_text(&self, out: &mut String, who: &str, outcome: &Outcome) {
        let line = match outcome {
            Ok(Rehearsed { passed, left: Some(left) }) => {
                let before = match passed.len() {
                    0 => String::new(),
                    n => format!(" ({} before it would pass)", plural(n as u64, "migration")),
                };
                format!("not rehearsed from {} on: {}{before}", self.file(&left.at), left.why)
            }
            Ok(Rehearsed { passed, .. }) if passed.is_empty() => "current".into(),
            Ok(Rehearsed { passed, .. }) => {
                let files: Vec<&str> = passed.iter().map(|id| self.file(id)).collect();
                format!("would pass: {}", files.join(", "))
            }
            Err(f) => {
                let place = f.version.as_ref().map(|id| self.file(id));
                let (statement, row) = (numbered("statement", f.statement), numbered("line", f.line));
                let place = place.map(|file| format!("{file}{statement}{row}"));
                let line = failure_line(place.as_deref(), None, &f.code, &f.message);
                let _ = writeln!(out, "{ERROR}{who:>10}{ERROR:#}  {}  {line}", f.fingerprint());
                return;
            }
        };
        let _ = writeln!(out, "{who:>10}  {line}");
    }

    fn file<'a>(&'a self, id: &'a Version) -> &'a str {
        self.bundle.get(id).map_or(id.as_str(), |migration| &migration.file)
    }

    pub(super) fn document(&self) -> Value {
        let group = |group: &Group| {
            let mut value = self.outcome_document(&group.outcome);
            group.tenants.document(&mut value);
            value
        };
        let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|s| (*s, self.count(s))).collect();
        counts.insert("total", self.total());
        json!({
            "schema": "tenantry.rehearsal/v1",
            "exit_code": self.exit().code(),
            "target": self.target.to_string(),
            "bundle": self.bundle.digest().as_str(),
            "selection": self.selection,
            "counts": counts,
            "central": self.central.as_ref().map(|outcome| self.outcome_document(outcome)),
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
        })
    }

    fn outcome_document(&self, outcome: &Outcome) -> Value {
        let (passed, left) = match outcome {
            Ok(Rehearsed { passed, left }) => (passed.as_slice(), left.as_ref()),
            Err(_) => (&[][..], None),
        };
        json!({
            "state": state(outcome),
            "passed": passed,
            "unrehearsed": left.map(|left| json!({
                "migration": left.at, "file": self.file(&left.at), "reason": left.why, "migrations": left.count,
            })),
            "error": outcome.as_ref().err().map(document::failure),
        })
    }
}
