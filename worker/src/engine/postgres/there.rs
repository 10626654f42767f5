//! Which tables of given names there are in a tenant: looked up name by name in a new session, and in one that is kept by a
//! statement that it has prepared. Other tools' tables are many: where that costs less, it is asked whether there is anything at all.

use std::collections::HashSet;

use tenantry_shared::{
    format::found::Guard,
    place::Engine,
    site::{Row, quoted},
};

use super::{
    PostgresSession,
    catalog::{FOR_GROWTH, PREPARED_PATH},
};
use crate::engine::{Select, Session as _};

/// What the statement is prepared as. It reads the catalog itself, and so all that others have made before it began.
const THERE: &str = "tenantry_there";

const PREPARE: &str = "PREPARE tenantry_there(name, name[]) AS SELECT relname FROM pg_class
    WHERE relname = ANY ($2) AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    UNION ALL
    (SELECT NULL FROM pg_depend WHERE refclassid = '2615' AND refobjid = (SELECT oid FROM pg_namespace WHERE nspname = $1) LIMIT 1); ";

/// Whether anything was ever made in a database, of whatever schema: what a server is made with has lower numbers.
const ANYTHING: &str = "EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= '16384')";

/// Makes the session hear of what others have made before what is there is looked up by name: whoever locks a table does,
/// and a new session takes longer to plan any query of one.
const HEAR: &str = "SELECT NULL WHERE pg_catalog.pg_relation_size('pg_catalog.pg_namespace') IS NULL; ";

/// What must be there for a selection to have a row.
pub(super) struct Guarded<'a> {
    guard: &'a Guard,
    /// Whether it is a table of ours, and not any that another tool may have made.
    is_own: bool,
}

impl<'a> Guarded<'a> {
    /// None: it has a row in any case.
    pub(super) fn of(select: &'a Select) -> Option<Self> {
        Some(Self { guard: select.guard.as_ref()?, is_own: select.table.is_some() })
    }
}

/// How a session is asked.
pub(super) struct There {
    /// What comes before anything is looked up: settings until the message's end, say, and what is not prepared yet.
    pub(super) before: String,
    pub(super) execute: String,
}

impl PostgresSession {
    /// For a session that has served a tenant already. None: it is a new one, or what is asked for may be in another schema.
    pub(super) fn there(&self, asked: &[Guarded<'_>]) -> Option<There> {
        if self.served == 0 || self.whole || asked.iter().any(|asked| asked.guard.schema.is_some()) {
            return None;
        }
        let prepare = if self.looks.has(THERE) { String::new() } else { format!("{FOR_GROWTH}{PREPARE}") };
        let own = asked.iter().filter(|asked| asked.is_own);
        let names = self.array(own.flat_map(|own| &own.guard.tables));
        let schema = self.site("").text(&self.schema);
        Some(There {
            before: format!("{PREPARED_PATH}{prepare}"),
            execute: format!("EXECUTE {THERE}({schema}, {names})"),
        })
    }

    /// These names as an array's text.
    pub(super) fn array(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let names: Vec<String> = names.into_iter().map(|name| element(name.as_ref())).collect();
        self.site("").text(&format!("{{{}}}", names.join(",")))
    }

    /// The tables that are there, as the answer to [`Self::each`].
    pub(super) fn as_conditions(&mut self, found: &[Row], asked: &[Guarded<'_>]) -> Vec<Row> {
        self.looks.add(THERE);
        let names: HashSet<&str> =
            found.iter().filter_map(|row| row.first().and_then(Option::as_deref)).collect();
        let any = |asked: &Guarded<'_>| match asked.is_own {
            true => asked.guard.tables.iter().any(|name| names.contains(name.as_str())),
            // Where there is anything, it may be that.
            false => !found.is_empty(),
        };
        vec![asked.iter().map(|asked| any(asked).then(|| "true".to_owned())).collect()]
    }

    /// For a new session. Asks of each whether there is any of it: one row. `first`: nothing else is looked up by name before.
    pub(super) fn each(&self, asked: &[Guarded<'_>], first: bool) -> There {
        let conditions: Vec<String> = asked
            .iter()
            .map(|asked| format!("CASE WHEN {} THEN 'true' END", self.condition(asked)))
            .collect();
        let all = if conditions.is_empty() { "NULL".to_owned() } else { conditions.join(", ") };
        let hears = first && asked.iter().any(|asked| self.is_vague(asked));
        There { before: if hears { "" } else { HEAR }.to_owned(), execute: format!("SELECT {all}") }
    }

    /// Whether it is only asked if there is anything: the look at the schema afterwards plans such a query anyway.
    fn is_vague(&self, asked: &Guarded<'_>) -> bool {
        self.whole && !asked.is_own
    }

    fn condition(&self, asked: &Guarded<'_>) -> String {
        if self.is_vague(asked) {
            return ANYTHING.to_owned();
        }
        let guard = asked.guard;
        let regclass = |name: &String| {
            format!("pg_catalog.to_regclass({})", self.site("").text(&self.site(name).table()))
        };
        let tables: Vec<String> = guard.tables.iter().map(regclass).collect();
        let schema = guard.schema.map(|schema| {
            let name = self.site("").text(&quoted(Engine::Postgres, schema));
            format!(" OR pg_catalog.to_regnamespace({name}) IS NOT NULL")
        });
        format!("COALESCE({}) IS NOT NULL{}", tables.join(", "), schema.unwrap_or_default())
    }
}

/// A name within an array's text.
fn element(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_within_an_array_is_that_name_whatever_is_in_it() {
        assert_eq!(element("SequelizeMeta"), r#""SequelizeMeta""#);
        assert_eq!(element(r#"a "b", {c\d}"#), r#""a \"b\", {c\\d}""#);
    }
}
