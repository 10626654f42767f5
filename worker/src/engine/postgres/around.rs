//! What is around a tenant that is one schema of a database: nothing is written.
//!
//! It is told by the schemas that have no history. To look through all schemas takes longer the more there
//! are, so it is done now and then, and meanwhile those that it found and those that are newer are looked at. Where the server
//! has begun to count its objects anew between two of these, a new schema is not seen.
//!
//! Mostly there is `public` alone, and nothing in it. That it is still so takes two looks at indexes ([`QUIET`]); who is around, and what
//! is in these schemas, is asked where it is otherwise.

use std::time::Duration;

use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    schema::{Kind, Object, Outside, Outsider},
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

/// A row if there is more than an empty `public`: a schema that is newer than this, or what depends on that one. In an order, so
/// that no plan goes through all schemas for it.
const QUIET: &str = "(SELECT 'more' FROM pg_namespace WHERE oid > $1 ORDER BY oid LIMIT 1)
    UNION ALL
    SELECT 'more' FROM pg_depend WHERE refclassid = '2615' AND refobjid = (SELECT oid FROM pg_namespace WHERE nspname = 'public')";

/// The schema that is around every tenant that is not it.
const PUBLIC: &str = "public";

/// What the queries are prepared as.
const PREPARED: [&str; 3] = ["tenantry_quiet", "tenantry_around", "tenantry_outsiders"];

/// How much is asked.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// Whether there is anything but `public`, or in it.
    #[default]
    Quiet,
    /// Which schemas there are, and whether anything is in them.
    Schemas,
    /// What is in them.
    All,
}

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
    /// What must be asked, as the answers were until now.
    depth: Depth,
    /// Whether there was `public`.
    public: bool,
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
                let found = self.find_schemas(histories).await?;
                if found && self.outskirts.depth == Depth::Quiet {
                    Vec::new()
                } else {
                    self.look_around().await?
                }
            }
        };
        while rows.iter().any(is_more) {
            self.outskirts.depth = self.outskirts.depth.next();
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

    /// Whether it is not known already, and was found now.
    async fn find_schemas(&mut self, histories: &[&str]) -> Result<bool, Failure> {
        if self.knows_schemas(histories) {
            return Ok(false);
        }
        let site = self.site("");
        let names: Vec<String> = histories.iter().map(|table| site.text(table)).collect();
        let select =
            SCHEMAS.replace("{histories}", &names.join(", ")).replace("{most}", &MOST_SCHEMAS.to_string());
        let rows = self.look(&select).await?;
        let says = |column: usize| {
            rows.first()
                .is_some_and(|row| row.get(column).is_some_and(|text| text.as_deref() == Some("true")))
        };
        let (public, used) = (says(1), says(2));
        let mut oids = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        let newest = oids.next().unwrap_or_else(|| "0".into());
        let known: Vec<String> = oids.collect();
        let all = known.len() <= MOST_SCHEMAS;
        let quiet = (known.is_empty() || !all) && !used && self.schema != PUBLIC;
        let least = if quiet { Depth::Quiet } else { Depth::Schemas };
        self.outskirts = Outskirts {
            since: Some(Stopwatch::start()),
            histories: histories.iter().map(|&table| table.to_owned()).collect(),
            all,
            known: if all { known } else { Vec::new() },
            newest,
            last: None,
            depth: if self.outskirts.depth == Depth::All { Depth::All } else { least },
            public,
            passed: self.outskirts.passed.take(),
        };
        Ok(true)
    }

    fn outside_of(&self, rows: &[Row]) -> Outside {
        let outsider = |row: &Row| {
            let schema = row.get(4).cloned().flatten()?;
            Object::from_row(row).map(|object| Outsider { schema, object })
        };
        let objects = match self.outskirts.depth {
            Depth::Quiet => self.outskirts.public.then(public).into_iter().collect(),
            _ => rows.iter().filter_map(outsider).collect(),
        };
        Outside { all: self.outskirts.all, objects }
    }

    /// The schema, those that are known, the newest and the histories, as the query takes them.
    fn around(&self) -> [String; 4] {
        let site = self.site("");
        let names: Vec<String> = self.outskirts.histories.iter().map(|table| site.text(table)).collect();
        [
            format!("CAST({} AS name)", site.text(&self.schema)),
            format!("CAST('{{{}}}' AS oid[])", self.outskirts.known.join(",")),
            self.newest(),
            format!("CAST(ARRAY[{}] AS name[])", names.join(", ")),
        ]
    }

    /// Where others are too many to be looked into, the newer ones are not, either.
    fn newest(&self) -> String {
        let newest = if self.outskirts.all { self.outskirts.newest.as_str() } else { "4294967295" };
        format!("CAST({newest} AS oid)")
    }

    fn outsiders_query(&self) -> String {
        let [schema, known, newest, histories] = self.around();
        of_outsiders([&schema, &known, &newest, &histories])
    }

    /// What what is around is read with.
    pub(super) fn around_name(&self) -> &'static str {
        PREPARED[self.outskirts.depth as usize]
    }

    /// The call of that.
    pub(super) fn around_call(&self) -> String {
        let arguments = match self.outskirts.depth {
            Depth::Quiet => self.newest(),
            _ => self.around().join(", "),
        };
        format!("EXECUTE {}({arguments})", self.around_name())
    }

    async fn look_around(&mut self) -> Result<Vec<Row>, Failure> {
        if self.lent.is_some() {
            return self.look_at_all().await;
        }
        let name = self.around_name();
        let prepare =
            if self.looks.has(name) { String::new() } else { format!("{FOR_GROWTH}{}", prepare(name)) };
        match self.look(&format!("{PREPARED_PATH}{prepare}{}", self.around_call())).await {
            Ok(rows) => {
                self.looks.add(name);
                Ok(rows)
            }
            // A migration may have taken away what was prepared.
            Err(_) => self.look_at_all().await,
        }
    }

    /// By a statement that nothing is prepared for.
    async fn look_at_all(&mut self) -> Result<Vec<Row>, Failure> {
        self.outskirts.depth = Depth::All;
        self.look(&self.outsiders_query()).await
    }
}

impl Depth {
    fn next(self) -> Self {
        if self == Self::Quiet { Self::Schemas } else { Self::All }
    }
}

/// The schema that is told in any case.
fn public() -> Outsider {
    let object = Object { kind: Kind::Schema, on: None, name: PUBLIC.into(), definition: String::new() };
    Outsider { schema: PUBLIC.into(), object }
}

/// Whether a row says that there is more than was read.
fn is_more(row: &Row) -> bool {
    row.first().is_some_and(|kind| kind.as_deref() == Some("more"))
}

fn of_outsiders([schema, known, newest, histories]: [&str; 4]) -> String {
    let text = OUTSIDERS.replace("{schema}", schema).replace("{known}", known).replace("{newest}", newest);
    text.replace("{histories}", histories).replace("{most}", &(MOST_SCHEMAS + 1).to_string())
}

/// Prepares one of the queries for any schema: it takes the newest, and but for the first the schema and those that are known
/// before it, and the histories behind it.
pub(super) fn prepare(name: &str) -> String {
    if name == PREPARED[0] {
        return format!("PREPARE {name}(oid) AS {QUIET}; ");
    }
    let all = of_outsiders(["$1", "$2", "$3", "$4"]);
    let few = || format!("{}{MORE}", all.split(INSIDE).next().unwrap_or_default());
    let query = if name == PREPARED[1] { few() } else { all.clone() };
    format!("PREPARE {name}(name, oid[], oid, name[]) AS {query}; ")
}
