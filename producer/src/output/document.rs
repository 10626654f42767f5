//! A run as a JSON document: `tenantry.run/v1`. Fields are only ever added.

use serde_json::{Value, json};
use tenantry_shared::{
    clock::rfc3339,
    ledger::{Sighting, TargetRow},
    run::Run,
    summary::{Cause, Counts, exit_of},
};

/// A run with the fold of its targets.
pub(crate) struct RunView {
    pub(crate) run: Run,
    pub(crate) counts: Counts,
    pub(crate) causes: Vec<Cause>,
    /// The central database, in a run that begins with it.
    pub(crate) central: Option<TargetRow>,
    /// What its targets do that take long, those that wait first.
    pub(crate) sightings: Vec<Sighting>,
    /// Now by the registry's clock, in milliseconds since 1970.
    pub(crate) now: i64,
    /// Whether the registry is a file, which no worker elsewhere can see.
    pub(crate) embedded: bool,
}

impl RunView {
    /// How long it has been going on, or took.
    pub(crate) fn duration_ms(&self) -> u64 {
        let end = self.run.finished_at.unwrap_or(self.now);
        u64::try_from(end - self.run.created_at).unwrap_or(0)
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let run = &self.run;
        json!({
            "schema": "tenantry.run/v1",
            "run": run.id.to_string(),
            "number": run.number,
            "state": run.state.as_str(),
            "exit_code": run.state.is_final().then(|| exit_of(run.state, &self.counts, &self.causes).code()),
            "action": run.action,
            "target": run.target.to_string(),
            "description": run.description,
            "bundle": run.digest.as_str(),
            "sets": run.action.sets,
            "selection": run.selection,
            // Known where the directory was looked at.
            "ignored": null,
            "parent": run.parent,
            "requested_by": run.requested_by,
            "reason": run.reason,
            "created_at": rfc3339(run.created_at),
            "started_at": run.started_at.map(rfc3339),
            "finished_at": run.finished_at.map(rfc3339),
            "duration_ms": self.duration_ms(),
            "waves": run.waves,
            "wave": run.wave,
            "soak_until": run.soak_until.map(rfc3339),
            "paused_at": run.paused_at.map(rfc3339),
            "deadline_at": run.deadline_at.map(rfc3339),
            "stop": run.stop,
            "central": self.central,
            "counts": self.counts,
            "sightings": self.sightings,
            "failures": self.causes,
        })
    }
}
