//! Rows of a file: CSV with a heading, or JSON Lines.

use std::{borrow::Cow, io::Cursor, path::Path};

use csv::{Position, ReaderBuilder, StringRecordsIntoIter, Trim};
use serde_json::Value;

use super::row::Row;
use crate::config::FileFormat;

/// A line that is wrong, and what is wrong with it. No value is repeated.
pub type Wrong = (u64, String);

/// A table of text: its heading, and its rows of as many values.
pub struct Table<'t> {
    /// The names of its columns.
    pub heading: Vec<String>,
    /// Its rows.
    pub rows: Rows<'t>,
}

/// The rows of a table, read one by one, each with its line. One that has not as many values as the heading is an error.
pub struct Rows<'t>(StringRecordsIntoIter<Cursor<Cow<'t, [u8]>>>);

impl Iterator for Rows<'_> {
    type Item = Result<(u64, Vec<String>), Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = |position: Option<&Position>| position.map_or(0, Position::line);
        Some(match self.0.next()? {
            Ok(record) => Ok((line(record.position()), record.iter().map(str::to_owned).collect())),
            Err(error) => Err((line(error.position()), "not as many columns as the heading".into())),
        })
    }
}

/// Reads CSV with a heading.
///
/// # Errors
/// When there is no heading.
pub fn csv(text: &str) -> Result<Table<'_>, Wrong> {
    // The reader counts the second half of a CRLF to the next line.
    let bytes: Cow<'_, [u8]> = match text.contains("\r\n") {
        true => text.replace("\r\n", "\n").into_bytes().into(),
        false => text.as_bytes().into(),
    };
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(Cursor::new(bytes));
    let heading = reader.headers().map_err(|_| (1, "no heading".to_owned()))?;
    let heading = heading.iter().map(str::to_owned).collect();
    Ok(Table { heading, rows: Rows(reader.into_records()) })
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

fn csv_rows(text: &str, mut each: impl FnMut(Row)) -> Result<(), Wrong> {
    let table = csv(text)?;
    for record in table.rows {
        let (line, values) = record?;
        let mut row = Row::new(format!("line {line}"));
        for (name, value) in table.heading.iter().zip(values) {
            row.push(name, Some(value));
        }
        each(row);
    }
    Ok(())
}

fn json_rows(text: &str, mut each: impl FnMut(Row)) -> Result<(), Wrong> {
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
