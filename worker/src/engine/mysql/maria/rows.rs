//! The rows that a MariaDB server tells of a schema, put together as objects. Pure.

use std::collections::BTreeMap;

use tenantry_shared::{
    schema::{Kind, Object},
    site::Row,
};

pub(super) fn text(row: &Row, at: usize) -> Option<String> {
    row.get(at).cloned().flatten()
}

pub(super) fn relation_kind(row: &Row) -> Option<Kind> {
    match text(row, 1)?.as_str() {
        "BASE TABLE" | "SYSTEM VERSIONED" => Some(Kind::Table),
        "SEQUENCE" => Some(Kind::Sequence),
        _ => None,
    }
}

pub(super) fn relation(row: &Row) -> Option<Object> {
    let kind = relation_kind(row)?;
    let definition = text(row, 3).filter(|_| kind == Kind::Table).unwrap_or_default();
    Some(Object { kind, on: None, name: text(row, 2)?, definition })
}

pub(super) fn column(row: &Row) -> Option<Object> {
    let definition = text(row, 3).unwrap_or_default();
    Some(Object { kind: Kind::Column, on: text(row, 1), name: text(row, 2)?, definition })
}

/// The names of each table's columns, by their places.
pub(super) fn orders<'r>(columns: impl Iterator<Item = &'r Row>) -> impl Iterator<Item = Object> {
    let mut tables: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for row in columns {
        if let (Some(table), Some(name), Some(place)) = (text(row, 1), text(row, 2), number(row, 4)) {
            tables.entry(table).or_default().insert(place, name);
        }
    }
    tables.into_iter().map(|(table, names)| {
        let definition = names.into_values().collect::<Vec<_>>().join("\n");
        Object { kind: Kind::Order, on: Some(table.clone()), name: table, definition }
    })
}

/// Indexes of their parts.
pub(super) fn put_together<'r>(rows: impl Iterator<Item = &'r Row>) -> impl Iterator<Item = Object> {
    let mut indexes: BTreeMap<[Option<String>; 3], BTreeMap<u64, String>> = BTreeMap::new();
    for row in rows {
        let index = [1, 2, 3].map(|at| text(row, at));
        if let (Some(part), Some(place)) = (text(row, 4), number(row, 5)) {
            indexes.entry(index).or_default().insert(place, part);
        }
    }
    indexes.into_iter().filter_map(|([on, name, begins], parts)| {
        let parts = parts.into_values().collect::<Vec<_>>().join(", ");
        let definition = begins.map(|begins| format!("{begins}{parts})"));
        let kind = if name.as_deref() == Some("PRIMARY") { Kind::Constraint } else { Kind::Index };
        Some(Object { kind, on, name: name?, definition: definition.unwrap_or_default() })
    })
}

fn number(row: &Row, at: usize) -> Option<u64> {
    text(row, at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(texts: &[&str]) -> Row {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn columns_are_in_the_order_of_their_places_whatever_order_they_came_in() {
        let mut rows: Vec<Row> = (1..=11)
            .rev()
            .map(|n| row(&["column", "t", &format!("c{n}"), "int(11)", &n.to_string()]))
            .collect();
        rows.push(row(&["column", "a", "x", "int(11)", "1"]));
        let orders: Vec<(String, String)> = orders(rows.iter()).map(|o| (o.name, o.definition)).collect();
        let all = (1..=11).map(|n| format!("c{n}")).collect::<Vec<_>>().join("\n");
        assert_eq!(orders, [("a".into(), "x".into()), ("t".into(), all)]);
    }

    #[test]
    fn tables_whose_names_differ_in_case_alone_have_each_its_own_indexes() {
        let rows = [
            row(&["part", "t", "PRIMARY", "unique btree (", "id", "1"]),
            row(&["part", "T", "PRIMARY", "unique btree (", "b", "2"]),
            row(&["part", "T", "PRIMARY", "unique btree (", "a(3) desc", "1"]),
        ];
        let shown = |o: Object| format!("{o}: {}", o.definition);
        let indexes: Vec<String> = put_together(rows.iter()).map(shown).collect();
        assert_eq!(
            indexes,
            [
                "constraint PRIMARY on T: unique btree (a(3) desc, b)",
                "constraint PRIMARY on t: unique btree (id)"
            ]
        );
    }
}
