//! One object of a schema, and what it is.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    pub(super) fn is_relation(&self) -> bool {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::schema) fn object(kind: Kind, on: Option<&str>, name: &str) -> Object {
        Object { kind, on: on.map(str::to_owned), name: name.into(), definition: "d".into() }
    }

    #[test]
    fn an_object_says_what_it_is() {
        let text = |kind, on, name| object(kind, on, name).to_string();
        assert_eq!(text(Kind::Column, Some("users"), "email"), "column users.email");
        assert_eq!(text(Kind::Index, Some("users"), "users_email"), "index users_email on users");
        assert_eq!(text(Kind::Function, None, "f(integer)"), "function f(integer)");
    }
}
