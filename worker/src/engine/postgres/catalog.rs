//! Reading a PostgreSQL tenant's catalog: nothing is written. From version 12 on.
//!
//! The server writes definitions with the names that its search path asks for, and constants as settings ask for. All
//! of these are set for this one message, whatever a migration has left behind.
//!
//! All is read with small statements (`parts`) whose rows are put together here (`found`). What few tenants have is left out at
//! first: what objects depend on tells where there is any of it, and that is asked in a message of its own. Where the session
//! serves other schemas, it asks them the same at once, since tenants are alike.
//!
//! Such a session prepares them, as one statement. A plan is made anew under another search path: the prepared one is begun
//! under the same one always, takes on the tenant's while it runs, and leaves it at its end.

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

/// What every tenant is asked is prepared as this.
const LOOK: &str = "tenantry_look";

/// And what some are, as one of these: by how much it is, as a session asks for more and more.
const MORE: [&str; 10] = [
    "tenantry_more_1",
    "tenantry_more_2",
    "tenantry_more_3",
    "tenantry_more_4",
    "tenantry_more_5",
    "tenantry_more_6",
    "tenantry_more_7",
    "tenantry_more_8",
    "tenantry_more_9",
    "tenantry_more_10",
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
pub(super) const FOR_GROWTH: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ";

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
            None => self.look(&self.catalog_query(histories)).await?,
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
    fn catalog_query(&self, histories: &[&str]) -> String {
        if self.whole {
            return parts::always(true).map(|part| format!("{}; ", part.in_database())).collect();
        }
        let all = parts::always(false).chain(self.looks.more.iter().copied());
        let name = self.site("").text(&self.schema);
        parts::together(all, &name, &self.array(histories))
    }

    /// Whether the server knows the words of the looks: one that it does not know would fail the whole message.
    pub(super) fn can_look(&self) -> bool {
        self.connection.server_version_num().is_some_and(|version| version >= VERSION_12)
    }

    /// The statements that read what [`Self::read_catalog`] and [`Self::read_outsiders`] ask for, to be sent behind others in
    /// one message; and whether the last one asks what is around the tenant.
    pub(super) fn look_ahead(&self, histories: &[String]) -> (String, bool) {
        let histories: Vec<&str> = histories.iter().map(String::as_str).collect();
        if self.whole {
            let (path, query) = (quoted(Engine::Postgres, &self.schema), self.catalog_query(&histories));
            return (format!("{SETTINGS}SET LOCAL search_path = {path}; {query}"), false);
        }
        let around = self.knows_schemas(&histories);
        let (name, without) = (self.site("").text(&self.schema), self.array(&histories));
        let prepared = self.looks.prepare(around.then(|| self.around_name()));
        let mut text = format!("{SETTINGS}{PREPARED_PATH}{prepared}");
        for (look, _) in self.looks.statements() {
            text.push_str(&format!("EXECUTE {look}({name}, {without}); "));
        }
        if around {
            text.push_str(&self.around_call());
        }
        (text, around)
    }

    /// What the message of [`Self::look_ahead`] has prepared.
    pub(super) fn looked_ahead(&mut self, around: bool) {
        if !self.whole {
            let names: Vec<&str> = self.looks.statements().map(|(name, _)| name).collect();
            self.looks.prepared.extend(names);
            self.looks.prepared.extend(around.then(|| self.around_name()));
        }
    }

    /// The rows of statements under the tenant's path, and its lock: that may have gone with what was foreseen.
    pub(super) async fn look(&mut self, select: &str) -> Result<Vec<Row>, Failure> {
        if self.ready.freed {
            self.lock().await?;
        }
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
    /// What a schema is asked at once: the names of statements, and what is in them.
    fn statements(&self) -> impl Iterator<Item = (&'static str, Vec<&'static Part>)> {
        let more = self.more.len().checked_sub(1).and_then(|at| MORE.get(at));
        let more = more.map(|name| (*name, self.more.clone()));
        std::iter::once((LOOK, parts::always(false).collect())).chain(more)
    }

    fn asks(&self, part: &Part) -> bool {
        self.more.contains(&part)
    }

    /// Whether these are all that is prepared, as the server writes an array of names.
    pub(super) fn are(&self, names: &str) -> bool {
        let names = names.trim_start_matches('{').trim_end_matches('}');
        let names: BTreeSet<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        names == self.prepared
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.prepared.contains(name)
    }

    pub(super) fn add(&mut self, name: &'static str) {
        self.prepared.insert(name);
    }

    /// Prepares what a look asks, and is not prepared.
    fn prepare(&self, around: Option<&str>) -> String {
        let new = self.statements().filter(|(name, _)| !self.has(name));
        let new = new.map(|(name, parts)| {
            format!("PREPARE {name}(text, name[]) AS {}; ", parts::together(parts.into_iter(), "$1", "$2"))
        });
        let text: String = new.chain(around.filter(|name| !self.has(name)).map(around::prepare)).collect();
        if text.is_empty() { text } else { format!("{FOR_GROWTH}{text}") }
    }
}
