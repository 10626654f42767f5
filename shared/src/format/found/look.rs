//! The SQL that looks for the tables of tools in a tenant, and what is read from its rows.

use std::{collections::BTreeSet, sync::LazyLock};

use super::{KNOWN, RAILS, Table};
use crate::{
    place::Engine,
    site::{Row, Site, quoted},
};

/// Lists the tables that may be a tool's history, with their columns: rows of a table's name and a column's. `also` are
/// further names to look for. Atlas keeps that of a whole PostgreSQL database in a schema of its own.
#[must_use]
pub fn select(site: &Site, also: &[&str]) -> String {
    let names = names(site, also);
    match site.engine {
        Engine::Postgres => of_postgres(site, &names),
        Engine::MySql => {
            of_mysql(site, &names, "columns", "CAST(column_name AS CHAR)", "table_name, ordinal_position")
        }
        Engine::Sqlite => of_sqlite(&names, "p.name", ", pragma_table_info(m.name) p", ", p.cid"),
    }
}

/// The same as far as it is cheap: names of tables without any columns, but on PostgreSQL.
#[must_use]
pub fn glance(site: &Site, also: &[&str]) -> String {
    match site.engine {
        Engine::MySql => of_mysql(site, &names(site, also), "tables", "NULL", "table_name"),
        Engine::Sqlite => of_sqlite(&names(site, also), "NULL", "", ""),
        Engine::Postgres => select(site, also),
    }
}

fn of_sqlite(names: &str, column: &str, columns: &str, order: &str) -> String {
    format!(
        "SELECT m.name, {column} FROM sqlite_master m{columns}
         WHERE m.type IN ('table', 'view') AND lower(m.name) IN ({names}) ORDER BY m.name{order}"
    )
}

fn of_mysql(site: &Site, names: &str, view: &str, column: &str, order: &str) -> String {
    let schema = site.text(site.schema.as_deref().unwrap_or_default());
    format!(
        "SELECT CAST(table_name AS CHAR), {column} FROM information_schema.{view}
         WHERE table_schema = {schema} AND LOWER(table_name) IN ({names}) ORDER BY {order}"
    )
}

fn names(site: &Site, also: &[&str]) -> String {
    let further = also.iter().filter(|name| KNOWN.iter().all(|known| known.table != **name));
    let further = further.flat_map(|name| written(site.engine, name)).map(|name| site.text(&name));
    let names = std::iter::once(known_names(site.engine).to_owned()).chain(further);
    names.collect::<Vec<_>>().join(", ")
}

/// All tenants of a database have tables of the same names: the index is asked for name and schema together, so that it
/// takes no longer with more of them. The names are no constants, as each of those would be estimated.
fn of_postgres(site: &Site, names: &str) -> String {
    let schema = site.schema.as_deref().unwrap_or_default();
    let schemas = if schema == "public" { vec![schema, "atlas_schema_revisions"] } else { vec![schema] };
    let oid = |schema: &str| {
        let name = site.text(&quoted(Engine::Postgres, schema));
        format!("CAST(pg_catalog.to_regnamespace({name}) AS oid)")
    };
    let schemas: Vec<String> = schemas.into_iter().map(oid).collect();
    format!(
        "SELECT CAST(c.relname AS text), CAST(a.attname AS text)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
         WHERE c.relname = ANY (ARRAY(SELECT pg_catalog.unnest(CAST(ARRAY[{names}] AS name[])))) AND c.relnamespace = ANY (ARRAY[{}])
         AND c.relkind IN ('r', 'p', 'v', 'f') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum",
        schemas.join(", ")
    )
}

/// What of it there must be for a selection to have a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// A table of one of these names in the tenant's schema.
    pub tables: Vec<String>,
    /// Or this schema.
    pub schema: Option<&'static str>,
}

/// What [`select`] needs to have a row, where it takes less to look that up than to find none: a new session of PostgreSQL
/// takes long to plan it, and MySQL's lists its tables anyway. None: it is quick itself.
#[must_use]
pub fn guard(site: &Site, also: &[&str]) -> Option<Guard> {
    if site.engine == Engine::Sqlite {
        return None;
    }
    let mut names = known_tables(site.engine).clone();
    names.extend(also.iter().flat_map(|name| written(site.engine, name)));
    let is_public = site.engine == Engine::Postgres && site.schema.as_deref() == Some("public");
    Some(Guard { tables: names.into_iter().collect(), schema: is_public.then_some("atlas_schema_revisions") })
}

/// Only names as they are written are looked up by an index in PostgreSQL, and a database may have very many tables.
fn written(engine: Engine, name: &str) -> Vec<String> {
    match engine {
        Engine::Postgres => vec![name.to_owned(), name.to_lowercase(), name.to_uppercase()],
        Engine::MySql | Engine::Sqlite => vec![name.to_lowercase()],
    }
}

/// The names of all known tables as a list of literals: the same for every tenant.
fn known_names(engine: Engine) -> &'static str {
    static POSTGRES: LazyLock<String> = LazyLock::new(|| list_known(Engine::Postgres));
    static OTHERS: LazyLock<String> = LazyLock::new(|| list_known(Engine::Sqlite));
    if engine == Engine::Postgres { &POSTGRES } else { &OTHERS }
}

fn list_known(engine: Engine) -> String {
    known_tables(engine).iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

fn known_tables(engine: Engine) -> &'static BTreeSet<String> {
    static POSTGRES: LazyLock<BTreeSet<String>> = LazyLock::new(|| collect_known(Engine::Postgres));
    static OTHERS: LazyLock<BTreeSet<String>> = LazyLock::new(|| collect_known(Engine::Sqlite));
    if engine == Engine::Postgres { &POSTGRES } else { &OTHERS }
}

fn collect_known(engine: Engine) -> BTreeSet<String> {
    let known = KNOWN.iter().map(|known| known.table).chain([RAILS]);
    known.flat_map(|name| written(engine, name)).collect()
}

/// The tables that the rows of [`select`] are of.
#[must_use]
pub fn tables(rows: &[Row]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for row in rows {
        let [Some(name), Some(column)] = row.as_slice() else { continue };
        match tables.last_mut().filter(|table| table.name == *name) {
            Some(table) => table.columns.push(column.clone()),
            None => tables.push(Table { name: name.clone(), columns: vec![column.clone()] }),
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_asks_for_every_name_that_is_looked_for() {
        let site = |engine| Site { engine, schema: Some("public".into()), table: String::new() };
        let of_postgres: &[&str] = &["Own", "own", "OWN"];
        let schema = Some("atlas_schema_revisions");
        for (engine, own, schema) in
            [(Engine::Postgres, of_postgres, schema), (Engine::MySql, &["own"], None)]
        {
            let guard = guard(&site(engine), &["Own"]).unwrap_or_default();
            let known = known_names(engine).split(", ").map(|name| name.trim_matches('\''));
            for name in known.chain(own.iter().copied()) {
                assert!(guard.tables.iter().any(|table| table == name), "{name}");
            }
            assert_eq!(guard.schema, schema);
        }
        assert_eq!(guard(&site(Engine::Sqlite), &[]), None);
    }

    #[test]
    fn rows_are_put_together_by_table() {
        let row = |table: &str, column: &str| vec![Some(table.to_owned()), Some(column.to_owned())];
        let rows = [row("a", "x"), row("a", "y"), row("b", "x")];
        let table = |name: &str, columns: &[&str]| Table {
            name: name.into(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        };
        assert_eq!(tables(&rows), [table("a", &["x", "y"]), table("b", &["x"])]);
    }

    #[test]
    fn a_further_name_is_looked_for_as_it_may_be_written_and_a_known_one_once() {
        let site = |engine| Site { engine, schema: Some("s".into()), table: String::new() };
        let postgres = select(&site(Engine::Postgres), &["My_History", "_sqlx_migrations"]);
        assert!(postgres.contains("'My_History', 'my_history', 'MY_HISTORY'"), "{postgres}");
        assert!(postgres.contains("'SequelizeMeta'") && postgres.contains("'sequelizemeta'"), "{postgres}");
        assert_eq!(postgres.matches("'_sqlx_migrations'").count(), 1, "{postgres}");
        let sqlite = select(&site(Engine::Sqlite), &["My_History"]);
        assert!(sqlite.contains("'my_history')") && !sqlite.contains("'SequelizeMeta'"), "{sqlite}");
    }
}
