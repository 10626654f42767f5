//! A gate for a person, and as `tenantry.gate/v1`. Fields are only ever added.

use std::{cmp::Reverse, fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use tenantry_shared::{
    clock::{millis, rfc3339},
    exit::Exit,
    gate::{hundredths, needed},
    ledger::{TargetRow, Unproven},
    run::Run,
    version::Version,
    wave::Share,
};

use super::{ago, aim, or_dash, plural};

/// Where the tenants are, as far as it is known.
pub(crate) struct GateView {
    pub(crate) target: Version,
    pub(crate) min: Share,
    pub(crate) selection: String,
    /// The run that is judged, where it is one.
    pub(crate) run: Option<Run>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) tenants: u64,
    pub(crate) proven: u64,
    pub(crate) behind: u64,
    pub(crate) unseen: u64,
    pub(crate) unsure: u64,
    pub(crate) stale: u64,
    /// When the one of the proven that was read longest ago was read.
    pub(crate) oldest_at: Option<i64>,
    /// Each version with how many tenants are there, and whether that is the target or beyond.
    pub(crate) versions: Vec<(Option<Version>, u64, bool)>,
    /// The state of the run's central database, where that did not get there.
    pub(crate) central: Option<&'static str>,
    /// Some of the tenants that are missing.
    pub(crate) missing: Vec<Missing>,
    /// Now by the registry's clock.
    pub(crate) now: i64,
}

/// A tenant that is missing.
pub(crate) struct Missing {
    tenant: String,
    version: Option<String>,
    read_at: Option<i64>,
    why: String,
}

impl From<Unproven> for Missing {
    fn from(of: Unproven) -> Self {
        let version = of.version.map(|version| version.to_string());
        Self { tenant: of.tenant, version, read_at: of.read_at, why: of.why.as_str().to_owned() }
    }
}

impl From<TargetRow> for Missing {
    fn from(of: TargetRow) -> Self {
        Self { tenant: of.tenant, version: of.to, read_at: None, why: of.state }
    }
}

impl GateView {
    pub(crate) fn of(target: &Version, min: Share, now: i64) -> Self {
        Self {
            target: target.clone(),
            min,
            selection: String::new(),
            run: None,
            max_age: None,
            tenants: 0,
            proven: 0,
            behind: 0,
            unseen: 0,
            unsure: 0,
            stale: 0,
            oldest_at: None,
            versions: Vec::new(),
            central: None,
            missing: Vec::new(),
            now,
        }
    }

    /// The versions with the most tenants first.
    pub(crate) fn sorted(mut self) -> Self {
        self.versions.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        self
    }

    fn holds(&self) -> bool {
        self.central.is_none() && self.proven >= needed(self.min, self.tenants)
    }

    pub(crate) fn exit(&self) -> Exit {
        if self.holds() { Exit::Ok } else { Exit::Stopped }
    }

    fn unproven(&self) -> u64 {
        self.tenants - self.proven
    }

    fn share(&self) -> String {
        let hundredths = hundredths(self.proven, self.tenants);
        format!("{}.{:02} %", hundredths / 100, hundredths % 100)
    }

    pub(super) fn document(&self) -> Value {
        let versions = self.versions.iter();
        let missing = self.missing.iter();
        json!({
            "schema": "tenantry.gate/v1",
            "holds": self.holds(),
            "exit_code": self.exit().code(),
            "target": self.target,
            "run": self.run.as_ref().map(|run| run.number),
            "selection": self.selection,
            "min": self.min,
            "needed": needed(self.min, self.tenants),
            "tenants": self.tenants,
            "proven": self.proven,
            "percent": hundredths(self.proven, self.tenants) as f64 / 100.0,
            "behind": self.behind,
            "unseen": self.unseen,
            "unsure": self.unsure,
            "stale": self.stale,
            "central": self.central,
            "max_age_ms": self.max_age.map(millis),
            "oldest_read_at": self.oldest_at.map(rfc3339),
            "versions": versions.map(|(version, tenants, there)| json!({ "version": version, "tenants": tenants, "reached": there })).collect::<Vec<_>>(),
            "missing": missing.map(|m| json!({ "tenant": m.tenant, "version": m.version, "read_at": m.read_at.map(rfc3339), "why": m.why })).collect::<Vec<_>>(),
            "truncated": self.unproven() > self.missing.len() as u64,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let word = if self.holds() { "holds" } else { "does not hold" };
        let wanted = needed(self.min, self.tenants);
        let _ = writeln!(
            out,
            "the gate {word}: {} of {} {} ({}), {wanted} needed ({})",
            self.proven,
            plural(self.tenants, "tenant"),
            self.place(),
            self.share(),
            self.min
        );
        if let Some(state) = self.central {
            let _ = writeln!(out, "  central   {state}");
        }
        for (count, what) in self.kinds() {
            let _ = writeln!(out, "  {count:>8}  {what}");
        }
        if let Some(oldest) = self.oldest_at {
            let _ = writeln!(out, "  the proven ones were read {} at the earliest", ago(self.now, oldest));
        }
        if !self.missing.is_empty() {
            let _ = write!(out, "\n{}", self.table());
        }
        out
    }

    fn place(&self) -> String {
        match &self.run {
            Some(run) => format!("of run #{} proven {}", run.number, aim(run)),
            None => format!("proven at {} or beyond", self.target),
        }
    }

    /// What is missing, each with how many.
    fn kinds(&self) -> Vec<(u64, &'static str)> {
        let behind = if self.run.is_some() { "not there" } else { "behind" };
        let all = [
            (self.behind, behind),
            (self.unseen, "not seen yet"),
            (self.unsure, "not sure: a rollback is at work there, or has failed since"),
            (self.stale, "read too long ago (--max-age)"),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).collect()
    }

    fn table(&self) -> String {
        let mut table = super::Table::new(&["tenant", "why", "version", "read"]);
        for missing in &self.missing {
            table.row(vec![
                missing.tenant.clone(),
                missing.why.clone(),
                or_dash(missing.version.as_ref()),
                or_dash(missing.read_at.map(|at| ago(self.now, at))),
            ]);
        }
        table.text()
    }

    /// How to see those that are not named.
    pub(super) fn more(&self, program: &str) -> Option<String> {
        let (shown, all) = (self.missing.len() as u64, self.unproven());
        let see = match &self.run {
            Some(run) => {
                let states = "failed,skipped,pending,running,retryable";
                format!("see the others with: {program} status {} --state {states}", run.number)
            }
            None => format!("see all with --show {all}"),
        };
        (shown < all).then(|| format!("{shown} of {all} shown; {see}"))
    }

    /// The last line of a gate that does not hold.
    pub(super) fn verdict(&self) -> Option<String> {
        if self.holds() {
            return None;
        }
        if let Some(state) = self.central {
            return Some(format!("the gate does not hold: the central database is {state}"));
        }
        let (missing, all) = (self.unproven(), plural(self.tenants, "tenant"));
        let wanted = needed(self.min, self.tenants);
        if wanted > self.tenants {
            return Some(format!("the gate cannot hold: {wanted} wanted by --min, of {all}"));
        }
        Some(format!("the gate does not hold: {missing} of {all} not proven at {}", self.target))
    }
}
