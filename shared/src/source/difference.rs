//! What a sync would change: a source's tenants against the registry's. Pure.
//!
//! A tenant of another source, or added by hand, is left as it is. What a person suspended stays suspended; what the sync
//! suspended it may make active again. Nothing is ever deleted.

use std::collections::BTreeMap;

use super::Listed;
use crate::{
    place::Place,
    registry::{Change, Edit, Known, NewTenant},
    tenant::{Slug, Status},
};

/// What a sync of one source would change.
#[derive(Debug, Default)]
pub struct Difference {
    /// The source.
    pub source: String,
    /// How many tenants it lists.
    pub listed: usize,
    /// Those that the registry does not have.
    pub added: Vec<NewTenant>,
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
    active_before: usize,
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

/// A comparison that takes the registry's tenants one by one.
pub struct Comparison {
    listed: BTreeMap<Slug, Listed>,
    adopt: Option<Vec<String>>,
    difference: Difference,
}

impl Comparison {
    /// Begins with what a source lists. `adopt`: tenants that it lists become its own unless they are of one of these
    /// sources.
    #[must_use]
    pub fn new(source: &str, listed: BTreeMap<Slug, Listed>, adopt: Option<Vec<String>>) -> Self {
        let difference =
            Difference { source: source.to_owned(), listed: listed.len(), ..Difference::default() };
        Self { listed, adopt, difference }
    }

    /// One tenant of the registry. Each must be given once.
    pub fn with(&mut self, known: &Known) {
        let listed = self.listed.remove(&known.slug);
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
        self.difference.added = self.listed.into_values().map(Listed::into_new).collect();
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

/// A place as a person reads it.
#[must_use]
pub fn place(place: &Place) -> String {
    let schema = place.schema.as_ref().map(|schema| format!(" schema {schema}")).unwrap_or_default();
    match place.engine {
        crate::place::Engine::Sqlite => format!("{}{schema}", place.database),
        engine => format!("{engine} {}/{}{schema}", place.server, place.database),
    }
}

fn or_none(value: Option<&String>) -> &str {
    value.map_or("none", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{id::TenantId, place::DatabaseUrl, tenant::Labels};

    fn listed(id: &str, url: &str, status: Status, labels: &[(&str, Option<&str>)]) -> (Slug, Listed) {
        let slug: Slug = id.parse().unwrap();
        let url = DatabaseUrl::parse(url, Path::new("/")).unwrap();
        let place = url.place(None).unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        (slug.clone(), Listed { slug, url, place, status, labels })
    }

    fn known(id: &str, status: Status, source: Option<&str>, suspended_by_sync: bool) -> Known {
        let (slug, listed) = listed(id, &format!("mysql://u:old@h/{id}"), status, &[]);
        let labels =
            Labels::from([("plan".to_owned(), "free".to_owned()), ("own".to_owned(), "x".to_owned())]);
        let source = source.map(str::to_owned);
        Known {
            id: TenantId::new(),
            slug,
            status,
            place: listed.place,
            url: listed.url,
            labels,
            source,
            suspended_by_sync,
        }
    }

    fn compare(rows: &[(Slug, Listed)], registry: &[Known], adopt: bool) -> Difference {
        let adopt = adopt.then(|| vec!["crm".into(), "erp".into()]);
        let mut comparison = Comparison::new("crm", rows.iter().cloned().collect(), adopt);
        registry.iter().for_each(|known| comparison.with(known));
        comparison.finish()
    }

    const SAME: &str = "mysql://u:old@h/acme";

    #[test]
    fn what_is_as_it_was_is_left_alone() {
        let known = known("acme", Status::Active, Some("crm"), false);
        let row = listed("acme", SAME, Status::Active, &[("plan", Some("free"))]);
        let difference = compare(&[row], &[known], false);
        assert!(difference.is_empty() && difference.alarm().is_none());
        assert_eq!(difference.unchanged, 1);
    }

    #[test]
    fn what_has_changed_is_told_without_a_secret() {
        let known = known("acme", Status::Active, Some("crm"), false);
        let row = listed(
            "acme",
            "mysql://u:new-password@h/acme",
            Status::Active,
            &[("plan", Some("pro")), ("x", None)],
        );
        let difference = compare(std::slice::from_ref(&row), std::slice::from_ref(&known), false);
        let (edit, what) = &difference.changed[0];
        assert_eq!(what, &["its user, password or options", "label plan: free → pro"]);
        assert_eq!(edit.change.set_labels.len(), 1);
        let row = listed("acme", "mysql://u:new-password@h2/acme", Status::Active, &[("plan", None)]);
        let (edit, what) = &compare(&[row], &[known], false).changed[0];
        assert_eq!(what, &["moved from mysql h:3306/acme to mysql h2:3306/acme", "label plan: free → none"]);
        assert_eq!(edit.change.remove_labels, ["plan"]);
    }

    #[test]
    fn the_sync_brings_back_what_it_suspended_and_nothing_else() {
        let row = listed("acme", SAME, Status::Active, &[]);
        for (by_sync, expected) in [(true, 1), (false, 0)] {
            let known = known("acme", Status::Suspended, Some("crm"), by_sync);
            let difference = compare(std::slice::from_ref(&row), &[known], false);
            assert_eq!((difference.reactivated.len(), difference.changed.len()), (expected, 0));
        }
        let off = listed("acme", SAME, Status::Suspended, &[]);
        let difference = compare(&[off], &[known("acme", Status::Active, Some("crm"), false)], false);
        assert_eq!(difference.suspended[0].1, ["suspended in the source"]);
    }

    #[test]
    fn somebody_elses_tenant_is_not_touched() {
        let row = listed("acme", "mysql://u:p@other/acme", Status::Active, &[]);
        for source in [None, Some("erp"), Some("gone")] {
            let known = known("acme", Status::Active, source, false);
            let difference = compare(std::slice::from_ref(&row), std::slice::from_ref(&known), false);
            assert!(difference.is_empty() && difference.foreign.len() == 1);
            assert!(compare(&[], std::slice::from_ref(&known), false).is_empty());
            let adopted = compare(std::slice::from_ref(&row), &[known], true);
            assert_eq!(adopted.changed.len(), usize::from(source != Some("erp")));
        }
    }

    #[test]
    fn more_than_half_or_all_of_them_at_once_is_alarming() {
        let registry: Vec<Known> =
            (0..4).map(|n| known(&format!("t{n}"), Status::Active, Some("crm"), false)).collect();
        let rows = |count: usize| -> Vec<_> {
            (0..count)
                .map(|n| listed(&format!("t{n}"), &format!("mysql://u:old@h/t{n}"), Status::Active, &[]))
                .collect()
        };
        assert_eq!(compare(&rows(2), &registry, false).alarm(), None);
        let alarm = compare(&rows(1), &registry, false).alarm();
        assert_eq!(alarm.as_deref(), Some("source crm had 4 active tenants and leaves 1 of them"));
        let alarm = compare(&[], &registry, false).alarm();
        assert_eq!(alarm.as_deref(), Some("source crm had 4 active tenants and lists no tenant at all"));
        assert_eq!(compare(&[], &[], false).alarm(), None);
        assert_eq!(compare(&[], &[known("old", Status::Suspended, Some("crm"), true)], false).alarm(), None);
    }
}
