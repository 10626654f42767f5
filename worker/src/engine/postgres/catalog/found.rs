//! The rows that `parts` reads, put together to a tenant's objects. Pure: what is missing is named, and asked by whoever
//! called.

use std::collections::{BTreeSet, HashMap, HashSet};

use tenantry_shared::{
    schema::{Kind, Object},
    site::Row,
};

use super::parts::{
    COLLATION, FOREIGN, FUNCTION as FUNCTIONS, INHERITS, PARTITION, POLICY, Part, RULE, TRIGGER,
    TYPE as TYPES, VIEW,
};

/// The OIDs of catalogs, which are the same in all versions.
pub(super) const RELATION: &str = "1259";
pub(super) const TYPE: &str = "1247";
pub(super) const FUNCTION: &str = "1255";
const NAMESPACE: &str = "2615";
const ON_RELATIONS: [(&str, &Part); 3] = [("2618", &RULE), ("2620", &TRIGGER), ("3256", &POLICY)];

/// Types of the server with the collation that they have if nothing else is said: text, varchar, char and arrays of
/// them; name and an array of it.
const COLLATED: [(&str, &[&str]); 2] =
    [("100", &["25", "1043", "1042", "1009", "1015", "1014"]), ("950", &["19", "1003"])];

/// What a row tells, by its column.
fn at(row: &Row, column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

/// As a value is sent, or as a text.
fn is(row: &Row, column: usize) -> bool {
    matches!(at(row, column), "t" | "true")
}

/// What was read of a tenant.
pub(super) struct Found<'a> {
    rows: HashMap<&'a str, Vec<&'a Row>>,
    /// What stands before a name in each schema. None: the tenant is one schema.
    prefixes: Option<HashMap<&'a str, String>>,
    own: &'a str,
    /// What belongs to an extension, as the OIDs of catalog and object.
    extended: HashSet<(&'a str, &'a str)>,
    relations: HashMap<&'a str, Relation<'a>>,
}

struct Relation<'a> {
    row: &'a Row,
    name: String,
}

impl Relation<'_> {
    fn kind(&self) -> &str {
        at(self.row, 4)
    }

    fn is_table(&self) -> bool {
        matches!(self.kind(), "r" | "p" | "f")
    }
}

impl<'a> Found<'a> {
    /// Of a tenant in this schema, or in the whole database that this is the first schema of.
    pub(super) fn of(rows: &'a [Row], own: &'a str, whole: bool) -> Self {
        let mut by_tag: HashMap<&str, Vec<&Row>> = HashMap::new();
        for row in rows {
            by_tag.entry(at(row, 0)).or_default().push(row);
        }
        let mut found =
            Self { rows: by_tag, prefixes: None, own, extended: HashSet::new(), relations: HashMap::new() };
        let extended = found.told("dependency").filter(|row| at(row, 5) == "e");
        found.extended = extended.map(|row| (at(row, 1), at(row, 2))).collect();
        found.prefixes = whole.then(|| found.all_prefixes());
        found.relations = found.told("relation").filter_map(|row| found.relation(row)).collect();
        found
    }

    fn told(&self, tag: &str) -> impl Iterator<Item = &'a Row> + use<'a> {
        self.rows.get(tag).cloned().unwrap_or_default().into_iter()
    }

    fn all_prefixes(&self) -> HashMap<&'a str, String> {
        let theirs = self.told("namespace").filter(|row| {
            let name = at(row, 2);
            !name.starts_with("pg_") && name != "information_schema"
        });
        let prefix = |name: &str| if name == self.own { String::new() } else { format!("{name}.") };
        theirs.map(|row| (at(row, 1), prefix(at(row, 2)))).collect()
    }

    /// What stands before a name in this schema; none where that is not the tenant's.
    fn prefix(&self, namespace: &str) -> Option<&str> {
        self.prefixes.as_ref().map_or(Some(""), |all| all.get(namespace).map(String::as_str))
    }

    fn relation(&self, row: &'a Row) -> Option<(&'a str, Relation<'a>)> {
        let (oid, kind) = (at(row, 1), at(row, 4));
        let is_own =
            matches!(kind, "r" | "p" | "f" | "v" | "m" | "S") && !self.extended.contains(&(RELATION, oid));
        let name = format!("{}{}", self.prefix(at(row, 3)).filter(|_| is_own)?, at(row, 2));
        Some((oid, Relation { row, name }))
    }

    fn tables(&self) -> impl Iterator<Item = (&'a str, &Relation<'a>)> {
        self.relations
            .iter()
            .filter(|(_, relation)| relation.is_table())
            .map(|(oid, relation)| (*oid, relation))
    }

    fn table(&self, oid: &str) -> Option<&Relation<'a>> {
        self.relations.get(oid).filter(|relation| relation.is_table())
    }

    /// What few tenants have and this one has: the statements that read it, each with the objects that it is asked of.
    pub(super) fn more(&self) -> Vec<(&'static Part, Vec<&'a str>)> {
        let of_kinds = |kinds: &[&str]| -> BTreeSet<&'a str> {
            let all = self.relations.iter().filter(|(_, relation)| kinds.contains(&relation.kind()));
            all.map(|(oid, _)| *oid).collect()
        };
        let partitions = self.tables().filter(|(_, table)| is(table.row, 6)).map(|(oid, _)| oid);
        let mut more = vec![
            (&PARTITION, partitions.chain(of_kinds(&["p"])).collect()),
            (&FOREIGN, of_kinds(&["f"])),
            (&VIEW, of_kinds(&["v", "m"])),
            (&INHERITS, self.depending(RELATION, RELATION).filter(|oid| self.table(oid).is_some()).collect()),
            (&COLLATION, self.collated()),
            (
                &TYPES,
                self.depending(TYPE, NAMESPACE).filter(|oid| !self.extended.contains(&(TYPE, oid))).collect(),
            ),
            (
                &FUNCTIONS,
                self.depending(FUNCTION, NAMESPACE)
                    .filter(|oid| !self.extended.contains(&(FUNCTION, oid)))
                    .collect(),
            ),
        ];
        more.extend(ON_RELATIONS.map(|(class, part)| (part, self.with_any(class))));
        more.retain(|(_, oids): &(_, BTreeSet<&str>)| !oids.is_empty());
        more.into_iter().map(|(part, oids)| (part, oids.into_iter().collect())).collect()
    }

    /// The objects of one catalog that depend on such of another one. Of schemas, those that are the tenant's.
    fn depending(&self, class: &'static str, on: &'static str) -> impl Iterator<Item = &'a str> {
        let rows = self.told("dependency").filter(move |row| at(row, 1) == class && at(row, 3) == on);
        rows.filter(move |row| on != NAMESPACE || self.prefix(at(row, 4)).is_some()).map(|row| at(row, 2))
    }

    /// The relations that something of this catalog is on, and not only speaks of.
    fn with_any(&self, class: &str) -> BTreeSet<&'a str> {
        let rows = self.told("dependency").filter(|row| {
            at(row, 1) == class && at(row, 3) == RELATION && matches!(at(row, 5), "a" | "P" | "S")
        });
        rows.map(|row| at(row, 4)).filter(|oid| self.relations.contains_key(oid)).collect()
    }

    /// The tables with a column whose collation may be another one than its type's.
    fn collated(&self) -> BTreeSet<&'a str> {
        let is_usual = |row: &Row| {
            let (type_of, collation) = (at(row, 5), at(row, 6));
            collation == "0"
                || COLLATED.iter().any(|(usual, types)| *usual == collation && types.contains(&type_of))
        };
        let columns = self.told("column").filter(|row| !is_usual(row));
        columns.map(|row| at(row, 1)).filter(|oid| self.table(oid).is_some()).collect()
    }

    /// All of it.
    pub(super) fn objects(&self) -> Vec<Object> {
        let mut objects = self.of_database();
        objects.extend(self.table_objects());
        objects.extend(self.column_objects());
        objects.extend(self.constraint_objects());
        objects.extend(self.index_objects());
        objects.extend(self.sequence_objects());
        objects.extend(self.told("object").filter_map(|row| self.object(row)));
        objects
    }

    /// Schemas and extensions.
    fn of_database(&self) -> Vec<Object> {
        let mut objects = Vec::new();
        let all = self.prefixes.iter().flatten();
        let others = all
            .clone()
            .filter(|(oid, prefix)| !prefix.is_empty() && !self.extended.contains(&(NAMESPACE, oid)));
        // Where the tenant's first schema is gone, nothing is beside it.
        if all.clone().any(|(_, prefix)| prefix.is_empty()) {
            objects.extend(others.map(|(_, prefix)| {
                object(Kind::Schema, None, prefix.strip_suffix('.').unwrap_or(prefix), "")
            }));
        }
        for row in self.told("extension") {
            let (name, version, schema) = (at(row, 1), at(row, 2), at(row, 3));
            let place = if schema == self.own { String::new() } else { format!(" in {schema}") };
            if self.prefixes.is_some() || [self.own, "public", "pg_catalog"].contains(&schema) {
                objects.push(object(Kind::Extension, None, name, &format!("version {version}{place}")));
            }
        }
        objects
    }

    fn table_objects(&self) -> Vec<Object> {
        let rare = |tag: &'static str| self.told(tag).map(|row| (at(row, 1), row)).collect::<HashMap<_, _>>();
        let [partition, inherits, foreign] = ["partition", "inherits", "foreign"].map(rare);
        let definition = |oid: &str, row: &Row| {
            let of = |from: &HashMap<&str, &Row>, column: usize| {
                from.get(oid).and_then(|row| row.get(column)?.clone())
            };
            let said = |holds: bool, words: &str| holds.then(|| words.to_owned());
            words([
                said(at(row, 5) == "u", "unlogged"),
                of(&partition, 2),
                of(&foreign, 2),
                of(&inherits, 2),
                of(&partition, 3),
                row.get(7).cloned().flatten().map(|options| format!("with {options}")),
                said(is(row, 8), "row security"),
                said(is(row, 9), "forced row security"),
                said(at(row, 10) != "d", &format!("replica identity {}", at(row, 10))),
            ])
        };
        self.tables()
            .map(|(oid, table)| object(Kind::Table, None, &table.name, &definition(oid, table.row)))
            .collect()
    }

    /// Columns, and their order.
    fn column_objects(&self) -> Vec<Object> {
        let of_columns = |tag: &'static str| {
            self.told(tag)
                .map(|row| ((at(row, 1), at(row, 2)), row.get(3).cloned().flatten()))
                .collect::<HashMap<_, _>>()
        };
        let (defaults, collations) = (of_columns("default"), of_columns("collation"));
        let mut objects = Vec::new();
        let mut order: HashMap<&str, Vec<(i16, &str)>> = HashMap::new();
        for row in self.told("column") {
            let Some(table) = self.table(at(row, 1)) else { continue };
            let place = (at(row, 1), at(row, 2));
            let of = |from: &HashMap<_, Option<String>>| from.get(&place).cloned().flatten();
            let definition = column_definition(row, of(&collations), of(&defaults));
            objects.push(object(Kind::Column, Some(&table.name), at(row, 3), &definition));
            order.entry(&table.name).or_default().push((at(row, 2).parse().unwrap_or_default(), at(row, 3)));
        }
        objects.extend(order.into_iter().map(|(table, mut columns)| {
            columns.sort_unstable();
            let names: Vec<&str> = columns.into_iter().map(|(_, name)| name).collect();
            object(Kind::Order, Some(table), table, &names.join("\n"))
        }));
        objects
    }

    fn constraint_objects(&self) -> impl Iterator<Item = Object> {
        let kept = self.told("constraint").filter(|row| matches!(at(row, 3), "p" | "u" | "c" | "f" | "x"));
        kept.filter_map(|row| {
            Some(object(Kind::Constraint, Some(&self.table(at(row, 1))?.name), at(row, 2), at(row, 5)))
        })
    }

    /// The indexes that are no constraint's own.
    fn index_objects(&self) -> impl Iterator<Item = Object> {
        let keys = self.told("constraint").filter(|row| matches!(at(row, 3), "p" | "u" | "x"));
        let keys: HashSet<(&str, &str)> = keys.map(|row| (at(row, 1), at(row, 4))).collect();
        let others = self.told("index").filter(move |row| !keys.contains(&(at(row, 1), at(row, 2))));
        others.filter_map(|row| {
            let state = if is(row, 4) { "" } else { " (invalid)" };
            let on = &self.relations.get(at(row, 1))?.name;
            Some(object(Kind::Index, Some(on), at(row, 3), &format!("{}{state}", at(row, 5))))
        })
    }

    fn sequence_objects(&self) -> impl Iterator<Item = Object> {
        let owned = self.told("dependency").filter(|row| {
            at(row, 1) == RELATION && at(row, 3) == RELATION && matches!(at(row, 5), "a" | "i")
        });
        let owners: HashMap<&str, &str> = owned.map(|row| (at(row, 2), at(row, 4))).collect();
        self.told("sequence").filter_map(move |row| {
            let sequence = self.relations.get(at(row, 1))?;
            let owner = owners.get(at(row, 1)).and_then(|oid| self.relations.get(oid));
            let [kind, start, increment, from, to, cache] = [2, 3, 4, 5, 6, 7].map(|column| at(row, column));
            let cycle = if is(row, 8) { " cycle" } else { "" };
            let definition = format!(
                "{kind} start {start} increment {increment} from {from} to {to} cache {cache}{cycle}"
            );
            Some(object(Kind::Sequence, owner.map(|table| table.name.as_str()), &sequence.name, &definition))
        })
    }

    /// A row that tells of an object as it is: its kind, table, catalog, OID, schema, name and definition.
    fn object(&self, row: &Row) -> Option<Object> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == at(row, 1))?;
        if !at(row, 2).is_empty() {
            let on = &self.relations.get(at(row, 2))?.name;
            return Some(object(kind, Some(on), at(row, 6), at(row, 7)));
        }
        let prefix =
            self.prefix(at(row, 5)).filter(|_| !self.extended.contains(&(at(row, 3), at(row, 4))))?;
        Some(object(kind, None, &format!("{prefix}{}", at(row, 6)), at(row, 7)))
    }
}

fn column_definition(row: &Row, collation: Option<String>, default: Option<String>) -> String {
    let identity = match at(row, 8) {
        "a" => Some("generated always as identity".to_owned()),
        "d" => Some("generated by default as identity".to_owned()),
        _ => None,
    };
    let made = if at(row, 9).is_empty() { "default" } else { "generated always as" };
    let not_null = is(row, 7).then(|| "not null".to_owned());
    let default = default.map(|value| format!("{made} {value}"));
    words([Some(at(row, 4).to_owned()), collation, not_null, identity, default])
}

/// Those that are there, with a space between them.
fn words<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn object(kind: Kind, on: Option<&str>, name: &str, definition: &str) -> Object {
    Object { kind, on: on.map(str::to_owned), name: name.to_owned(), definition: definition.to_owned() }
}
