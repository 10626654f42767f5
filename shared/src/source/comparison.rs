//! A source's tenants against the registry's. Pure.
//!
//! A tenant of another source, or added by hand, is left as it is. What a person suspended stays suspended; what the sync
//! suspended it may make active again. Nothing is ever deleted.

use super::{
    Listed, Tenants,
    difference::{Difference, place},
};
use crate::{
    registry::{Change, Edit, Known},
    tenant::Status,
};

/// A comparison that takes the registry's tenants one by one.
pub struct Comparison {
    listed: Tenants,
    adopt: Option<Vec<String>>,
    difference: Difference,
}

impl Comparison {
    /// Begins with what a source lists. `adopt`: tenants that it lists become its own unless they are of one of these
    /// sources.
    #[must_use]
    pub fn new(source: &str, listed: Tenants, adopt: Option<Vec<String>>) -> Self {
        let difference =
            Difference { source: source.to_owned(), listed: listed.len(), ..Difference::default() };
        Self { listed, adopt, difference }
    }

    /// One tenant of the registry. Each must be given once.
    pub fn with(&mut self, known: &Known) {
        let listed = self.listed.take(&known.slug);
        let own = known.source.as_deref() == Some(self.difference.source.as_str());
        if own && known.status == Status::Active {
            self.difference.active_before += 1;
        }
        match (listed, own) {
            (None, false) => {}
            (None, true) => self.vanished(known),
            (Some(listed), true) => self.both(known, &listed, Vec::new()),
            (Some(listed), false) if self.adopts(known) => {
                self.both(known, &listed, vec!["taken over by the source".into()]);
            }
            (Some(_), false) => self.difference.foreign.push(known.slug.clone()),
        }
    }

    /// The difference; what the registry did not have is new.
    #[must_use]
    pub fn finish(mut self) -> Difference {
        self.difference.added = self.listed;
        self.difference
    }

    fn adopts(&self, known: &Known) -> bool {
        let of_one = |sources: &Vec<String>| known.source.as_ref().is_some_and(|name| sources.contains(name));
        self.adopt.as_ref().is_some_and(|sources| !of_one(sources))
    }

    fn vanished(&mut self, known: &Known) {
        if known.status != Status::Active {
            self.difference.unchanged += 1;
            return;
        }
        let change = Change { status: Some(Status::Suspended), ..Change::default() };
        self.difference.suspended.push((edit(known, change), vec!["no longer in the source".into()]));
    }

    fn both(&mut self, known: &Known, listed: &Listed, mut what: Vec<String>) {
        let mut change = Change { status: new_status(known, listed.status), ..Change::default() };
        if let Some(moved) = moved(known, listed) {
            what.push(moved);
            change.url = Some((listed.url.clone(), listed.place.clone()));
        }
        for (name, value) in &listed.labels {
            let old = known.labels.get(name);
            if old == value.as_ref() {
                continue;
            }
            what.push(format!("label {name}: {} → {}", or_none(old), or_none(value.as_ref())));
            match value {
                Some(value) => drop(change.set_labels.insert(name.clone(), value.clone())),
                None => change.remove_labels.push(name.clone()),
            }
        }
        let difference = &mut self.difference;
        let list = match change.status {
            Some(Status::Active) => {
                what.insert(0, "active again".into());
                &mut difference.reactivated
            }
            Some(status) => {
                what.insert(0, format!("{status} in the source"));
                &mut difference.suspended
            }
            None if what.is_empty() => return difference.unchanged += 1,
            None => &mut difference.changed,
        };
        list.push((edit(known, change), what));
    }
}

fn edit(known: &Known, change: Change) -> Edit {
    let (slug, was_of) = (known.slug.clone(), known.source.clone());
    Edit { id: known.id, slug, was: known.status, was_of, change }
}

/// The status that a tenant gets, if it gets another one. What a person did to it stays.
fn new_status(known: &Known, wanted: Status) -> Option<Status> {
    let is_ours = known.status == Status::Active || known.suspended_by_sync;
    (is_ours && known.status != wanted).then_some(wanted)
}

/// Where a tenant went, without its credentials.
fn moved(known: &Known, listed: &Listed) -> Option<String> {
    if known.place != listed.place {
        return Some(format!("moved from {} to {}", place(&known.place), place(&listed.place)));
    }
    (known.url.expose() != listed.url.expose()).then(|| "its user, password or options".into())
}

fn or_none(value: Option<&String>) -> &str {
    value.map_or("none", String::as_str)
}

#[cfg(test)]
mod tests;
