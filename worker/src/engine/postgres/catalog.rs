//! Reading a PostgreSQL tenant's catalog: nothing is written. From version 12 on.
//!
//! The server writes definitions with the names that its search path asks for, and constants as settings ask for. All
//! of these are set for this one message, whatever a migration has left behind.
//!
//! All is read with small statements (`parts`) whose rows are put together here (`found`). What few tenants have is left out at
//! first: what objects depend on tells where there is any of it, and that is asked in a message of its own. Where the session
//! serves other schemas, it asks them the same at once, since tenants are alike.
//!
//! Such a session prepares the statements. A plan is made anew under another search path: the prepared ones are begun under
//! the same one each, and take on the tenant's while they run.

mod bodies;
mod found;
mod parts;

use std::collections::BTreeSet;

use tenantry_shared::{
    failure::Failure,
    place::Engine,
    schema::{Catalog, Object},
    site::{Row, quoted},
};

use self::{found::Found, parts::Part};
use super::{PostgresSession, around};
use crate::engine::Session as _;

/// The names of what is prepared: what every tenant is asked, what some are, and what is around.
pub(super) const PREPARED: [&str; 20] = [
    "tenantry_relation",
    "tenantry_column",
    "tenantry_default",
    "tenantry_constraint",
    "tenantry_index",
    "tenantry_sequence",
    "tenantry_dependency",
    "tenantry_extension",
    "tenantry_partition",
    "tenantry_inherits",
    "tenantry_foreign",
    "tenantry_collation",
    "tenantry_view",
    "tenantry_type",
    "tenantry_function",
    "tenantry_trigger",
    "tenantry_rule",
    "tenantry_policy",
    around::PREPARED[0],
    around::PREPARED[1],
];

/// A migration that failed has left its transaction open.
const FAILED_TRANSACTION: &str = "25P02";

const VERSION_12: u32 = 120_000;

/// In force until the end of the message: it is one transaction.
const SETTINGS: &str = "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL quote_all_identifiers = off; SET LOCAL statement_timeout = 0;
    SET LOCAL jit = off; ";

/// What each prepared statement begins with. Its plan is to be good for tables that grow: catalogs are small when a fleet is new.
pub(super) const PREPARED_PATH: &str =
    "SET LOCAL search_path = pg_catalog; SET LOCAL plan_cache_mode = force_generic_plan; ";
const AGAIN: &str = "SET LOCAL search_path = pg_catalog; ";
pub(super) const FOR_GROWTH: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ";

/// The tenant that is looked at.
struct Tenant {
    whole: bool,
    /// Its schema's name as a value.
    schema: String,
}

/// What a session knows of its looks.
#[derive(Default)]
pub(super) struct Looks {
    prepared: BTreeSet<&'static str>,
    /// What some tenants are asked and one of this session's was.
    more: Vec<&'static Part>,
}

impl PostgresSession {
    /// The tenant's schema, without these history tables.
    pub(super) async fn read_catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let mut rows = match self.ready.catalog.take() {
            Some(rows) => rows,
            None => self.look(&self.catalog_query()).await?,
        };
        let more = Found::of(&rows, &self.schema, self.whole).more();
        let more: Vec<_> = more.into_iter().filter(|(part, _)| !self.looks.asks(part)).collect();
        if !more.is_empty() {
            let select: String =
                more.iter().map(|(part, oids)| format!("{}; ", part.of_these(oids))).collect();
            let asked = more.into_iter().map(|(part, _)| part).filter(|_| !self.whole).collect::<Vec<_>>();
            rows.extend(self.look(&select).await?);
            self.looks.more.extend(asked);
        }
        let mut objects: Vec<Object> = Found::of(&rows, &self.schema, self.whole).objects();
        bodies::make_neutral(&mut objects, &self.schema);
        Ok(Catalog::new(objects, histories))
    }

    /// As statements for this tenant alone, under its path.
    fn catalog_query(&self) -> String {
        let tenant = Tenant { whole: self.whole, schema: self.site("").text(&self.schema) };
        self.looks.parts(self.whole).map(|part| format!("{}; ", part.of(&tenant))).collect()
    }

    /// Whether the server knows the words of the looks: one that it does not know would fail the whole message.
    pub(super) fn can_look(&self) -> bool {
        self.connection.server_version_num().is_some_and(|version| version >= VERSION_12)
    }

    /// The statements that read what [`Self::read_catalog`] and [`Self::read_outsiders`] ask for, to be sent behind others in
    /// one message; and whether the last one asks what is around the tenant.
    pub(super) fn look_ahead(&self, histories: &[String]) -> (String, bool) {
        if self.whole {
            let path = quoted(Engine::Postgres, &self.schema);
            return (format!("{SETTINGS}SET LOCAL search_path = {path}; {}", self.catalog_query()), false);
        }
        let histories: Vec<&str> = histories.iter().map(String::as_str).collect();
        let around = self.knows_schemas(&histories);
        let name = self.site("").text(&self.schema);
        let around = around.then(|| self.around_name());
        let mut text = format!("{SETTINGS}{PREPARED_PATH}{}", self.looks.prepare(around));
        for part in self.looks.parts(false) {
            text.push_str(&format!("EXECUTE {}({name}); {AGAIN}", part.name));
        }
        if let Some(name) = around {
            text.push_str(&format!("EXECUTE {name}({})", self.around().join(", ")));
        }
        (text, around.is_some())
    }

    /// What the message of [`Self::look_ahead`] has prepared.
    pub(super) fn looked_ahead(&mut self, around: bool) {
        if !self.whole {
            let names: Vec<&str> = self.looks.parts(false).map(|part| part.name).collect();
            self.looks.prepared.extend(names);
            self.looks.prepared.extend(around.then(|| self.around_name()));
        }
    }

    /// The rows of statements under the tenant's path.
    pub(super) async fn look(&mut self, select: &str) -> Result<Vec<Row>, Failure> {
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
}

impl Looks {
    /// The statements that a tenant is asked at once.
    fn parts(&self, whole: bool) -> impl Iterator<Item = &'static Part> {
        parts::always(whole).chain(self.more.iter().copied())
    }

    fn asks(&self, part: &Part) -> bool {
        self.more.iter().any(|asked| asked.name == part.name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.prepared.contains(name)
    }

    pub(super) fn add(&mut self, name: &'static str) {
        self.prepared.insert(name);
    }

    /// Prepares what a look asks, and is not prepared.
    fn prepare(&self, around: Option<&str>) -> String {
        let new = self.parts(false).filter(|part| !self.has(part.name));
        let new = new.map(|part| format!("PREPARE {}(text) AS {}; ", part.name, part.prepared()));
        let text: String = new.chain(around.filter(|name| !self.has(name)).map(around::prepare)).collect();
        if text.is_empty() { text } else { format!("{FOR_GROWTH}{text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_prepared_is_known_to_be_ours() {
        let always = parts::always(false).map(|part| part.name);
        let few = [
            parts::PARTITION,
            parts::INHERITS,
            parts::FOREIGN,
            parts::COLLATION,
            parts::VIEW,
            parts::TYPE,
            parts::FUNCTION,
            parts::TRIGGER,
            parts::RULE,
            parts::POLICY,
        ];
        let names = always.chain(few.iter().map(|part| part.name)).chain(around::PREPARED);
        assert_eq!(names.collect::<Vec<_>>(), PREPARED);
    }
}
