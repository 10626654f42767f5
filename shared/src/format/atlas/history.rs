//! Atlas's history table: making it, reading it and writing its rows.

use std::collections::BTreeMap;

use super::{
    super::{Applied, Entry, Migration},
    files::parts,
};
use crate::{
    place::Engine,
    site::{Row, Site},
    statement::split,
};

/// What wrote a row, in its column for that.
const OPERATOR: &str = "Tenantry";

/// Beginnings of rows that are Atlas's own affair.
const INTERNAL: char = '.';

/// Makes the table where it is not there.
pub(super) fn create(site: &Site) -> String {
    let (text, kind, number, time, long, json, after) = match site.engine {
        Engine::Postgres => ("VARCHAR", "BIGINT", "BIGINT", "TIMESTAMPTZ", "TEXT", "JSONB", ""),
        Engine::MySql => (
            "VARCHAR(255)",
            "BIGINT UNSIGNED",
            "BIGINT",
            "TIMESTAMP",
            "LONGTEXT",
            "JSON",
            " CHARSET utf8mb4 COLLATE utf8mb4_bin",
        ),
        Engine::Sqlite => ("text", "integer", "integer", "datetime", "text", "json", ""),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} (version {text} NOT NULL, description {text} NOT NULL, type {kind} NOT NULL DEFAULT 2, applied {number} NOT NULL DEFAULT 0, total {number} NOT NULL DEFAULT 0, executed_at {time} NOT NULL, execution_time {number} NOT NULL, error {long} NULL, error_stmt {long} NULL, hash {text} NOT NULL, partial_hashes {json} NULL, operator_version {text} NOT NULL, PRIMARY KEY (version)){after}",
        site.table()
    )
}

/// How many statements the script has. Only this history wants to know, and large files take a while to be taken apart.
pub(super) fn statements(site: &Site, entry: Entry<'_>) -> u32 {
    let up = entry.migration.up.as_ref().map(|up| split(&up.text, site.engine).map_or(0, |all| all.len()));
    u32::try_from(up.unwrap_or_default()).unwrap_or(u32::MAX)
}

/// The row of a migration.
pub(super) fn insert(site: &Site, entry: Entry<'_>, applied: u32, total: u32, took: i64) -> String {
    let now = match site.engine {
        Engine::Postgres => "clock_timestamp()",
        Engine::MySql => "CURRENT_TIMESTAMP",
        Engine::Sqlite => "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
    };
    format!(
        "INSERT INTO {} (version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, operator_version) VALUES ({}, {}, 2, {applied}, {total}, {now}, {took}, '', '', {}, '{OPERATOR}')",
        site.table(),
        site.text(entry.migration.version.as_str()),
        site.text(parts(&entry.migration.file).1),
        site.text(entry.migration.checksum.as_deref().unwrap_or_default()),
    )
}

/// What rows say was applied. The first one can stand for all before it.
pub(super) fn read(rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
    let mut found = BTreeMap::new();
    for row in rows {
        if let [Some(version), done] = row.as_slice() {
            found.insert(version.as_str(), done.as_deref() == Some("1"));
        }
    }
    found.retain(|version, _| !version.starts_with(INTERNAL));
    let Some((&first, &done)) = found.first_key_value() else { return Vec::new() };
    if done && !migrations.iter().any(|migration| migration.version.as_str() == first) {
        found.remove(first);
    }
    let before =
        migrations.iter().map(|migration| migration.version.as_str()).filter(|version| *version < first);
    found.extend(before.map(|version| (version, true)));
    let applied =
        |(version, success): (&str, bool)| Applied { version: version.into(), checksum: None, success };
    found.into_iter().map(applied).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::files::{parse, tests::files},
        *,
    };

    fn reads(names: &[&str], rows: &[(&str, bool)]) -> Vec<(String, bool)> {
        let pairs: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        let own = parse(&files(&pairs)).unwrap();
        let row = |(version, done): &(&str, bool)| {
            vec![Some((*version).to_owned()), Some(if *done { "1" } else { "0" }.to_owned())]
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        let read = read(&rows, &own.iter().collect::<Vec<_>>());
        read.into_iter().map(|a| (a.version.to_string(), a.success)).collect()
    }

    fn done(versions: &[&str]) -> Vec<(String, bool)> {
        versions.iter().map(|version| ((*version).to_owned(), true)).collect()
    }

    #[test]
    fn the_first_row_can_stand_for_what_is_before_it() {
        let names = ["1_a.sql", "2_b.sql", "3_c.sql"];
        assert_eq!(reads(&names, &[(".atlas_cloud_identifier", true), ("1", true)]), done(&["1"]));
        assert_eq!(reads(&names, &[("2", true)]), done(&["1", "2"]));
        assert_eq!(reads(&names, &[("2c", true), ("3", true)]), done(&["1", "2", "3"]));
        assert_eq!(reads(&names, &[("1", true), ("2x", true)]), done(&["1", "2x"]));
        assert_eq!(reads(&names, &[("1", false)]), [("1".to_owned(), false)]);
        assert!(reads(&names, &[]).is_empty());
    }
}
