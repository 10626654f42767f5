//! What is applied: one migration, or ten ordinary ones, in sqlx's format, on each engine.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

use crate::places::Kind;

/// A migration as the floor and the product apply it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Migration {
    pub version: i64,
    pub name: String,
    /// One statement each: MariaDB commits each by itself.
    pub statements: Vec<String>,
}

impl Migration {
    /// The text of its file.
    pub fn text(&self) -> String {
        self.statements.iter().map(|statement| format!("{statement};\n")).collect()
    }

    /// The table that it makes, if it makes one.
    pub fn table(&self) -> Option<&str> {
        self.statements[0].strip_prefix("CREATE TABLE ")?.split(' ').next()
    }

    /// The checksum that sqlx writes into the history, in hexadecimal digits.
    pub fn checksum(&self) -> String {
        Sha384::digest(self.text()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One migration: a table with an index.
pub fn one(kind: Kind) -> Vec<Migration> {
    vec![migration(
        1,
        "accounts",
        &[&table(kind, "accounts", ""), "CREATE INDEX accounts_name ON accounts (name)"],
    )]
}

/// Ten ordinary ones: tables, indexes, foreign keys, columns, and a backfill of 100 rows.
pub fn ten(kind: Kind) -> Vec<Migration> {
    let account = "account_id BIGINT NOT NULL REFERENCES accounts (id), ";
    let order = "order_id BIGINT NOT NULL REFERENCES orders (id), ";
    let rows = match kind {
        Kind::Schemas | Kind::Databases => {
            "INSERT INTO accounts (id, name) SELECT n, 'account ' || n FROM generate_series(1, 100) n".into()
        }
        Kind::Mariadb => {
            "INSERT INTO accounts (id, name) SELECT seq, CONCAT('account ', seq) FROM seq_1_to_100".into()
        }
        Kind::Sqlite => format!(
            "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 100) {}",
            "INSERT INTO accounts (id, name) SELECT n, 'account ' || n FROM r"
        ),
    };
    let mut all = one(kind);
    all.extend([
        migration(
            2,
            "users",
            &[&table(kind, "users", account), "CREATE INDEX users_account ON users (account_id)"],
        ),
        migration(
            3,
            "orders",
            &[&table(kind, "orders", account), "CREATE INDEX orders_account ON orders (account_id)"],
        ),
        migration(
            4,
            "lines",
            &[&table(kind, "order_lines", order), "CREATE INDEX order_lines_order ON order_lines (order_id)"],
        ),
        migration(5, "email", &["ALTER TABLE users ADD COLUMN email VARCHAR(200)"]),
        migration(6, "emails", &["CREATE UNIQUE INDEX users_email ON users (email)"]),
        migration(7, "rows", &[&rows]),
        migration(8, "plan", &["ALTER TABLE accounts ADD COLUMN plan VARCHAR(20)"]),
        migration(9, "plans", &["UPDATE accounts SET plan = 'free' WHERE plan IS NULL"]),
        migration(
            10,
            "invoices",
            &[&table(kind, "invoices", account), "CREATE INDEX invoices_account ON invoices (account_id)"],
        ),
    ]);
    all
}

/// Writes the files where the product reads them.
pub fn write(dir: &Path, migrations: &[Migration]) {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("a directory");
    for migration in migrations {
        let file = dir.join(format!("{:04}_{}.sql", migration.version, migration.name));
        std::fs::write(file, migration.text()).expect("a migration");
    }
}

fn migration(version: i64, name: &str, statements: &[&str]) -> Migration {
    Migration { version, name: name.into(), statements: statements.iter().map(ToString::to_string).collect() }
}

fn table(kind: Kind, name: &str, more: &str) -> String {
    let id = if kind == Kind::Sqlite { "INTEGER PRIMARY KEY" } else { "BIGINT PRIMARY KEY" };
    format!(
        "CREATE TABLE {name} (id {id}, {more}name VARCHAR(200) NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
    )
}
