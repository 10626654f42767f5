//! Rows of a file: CSV with a heading, or JSON Lines.

use std::path::Path;

use csv::{Position, ReaderBuilder, Trim};
use serde_json::Value;

use super::row::Row;
use crate::config::FileFormat;

/// A table of text: its heading, and its rows of as many values.
pub struct Table {
    /// The names of its columns.
    pub heading: Vec<String>,
    /// Its rows.
    pub rows: Vec<(u64, Vec<String>)>,
}

/// Reads CSV with a heading.
///
/// # Errors
/// The line that is no row of the table, and what is wrong with it. No value is repeated.
pub fn csv(text: &str) -> Result<Table, (u64, String)> {
    // The reader counts the second half of a CRLF to the next line.
    let text = text.replace("\r\n", "\n");
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|_| (1, "no heading".to_owned()))?;
    let heading = heading.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| {
            (e.position().map_or(0, Position::line), "not as many columns as the heading".to_owned())
        })?;
        let line = record.position().map_or(0, Position::line);
        rows.push((line, record.iter().map(str::to_owned).collect()));
    }
    Ok(Table { heading, rows })
}

/// Reads a file of tenants.
pub(super) fn read(path: &Path, format: FileFormat, each: impl FnMut(Row)) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows = match format {
        FileFormat::Csv => csv_rows(&text, each),
        FileFormat::Jsonl => json_rows(&text, each),
    };
    rows.map_err(|(line, why)| format!("{} line {line}: {why}", path.display()))
}

fn csv_rows(text: &str, mut each: impl FnMut(Row)) -> Result<(), (u64, String)> {
    let table = csv(text)?;
    for (line, values) in table.rows {
        let mut row = Row::new(format!("line {line}"));
        for (name, value) in table.heading.iter().zip(values) {
            row.push(name, Some(value));
        }
        each(row);
    }
    Ok(())
}

fn json_rows(text: &str, mut each: impl FnMut(Row)) -> Result<(), (u64, String)> {
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        // serde's own words could repeat the line, and a secret in it; its position cannot.
        let value: Value = serde_json::from_str(line)
            .map_err(|e| (number, format!("not a JSON object at column {}", e.column())))?;
        if !value.is_object() {
            return Err((number, "not a JSON object".into()));
        }
        each(Row::of_json(format!("line {number}"), &value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_give_the_same_rows() {
        let read = |text: &str, json: bool| {
            let mut rows = Vec::new();
            let each = |row: Row| {
                rows.push((
                    row.at().to_owned(),
                    row.get("id").map(str::to_owned),
                    row.get("labels.plan").map(str::to_owned),
                ))
            };
            if json { json_rows(text, each) } else { csv_rows(text, each) }.map(|()| rows)
        };
        let expected = vec![("line 2".to_owned(), Some("7".to_owned()), Some("pro".to_owned()))];
        assert_eq!(read("id,labels.plan\r\n7, pro\r\n", false).unwrap(), expected);
        assert_eq!(read("\n{\"id\":7,\"labels\":{\"plan\":\"pro\"},\"x\":null}\n", true).unwrap(), expected);
        assert_eq!(
            read("{\"url\":\"postgres://u:hush@h\"", true),
            Err((1, "not a JSON object at column 28".into()))
        );
        assert_eq!(read("[1]", true), Err((1, "not a JSON object".into())));
        assert_eq!(read("id,url\na\n", false), Err((2, "not as many columns as the heading".into())));
    }
}
