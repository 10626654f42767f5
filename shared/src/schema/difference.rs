//! How two schemas differ, and which tenants are alike.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::Serialize;

use super::{Catalog, Kind, Object};
use crate::digest::Digest;

/// How many objects a difference names for a person.
const NAMED: usize = 8;

/// How one schema differs from another one, the norm. Empty exactly when their digests are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What the norm has and it has not.
    pub lacks: Vec<Object>,
    /// What it has and the norm has not.
    pub has: Vec<Object>,
    /// What both have in two forms: the norm's first.
    pub differs: Vec<(Object, Object)>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lacks.is_empty() && self.has.is_empty() && self.differs.is_empty()
    }

    /// The difference of so many tenants, for a person: `4 lack index i on t and have column t.x`.
    #[must_use]
    pub fn of_tenants(&self, count: usize) -> String {
        let (lack, have, differ) =
            if count == 1 { ("lacks", "has", "differs") } else { ("lack", "have", "differ") };
        let differs: Vec<&Object> = self.differs.iter().map(|(_, here)| here).collect();
        let parts = [
            (lack, list(&self.lacks.iter().collect::<Vec<_>>())),
            (have, list(&self.has.iter().collect::<Vec<_>>())),
            (&*format!("{differ} in"), list(&differs)),
        ]
        .map(|(verb, list)| (!list.is_empty()).then(|| format!("{verb} {list}")));
        format!("{count} {}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.of_tenants(1).trim_start_matches("1 "))
    }
}

fn list(objects: &[&Object]) -> String {
    let named: Vec<String> = objects.iter().take(NAMED).map(ToString::to_string).collect();
    match objects.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// How `other` differs from `norm`. What is on a table that only one of them has is not told: the table is.
#[must_use]
pub fn difference(norm: &Catalog, other: &Catalog) -> Difference {
    let (ours, theirs) = (by_name(norm), by_name(other));
    let only = |these: &Catalog, those: &HashMap<Name<'_>, &Object>| {
        let missing: Vec<&Object> =
            these.objects().iter().filter(|object| !those.contains_key(&name(object))).collect();
        let relations: Vec<&str> =
            missing.iter().filter(|o| o.is_relation()).map(|o| o.name.as_str()).collect();
        let told = |object: &&Object| object.on.as_deref().is_none_or(|on| !relations.contains(&on));
        missing.iter().copied().filter(told).cloned().collect()
    };
    let differs = norm.objects().iter().filter_map(|object| {
        let here = theirs.get(&name(object))?;
        let same = object.definition == here.definition;
        let told_already = object.kind == Kind::Order && is_of_other_columns(object, here);
        (!same && !told_already).then(|| (object.clone(), (*here).clone()))
    });
    Difference { differs: differs.collect(), lacks: only(norm, &theirs), has: only(other, &ours) }
}

type Name<'a> = (Kind, Option<&'a str>, &'a str);

fn name(object: &Object) -> Name<'_> {
    (object.kind, object.on.as_deref(), &object.name)
}

fn by_name(catalog: &Catalog) -> HashMap<Name<'_>, &Object> {
    catalog.objects().iter().map(|object| (name(object), object)).collect()
}

/// Whether the columns that both tables have follow each other in one order: the others are told by themselves.
fn is_of_other_columns(a: &Object, b: &Object) -> bool {
    let columns = |object: &Object| -> Vec<String> { object.definition.lines().map(str::to_owned).collect() };
    let (mut a, mut b) = (columns(a), columns(b));
    let before = a.clone();
    a.retain(|column| b.contains(column));
    b.retain(|column| before.contains(column));
    a == b
}

/// Members of one schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster<T> {
    /// The schema.
    pub digest: Digest,
    /// Who has it, sorted.
    pub members: Vec<T>,
}

/// Who is alike among peers: those of one key. The first cluster of each is the norm: the largest one, and of several
/// as large the one with the first member.
#[must_use]
pub fn clusters<K: Ord, T: Ord>(
    seen: impl IntoIterator<Item = (K, Digest, T)>,
) -> BTreeMap<K, Vec<Cluster<T>>> {
    let mut peers: BTreeMap<K, HashMap<Digest, Vec<T>>> = BTreeMap::new();
    for (key, digest, member) in seen {
        peers.entry(key).or_default().entry(digest).or_default().push(member);
    }
    let sorted = |(digest, mut members): (Digest, Vec<T>)| {
        members.sort_unstable();
        Cluster { digest, members }
    };
    let by_size = |alike: HashMap<Digest, Vec<T>>| {
        let mut clusters: Vec<Cluster<T>> = alike.into_iter().map(sorted).collect();
        clusters.sort_by(|a, b| {
            b.members.len().cmp(&a.members.len()).then_with(|| a.members.first().cmp(&b.members.first()))
        });
        clusters
    };
    peers.into_iter().map(|(key, alike)| (key, by_size(alike))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(kind: Kind, on: Option<&str>, name: &str, definition: &str) -> Object {
        Object { kind, on: on.map(str::to_owned), name: name.into(), definition: definition.into() }
    }

    /// A table with these columns and an index on the first.
    fn table(columns: &[&str]) -> Vec<Object> {
        let mut objects = vec![
            object(Kind::Table, None, "t", ""),
            object(Kind::Order, Some("t"), "t", &columns.join("\n")),
            object(Kind::Index, Some("t"), "i", columns[0]),
        ];
        objects.extend(columns.iter().map(|column| object(Kind::Column, Some("t"), column, "text")));
        objects
    }

    fn catalog(objects: Vec<Object>) -> Catalog {
        Catalog::new(objects, &[])
    }

    #[test]
    fn a_missing_index_and_a_column_too_many_are_told_exactly() {
        let norm = catalog(table(&["a", "b"]));
        let mut without = table(&["a", "b"]);
        without.retain(|object| object.kind != Kind::Index);
        assert_eq!(difference(&norm, &catalog(without)).of_tenants(4), "4 lack index i on t");
        let with = catalog(table(&["a", "x", "b"]));
        assert_eq!(difference(&norm, &with).of_tenants(2), "2 have column t.x");
        assert_eq!(difference(&with, &norm).of_tenants(1), "1 lacks column t.x");
    }

    #[test]
    fn the_order_of_columns_is_told_where_nothing_else_tells_it() {
        let mut other = table(&["b", "a"]);
        other[2].definition = "a".into();
        let difference = difference(&catalog(table(&["a", "b"])), &catalog(other));
        assert_eq!(difference.to_string(), "differs in the order of the columns of t");
    }

    #[test]
    fn a_missing_table_is_told_without_what_is_on_it() {
        let difference = difference(&catalog(table(&["a"])), &Catalog::default());
        assert_eq!(difference.to_string(), "lacks table t");
    }

    #[test]
    fn a_changed_object_comes_with_both_definitions() {
        let view = |text| catalog(vec![object(Kind::View, None, "v", text)]);
        let difference = difference(&view("SELECT 1"), &view("SELECT 2"));
        assert_eq!(difference.of_tenants(3), "3 differ in view v");
        let (norm, here) = &difference.differs[0];
        assert_eq!((norm.definition.as_str(), here.definition.as_str()), ("SELECT 1", "SELECT 2"));
    }

    #[test]
    fn the_largest_cluster_is_the_norm_and_the_first_name_decides_a_draw() {
        let digest = |text: &str| Digest::of([("x", text)]);
        let seen = [("pg", "b", 4), ("pg", "a", 1), ("pg", "b", 3), ("lite", "y", 9), ("lite", "z", 8)];
        let clusters = clusters(seen.map(|(key, schema, member)| (key, digest(schema), member)));
        let members = |key| clusters[key].iter().map(|c| c.members.clone()).collect::<Vec<_>>();
        assert_eq!((members("pg"), members("lite")), (vec![vec![3, 4], vec![1]], vec![vec![8], vec![9]]));
    }

    fn any_catalog() -> impl Strategy<Value = Catalog> {
        let any_columns = proptest::sample::subsequence(vec!["a", "b", "c"], 1..=3).prop_shuffle();
        let any_table = proptest::option::of((any_columns, any::<bool>()));
        any_table.prop_map(|table_of| {
            let Some((columns, indexed)) = table_of else { return Catalog::default() };
            let mut objects = table(&columns);
            objects.retain(|object| indexed || object.kind != Kind::Index);
            catalog(objects)
        })
    }

    proptest! {
        #[test]
        fn there_is_a_difference_exactly_when_the_digests_differ(a in any_catalog(), b in any_catalog()) {
            prop_assert_eq!(difference(&a, &b).is_empty(), a.digest() == b.digest());
        }
    }
}
