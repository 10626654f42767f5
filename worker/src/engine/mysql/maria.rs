//! A MariaDB tenant's catalog. Every view of `information_schema` with a long text among its columns is a table of its own on the
//! disk for as long as it is read, and costs the server more than all that it tells. So triggers alone are asked for of those, where
//! there may be any. Columns, indexes and foreign keys are read from what the server writes of each table (`shown`), and from the
//! views where that is not plain; the rest where a view without such texts says that there is any. What MySQL puts together is put
//! together here, to the very same texts.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use tenantry_shared::{
    failure::Failure,
    schema::{Kind, Object},
    site::Row,
};

use self::rows::{column, orders, put_together, relation, relation_kind, text};
use super::{
    MySqlSession, parts,
    shown::{Table, shown},
    there::There,
};
use crate::engine::Session as _;

/// Of more tables than these the views are asked.
const MOST_SHOWN: usize = 200;

/// All that is asked first is one selection, of rows that begin with what they are of: each answer of its own would be a packet
/// that the server sends and we wake up for. Of relations: type, name, options, whether it has partitions, and its collation.
const RELATIONS: &str =
    "SELECT 'relation', table_type, table_name, CONCAT_WS(' ', engine, row_format, table_collation, create_options),
    IF(create_options LIKE '%partitioned%', '1', '0'), table_collation
FROM information_schema.tables
WHERE table_schema = {db}";

/// A row where a mode leaves something out of what is written of a table, or has it written otherwise.
const ODD: &str = "SELECT 'odd', NULL, NULL, NULL, NULL, NULL FROM DUAL
WHERE NOT @@sql_quote_show_create OR @@sql_mode REGEXP 'OPTIONS|MYSQL|BACKSLASH|ANSI|ORACLE'";

/// Table, name, definition and place.
const COLUMNS: &str =
    "SELECT 'column', table_name, column_name, CONCAT_WS(' ', column_type, CONCAT('collate ', collation_name),
    IF(is_nullable = 'NO', 'not null', NULL), CONCAT('default ', column_default), NULLIF(extra, ''),
    CONCAT('as ', NULLIF(generation_expression, ''))), CAST(ordinal_position AS CHAR), NULL
FROM information_schema.columns
WHERE table_schema = {db}";

/// Table, name, how the definition begins, and a part of it with its place.
const INDEXES: &str = "SELECT 'part', table_name, index_name,
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

/// Lists are cut off after 1024 bytes by default. It is in force for one statement: the session may be the next tenant's.
const LONG: &str = "SET STATEMENT group_concat_max_len = 4194304 FOR ";

/// What is known of a tenant's schema.
#[derive(Default)]
pub(super) struct Looked {
    seen: Vec<Row>,
    /// What is written of each table.
    written: BTreeMap<String, String>,
    /// What the server has stored. None: that may not be read where it keeps it.
    stored: Option<Vec<Row>>,
    /// Columns, indexes and foreign keys, as far as they are read from what is written. None: not all of that is plain, or there.
    plain: Option<Vec<Row>>,
}

impl MySqlSession {
    /// Every object of a database, whose name is this literal, without the columns of these history tables.
    pub(super) async fn read_maria(
        &mut self,
        literal: &str,
        histories: &[&str],
    ) -> Result<Vec<Object>, Failure> {
        let mut looked = match self.looked_ahead() {
            // What was read before the lock was let go may not hold when the rest is read.
            Some(looked) if !self.left.freed || !looked.leaves_more() => looked,
            _ => {
                self.locked_again().await?;
                self.first_looked(histories).await?
            }
        };
        self.left.more = looked.leaves_more();
        self.left.looked(looked.part("trigger").next().is_some());
        self.look_on(&mut looked, literal, histories).await?;
        let mut objects = looked.objects();
        let more: Vec<String> =
            looked.more().map(|sql| format!("{LONG}{}", sql.replace("{db}", literal))).collect();
        if !more.is_empty() {
            let rows = self.all(&more).await?.into_iter().flatten();
            objects.extend(rows.filter_map(|row| Object::from_row(&row)));
        }
        Ok(objects)
    }

    /// Asks for what the first message has not told.
    async fn look_on(
        &mut self,
        looked: &mut Looked,
        literal: &str,
        histories: &[&str],
    ) -> Result<(), Failure> {
        let unwritten = self.shows(&looked.unwritten(histories));
        if looked.plain.is_none() && !unwritten.is_empty() {
            let (written, _) = self.asked(&unwritten).await?;
            looked.write(written, histories);
        }
        let views = [COLUMNS, INDEXES, CONSTRAINTS].join("\nUNION ALL ");
        let asked = [
            looked.plain.is_none().then_some(views.as_str()),
            looked.stored.is_none().then_some(STORED_SEEN),
        ];
        let asked: Vec<String> =
            asked.into_iter().flatten().map(|sql| sql.replace("{db}", literal)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut answers = self.all(&asked).await?;
        if looked.stored.is_none() {
            looked.stored = answers.pop();
        }
        looked.seen.extend(answers.into_iter().flatten());
        Ok(())
    }

    async fn first_looked(&mut self, histories: &[&str]) -> Result<Looked, Failure> {
        let message = self.first_look(histories, false);
        match self.asked(&message).await? {
            (answers, Some(failed)) if answers.is_empty() => Err(failed),
            (answers, _) => Ok(Looked::of(answers, message.len(), histories)),
        }
    }

    /// What is asked first. `alone`: nobody but this session has changed anything since the tenant's lock was had.
    pub(super) fn first_look(&self, histories: &[&str], alone: bool) -> Vec<String> {
        let literal = self.literal();
        let triggers = parts::TRIGGERS.replacen("\nFROM", ", NULL, NULL\nFROM", 1);
        let untriggered = alone && self.there.as_ref().is_some_and(There::has_no_trigger);
        let look = [RELATIONS, &triggers, ODD].into_iter().filter(|part| !(untriggered && *part == triggers));
        let look = look.collect::<Vec<_>>().join("\nUNION ALL ").replace("{db}", &literal);
        let guessed = self.there.iter().flat_map(There::guessed).filter(|name| is_told(name, histories));
        let shows = self.shows(&guessed.collect::<Vec<_>>());
        [look].into_iter().chain(shows).chain([STORED.replace("{db}", &literal)]).collect()
    }

    /// Has these tables written down, if they are not too many.
    fn shows(&self, tables: &[&str]) -> Vec<String> {
        let site = self.site("");
        let database = site.name(&self.database);
        let show = |table: &&str| format!("SHOW CREATE TABLE {database}.{}", site.name(table));
        tables.iter().filter(|_| tables.len() <= MOST_SHOWN).map(show).collect()
    }
}

/// Whether the columns of a table are wanted.
fn is_told(table: &str, histories: &[&str]) -> bool {
    !histories.contains(&table)
}

impl Looked {
    /// What the answers to so many first questions tell, as far as they came.
    pub(super) fn of(answers: Vec<Vec<Row>>, asked: usize, histories: &[&str]) -> Self {
        let mut answers = answers.into_iter();
        let seen = answers.next().unwrap_or_default();
        let written = answers.by_ref().take(asked - 2).collect();
        let mut looked = Self { seen, stored: answers.next(), ..Self::default() };
        looked.write(written, histories);
        looked
    }

    /// These are written of tables.
    fn write(&mut self, answers: Vec<Vec<Row>>, histories: &[&str]) {
        let written = |row: Row| Some((text(&row, 0)?, text(&row, 1)?));
        self.written.extend(answers.into_iter().flatten().filter_map(written));
        self.plain = self.plainly(histories);
    }

    fn plainly(&self, histories: &[&str]) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        for table in self.tables(histories) {
            rows.extend(shown(&table, self.written.get(table.name)?)?);
        }
        self.part("odd").next().is_none().then_some(rows)
    }

    /// The tables of which nothing is written yet, if all of them may be.
    fn unwritten(&self, histories: &[&str]) -> Vec<&str> {
        if self.part("odd").next().is_some() || self.tables(histories).count() > MOST_SHOWN {
            return Vec::new();
        }
        let names = self.tables(histories).map(|table| table.name);
        names.filter(|name| !self.written.contains_key(*name)).collect()
    }

    /// The tables whose columns are wanted.
    fn tables<'s>(&'s self, histories: &[&str]) -> impl Iterator<Item = Table<'s>> {
        let of = |row: &'s Row, at: usize| row.get(at)?.as_deref();
        let table = move |row: &'s Row| {
            let is_plain_engine = of(row, 3).is_some_and(|options| options.starts_with("InnoDB "));
            let collation = of(row, 5).unwrap_or_default();
            Some(Table { name: of(row, 2)?, collation, has_plain_indexes: is_plain_engine })
        };
        let tables = self.part("relation").filter(|row| relation_kind(row) == Some(Kind::Table));
        tables.filter_map(table).filter(|table| is_told(table.name, histories))
    }

    /// Whether more must be asked.
    fn leaves_more(&self) -> bool {
        self.plain.is_none() || self.stored.is_none() || self.more().next().is_some()
    }

    /// What there is more of, as a selection of it.
    fn more(&self) -> impl Iterator<Item = &'static str> {
        let partitioned = self.part("relation").any(|row| text(row, 4).as_deref() == Some("1"));
        let said = self.part("relation").chain(self.part("there")).filter_map(|row| text(row, 1));
        let stored = self.stored.iter().flatten().flatten().flatten().cloned();
        let there: BTreeSet<String> =
            said.chain(stored).chain(partitioned.then(|| "PARTITION".to_owned())).collect();
        MORE.iter().filter(move |(kind, _)| there.contains(*kind)).map(|(_, sql)| *sql)
    }

    /// The objects that are told of already.
    fn objects(&self) -> Vec<Object> {
        let mut objects: Vec<Object> = self.part("relation").filter_map(relation).collect();
        objects.extend(self.part("column").filter_map(column));
        objects.extend(orders(self.part("column")));
        objects.extend(put_together(self.part("part")));
        let told = ["trigger", "constraint", "index"].into_iter().flat_map(|part| self.part(part));
        objects.extend(told.filter_map(|row| Object::from_row(row.get(..4)?)));
        objects
    }

    fn part(&self, part: &'static str) -> impl Iterator<Item = &Row> {
        let rows = self.seen.iter().chain(self.plain.iter().flatten());
        rows.filter(move |row| row.first().is_some_and(|of| of.as_deref() == Some(part)))
    }
}
