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

use super::texts;
use crate::engine::{
    PROGRESS_TABLE, failure,
    heads::{Heads, Table, Together, all, answers, arranged, names},
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
        let connect = async { PgConnection::connect_with(&options).await.map_err(fail) };
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
    async fn ready(&mut self, places: &[&Place], tables: &[Table]) -> Result<Vec<bool>, Failure> {
        let site = Site { engine: Engine::Postgres, schema: None, table: String::new() };
        let list = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| site.text(text)).collect::<Vec<_>>().join(",")
        };
        let schemas = list(&mut places.iter().filter_map(|place| place.schema.as_deref()));
        let all = list(&mut tables.iter().map(|table| table.name.as_str()));
        let sql = format!(
            "{LIMITS}SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.nspname IN ({schemas})
                AND (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname IN ({all})) = {}
                AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class p WHERE p.relnamespace = n.oid AND p.relname = '{PROGRESS_TABLE}')",
            tables.len()
        );
        let answers = self.ask(sql).await?;
        let found: HashSet<String> =
            answers.into_iter().flatten().filter_map(|mut row| row.pop().flatten()).collect();
        Ok(places
            .iter()
            .map(|place| place.schema.as_ref().is_some_and(|name| found.contains(name)))
            .collect())
    }

    async fn digests(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        columns: &[usize],
    ) -> Result<Vec<Option<Vec<String>>>, Failure> {
        let part = |number: usize, place: &Place, table: usize| {
            let select = tables[table].select(Engine::Postgres, place.schema.as_deref());
            let (row, names) = (row_text(columns[table]), names(columns[table]));
            format!("SELECT '{number}', string_agg({row}, '') FROM ({select}) AS s({names})")
        };
        // The digest is made outside: the server plans each part by itself.
        let sql = format!(
            "{LIMITS}SELECT n, encode(sha256(convert_to(t, 'UTF8')), 'hex') FROM ({}) AS h(n, t)",
            all(places, tables, part).join(" UNION ALL ")
        );
        let rows = self.ask(sql).await?.pop().unwrap_or_default();
        Ok(arranged(rows, places.len(), tables.len()))
    }
}

impl PgHeads {
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

/// A row as one text, in which the texts of its columns can be told apart.
fn row_text(columns: usize) -> String {
    let cell = |n: usize| format!("char_length(c{n}), ':', c{n}");
    format!("concat({})", (1..=columns).map(cell).collect::<Vec<_>>().join(", "))
}
