//! Which tools have kept a history in a tenant: told from the names and columns of its tables. Pure.
//!
//! Only the tables' usual names are known here; what an operator gave another name is not found.

mod look;

pub use self::look::{Guard, glance, guard, select, tables};
use super::{Rules, named};

/// A table of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The names of its columns.
    pub columns: Vec<String>,
}

impl Table {
    fn has(&self, columns: &[&str]) -> bool {
        columns.iter().all(|wanted| self.columns.iter().any(|own| own.eq_ignore_ascii_case(wanted)))
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A tool's history table in a tenant.
#[derive(Clone, Debug)]
pub struct Found {
    /// The tool, as it calls itself.
    pub tool: &'static str,
    /// The table.
    pub table: String,
    /// The format that reads and writes it, where there is one.
    pub format: Option<&'static dyn Rules>,
    /// Whether it could be another tool's that has the same table.
    pub ambiguous: bool,
}

struct Known {
    table: &'static str,
    columns: &'static [&'static str],
    tool: &'static str,
    format: &'static str,
}

const fn known(
    table: &'static str,
    columns: &'static [&'static str],
    tool: &'static str,
    format: &'static str,
) -> Known {
    Known { table, columns, tool, format }
}

/// The tables that tell their tool. Of several for one name, the first whose columns are there is meant.
const KNOWN: [Known; 18] = [
    known("_sqlx_migrations", &["version", "checksum"], "sqlx", "sqlx"),
    known("flyway_schema_history", &["installed_rank"], "Flyway", "flyway"),
    known("_prisma_migrations", &["migration_name"], "Prisma", "prisma"),
    known("goose_db_version", &["version_id"], "goose", "goose"),
    known("__diesel_schema_migrations", &["version"], "Diesel", "diesel"),
    known("refinery_schema_history", &["version"], "refinery", "refinery"),
    known("atlas_schema_revisions", &["version"], "Atlas", "atlas"),
    known("databasechangelog", &["orderexecuted"], "Liquibase", "liquibase"),
    known("pgmigrations", &["name", "run_on"], "node-pg-migrate", "node-pg-migrate"),
    known("SequelizeMeta", &["name"], "Sequelize", "sequelize"),
    known("migrations", &["migration", "batch"], "Laravel", "laravel"),
    known("migrations", &["filename"], "multi-tenant-migrate", "multi-tenant-migrate"),
    known("migrations", &["name", "hash", "executed_at"], "postgres-migrations", "postgres-migrations"),
    known("schema_migrations", &["version", "dirty"], "golang-migrate", "golang-migrate"),
    known("schema_migrations", &["version", "inserted_at"], "Ecto", "ecto"),
    known("schema_migrations", &["version"], "dbmate", "dbmate"),
    known("django_migrations", &["app", "name"], "Django", "django"),
    known("alembic_version", &["version_num"], "Alembic", "alembic"),
];

/// Rails has this table beside its history, which looks like dbmate's.
const RAILS: &str = "ar_internal_metadata";

/// The histories of tools among the tables of a tenant, in the order of the tables.
#[must_use]
pub fn found(tables: &[Table]) -> Vec<Found> {
    let rails = tables.iter().any(|table| table.is(RAILS));
    tables.iter().filter_map(|table| tool_of(table, rails)).collect()
}

fn tool_of(table: &Table, rails: bool) -> Option<Found> {
    let known = KNOWN.iter().find(|known| table.is(known.table) && table.has(known.columns))?;
    let plain = known.tool == "dbmate";
    let (tool, format) = if plain && rails { ("Rails", "rails") } else { (known.tool, known.format) };
    Some(Found {
        tool,
        table: table.name.clone(),
        format: named(format),
        // Rails before its version 5 had no second table.
        ambiguous: plain && !rails,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, columns: &str) -> Table {
        Table { name: name.into(), columns: columns.split(' ').map(Into::into).collect() }
    }

    fn tools(of: &[(&str, &str)]) -> Vec<String> {
        let tables: Vec<Table> = of.iter().map(|(name, columns)| table(name, columns)).collect();
        let shown = |found: &Found| format!("{}{}", found.tool, if found.ambiguous { "?" } else { "" });
        found(&tables).iter().map(shown).collect()
    }

    #[test]
    fn a_table_tells_its_tool() {
        for (name, columns, tool) in [
            ("_sqlx_migrations", "version description installed_on success checksum execution_time", "sqlx"),
            ("flyway_schema_history", "installed_rank version description", "Flyway"),
            ("_prisma_migrations", "id checksum finished_at migration_name", "Prisma"),
            ("goose_db_version", "id version_id is_applied tstamp", "goose"),
            ("__diesel_schema_migrations", "version run_on", "Diesel"),
            ("refinery_schema_history", "version name applied_on checksum", "refinery"),
            ("atlas_schema_revisions", "version description type applied", "Atlas"),
            ("DATABASECHANGELOG", "ID AUTHOR FILENAME DATEEXECUTED ORDEREXECUTED", "Liquibase"),
            ("databasechangelog", "id author filename dateexecuted orderexecuted", "Liquibase"),
            ("pgmigrations", "id name run_on", "node-pg-migrate"),
            ("SequelizeMeta", "name createdAt updatedAt", "Sequelize"),
            ("migrations", "id migration batch", "Laravel"),
            ("migrations", "filename", "multi-tenant-migrate"),
            ("migrations", "id name hash executed_at", "postgres-migrations"),
            ("schema_migrations", "version dirty", "golang-migrate"),
            ("schema_migrations", "version inserted_at", "Ecto"),
            ("schema_migrations", "version", "dbmate?"),
            ("django_migrations", "id app name applied", "Django"),
            ("alembic_version", "version_num", "Alembic"),
        ] {
            assert_eq!(tools(&[(name, columns)]), [tool], "{name}");
        }
    }

    #[test]
    fn the_table_beside_it_tells_rails_from_dbmate() {
        let beside = ("ar_internal_metadata", "key value created_at updated_at");
        assert_eq!(tools(&[beside, ("schema_migrations", "version")]), ["Rails"]);
        assert_eq!(tools(&[beside, ("schema_migrations", "version dirty")]), ["golang-migrate"]);
    }

    #[test]
    fn other_tables_of_these_names_are_nobodys() {
        assert!(tools(&[("migrations", "id year birds"), ("users", "version dirty")]).is_empty());
    }

    #[test]
    fn tools_whose_histories_we_keep_have_a_format() {
        let formats = |name: &str, columns: &str| found(&[table(name, columns)])[0].format.map(Rules::name);
        assert_eq!(formats("schema_migrations", "version dirty"), Some("golang-migrate"));
        assert_eq!(formats("migrations", "id migration batch"), Some("laravel"));
        assert_eq!(formats("schema_migrations", "version inserted_at"), None);
    }
}
