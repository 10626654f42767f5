//! Where a tenant's history is, and how SQL says so there: names and literals of each engine. Pure.
//!
//! Values are written into the text, so that a migration and its history row can go to the server as one message.
//! Every literal is safe whatever the server's settings are (`standard_conforming_strings`, `NO_BACKSLASH_ESCAPES`).

use crate::{digest::hex, place::Engine};

/// One row of a history as text; what is NULL is none.
pub type Row = Vec<Option<String>>;

/// A table of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The engine whose SQL is spoken.
    pub engine: Engine,
    /// The schema on PostgreSQL, the database on MySQL, none on SQLite.
    pub schema: Option<String>,
    /// The table's bare name.
    pub table: String,
}

impl Site {
    /// The table with its schema, quoted.
    #[must_use]
    pub fn table(&self) -> String {
        self.beside(&self.table)
    }

    /// Another table or index in the same schema, quoted.
    #[must_use]
    pub fn beside(&self, name: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", self.name(schema), self.name(name)),
            None => self.name(name),
        }
    }

    /// A name, quoted.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        quoted(self.engine, name)
    }

    /// A text as a literal.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let text: String = text.chars().filter(|c| *c != '\0').collect();
        let plain = text.bytes().all(|b| b.is_ascii() && b != b'\\' && b != b'\'');
        match self.engine {
            _ if plain => format!("'{text}'"),
            Engine::Postgres => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            Engine::MySql => format!("CONVERT(X'{}' USING utf8mb4)", hex(text.as_bytes())),
            Engine::Sqlite => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// A text or NULL.
    #[must_use]
    pub fn optional(&self, text: Option<&str>) -> String {
        text.map_or_else(|| "NULL".to_owned(), |text| self.text(text))
    }

    /// Bytes, given in hexadecimal, as a literal.
    #[must_use]
    pub fn bytes(&self, hex: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("decode('{hex}', 'hex')"),
            Engine::MySql | Engine::Sqlite => format!("X'{hex}'"),
        }
    }

    /// An expression as a text, to be read back as [`Row`].
    #[must_use]
    pub fn as_text(&self, expression: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("CAST({expression} AS text)"),
            Engine::MySql => format!("CAST({expression} AS CHAR)"),
            Engine::Sqlite => format!("CAST({expression} AS TEXT)"),
        }
    }

    /// Bytes in lower-case hexadecimal.
    #[must_use]
    pub fn as_hex(&self, expression: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("encode({expression}, 'hex')"),
            Engine::MySql | Engine::Sqlite => format!("LOWER(HEX({expression}))"),
        }
    }

    /// A truth as the text `1` or `0`.
    #[must_use]
    pub fn as_flag(&self, expression: &str) -> String {
        format!("CASE WHEN {expression} THEN '1' ELSE '0' END")
    }
}

/// A name of an engine's, quoted.
#[must_use]
pub fn quoted(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Postgres | Engine::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        Engine::MySql => format!("`{}`", name.replace('`', "``")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(engine: Engine) -> Site {
        Site { engine, schema: Some("a\"`b".into()), table: "t".into() }
    }

    #[test]
    fn names_are_quoted_as_the_engine_does() {
        assert_eq!(site(Engine::Postgres).table(), "\"a\"\"`b\".\"t\"");
        assert_eq!(site(Engine::MySql).table(), "`a\"``b`.`t`");
    }

    #[test]
    fn literals_do_not_depend_on_settings() {
        assert_eq!(site(Engine::Postgres).text("it's \\ö"), "E'it''s \\\\ö'");
        assert_eq!(site(Engine::MySql).text("it's"), "CONVERT(X'69742773' USING utf8mb4)");
        assert_eq!(site(Engine::Sqlite).text("it's \\"), "'it''s \\'");
        assert_eq!(site(Engine::MySql).text("plain"), "'plain'");
    }
}
