//! A plan as a document.

use serde_json::{Value, json};
use tenantry_shared::bundle::Set;
use tenantry_worker::preview::Step;

use super::{
    super::{document, ignored_files},
    Group, PlanView, Would,
};

impl PlanView {
    pub(in crate::output) fn document(&self) -> Value {
        let set = |set: &Set| {
            let spec = &set.spec;
            json!({ "set": spec.name, "format": spec.format, "table": spec.table, "for": spec.scope, "when": spec.when })
        };
        let group = |group: &Group| {
            let mut value = self.would_document(&group.would);
            group.tenants.document(&mut value);
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
                "total": self.groups.iter().map(|group| group.tenants.count).sum::<u64>(),
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
            "error": failure.map(document::failure),
        })
    }

    fn step_document(&self, step: &Step) -> Value {
        let link = self.bundle.link(&step.id);
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
