//! A tenant's schema as a value: every object with the text that defines it, in an order and in words that do not
//! depend on where the tenant lives. Two tenants whose catalogs have one digest have one schema. Pure.
//!
//! What is in: tables with the order of their columns, columns, constraints, indexes, partitions, views, sequences,
//! types, functions, triggers, rules, policies, events, extensions. What is not: data, owners, privileges, comments,
//! statistics, storage places, and the tables that histories are kept in. The engines read catalogs; names of the
//! tenant's own schema are left out or replaced by [`OWN`] there.

mod difference;
mod neutral;
mod object;
mod outside;

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use self::{
    difference::{Cluster, Difference, clusters, difference},
    neutral::{neutral, neutral_before},
    object::{Kind, Object},
    outside::{Outside, Outsider, appeared},
};
use crate::digest::Digest;

/// What stands for the name of the tenant's own schema or database in a definition.
pub const OWN: &str = "{own}";

/// Tables of ours in a tenant begin with this; no catalog has them.
const OURS: &str = "_tenantry_";

/// The objects of one tenant's schema, sorted. A copy is the same one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Object>", into = "Vec<Object>")]
pub struct Catalog(Arc<Sorted>);

#[derive(Debug, Default)]
struct Sorted {
    objects: Vec<Object>,
    /// Once somebody has asked for it.
    digest: OnceLock<Digest>,
}

impl PartialEq for Catalog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.objects() == other.objects()
    }
}

impl Eq for Catalog {}

/// Objects that were sorted before.
impl From<Vec<Object>> for Catalog {
    fn from(objects: Vec<Object>) -> Self {
        Self(Arc::new(Sorted { objects, digest: OnceLock::new() }))
    }
}

impl From<Catalog> for Vec<Object> {
    fn from(catalog: Catalog) -> Self {
        catalog.objects().to_vec()
    }
}

impl Catalog {
    /// The catalog of these objects, without the history tables, our own tables, and all that is on them.
    #[must_use]
    pub fn new(mut objects: Vec<Object>, histories: &[&str]) -> Self {
        let kept_out = |table: &str| table.starts_with(OURS) || histories.contains(&table);
        objects.retain(|object| match &object.on {
            None => object.kind != Kind::Table || !kept_out(&object.name),
            Some(table) => !kept_out(table),
        });
        objects.sort_unstable();
        objects.into()
    }

    /// Its objects, sorted.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.0.objects
    }

    /// What the schema is known by.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.0.digest.get_or_init(|| self.digested())
    }

    fn digested(&self) -> Digest {
        let names: Vec<String> = self
            .objects()
            .iter()
            .map(|o| format!("{}\0{}\0{}", o.kind.as_str(), o.on.as_deref().unwrap_or_default(), o.name))
            .collect();
        let texts = self.objects().iter().map(|object| object.definition.as_str());
        Digest::of(names.iter().map(String::as_str).zip(texts))
    }
}

/// What was found out about a tenant's schema when it had been migrated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// The schema; none where it was not read.
    pub catalog: Option<Catalog>,
    /// What appeared outside of it meanwhile.
    pub appeared: Vec<Outsider>,
}

#[cfg(test)]
mod tests {
    use super::{object::tests::object, *};

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_reading() {
        let (a, b) = (object(Kind::Table, None, "a"), object(Kind::Table, None, "b"));
        let one = Catalog::new(vec![a.clone(), b.clone()], &[]);
        assert_eq!(one.digest(), Catalog::new(vec![b.clone(), a.clone()], &[]).digest());
        assert_ne!(one.digest(), Catalog::new(vec![a], &[]).digest());
    }

    #[test]
    fn histories_and_our_own_tables_are_left_out_with_all_that_is_on_them() {
        let objects = vec![
            object(Kind::Table, None, "_sqlx_migrations"),
            object(Kind::Order, Some("_sqlx_migrations"), "_sqlx_migrations"),
            object(Kind::Column, Some("_sqlx_migrations"), "version"),
            object(Kind::Table, None, "_tenantry_progress"),
            object(Kind::Table, None, "users"),
        ];
        let catalog = Catalog::new(objects, &["_sqlx_migrations"]);
        assert_eq!(catalog.objects(), [object(Kind::Table, None, "users")]);
    }
}
