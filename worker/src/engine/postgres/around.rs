//! What is around a tenant that is one schema of a database: nothing is written.
//!
//! It is told by the schemas that have no history. To look through all schemas takes longer the more there
//! are, so it is done now and then, and meanwhile those that it found and those that are newer are looked at. Where the server
//! has begun to count its objects anew between two of these, a new schema is not seen.

use std::time::Duration;

use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    schema::{Object, Outside, Outsider},
    site::Row,
};

use super::{
    PostgresSession,
    catalog::{FOR_GROWTH, PREPARED_PATH},
};
use crate::engine::Session as _;

const OUTSIDERS: &str = include_str!("outsiders.sql");
const SCHEMAS: &str = include_str!("schemas.sql");

/// Behind this line is what is in schemas around a tenant, which take long to be planned for: mostly there is nothing.
const INSIDE: &str = "-- What is in them.";

/// In its place: a row if there is anything.
const MORE: &str = "UNION ALL SELECT 'more', NULL, NULL, NULL, NULL WHERE EXISTS (SELECT FROM member)";

/// What the queries are prepared as: of which schemas there are, and of all.
pub(super) const PREPARED: [&str; 2] = ["tenantry_around", "tenantry_outsiders"];

/// How many schemas without a history are looked into beside `public`.
const MOST_SCHEMAS: usize = 50;

/// How long it is known which schemas have no history.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// How long what was around one tenant at its end is what is around the next one at its beginning.
const SAME_MOMENT: Duration = Duration::from_millis(500);

/// The schemas that may be anybody's.
#[derive(Default)]
pub(super) struct Outskirts {
    since: Option<Stopwatch>,
    histories: Vec<String>,
    /// Whether those without a history are few enough to be looked into.
    all: bool,
    known: Vec<String>,
    newest: String,
    /// What was around a tenant, whose schema this is, when it was left.
    last: Option<(Stopwatch, String, Outside)>,
    /// Whether there was anything in these schemas.
    full: bool,
    /// A schema that is not told of: it was a tenant's when the look was made that this one is compared with.
    pub(super) passed: Option<String>,
}

impl PostgresSession {
    /// What is outside of every schema that has one of these history tables; nothing where the tenant is the whole
    /// database.
    pub(super) async fn read_outsiders(&mut self, histories: &[&str]) -> Result<Outside, Failure> {
        if self.whole {
            return Ok(Outside::default());
        }
        let mut rows = match self.ready.outsiders.take() {
            Some(rows) => rows,
            None => {
                if let Some(before) = self.left_before(histories) {
                    return Ok(before);
                }
                self.find_schemas(histories).await?;
                self.look_around().await?
            }
        };
        if rows.iter().any(is_more) {
            self.outskirts.full = true;
            rows = self.look_around().await?;
        }
        let mut outside = self.outside_of(&rows);
        self.outskirts.last = Some((Stopwatch::start(), self.schema.clone(), outside.clone()));
        if let Some(passed) = &self.outskirts.passed {
            outside.objects.retain(|outsider| outsider.schema != *passed);
        }
        Ok(outside)
    }

    /// What was around the tenant before this one in this session, a moment ago.
    fn left_before(&mut self, histories: &[&str]) -> Option<Outside> {
        let (when, whose, outside) = self.outskirts.last.take()?;
        let same = whose != self.schema && when.elapsed() < SAME_MOMENT && self.knows_schemas(histories);
        same.then(|| {
            self.outskirts.passed = Some(whose);
            outside
        })
    }

    pub(super) fn knows_schemas(&self, histories: &[&str]) -> bool {
        let known = &self.outskirts;
        let new = known.since.is_some_and(|since| since.elapsed() < KNOWN_FOR);
        new && known.histories.iter().map(String::as_str).eq(histories.iter().copied())
    }

    async fn find_schemas(&mut self, histories: &[&str]) -> Result<(), Failure> {
        if self.knows_schemas(histories) {
            return Ok(());
        }
        let site = self.site("");
        let names: Vec<String> = histories.iter().map(|table| site.text(table)).collect();
        let select =
            SCHEMAS.replace("{histories}", &names.join(", ")).replace("{most}", &MOST_SCHEMAS.to_string());
        let rows = self.look(&select).await?;
        let mut oids = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        let newest = oids.next().unwrap_or_else(|| "0".into());
        let known: Vec<String> = oids.collect();
        let all = known.len() <= MOST_SCHEMAS;
        self.outskirts = Outskirts {
            since: Some(Stopwatch::start()),
            histories: histories.iter().map(|&table| table.to_owned()).collect(),
            all,
            known: if all { known } else { Vec::new() },
            newest,
            last: None,
            full: self.outskirts.full,
            passed: self.outskirts.passed.take(),
        };
        Ok(())
    }

    fn outside_of(&self, rows: &[Row]) -> Outside {
        let outsider = |row: &Row| {
            let schema = row.get(4).cloned().flatten()?;
            Object::from_row(row).map(|object| Outsider { schema, object })
        };
        Outside { all: self.outskirts.all, objects: rows.iter().filter_map(outsider).collect() }
    }

    /// The schema, those that are known, the newest and the histories, as the query takes them.
    pub(super) fn around(&self) -> [String; 4] {
        let site = self.site("");
        let names: Vec<String> = self.outskirts.histories.iter().map(|table| site.text(table)).collect();
        // Where others are too many to be looked into, the newer ones are not, either.
        let newest = if self.outskirts.all { self.outskirts.newest.as_str() } else { "4294967295" };
        [
            format!("CAST({} AS name)", site.text(&self.schema)),
            format!("CAST('{{{}}}' AS oid[])", self.outskirts.known.join(",")),
            format!("CAST({newest} AS oid)"),
            format!("CAST(ARRAY[{}] AS name[])", names.join(", ")),
        ]
    }

    fn outsiders_query(&self) -> String {
        let [schema, known, newest, histories] = self.around();
        of_outsiders([&schema, &known, &newest, &histories])
    }

    /// What what is around is read with.
    pub(super) fn around_name(&self) -> &'static str {
        PREPARED[usize::from(self.outskirts.full)]
    }

    async fn look_around(&mut self) -> Result<Vec<Row>, Failure> {
        if self.lent.is_some() {
            return self.look(&self.outsiders_query()).await;
        }
        let name = self.around_name();
        let prepare =
            if self.looks.has(name) { String::new() } else { format!("{FOR_GROWTH}{}", prepare(name)) };
        let arguments = self.around().join(", ");
        match self.look(&format!("{PREPARED_PATH}{prepare}EXECUTE {name}({arguments})")).await {
            Ok(rows) => {
                self.looks.add(name);
                Ok(rows)
            }
            // A migration may have taken away what was prepared.
            Err(_) => self.look(&self.outsiders_query()).await,
        }
    }
}

/// Whether a row says that there is more than was read.
fn is_more(row: &Row) -> bool {
    row.first().is_some_and(|kind| kind.as_deref() == Some("more"))
}

fn of_outsiders([schema, known, newest, histories]: [&str; 4]) -> String {
    let text = OUTSIDERS.replace("{schema}", schema).replace("{known}", known).replace("{newest}", newest);
    text.replace("{histories}", histories).replace("{most}", &(MOST_SCHEMAS + 1).to_string())
}

/// Prepares one of the queries for any schema: it takes the schema, those that are known, the newest and the histories.
pub(super) fn prepare(name: &str) -> String {
    let all = of_outsiders(["$1", "$2", "$3", "$4"]);
    let few = || format!("{}{MORE}", all.split(INSIDE).next().unwrap_or_default());
    let query = if name == PREPARED[0] { few() } else { all.clone() };
    format!("PREPARE {name}(name, oid[], oid, name[]) AS {query}; ")
}
