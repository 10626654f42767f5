//! Histories that are a column of names, and nothing else that has to be told.

use super::{Applied, Entry};
use crate::site::{Row, Site};

pub(super) fn select(site: &Site, column: &str) -> String {
    format!("SELECT {} FROM {}", site.as_text(column), site.table())
}

pub(super) fn read(rows: &[Row]) -> Vec<Applied> {
    let names = rows.iter().filter_map(|row| row.first().cloned().flatten());
    names.map(|name| Applied { version: name.into(), checksum: None, success: true }).collect()
}

pub(super) fn insert(site: &Site, column: &str, entry: Entry<'_>) -> String {
    let name = site.text(entry.migration.version.as_str());
    format!("INSERT INTO {} ({column}) VALUES ({name})", site.table())
}

pub(super) fn delete(site: &Site, column: &str, entry: Entry<'_>) -> String {
    let name = site.text(entry.migration.version.as_str());
    format!("DELETE FROM {} WHERE {column} = {name}", site.table())
}
