//! What real directories of migrations hold: a small fixture of each trap that a runner meets in its first year, and what
//! becomes of it on every engine that it concerns.

mod directory;
mod downs;
mod histories;
mod mysql;
mod schemas;
mod server;
mod sqlite;
mod statements;
mod templates;
mod transactions;

use serde_json::Value;
use tenantry_tests::{TenantDb, fleet::Kind};

use crate::site::{KINDS, Site};

const POSTGRES: [Kind; 2] = [Kind::PostgresDatabase, Kind::PostgresSchema];

/// One tenant of each of these kinds, brought to the newest of these files.
async fn applied(kinds: &[Kind], files: &[(&str, &str)]) -> Site {
    let site = with(kinds, files).await;
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"]["applied"], kinds.len(), "{run}");
    site
}

/// One tenant of each of these kinds, and these files.
async fn with(kinds: &[Kind], files: &[(&str, &str)]) -> Site {
    let site = Site::new(kinds, 1).await;
    for (name, text) in files {
        site.home.migration(name, text);
    }
    site
}

/// How many rows a table of a tenant has.
async fn rows(tenant: &TenantDb, table: &str) -> i64 {
    tenant.number(&format!("SELECT count(*) FROM {table}")).await
}

/// Code and class of a cause.
fn told(cause: &Value) -> (&str, &str) {
    let text = |name: &str| cause[name].as_str().unwrap_or_default();
    (text("code"), text("class"))
}

/// What a cause names as the way out.
fn hint(cause: &Value) -> &str {
    cause["hint"].as_str().unwrap_or_default()
}
