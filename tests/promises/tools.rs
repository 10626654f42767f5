//! Other tools by themselves, each on every kind of database that it knows: what they write into a history, and what
//! they say when it is up to date. Every format we share with them counts on these facts.
//!
//! Each test applies the first two of three migrations, looks at the history, applies the third, hears that nothing is
//! left, and takes the third back.

mod node;
mod programs;
pub(crate) mod python;
pub(crate) mod system;

use tempfile::TempDir;
use tenantry_tests::{Fleet, Ran, TenantDb, Tool, fleet::Kind};

/// The body of each test's first migration.
const FIRST: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";
const SECOND: &str = "CREATE TABLE u (id int);\n";
const THIRD: &str = "CREATE TABLE w (id int);\n";

/// A project of the tool's users, with one empty tenant of each kind.
struct Project {
    tool: Tool,
    dir: TempDir,
    fleet: Fleet,
}

impl Project {
    /// None where the tool is not installed.
    async fn of(name: &str, kinds: &[Kind]) -> Option<Self> {
        let tool = Tool::find(name)?;
        let dir = TempDir::new().expect("a directory");
        let mut fleet = Fleet::default();
        for &kind in kinds {
            fleet.add(kind, 1, dir.path()).await;
        }
        Some(Self { tool, dir, fleet })
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Runs the tool with the URL it understands in `DATABASE_URL`, and sees to its exit code.
    fn run(&self, url: &str, args: &[&str], code: i32) -> Ran {
        self.tool.run(self.dir.path(), &[("DATABASE_URL", url)], args).exits(code)
    }
}

/// Each column of a table with its type, and `not null` where it is so, in their order; then the key's columns. Without the
/// widths of whole numbers and the word for JSON that MariaDB has and MySQL has not.
pub(crate) async fn shape(tenant: &TenantDb, table: &str) -> String {
    let sql = match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => format!(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY attnum)
                 || '; ' || (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = attrelid AND contype = 'p')
             FROM pg_attribute WHERE attrelid = '\"{table}\"'::regclass AND attnum > 0 GROUP BY attrelid"
        ),
        Kind::MariaDb => format!(
            "SELECT CAST(concat(group_concat(column_name, ' ', column_type, if(is_nullable = 'NO', ' not null', '') ORDER BY ordinal_position SEPARATOR ', '),
                 '; PRIMARY KEY (', group_concat(if(column_key = 'PRI', column_name, NULL)), ')') AS CHAR)
             FROM information_schema.columns WHERE table_schema = database() AND table_name = '{table}'"
        ),
        Kind::Sqlite => format!("SELECT sql FROM sqlite_master WHERE name = '{table}'"),
    };
    let shape = tenant.text(&sql).await.unwrap_or_default();
    let widths = [("bigint(20)", "bigint"), ("int(11)", "int"), ("int(10)", "int"), (" json", " longtext")];
    match tenant.kind {
        Kind::MariaDb => widths.iter().fold(shape, |shape, (from, to)| shape.replace(from, to)),
        _ => shape,
    }
}

/// The rows of a history in their order, as one column of text.
pub(crate) async fn rows(tenant: &TenantDb, table: &str, column: &str) -> String {
    let from = format!("(SELECT {column} c FROM {table} ORDER BY 1) x");
    let sql = match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => {
            format!("SELECT string_agg(c::text, ' ') FROM {from}")
        }
        Kind::MariaDb => format!("SELECT CAST(group_concat(c ORDER BY c SEPARATOR ' ') AS CHAR) FROM {from}"),
        Kind::Sqlite => format!("SELECT group_concat(c, ' ') FROM {from}"),
    };
    tenant.text(&sql).await.unwrap_or_default()
}

/// The tenant's URL with another scheme.
pub(crate) fn scheme(tenant: &TenantDb, postgres: &str, mariadb: &str, sqlite: &str) -> String {
    let (own, rest) = tenant.url.split_once(':').expect("a URL");
    match own {
        "postgres" => format!("{postgres}:{rest}"),
        "mysql" => format!("{mariadb}:{rest}"),
        _ => format!("{sqlite}{rest}"),
    }
}
