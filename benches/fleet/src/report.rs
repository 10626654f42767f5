//! Tables in Markdown, line by line as they are measured, and the same figures as JSON Lines.
#![expect(clippy::print_stdout, reason = "this is what the program is for")]

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

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

/// A line of a table: names and values.
pub type Line = Vec<(&'static str, Cell)>;

/// Lines that have the same columns.
struct Table {
    title: String,
    lines: Vec<Line>,
}

/// Where all is printed.
pub struct Report {
    json: Option<File>,
    markdown: Option<PathBuf>,
    /// What is said before the next table.
    said: String,
    tables: Vec<Table>,
    /// The table that was printed last.
    last: Option<usize>,
}

impl Report {
    /// Figures go to these files, too: lines as they come, and tables as they are when they are whole.
    pub fn new(json: Option<&Path>, markdown: Option<&Path>) -> Self {
        Self {
            json: json.map(|path| File::create(path).expect("a file")),
            markdown: markdown.map(Into::into),
            said: String::new(),
            tables: Vec::new(),
            last: None,
        }
    }

    /// A line of text before the tables that follow.
    pub fn say(&mut self, text: &str) {
        self.last = None;
        text.clone_into(&mut self.said);
        println!("\n{text}\n");
    }

    /// A line of text that belongs to no table.
    pub fn note(&mut self, text: &str) {
        self.last = None;
        println!("\n{text}");
    }

    /// A line of the table with these columns. Where another one has been printed since its last line, its head is printed again.
    pub fn line(&mut self, line: Line) {
        let same = |table: &Table| table.lines.first().is_some_and(|first| columns(first) == columns(&line));
        let at = self.tables.iter().position(same).unwrap_or_else(|| {
            self.tables.push(Table { title: std::mem::take(&mut self.said), lines: Vec::new() });
            self.tables.len() - 1
        });
        if self.last != Some(at) {
            println!("\n{}", head(&line));
            self.last = Some(at);
        }
        println!("{}", shown(&line));
        self.write_json(&line);
        self.tables[at].lines.push(line);
        self.write_markdown();
    }

    fn write_json(&mut self, line: &Line) {
        let Some(file) = &mut self.json else { return };
        let line: Map<String, Value> =
            line.iter().map(|(name, cell)| (name.trim().to_owned(), cell.value())).collect();
        writeln!(file, "{}", Value::Object(line)).expect("the file");
    }

    /// All tables so far, each in one piece.
    fn write_markdown(&self) {
        let Some(path) = &self.markdown else { return };
        let table = |Table { title, lines }: &Table| {
            let rows: Vec<String> = lines.iter().map(shown).collect();
            format!("{title}\n\n{}\n{}\n", head(&lines[0]), rows.join("\n"))
        };
        let text: Vec<String> = self.tables.iter().map(table).collect();
        std::fs::write(path, text.join("\n")).expect("the file");
    }
}

fn columns(line: &Line) -> Vec<&'static str> {
    line.iter().map(|(name, _)| *name).collect()
}

/// The names of a table's columns, and the line below them.
fn head(line: &Line) -> String {
    let rule = |(name, cell): &(&'static str, Cell)| match cell {
        Cell::Text(_) => format!(":{}", "-".repeat(width(name) - 1)),
        _ => format!("{}:", "-".repeat(width(name) - 1)),
    };
    let names = padded(line.iter().map(|(name, _)| (*name, (*name).to_owned())));
    format!("{names}\n{}", padded(line.iter().map(|cell| (cell.0, rule(cell)))))
}

fn shown(line: &Line) -> String {
    padded(line.iter().map(|(name, cell)| (*name, cell.shown())))
}

fn width(name: &str) -> usize {
    name.chars().count().max(7)
}

fn padded<'a>(cells: impl Iterator<Item = (&'a str, String)>) -> String {
    let cells = cells.map(|(name, text)| format!("{text:>0$}", width(name)));
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}
