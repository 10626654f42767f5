//! Reading a PostgreSQL tenant's catalog and what is around it: nothing is written. From version 12 on.
//!
//! The server writes definitions with the names that its search path asks for, and constants as settings ask for. All
//! of these are set for this one message, whatever a migration has left behind.
//!
//! Planning these queries takes the server ten times as long as running them, so a session of our own prepares them. A plan is
//! made anew under another search path: the prepared ones are begun under an empty one, take on the tenant's, and lay it
//! off when all is read.
//!
//! What few tenants have is left out at first: a row tells where there is any of it. Then all is read, and from then on at once
//! in this session, since tenants are alike.
//!
//! What is around a tenant is told by the schemas that have no history. To look through all schemas takes longer the more there
//! are, so it is done now and then, and meanwhile those that it found and those that are newer are looked at. Where the server
//! has begun to count its objects anew between two of these, a new schema is not seen.

use std::{collections::HashSet, time::Duration};

use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    place::Engine,
    schema::{Catalog, Kind, Object, Outside, Outsider, neutral_before},
    site::{Row, quoted},
};

use super::PostgresSession;
use crate::engine::Session as _;

const CATALOG: &str = include_str!("catalog.sql");
const OUTSIDERS: &str = include_str!("outsiders.sql");
const SCHEMAS: &str = include_str!("schemas.sql");

/// What is in one schema. Here the prepared query takes on the tenant's path.
const OF_SCHEMA: &str = "
    SELECT d.classid, d.objid, '' AS prefix
    FROM pg_depend d
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = (SELECT oid FROM pg_namespace WHERE nspname = {schema}{first})
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')";

/// What is in all schemas of a database. By what depends on each: unlike a search by schema, that takes no longer with more of
/// them.
const OF_DATABASE: &str = "
    SELECT d.classid, d.objid, CASE WHEN nspname = current_schema() THEN '' ELSE nspname || '.' END AS prefix
    FROM pg_namespace own JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = own.oid
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')";

const TAKE_ON: &str = " AND set_config('search_path', quote_ident($1), true) IS NOT NULL";
const LAY_OFF: &str =
    "UNION ALL SELECT NULL, NULL, NULL, NULL WHERE set_config('search_path', 'pg_catalog', true) IS NULL";

/// Behind this line is what few tenants have.
const RARE: &str = "-- Of what few tenants have.";

/// In its place: a row if a tenant has any of that, or may have.
const MORE: &str = "UNION ALL SELECT 'more', NULL, NULL, NULL
    WHERE EXISTS (SELECT FROM member WHERE classid IN ('pg_type'::regclass, 'pg_proc'::regclass))
        OR EXISTS (SELECT FROM rel WHERE relkind IN ('v', 'm') OR relhasrules)
        OR EXISTS (SELECT FROM {triggers} WHERE NOT tgisinternal) OR EXISTS (SELECT FROM {policies}) ";

/// The names of what is prepared: what most tenants have, all, and what is around.
pub(super) const PREPARED: [&str; 3] = ["tenantry_common", "tenantry_catalog", "tenantry_outsiders"];
const COMMON: &str = PREPARED[0];
const ALL: &str = PREPARED[1];
const AROUND: &str = PREPARED[2];

/// A migration that failed has left its transaction open.
const FAILED_TRANSACTION: &str = "25P02";

const VERSION_12: u32 = 120_000;

/// How many schemas without a history are looked into beside `public`.
const MOST_SCHEMAS: usize = 50;

/// How long it is known which schemas have no history.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// How long what was around one tenant at its end is what is around the next one at its beginning.
const SAME_MOMENT: Duration = Duration::from_millis(500);

/// In force until the end of the message: it is one transaction.
const SETTINGS: &str = "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL quote_all_identifiers = off; SET LOCAL statement_timeout = 0;
    SET LOCAL jit = off; ";

/// The same for what is prepared. Its plan is to be good for tables that grow: catalogs are small when a fleet is new.
const PREPARED_PATH: &str =
    "SET LOCAL search_path = pg_catalog; SET LOCAL plan_cache_mode = force_generic_plan; ";
const FOR_GROWTH: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ";

/// What a session knows of its looks.
#[derive(Default)]
pub(super) struct Looks {
    prepared: HashSet<&'static str>,
    /// Whether there was a tenant that has more than most have.
    all: bool,
}

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
    /// A schema that is not told of: it was a tenant's when the look was made that this one is compared with.
    pub(super) passed: Option<String>,
}

impl PostgresSession {
    /// The tenant's schema, without these history tables.
    pub(super) async fn read_catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let rows = match self.ready.catalog.take() {
            Some(rows) if !rows.iter().any(is_more) => rows,
            answered => {
                self.looks.all |= answered.is_some();
                self.look(&self.catalog_query()).await?
            }
        };
        Ok(self.catalog_of(&rows, histories))
    }

    fn catalog_of(&self, rows: &[Row], histories: &[&str]) -> Catalog {
        let mut objects: Vec<Object> = rows.iter().filter_map(|row| Object::from_row(row)).collect();
        self.make_bodies_neutral(&mut objects);
        Catalog::new(objects, histories)
    }

    /// As one statement, under the tenant's path.
    fn catalog_query(&self) -> String {
        let member = if self.whole { OF_DATABASE } else { OF_SCHEMA };
        let text = CATALOG.replace("{member}", member).replace("{last}", "").replace("{first}", "");
        text.replace("{whole}", if self.whole { "true" } else { "false" })
            .replace("{schema}", "current_schema()")
    }

    /// What is outside of every schema that has one of these history tables; nothing where the tenant is the whole
    /// database.
    pub(super) async fn read_outsiders(&mut self, histories: &[&str]) -> Result<Outside, Failure> {
        if self.whole {
            return Ok(Outside::default());
        }
        let rows = match self.ready.outsiders.take() {
            Some(rows) => rows,
            None => {
                if let Some(before) = self.left_before(histories) {
                    return Ok(before);
                }
                self.find_schemas(histories).await?;
                self.look_around().await?
            }
        };
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

    fn knows_schemas(&self, histories: &[&str]) -> bool {
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
    fn around(&self) -> [String; 4] {
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

    /// Whether the server knows the words of the looks: one that it does not know would fail the whole message.
    pub(super) fn can_look(&self) -> bool {
        self.connection.server_version_num().is_some_and(|version| version >= VERSION_12)
    }

    /// The statements that read what [`Self::read_catalog`] and [`Self::read_outsiders`] ask for, to be sent behind others in
    /// one message; of how many the answers come last, and whether there is one of outsiders.
    pub(super) fn look_ahead(&self, histories: &[String]) -> (String, bool) {
        if self.whole {
            let path = quoted(Engine::Postgres, &self.schema);
            let all = self.catalog_query();
            // A new session has nothing planned, and planning takes longer than all else.
            let few = common(&all, ["pg_trigger", "pg_policy"]);
            return (format!("{SETTINGS}SET LOCAL search_path = {path}; {few}"), false);
        }
        let catalog = if self.looks.all { ALL } else { COMMON };
        let histories: Vec<&str> = histories.iter().map(String::as_str).collect();
        let around = self.knows_schemas(&histories);
        let name = self.site("").text(&self.schema);
        let mut text =
            format!("{SETTINGS}{PREPARED_PATH}{}EXECUTE {catalog}({name})", self.looks.prepare(catalog));
        if around {
            let arguments = self.around().join(", ");
            text.push_str(&format!("; {}EXECUTE {AROUND}({arguments})", self.looks.prepare(AROUND)));
        }
        (text, around)
    }

    /// What the message of [`Self::look_ahead`] has prepared.
    pub(super) fn looked_ahead(&mut self, around: bool) {
        if !self.whole {
            let catalog = if self.looks.all { ALL } else { COMMON };
            self.looks.prepared.insert(catalog);
            self.looks.prepared.extend(around.then_some(AROUND));
        }
    }

    async fn look_around(&mut self) -> Result<Vec<Row>, Failure> {
        if self.lent.is_some() {
            return self.look(&self.outsiders_query()).await;
        }
        let (prepare, arguments) = (self.looks.prepare(AROUND), self.around().join(", "));
        match self.look(&format!("{PREPARED_PATH}{prepare}EXECUTE {AROUND}({arguments})")).await {
            Ok(rows) => {
                self.looks.prepared.insert(AROUND);
                Ok(rows)
            }
            // A migration may have taken away what was prepared.
            Err(_) => self.look(&self.outsiders_query()).await,
        }
    }

    async fn look(&mut self, select: &str) -> Result<Vec<Row>, Failure> {
        let path = quoted(Engine::Postgres, &self.schema);
        let message = format!("{SETTINGS}SET LOCAL search_path = {path}; {select}");
        match self.fetch(&message).await {
            Err(error) if error.code == FAILED_TRANSACTION => {
                self.end("ROLLBACK").await?;
                self.fetch(&message).await
            }
            rows => rows,
        }
    }

    async fn fetch(&mut self, message: &str) -> Result<Vec<Row>, Failure> {
        let rows = self.rows(message).await.map_err(|e| self.fail(&e))?;
        rows.iter().map(super::texts).collect::<Result<_, _>>().map_err(|e| self.fail(&e))
    }

    /// The server writes a function's own name with its schema always, and its body as it was given. Where a table has
    /// the schema's name, what follows it tells which of both is meant.
    fn make_bodies_neutral(&self, objects: &mut [Object]) {
        let schema = self.schema.as_str();
        if !objects.iter().any(|o| o.kind == Kind::Function) {
            return;
        }
        let own: HashSet<String> =
            objects.iter().filter(|o| o.on.is_none()).map(|o| bare(&o.name).to_owned()).collect();
        let is_ambiguous = own.contains(schema);
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Function) {
            let text = neutral_before(&object.definition, schema, |name| !is_ambiguous || own.contains(name));
            object.definition = search_path_neutral(&text, schema);
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

/// Without what few tenants have.
fn common(all: &str, [triggers, policies]: [&str; 2]) -> String {
    let few = all.split(RARE).next().unwrap_or_default();
    format!("{few}{}", MORE.replace("{triggers}", triggers).replace("{policies}", policies))
}

impl Looks {
    /// Prepares this query, if it is not.
    fn prepare(&self, name: &str) -> String {
        if self.prepared.contains(name) {
            return String::new();
        }
        let (arguments, query) = match name {
            AROUND => ("name, oid[], oid, name[]", of_outsiders(["$1", "$2", "$3", "$4"])),
            _ => ("text", of_schema(name == ALL)),
        };
        format!("{FOR_GROWTH}PREPARE {name}({arguments}) AS {query}; ")
    }
}

fn of_schema(all: bool) -> String {
    let member = OF_SCHEMA.replace("{first}", TAKE_ON);
    let query = CATALOG.replace("{member}", &member).replace("{whole}", "false").replace("{schema}", "$1");
    if all {
        return query.replace("{last}", LAY_OFF);
    }
    let here = ["rel JOIN pg_trigger ON tgrelid = rel.oid", "rel JOIN pg_policy ON polrelid = rel.oid"];
    format!("{}{LAY_OFF}", common(&query, here))
}

/// A function's name without its arguments, any other name as it is.
fn bare(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

/// The search path that a function was given with the tenant's schema in it.
fn search_path_neutral(head: &str, schema: &str) -> String {
    let line = |line: &str| match line.strip_prefix(" SET search_path TO ") {
        Some(path) => format!(" SET search_path TO {}", path.replace(&format!("'{schema}'"), "{own}")),
        None => line.to_owned(),
    };
    head.lines().map(line).collect::<Vec<_>>().join("\n")
}
