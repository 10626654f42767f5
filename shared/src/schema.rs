//! A tenant's schema as a value: every object with the text that defines it, in an order and in words that do not
//! depend on where the tenant lives. Two tenants whose catalogs have one digest have one schema. Pure.
//!
//! What is in: tables with the order of their columns, columns, constraints, indexes, partitions, views, sequences,
//! types, functions, triggers, rules, policies, events, extensions. What is not: data, owners, privileges, comments,
//! statistics, storage places, and the tables that histories are kept in. The engines read catalogs; names of the
//! tenant's own schema are left out or replaced by [`OWN`] there.

mod difference;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
pub use difference::{Cluster, Difference, clusters, difference};

/// What stands for the name of the tenant's own schema or database in a definition.
pub const OWN: &str = "{own}";

/// Tables of ours in a tenant begin with this; no catalog has them.
const OURS: &str = "_tenantry_";

/// The schema that is looked into in any case.
const PUBLIC: &str = "public";

/// What an object is. The order is the one in which a catalog lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A schema of its own, outside of the tenant's.
    Schema,
    /// An extension of the database, by name and version.
    Extension,
    /// An enum, a domain, a range or a composite type.
    Type,
    /// A sequence, on the table that owns it where one does.
    Sequence,
    /// A table: its options, without its columns.
    Table,
    /// The order of a table's columns, one a line, under the table's name.
    Order,
    /// A column of a table.
    Column,
    /// A primary key, unique, check, foreign key or exclusion constraint.
    Constraint,
    /// An index that is no constraint's own.
    Index,
    /// A partition that is not a table itself.
    Partition,
    /// A view.
    View,
    /// A view that is stored.
    MaterializedView,
    /// A function, procedure or aggregate, by its name and argument types.
    Function,
    /// A trigger.
    Trigger,
    /// A rewrite rule.
    Rule,
    /// A policy of row security.
    Policy,
    /// A scheduled event.
    Event,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Schema,
        Self::Extension,
        Self::Type,
        Self::Sequence,
        Self::Table,
        Self::Order,
        Self::Column,
        Self::Constraint,
        Self::Index,
        Self::Partition,
        Self::View,
        Self::MaterializedView,
        Self::Function,
        Self::Trigger,
        Self::Rule,
        Self::Policy,
        Self::Event,
    ];

    /// The word for it, in queries of catalogs and in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Extension => "extension",
            Self::Type => "type",
            Self::Sequence => "sequence",
            Self::Table => "table",
            Self::Order => "column order",
            Self::Column => "column",
            Self::Constraint => "constraint",
            Self::Index => "index",
            Self::Partition => "partition",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Function => "function",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
            Self::Policy => "policy",
            Self::Event => "event",
        }
    }
}

/// One object of a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The table that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on: Option<String>,
    /// Its name; with its schema where that is not the tenant's own.
    pub name: String,
    /// All that makes it what it is, in one text.
    pub definition: String,
}

impl Object {
    /// From a row of kind, table, name and definition; none when the kind is not known.
    #[must_use]
    pub fn from_row(row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).cloned().flatten();
        let (kind, name) = (text(0)?, text(2)?);
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some(Self { kind, on: text(1), name, definition: text(3).unwrap_or_default() })
    }

    /// Whether other objects can be on it.
    fn is_relation(&self) -> bool {
        matches!(self.kind, Kind::Table | Kind::View | Kind::MaterializedView)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.kind.as_str(), &self.name);
        match (self.kind, &self.on) {
            (Kind::Column, Some(table)) => write!(f, "column {table}.{name}"),
            (Kind::Order, _) => write!(f, "the order of the columns of {name}"),
            (Kind::Sequence, _) | (_, None) => write!(f, "{kind} {name}"),
            (_, Some(table)) => write!(f, "{kind} {name} on {table}"),
        }
    }
}

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

/// Puts [`OWN`] in place of a schema's name wherever it qualifies another name: `acme.t`, `"acme".t`, `` `acme`.t ``.
#[must_use]
pub fn neutral(text: &str, schema: &str) -> String {
    neutral_before(text, schema, |_| true)
}

/// The same before these names only: where the schema is called like a table, `t.name` may mean a column of that.
#[must_use]
pub fn neutral_before(text: &str, schema: &str, is_meant: impl Fn(&str) -> bool) -> String {
    let forms = [format!("\"{schema}\"."), format!("`{schema}`."), format!("{schema}.")];
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        let found = forms.iter().filter_map(|form| rest.find(form.as_str()).map(|at| (at, form.len())));
        let Some((at, length)) = found.min_by_key(|(at, length)| (*at, usize::MAX - length)) else {
            out.push_str(rest);
            return out;
        };
        out.push_str(&rest[..at]);
        let in_a_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '"' | '`');
        let after = rest[at + length..].trim_start_matches(['"', '`']);
        let name = &after[..after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len())];
        if out.chars().next_back().is_some_and(in_a_name) || !is_meant(name) {
            out.push_str(&rest[at..at + length]);
        } else {
            out.push_str(OWN);
            out.push('.');
        }
        rest = &rest[at + length..];
    }
}

/// An object outside of every tenant's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outsider {
    /// The schema that it is in, or is.
    pub schema: String,
    /// The object; its name has its schema. Its definition is not read.
    pub object: Object,
}

/// What is outside of every tenant's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The objects.
    pub objects: Vec<Outsider>,
    /// Whether more than `public` was looked into: there may be too many schemas that nobody knows of.
    pub all: bool,
}

/// What was found out about a tenant's schema when it had been migrated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// The schema; none where it was not read.
    pub catalog: Option<Catalog>,
    /// What appeared outside of it meanwhile.
    pub appeared: Vec<Outsider>,
}

/// What is there after and was not before, where both have looked. What is on a table that is new itself is not told.
#[must_use]
pub fn appeared(before: &Outside, after: Outside) -> Vec<Outsider> {
    let everywhere = before.all && after.all;
    let known: HashSet<&Object> = before.objects.iter().map(|outsider| &outsider.object).collect();
    let is_new = |o: &Outsider| (everywhere || o.schema == PUBLIC) && !known.contains(&o.object);
    let new: Vec<Outsider> = after.objects.into_iter().filter(is_new).collect();
    let names: HashSet<String> = new.iter().map(|o| o.object.name.clone()).collect();
    new.into_iter().filter(|o| o.object.on.as_ref().is_none_or(|table| !names.contains(table))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, on: Option<&str>, name: &str) -> Object {
        Object { kind, on: on.map(str::to_owned), name: name.into(), definition: "d".into() }
    }

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

    #[test]
    fn the_name_of_the_own_schema_is_replaced_where_it_qualifies() {
        let text = "SELECT acme.t.a, \"acme\".f(), 'acme', other.acme.x, myacme.t FROM acme.t";
        let expected = "SELECT {own}.t.a, {own}.f(), 'acme', other.acme.x, myacme.t FROM {own}.t";
        assert_eq!(neutral(text, "acme"), expected);
        assert_eq!(neutral("`acme`.`t`", "acme"), "{own}.`t`");
        let only_t = neutral_before("SELECT t.id FROM t.t, \"t\".\"t\"", "t", |name| name == "t");
        assert_eq!(only_t, "SELECT t.id FROM {own}.t, {own}.\"t\"");
    }

    #[test]
    fn an_object_says_what_it_is() {
        let text = |kind, on, name| object(kind, on, name).to_string();
        assert_eq!(text(Kind::Column, Some("users"), "email"), "column users.email");
        assert_eq!(text(Kind::Index, Some("users"), "users_email"), "index users_email on users");
        assert_eq!(text(Kind::Function, None, "f(integer)"), "function f(integer)");
    }

    #[test]
    fn what_appeared_is_told_without_what_is_on_it() {
        let outsider = |kind, on, name| Outsider { schema: "public".into(), object: object(kind, on, name) };
        let (old, table) = (outsider(Kind::View, None, "public.v"), outsider(Kind::Table, None, "public.t"));
        let column = outsider(Kind::Column, Some("public.t"), "a");
        let elsewhere = Outsider { schema: "new".into(), object: object(Kind::Schema, None, "new") };
        let outside =
            |all, objects: &[&Outsider]| Outside { all, objects: objects.iter().copied().cloned().collect() };
        let now = outside(true, &[&old, &table, &column, &elsewhere]);
        assert_eq!(appeared(&outside(true, &[&old]), now.clone()), [table.clone(), elsewhere]);
        assert_eq!(appeared(&outside(false, &[&old, &table]), now), [column]);
    }
}
