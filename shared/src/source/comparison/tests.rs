//! What is changed and what is left alone, by example.

use std::path::Path;

use super::*;
use crate::{
    id::TenantId,
    place::DatabaseUrl,
    tenant::{Labels, Slug},
};

fn listed(id: &str, url: &str, status: Status, labels: &[(&str, Option<&str>)]) -> (Slug, Listed) {
    let slug: Slug = id.parse().unwrap();
    let url = DatabaseUrl::parse(url, Path::new("/")).unwrap();
    let place = url.place(None).unwrap();
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
    (slug.clone(), Listed { slug, url, place, status, labels })
}

fn known(id: &str, status: Status, source: Option<&str>, suspended_by_sync: bool) -> Known {
    let (slug, listed) = listed(id, &format!("mysql://u:old@h/{id}"), status, &[]);
    let labels = Labels::from([("plan".to_owned(), "free".to_owned()), ("own".to_owned(), "x".to_owned())]);
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
    let mut tenants = Tenants::default();
    rows.iter().for_each(|(_, listed)| tenants.add(listed.clone()).unwrap());
    let mut comparison = Comparison::new("crm", tenants, adopt);
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
