//! A run as a JSON document: `tenantry.run/v1`. Fields are only ever added.

use serde_json::{Value, json};
use tenantry_shared::{
    clock::rfc3339,
    failure::Failure,
    ledger::{Retrying, RunningRow, Sighting, TargetRow},
    run::Run,
    summary::{Cause, Causes, Counts, exit_of},
};

/// A run with the fold of its targets.
pub(crate) struct RunView {
    pub(crate) run: Run,
    pub(crate) counts: Counts,
    pub(crate) causes: Causes,
    /// Why tenants wait for another attempt, while it goes on.
    pub(crate) retrying: Vec<Retrying>,
    /// The tenants that have been worked for longest, while it goes on.
    pub(crate) running: Vec<RunningRow>,
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
            "exit_code": run.state.is_final().then(|| exit_of(run.state, &self.counts, self.causes.refused).code()),
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
            "idempotency_key": run.key,
            // Known where it was asked for.
            "joined": false,
            "not_in_run": 0,
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
            "failures": self.causes.list.iter().map(|cause| self.failure(cause)).collect::<Vec<_>>(),
            "causes": self.causes.kinds,
            "retrying": self.retrying.iter().map(waiting).collect::<Vec<_>>(),
            "running": self.running.iter().map(|row| self.at_work(row)).collect::<Vec<_>>(),
        })
    }

    /// A cause, with what tries exactly its tenants again.
    fn failure(&self, cause: &Cause) -> Value {
        let mut value = json!(cause);
        value["retry"] = json!(format!("tenantry {}", self.retry(Some(cause))));
        value
    }

    /// The words that try failed tenants again: those of one cause, or all.
    pub(super) fn retry(&self, cause: Option<&Cause>) -> String {
        let number = self.run.number;
        let only = cause.filter(|cause| !cause.fingerprint.is_empty());
        let only = only.map(|cause| format!(" --error {}", cause.fingerprint)).unwrap_or_default();
        let work = if self.embedded { " --work" } else { "" };
        format!("retry {number}{only}{work}")
    }

    fn at_work(&self, row: &RunningRow) -> Value {
        json!({
            "tenant": row.tenant,
            "attempt": row.attempt,
            "worker": row.worker,
            "started_at": rfc3339(row.started_at),
            "duration_ms": self.since(row.started_at),
        })
    }

    /// How long ago something was, in milliseconds.
    pub(super) fn since(&self, at: i64) -> u64 {
        u64::try_from(self.now - at).unwrap_or(0)
    }
}

/// Why tenants wait for another attempt, and until when.
fn waiting(retrying: &Retrying) -> Value {
    let mut value = json!(retrying.cause);
    value["next_attempt_at"] = json!(rfc3339(retrying.next_at));
    value
}

/// A failure of one tenant.
pub(super) fn failure(f: &Failure) -> Value {
    json!({
        "class": f.class, "code": f.code, "message": f.message, "hint": f.hint, "refused": f.refused,
        "migration": f.version, "statement": f.statement, "line": f.line, "fingerprint": f.fingerprint(),
    })
}
