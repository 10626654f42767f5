//! Tables in Markdown, line by line as they are measured, and the same figures as JSON Lines.
#![expect(clippy::print_stdout, reason = "this is what the program is for")]

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use serde_json::{Map, Value, json};

/// One figure or word of a line.
pub enum Cell {
    Text(String),
    /// A number and how many digits are shown after its point.
    Number(f64, usize),
    Nothing,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn count(count: usize) -> Self {
        Self::Number(count as f64, 0)
    }

    /// In milliseconds.
    pub fn ms(took: Duration) -> Self {
        Self::Number(took.as_secs_f64() * 1000.0, 0)
    }

    /// In milliseconds and tenths.
    pub fn tenths(took: Duration) -> Self {
        Self::Number(took.as_secs_f64() * 1000.0, 1)
    }

    /// In units of 1,048,576 bytes.
    pub fn mib(bytes: u64) -> Self {
        Self::Number(bytes as f64 / 1_048_576.0, 1)
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number, digits) => format!("{number:.digits$}"),
            Self::Nothing => "–".into(),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number, _) => json!(number),
            Self::Nothing => Value::Null,
        }
    }
}

/// Where all is printed.
pub struct Report {
    columns: Vec<&'static str>,
    json: Option<File>,
    held: Vec<Vec<(&'static str, Cell)>>,
}

impl Report {
    /// Figures go to this file, too.
    pub fn new(json: Option<&Path>) -> Self {
        Self {
            columns: Vec::new(),
            json: json.map(|path| File::create(path).expect("a file")),
            held: Vec::new(),
        }
    }

    /// A line of text between tables.
    pub fn say(&mut self, text: &str) {
        self.columns.clear();
        println!("\n{text}\n");
    }

    /// A line of a table that is printed when [`Self::release`] is called, so that it is one.
    pub fn hold(&mut self, cells: Vec<(&'static str, Cell)>) {
        self.held.push(cells);
    }

    /// Prints what was held back.
    pub fn release(&mut self) {
        for cells in std::mem::take(&mut self.held) {
            self.line(&cells);
        }
    }

    /// A line of a table, which begins anew where the columns are other ones.
    pub fn line(&mut self, cells: &[(&'static str, Cell)]) {
        let columns: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
        if self.columns != columns {
            let rule = |(name, cell): &(&str, Cell)| match cell {
                Cell::Text(_) => format!(":{}", "-".repeat(width(name) - 1)),
                _ => format!("{}:", "-".repeat(width(name) - 1)),
            };
            println!("\n{}", padded(cells.iter().map(|(name, _)| (*name, (*name).to_owned()))));
            println!("{}", padded(cells.iter().map(|cell| (cell.0, rule(cell)))));
            self.columns = columns;
        }
        println!("{}", padded(cells.iter().map(|(name, cell)| (*name, cell.shown()))));
        if let Some(file) = &mut self.json {
            let line: Map<String, Value> =
                cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.value())).collect();
            writeln!(file, "{}", Value::Object(line)).expect("the file");
        }
    }
}

fn width(name: &str) -> usize {
    name.chars().count().max(7)
}

fn padded<'a>(cells: impl Iterator<Item = (&'a str, String)>) -> String {
    let cells = cells.map(|(name, text)| format!("{text:>0$}", width(name)));
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}
