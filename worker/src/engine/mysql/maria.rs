//! A MariaDB tenant's catalog. Every view of `information_schema` with a long text among its columns is a table of its own on the
//! disk for as long as it is read, and costs the server more than all that it tells: only columns and triggers are always
//! asked for, and the rest where a view without such texts says that there is any. What MySQL puts together is put together here,
//! to the very same texts.

use std::collections::BTreeMap;

use tenantry_shared::{
    failure::Failure,
    schema::{Kind, Object},
    site::Row,
};

use super::{DENIED, MySqlSession, NO_SUCH_TABLE, parts};

/// All that is asked first is one selection, of rows that begin with what they are of: each answer of its own would be a packet
/// that the server sends and we wake up for. Of relations: type, name, options, and whether it has partitions.
const RELATIONS: &str =
    "SELECT 'relation', table_type, table_name, CONCAT_WS(' ', engine, row_format, table_collation, create_options),
    IF(create_options LIKE '%partitioned%', '1', '0'), NULL
FROM information_schema.tables
WHERE table_schema = {db}";

/// Table, name, definition and place.
const COLUMNS: &str =
    "SELECT 'column', table_name, column_name, CONCAT_WS(' ', column_type, CONCAT('collate ', collation_name),
    IF(is_nullable = 'NO', 'not null', NULL), CONCAT('default ', column_default), NULLIF(extra, ''),
    CONCAT('as ', NULLIF(generation_expression, ''))), CAST(ordinal_position AS CHAR), NULL
FROM information_schema.columns
WHERE table_schema = {db}";

/// Table, name, how the definition begins, and a part of it with its place.
const INDEXES: &str = "SELECT IF(index_name = 'PRIMARY', 'constraint', 'index'), table_name, index_name,
    CONCAT(IF(non_unique = 0, 'unique ', ''), LOWER(index_type), ' ('),
    CONCAT(COALESCE(column_name, ''), IF(sub_part IS NULL, '', CONCAT('(', sub_part, ')')), IF(collation = 'D', ' desc', '')),
    CAST(seq_in_index AS CHAR)
FROM information_schema.statistics
WHERE table_schema = {db}";

/// What there is of each of these is among [`MORE`].
const CONSTRAINTS: &str =
    "SELECT 'there', constraint_type, NULL, NULL, NULL, NULL FROM information_schema.table_constraints
WHERE table_schema = {db} AND constraint_type IN ('FOREIGN KEY', 'CHECK')";

/// Whether there is a routine, or an event, in the tables that the server keeps them in; who may not read these asks the views.
const STORED: &str =
    "SELECT IF(EXISTS (SELECT 1 FROM mysql.proc WHERE db IN ({db}, LOWER({db}))), 'ROUTINE', NULL),
    IF(EXISTS (SELECT 1 FROM mysql.event WHERE db IN ({db}, LOWER({db}))), 'EVENT', NULL)";

const STORED_SEEN: &str = "SELECT IF(EXISTS (SELECT 1 FROM information_schema.routines WHERE routine_schema = {db}), 'ROUTINE', NULL),
    IF(EXISTS (SELECT 1 FROM information_schema.events WHERE event_schema = {db}), 'EVENT', NULL)";

/// Read where there is any of it.
const MORE: [(&str, &str); 6] = [
    ("FOREIGN KEY", parts::FOREIGN_KEYS),
    ("CHECK", parts::CHECKS_OF_TABLES),
    ("PARTITION", parts::PARTITIONS),
    ("VIEW", parts::VIEWS),
    ("ROUTINE", parts::ROUTINES),
    ("EVENT", parts::EVENTS),
];

impl MySqlSession {
    /// Every object of a database, whose name is this literal.
    pub(super) async fn read_maria(&mut self, literal: &str) -> Result<Vec<Object>, Failure> {
        let here = |sql: &str| sql.replace("{db}", literal);
        let answers = match self.looked_ahead() {
            Some(answers) => answers,
            None => self.first_looked(literal).await?,
        };
        let (mut objects, there) = first(&answers);
        let more = MORE.iter().filter(|(kind, _)| there.iter().any(|there| there == kind));
        let more: Vec<String> = more.map(|(_, sql)| here(sql)).collect();
        if !more.is_empty() {
            let more = [&[parts::SETTINGS.to_owned()], more.as_slice()].concat();
            let rows = self.all(&more).await?.into_iter().flatten();
            objects.extend(rows.filter_map(|row| Object::from_row(&row)));
        }
        Ok(objects)
    }

    async fn first_looked(&mut self, literal: &str) -> Result<Vec<Vec<Row>>, Failure> {
        let (mut answers, failed) = self.asked(&first_look(literal)).await?;
        if let Some(failed) = failed {
            if answers.len() != 1 || ![DENIED, NO_SUCH_TABLE].contains(&failed.code.as_str()) {
                return Err(failed);
            }
            answers.extend(self.all(&[STORED_SEEN.replace("{db}", literal)]).await?);
        }
        Ok(answers)
    }
}

/// What is asked first of a database whose name is this literal.
pub(super) fn first_look(literal: &str) -> [String; 2] {
    let triggers = parts::TRIGGERS.replacen("\nFROM", ", NULL, NULL\nFROM", 1);
    let look = [RELATIONS, COLUMNS, INDEXES, CONSTRAINTS, &triggers].join("\nUNION ALL ");
    [look, STORED.to_owned()].map(|sql| sql.replace("{db}", literal))
}

/// The objects that the first answers tell of, and what there is more of.
fn first(answers: &[Vec<Row>]) -> (Vec<Object>, Vec<String>) {
    let [seen, stored] = answers else { return (Vec::new(), Vec::new()) };
    let of = |part: &'static str| move |row: &&Row| row.first().is_some_and(|of| of.as_deref() == Some(part));
    let relations = || seen.iter().filter(of("relation"));
    let columns = || seen.iter().filter(of("column"));
    let mut objects: Vec<Object> = relations().filter_map(relation).collect();
    objects.extend(columns().filter_map(column));
    objects.extend(orders(columns()));
    objects.extend(put_together(seen.iter().filter(|row| of("constraint")(row) || of("index")(row))));
    objects.extend(seen.iter().filter(of("trigger")).filter_map(|row| Object::from_row(row.get(..4)?)));
    let partitioned = relations().any(|row| text(row, 4).as_deref() == Some("1"));
    let said = relations().chain(seen.iter().filter(of("there"))).filter_map(|row| text(row, 1));
    let stored = stored.iter().flatten().flatten().cloned();
    (objects, said.chain(stored).chain(partitioned.then(|| "PARTITION".to_owned())).collect())
}

fn text(row: &Row, at: usize) -> Option<String> {
    row.get(at).cloned().flatten()
}

fn relation(row: &Row) -> Option<Object> {
    let (kind, definition) = match text(row, 1)?.as_str() {
        "BASE TABLE" | "SYSTEM VERSIONED" => (Kind::Table, text(row, 3).unwrap_or_default()),
        "SEQUENCE" => (Kind::Sequence, String::new()),
        _ => return None,
    };
    Some(Object { kind, on: None, name: text(row, 2)?, definition })
}

fn column(row: &Row) -> Option<Object> {
    let definition = text(row, 3).unwrap_or_default();
    Some(Object { kind: Kind::Column, on: text(row, 1), name: text(row, 2)?, definition })
}

/// The names of each table's columns, by their places.
fn orders<'r>(columns: impl Iterator<Item = &'r Row>) -> impl Iterator<Item = Object> {
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
fn put_together<'r>(rows: impl Iterator<Item = &'r Row>) -> impl Iterator<Item = Object> {
    let mut indexes: BTreeMap<[Option<String>; 4], BTreeMap<u64, String>> = BTreeMap::new();
    for row in rows {
        let index = [0, 1, 2, 3].map(|at| text(row, at));
        if let (Some(part), Some(place)) = (text(row, 4), number(row, 5)) {
            indexes.entry(index).or_default().insert(place, part);
        }
    }
    indexes.into_iter().filter_map(|([kind, on, name, begins], parts)| {
        let parts = parts.into_values().collect::<Vec<_>>().join(", ");
        let definition = begins.map(|begins| format!("{begins}{parts})"));
        Object::from_row(&[kind, on, name, definition])
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
            row(&["constraint", "t", "PRIMARY", "unique btree (", "id", "1"]),
            row(&["constraint", "T", "PRIMARY", "unique btree (", "b", "2"]),
            row(&["constraint", "T", "PRIMARY", "unique btree (", "a(3) desc", "1"]),
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
