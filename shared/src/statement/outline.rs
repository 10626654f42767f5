//! What a statement says without what it is about: for telling of somebody else's.

use std::collections::BTreeSet;

use super::{script::tokens, token::Sort};
use crate::place::Engine;

/// The beginning of a statement, of at most so many characters, with a `?` for every text and number and without its
/// comments. A statement that was cut off is told as far as it can be read, and so is one with a backslash in a text: where
/// that ends is a setting of the session that wrote it.
#[must_use]
pub fn outline(text: &str, engine: Engine, characters: usize) -> String {
    let (mut out, mut end) = (String::new(), 0);
    for token in tokens(text, engine) {
        if token.start > end && !out.is_empty() {
            out.push(' ');
        }
        let number = token.text.starts_with(|c: char| c.is_ascii_digit());
        match token.sort {
            Sort::Text => out.push('?'),
            Sort::Word if number => out.push('?'),
            _ => out.push_str(token.text),
        }
        if token.sort == Sort::Text && token.text.contains('\\') {
            return out;
        }
        end = token.end();
        if out.chars().nth(characters).is_some() {
            return out.chars().take(characters).chain(['…']).collect();
        }
    }
    out
}

/// Every name and keyword in a statement: names without quotes in lower case.
#[must_use]
pub fn names(text: &str, engine: Engine) -> BTreeSet<String> {
    tokens(text, engine).iter().filter_map(super::token::Token::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_a_value_is_in_an_outline() {
        let all = |text, engine| outline(text, engine, 200);
        assert_eq!(
            all("ALTER ROLE app  PASSWORD 'it''s secret' -- secret", Engine::Postgres),
            "ALTER ROLE app PASSWORD ?"
        );
        assert_eq!(
            all("SELECT $$secret$$, 4711, x'5e' /* secret */ FROM \"Users\"", Engine::Postgres),
            "SELECT ?, ?, ? FROM \"Users\""
        );
        assert_eq!(
            all("UPDATE `users` SET a = \"secret\", b = 0x5ec, c = '\\\\', d = 'secret'", Engine::MySql),
            "UPDATE `users` SET a = ?, b = ?, c = ?"
        );
        assert_eq!(all("SELECT 'a\\' secret ' FROM b", Engine::Postgres), "SELECT ?");
    }

    #[test]
    fn an_outline_of_a_statement_that_was_cut_off_ends_before_the_open_text() {
        assert_eq!(outline("UPDATE users SET a = 'secre", Engine::Postgres, 80), "UPDATE users SET a =");
        assert_eq!(outline("SELECT abcdef", Engine::MySql, 9), "SELECT ab…");
        assert_eq!(outline("", Engine::MySql, 9), "");
    }

    #[test]
    fn names_are_found_with_and_without_quotes() {
        let found = names("ALTER TABLE App.\"Users\" ADD x int DEFAULT 'Posts'", Engine::Postgres);
        assert!(found.contains("app") && found.contains("Users") && !found.contains("Posts"), "{found:?}");
    }
}
