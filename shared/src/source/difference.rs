//! What a sync would change. Pure.

use super::Tenants;
use crate::{place::Place, registry::Edit, tenant::Slug};

/// What a sync of one source would change.
#[derive(Debug, Default)]
pub struct Difference {
    /// The source.
    pub source: String,
    /// How many tenants it lists.
    pub listed: usize,
    /// Those that the registry does not have.
    pub added: Tenants,
    /// Those that have changed, each with what has.
    pub changed: Vec<(Edit, Vec<String>)>,
    /// Those that runs no longer take.
    pub suspended: Vec<(Edit, Vec<String>)>,
    /// Those that runs take again.
    pub reactivated: Vec<(Edit, Vec<String>)>,
    /// How many are as they should be.
    pub unchanged: usize,
    /// Those that the source lists and that are not its own.
    pub foreign: Vec<Slug>,
    pub(super) active_before: usize,
}

impl Difference {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.edits().next().is_none()
    }

    /// All that changes of tenants that are there.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.changed.iter().chain(&self.suspended).chain(&self.reactivated).map(|(edit, _)| edit)
    }

    /// Why this looks like a source that is broken and not like tenants that left.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        let (leaving, before) = (self.suspended.len(), self.active_before);
        if leaving * 2 <= before {
            return None;
        }
        let what = if self.listed == 0 {
            "lists no tenant at all".to_owned()
        } else {
            format!("leaves {} of them", before - leaving)
        };
        Some(format!("source {} had {before} active tenants and {what}", self.source))
    }

    /// The counts in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} added, {} changed, {} suspended, {} reactivated, {} unchanged",
            self.added.len(),
            self.changed.len(),
            self.suspended.len(),
            self.reactivated.len(),
            self.unchanged
        )
    }
}

/// A place as a person reads it.
#[must_use]
pub fn place(place: &Place) -> String {
    let schema = place.schema.as_ref().map(|schema| format!(" schema {schema}")).unwrap_or_default();
    match place.engine {
        crate::place::Engine::Sqlite => format!("{}{schema}", place.database),
        engine => format!("{engine} {}/{}{schema}", place.server, place.database),
    }
}
