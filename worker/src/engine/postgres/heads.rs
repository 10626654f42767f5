//! Histories of many schemas of a database, or of one that is a tenant itself.
//!
//! Each question is one message, and so one transaction, whose settings end with it: behind a pooler nothing is left of it.

use std::{collections::HashSet, str::FromStr as _, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tenantry_shared::{
    failure::{Class, Failure},
    place::{Engine, Place},
    pooling::{Pooling, for_driver},
    registry::Access,
    site::{Row, Site},
};

use super::{opened::connected, texts};
use crate::engine::{
    PROGRESS_TABLE, failure,
    heads::{Heads, Seen, Table, Together, answers, names},
    in_time,
};

/// A look that waits for a lock, or takes long, is given up: what it is about may change meanwhile.
const LIMITS: &str = "SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = '1500ms'; ";

/// The schema that a database of its own has most often.
const PUBLIC: &str = "public";

/// A connection to a PostgreSQL database.
pub(crate) struct PgHeads {
    connection: PgConnection,
    password: Option<String>,
}

impl Heads for PgHeads {
    async fn open(access: &Access, limit: Duration) -> Result<Self, Failure> {
        if access.url.pooling() == Some(Pooling::Transaction) {
            return Err(Failure::new(Class::Permanent, "pooled", "a pooler lends its sessions"));
        }
        let password = access.url.password();
        let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, password.as_deref());
        let options = PgConnectOptions::from_str(&for_driver(access.url.expose())).map_err(fail)?;
        let options =
            options.application_name("tenantry").extra_float_digits(None).disable_statement_logging();
        let connect = async { connected(&options).await.map_err(fail) };
        let connection = in_time(limit, connect).await?;
        Ok(Self { connection, password })
    }

    async fn whole(&mut self, place: &Place, tables: &[Table]) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        let guess = place.schema.as_deref().unwrap_or(PUBLIC);
        let (schema, rows) = self.look(guess, place, tables).await?;
        match schema {
            Some(schema) if schema != guess => Ok(self.look(&schema, place, tables).await?.1),
            _ => Ok(rows),
        }
    }

    async fn close(self) {
        // The server ends the session by itself when this does not arrive.
        let _ = self.connection.close().await;
    }
}

impl Together for PgHeads {
    async fn read(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        columns: Option<&[usize]>,
    ) -> Result<Vec<Option<Seen>>, Failure> {
        match self.histories(places, tables, columns).await {
            // Nearly always all are there: only where one is not it is asked which.
            Err(failure) if failure.code == super::UNDEFINED_TABLE => {
                let whole = self.whole_schemas(places, tables).await?;
                let is_whole = |place: &Place| place.schema.as_ref().is_some_and(|name| whole.contains(name));
                let there: Vec<&Place> = places.iter().copied().filter(|place| is_whole(place)).collect();
                let mut found = self.histories(&there, tables, columns).await?.into_iter();
                let of = |place: &&Place| is_whole(place).then(|| found.next().flatten()).flatten();
                Ok(places.iter().map(of).collect())
            }
            read => read,
        }
    }
}

impl PgHeads {
    /// The tables of each schema, which must be there. Each is read by a statement of its own: the server plans the parts of
    /// a union for longer.
    async fn histories(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        columns: Option<&[usize]>,
    ) -> Result<Vec<Option<Seen>>, Failure> {
        let mut sql = format!("{LIMITS}{}", half_done());
        for place in places {
            for (at, table) in tables.iter().enumerate() {
                let select = table.select(Engine::Postgres, place.schema.as_deref());
                sql += "; ";
                sql += &columns.map_or_else(|| select.clone(), |columns| digest_of(&select, columns[at]));
            }
        }
        let mut answers = self.ask(sql).await?;
        let read = answers.split_off(answers.len().saturating_sub(places.len() * tables.len()));
        let half_done = one_column(answers.pop().unwrap_or_default());
        let is_half = |place: &Place| place.schema.as_ref().is_some_and(|name| half_done.contains(name));
        let seen = |rows: &[Vec<Row>]| if columns.is_some() { digests(rows) } else { whole(rows) };
        let each = places.iter().zip(read.chunks(tables.len()));
        Ok(each.map(|(place, rows)| if is_half(place) { None } else { seen(rows) }).collect())
    }

    /// The schemas in which all of the tables are.
    async fn whole_schemas(
        &mut self,
        places: &[&Place],
        tables: &[Table],
    ) -> Result<HashSet<String>, Failure> {
        let site = Site { engine: Engine::Postgres, schema: None, table: String::new() };
        let list = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| site.text(text)).collect::<Vec<_>>().join(",")
        };
        let schemas = list(&mut places.iter().filter_map(|place| place.schema.as_deref()));
        let all = list(&mut tables.iter().map(|table| table.name.as_str()));
        let sql = format!(
            "{LIMITS}SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.nspname IN ({schemas})
                AND (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname IN ({all})) = {}",
            tables.len()
        );
        Ok(one_column(self.ask(sql).await?.pop().unwrap_or_default()))
    }

    /// The tenant's own schema, and what is in it if it is the one that was guessed.
    async fn look(
        &mut self,
        guess: &str,
        place: &Place,
        tables: &[Table],
    ) -> Result<(Option<String>, Option<Vec<Vec<Row>>>), Failure> {
        let site = Site {
            engine: Engine::Postgres,
            schema: Some(guess.to_owned()),
            table: PROGRESS_TABLE.to_owned(),
        };
        let current = match &place.schema {
            Some(schema) => site.text(schema),
            None => "current_schema()::text".to_owned(),
        };
        let progress = site.text(&site.table());
        let mut sql = format!("{LIMITS}SELECT {current}, to_regclass({progress})::text");
        for table in tables {
            sql += "; ";
            sql += &table.select(Engine::Postgres, Some(guess));
        }
        let asked = self.ask(sql).await;
        // A table that is not there may be in another schema.
        let mut answers = match asked {
            Err(failure) if failure.code == super::UNDEFINED_TABLE && place.schema.is_none() => {
                return self.elsewhere(guess, failure).await;
            }
            asked => asked?,
        };
        let rows = answers.split_off(answers.len().saturating_sub(tables.len()));
        let mut about = answers.pop().and_then(|mut rows| rows.pop()).unwrap_or_default().into_iter();
        let (schema, progress) = (about.next().flatten(), about.next().flatten());
        let whole = schema.as_deref() == Some(guess) && progress.is_none() && rows.len() == tables.len();
        Ok((schema, whole.then_some(rows)))
    }

    async fn elsewhere(
        &mut self,
        guess: &str,
        failure: Failure,
    ) -> Result<(Option<String>, Option<Vec<Vec<Row>>>), Failure> {
        let answers = self.ask("SELECT current_schema()::text".to_owned()).await?;
        match answers.into_iter().flatten().flatten().next().flatten() {
            Some(schema) if schema != guess => Ok((Some(schema), None)),
            _ => Err(failure),
        }
    }

    /// The rows of each statement of a message.
    async fn ask(&mut self, sql: String) -> Result<Vec<Vec<Row>>, Failure> {
        let results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.connection);
        let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, self.password.as_deref());
        answers(results, texts).await.map_err(fail)
    }
}

/// Asks in which schemas a migration may be half done.
fn half_done() -> String {
    format!(
        "SELECT n.nspname::text FROM pg_catalog.pg_class p JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace WHERE p.relname = '{PROGRESS_TABLE}'"
    )
}

/// The digest of what a statement gives.
fn digest_of(select: &str, columns: usize) -> String {
    let (row, names) = (row_text(columns), names(columns));
    format!(
        "SELECT encode(sha256(convert_to(string_agg({row}, ''), 'UTF8')), 'hex') FROM ({select}) AS s({names})"
    )
}

/// The digests of a tenant's tables, each of which is a row.
fn digests(rows: &[Vec<Row>]) -> Option<Seen> {
    rows.iter().map(|rows| rows.first()?.first()?.clone()).collect::<Option<_>>().map(Seen::Digests)
}

fn whole(rows: &[Vec<Row>]) -> Option<Seen> {
    rows.iter().all(|rows| !rows.is_empty()).then(|| Seen::Rows(rows.to_vec()))
}

fn one_column(rows: Vec<Row>) -> HashSet<String> {
    rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect()
}

/// A row as one text, in which the texts of its columns can be told apart.
fn row_text(columns: usize) -> String {
    let cell = |n: usize| format!("char_length(c{n}), ':', c{n}");
    format!("concat({})", (1..=columns).map(cell).collect::<Vec<_>>().join(", "))
}
