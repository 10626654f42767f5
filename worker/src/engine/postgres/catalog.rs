//! Reading a PostgreSQL tenant's catalog: one message, one query, nothing written. From version 12 on.
//!
//! The server writes definitions with the names that its search path asks for, and constants as settings ask for. All
//! of these are set for this one message, whatever a migration has left behind.

use std::collections::HashSet;

use tenantry_shared::{
    failure::Failure,
    place::Engine,
    schema::{Catalog, Kind, Object, Outside, Outsider, neutral_before},
    site::{Row, quoted},
};

use super::{PostgresSession, texts};
use crate::engine::Session as _;

const CATALOG: &str = include_str!("catalog.sql");
const OUTSIDERS: &str = include_str!("outsiders.sql");

/// A migration that failed has left its transaction open.
const FAILED_TRANSACTION: &str = "25P02";

/// How many schemas without a history are looked into beside `public`.
const MOST_SCHEMAS: &str = "50";

/// In force until the end of the message: it is one transaction.
const SETTINGS: &str = "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL quote_all_identifiers = off; SET LOCAL statement_timeout = 0; ";

impl PostgresSession {
    /// The tenant's schema, without these history tables.
    pub(super) async fn read_catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let whole = if self.whole { "true" } else { "false" };
        let rows = self.look(&CATALOG.replace("{whole}", whole)).await?;
        let mut objects: Vec<Object> = rows.iter().filter_map(|row| Object::from_row(row)).collect();
        self.make_bodies_neutral(&mut objects);
        Ok(Catalog::new(objects, histories))
    }

    /// What is outside of every schema that has one of these history tables; nothing where the tenant is the whole
    /// database.
    pub(super) async fn read_outsiders(&mut self, histories: &[&str]) -> Result<Outside, Failure> {
        if self.whole {
            return Ok(Outside::default());
        }
        let site = self.site("");
        let names: Vec<String> = histories.iter().map(|table| site.text(table)).collect();
        let select = OUTSIDERS.replace("{histories}", &names.join(", ")).replace("{most}", MOST_SCHEMAS);
        let rows = self.look(&select).await?;
        let all = rows.iter().any(|row| row.first().is_some_and(|kind| kind.as_deref() == Some("all")));
        let outsider = |row: &Row| {
            let schema = row.get(4).cloned().flatten()?;
            Object::from_row(row).map(|object| Outsider { schema, object })
        };
        Ok(Outside { all, objects: rows.iter().filter_map(outsider).collect() })
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
        rows.iter().map(texts).collect::<Result<_, _>>().map_err(|e| self.fail(&e))
    }

    /// The server writes a function's own name with its schema always, and its body as it was given. Where a table has
    /// the schema's name, what follows it tells which of both is meant.
    fn make_bodies_neutral(&self, objects: &mut [Object]) {
        let schema = self.schema.as_str();
        let own: HashSet<String> =
            objects.iter().filter(|o| o.on.is_none()).map(|o| bare(&o.name).to_owned()).collect();
        let is_ambiguous = own.contains(schema);
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Function) {
            let text = neutral_before(&object.definition, schema, |name| !is_ambiguous || own.contains(name));
            object.definition = search_path_neutral(&text, schema);
        }
    }
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
