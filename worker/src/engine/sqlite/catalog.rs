//! Reading an SQLite tenant's catalog: one query, nothing written.
//!
//! SQLite keeps the statement that made each object, and changes its text when a table is altered. That text is taken
//! apart into columns and constraints here, and what does not matter is taken out of it: comments, white space, the
//! case of words, and quotes around plain names.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tenantry_shared::{
    schema::{Catalog, Kind, Object},
    site::Row,
};

/// Reads what the catalog is made of.
pub(super) const CATALOG: &str =
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'";

/// What was read last. Tenants that were brought to the same version mostly have the same schema, and it need not be taken
/// apart for each of them.
static LAST: Mutex<Option<Last>> = Mutex::new(None);

struct Last {
    rows: Vec<Row>,
    histories: Vec<String>,
    catalog: Catalog,
}

/// The schema that the rows of [`CATALOG`] tell of, without these history tables.
pub(super) fn read(rows: Vec<Row>, histories: &[&str]) -> Catalog {
    let same = |last: &&Last| last.rows == rows && last.histories == histories;
    let known = last().as_ref().filter(same).map(|last| last.catalog.clone());
    known.unwrap_or_else(|| {
        let catalog = taken_apart(&rows, histories);
        let histories = histories.iter().map(|&table| table.to_owned()).collect();
        *last() = Some(Last { rows, histories, catalog: catalog.clone() });
        catalog
    })
}

fn last() -> MutexGuard<'static, Option<Last>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken_apart(rows: &[Row], histories: &[&str]) -> Catalog {
    let objects = rows.iter().flat_map(|row| {
        let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        objects_of(text(0), text(1), text(2), text(3))
    });
    Catalog::new(objects.collect(), histories)
}

fn objects_of(kind: &str, name: &str, table: &str, sql: &str) -> Vec<Object> {
    let tokens = tokens(sql);
    let on = |kind| object(kind, Some(table), name, joined(&tokens));
    match kind {
        "table" => table_objects(name, &tokens),
        "index" => vec![on(Kind::Index)],
        "trigger" => vec![on(Kind::Trigger)],
        _ => vec![object(Kind::View, None, name, joined(&tokens))],
    }
}

fn object(kind: Kind, on: Option<&str>, name: &str, definition: String) -> Object {
    Object { kind, on: on.map(str::to_owned), name: name.to_owned(), definition }
}

fn table_objects(table: &str, tokens: &[Token]) -> Vec<Object> {
    let is_virtual = tokens.get(1).is_some_and(|token| token.text == "virtual");
    let open = tokens.iter().position(|token| token.text == "(").filter(|_| !is_virtual);
    let Some(open) = open else { return vec![object(Kind::Table, None, table, joined(tokens))] };
    let (elements, options) = elements(&tokens[open + 1..]);
    let mut objects = vec![object(Kind::Table, None, table, joined(options))];
    let mut order = Vec::new();
    for element in elements {
        let Some((first, rest)) = element.split_first() else { continue };
        let word = if first.quoted { "" } else { first.text.as_str() };
        objects.push(match (word, rest) {
            ("constraint", [name, rest @ ..]) => {
                object(Kind::Constraint, Some(table), &name.name, joined(rest))
            }
            ("primary" | "unique" | "check" | "foreign", _) => {
                object(Kind::Constraint, Some(table), &joined(element), String::new())
            }
            _ => {
                order.push(first.name.clone());
                object(Kind::Column, Some(table), &first.name, joined(rest))
            }
        });
    }
    objects.push(object(Kind::Order, Some(table), table, order.join("\n")));
    objects
}

/// What stands between the commas up to the closing parenthesis, and what comes after that.
fn elements(tokens: &[Token]) -> (Vec<&[Token]>, &[Token]) {
    let (mut elements, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" => depth += 1,
            ")" if depth == 0 => {
                elements.push(&tokens[begin..at]);
                return (elements, &tokens[at + 1..]);
            }
            ")" => depth -= 1,
            "," if depth == 0 => {
                elements.push(&tokens[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&tokens[begin..]);
    (elements, &[])
}

/// A word, name, text or sign of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    /// As it is compared.
    text: String,
    /// As it was written, without quotes.
    name: String,
    quoted: bool,
}

fn tokens(sql: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), sql.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '\'' | '"' | '`' => quoted_length(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |at| at + 1),
            c if is_of_a_word(c) => rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len()),
            c if ["<=", ">=", "<>", "!=", "==", "||", "<<", ">>", "->"]
                .iter()
                .any(|s| rest.starts_with(s)) =>
            {
                c.len_utf8() + 1
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !token.starts_with("--") && !token.starts_with("/*") {
            tokens.push(token_of(token));
        }
        rest = after.trim_start();
    }
    tokens
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@' | ':' | '?')
}

/// How long the quoted text at the beginning is; a doubled quote is part of it.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(at) = text[from..].find(quote).map(|at| from + at + 1) {
        if !text[at..].starts_with(quote) {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

fn token_of(token: &str) -> Token {
    let inner = |open: char, close: char| token.strip_prefix(open).and_then(|t| t.strip_suffix(close));
    let name = inner('"', '"').or_else(|| inner('`', '`')).or_else(|| inner('[', ']'));
    match name {
        _ if token.starts_with('\'') => Token { text: token.into(), name: token.into(), quoted: true },
        None => Token { text: token.to_lowercase(), name: token.into(), quoted: false },
        Some(name) if !name.is_empty() && name.chars().all(is_of_a_word) => {
            Token { text: name.to_lowercase(), name: name.into(), quoted: true }
        }
        Some(name) => Token { text: format!("\"{name}\""), name: name.into(), quoted: true },
    }
}

fn joined(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        let tight = matches!(token.text.as_str(), "," | ")" | "." | ";" | "(");
        if !text.is_empty() && !tight && !text.ends_with(['(', '.']) {
            text.push(' ');
        }
        text.push_str(&token.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> Vec<String> {
        let objects = objects_of("table", "t", "t", sql);
        objects.iter().map(|object| format!("{object}: {}", object.definition)).collect()
    }

    #[test]
    fn a_table_is_taken_apart() {
        let sql = "CREATE TABLE \"t\" (\n  id INTEGER PRIMARY KEY, -- the key, and no comma\n  [Full Name] TEXT DEFAULT 'a,(b' NOT NULL,
            n DECIMAL(10, 2) CHECK (n >= 0), CONSTRAINT one UNIQUE (id, n) /* , */, FOREIGN KEY (n) REFERENCES o (id)) STRICT";
        let expected = [
            "table t: strict",
            "column t.id: integer primary key",
            "column t.Full Name: text default 'a,(b' not null",
            "column t.n: decimal(10, 2) check(n >= 0)",
            "constraint one on t: unique(id, n)",
            "constraint foreign key(n) references o(id) on t: ",
            "the order of the columns of t: id\nFull Name\nn",
        ];
        assert_eq!(shown(sql), expected);
    }

    #[test]
    fn what_does_not_matter_is_not_compared() {
        let one = shown("CREATE TABLE t(id INTEGER,name TEXT DEFAULT 'X')");
        assert_eq!(one, shown("CREATE TABLE \"t\" ( id integer , \"name\" text\tdefault 'X' )"));
        assert_ne!(one, shown("CREATE TABLE t(id INTEGER,name TEXT DEFAULT 'x')"));
    }

    #[test]
    fn what_was_read_last_is_taken_for_the_same_only_if_it_is() {
        let row = |name: &str| {
            let sql = format!("CREATE TABLE {name} (id)");
            vec![Some("table".to_owned()), Some(name.into()), Some(name.into()), Some(sql)]
        };
        let digest = |names: &[&str], histories: &[&str]| {
            read(names.iter().map(|name| row(name)).collect(), histories).digest().clone()
        };
        let one = digest(&["a"], &[]);
        assert_eq!(digest(&["a"], &[]), one);
        assert_ne!(digest(&["a", "b"], &[]), one);
        assert_eq!(digest(&["a", "b"], &["b"]), one);
    }

    #[test]
    fn a_virtual_table_is_one_object() {
        let sql = "CREATE VIRTUAL TABLE t USING fts5(a, b)";
        assert_eq!(shown(sql), ["table t: create virtual table t using fts5(a, b)"]);
    }

    #[test]
    fn a_text_that_does_not_end_is_read_to_its_end() {
        for sql in ["CREATE TABLE t (a 'x", "CREATE TABLE t (a /* x", "CREATE TABLE t ([a", "(", "\"", "'ö"]
        {
            let _ = shown(sql);
        }
    }
}
