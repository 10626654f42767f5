//! Rows of what is there: the schemas of a database, the databases of a server, the SQLite files of a directory.

use std::path::Path;

use glob::Pattern;

use super::{Trouble, address::Address, row::Row, sql};
use crate::{
    config::{ConfigError, ServerList},
    place::Engine,
};

/// Names that every server has. A pattern takes one only when it is that very name.
const EVERYWHERE: [&str; 7] =
    ["public", "information_schema", "postgres", "mysql", "performance_schema", "sys", "rdsadmin"];

/// What stands beside an SQLite file while it is open.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Which names are tenants.
pub(super) struct Names {
    pattern: Pattern,
    exclude: Vec<Pattern>,
}

impl Names {
    /// Reads the patterns: `*` and `?` as a shell has them.
    pub(super) fn new(table: &str, pattern: &str, exclude: &[String]) -> Result<Self, ConfigError> {
        let read = |key: &str, text: &str| {
            Pattern::new(text).map_err(|e| ConfigError::Source {
                table: table.to_owned(),
                reason: format!("{key}: '{text}' is not a pattern: {}", e.msg),
            })
        };
        let exclude = exclude.iter().map(|text| read("exclude", text)).collect::<Result<_, _>>()?;
        Ok(Self { pattern: read("pattern", pattern)?, exclude })
    }

    fn take(&self, name: &str) -> bool {
        let common = EVERYWHERE.contains(&name) || name.starts_with("pg_");
        let wanted = if common { self.pattern.as_str() == name } else { self.pattern.matches(name) };
        wanted && !self.exclude.iter().any(|pattern| pattern.matches(name))
    }
}

/// Hands out a row for each schema or database that is taken.
pub(super) async fn server(
    address: &Address,
    list: ServerList,
    names: &Names,
    mut each: impl FnMut(Row),
) -> Result<(), Trouble> {
    let (what, query) = match (list, address.engine()) {
        (ServerList::Schemas, Engine::Postgres) => {
            ("schema", "SELECT nspname AS name FROM pg_namespace ORDER BY 1")
        }
        (ServerList::Schemas, _) => {
            return Err(Trouble::Wrong("schemas are PostgreSQL's: discover databases".into()));
        }
        (ServerList::Databases, Engine::Postgres) => (
            "database",
            "SELECT datname AS name FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1",
        ),
        (ServerList::Databases, Engine::MySql) => {
            ("database", "SELECT schema_name AS name FROM information_schema.schemata ORDER BY 1")
        }
        (ServerList::Databases, Engine::Sqlite) => {
            return Err(Trouble::Wrong("SQLite has no server: discover files of a directory".into()));
        }
    };
    let row = |row: Row| {
        if let Some(name) = row.get("name").filter(|name| names.take(name)) {
            each(found(what, name, what, name));
        }
    };
    sql::rows(address, query, row).await
}

/// Hands out a row for each file that is taken, in the order of their names.
pub(super) fn directory(path: &Path, names: &Names, mut each: impl FnMut(Row)) -> Result<(), Trouble> {
    let unreadable = |e: std::io::Error| Trouble::Wrong(format!("{}: {e}", path.display()));
    let path = std::path::absolute(path).map_err(unreadable)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = BESIDE.iter().any(|end| name.ends_with(end));
        if file.is_file() && !beside && names.take(&name) {
            files.push((name, file));
        }
    }
    files.sort();
    for (name, file) in files {
        let id = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut row = found("file", &id, "database", &file.display().to_string());
        row.push("name", Some(name));
        each(row);
    }
    Ok(())
}

fn found(what: &str, id: &str, column: &str, value: &str) -> Row {
    let mut row = Row::new(format!("{what} '{id}'"));
    row.push("id", Some(id.to_owned()));
    row.push(column, Some(value.to_owned()));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_what_every_server_has_only_by_its_name() {
        let names = |pattern: &str, exclude: &[&str]| {
            let exclude: Vec<String> = exclude.iter().map(|e| (*e).to_owned()).collect();
            let names = Names::new("[source]", pattern, &exclude).unwrap();
            let all = ["public", "pg_toast", "mysql", "tenant_a", "tenant_test", "central"];
            all.into_iter().filter(|name| names.take(name)).collect::<Vec<_>>()
        };
        assert_eq!(names("*", &["central"]), ["tenant_a", "tenant_test"]);
        assert_eq!(names("tenant_*", &["*_test"]), ["tenant_a"]);
        assert_eq!(names("public", &[]), ["public"]);
        assert!(Names::new("[source]", "a***", &[]).is_err());
    }
}
