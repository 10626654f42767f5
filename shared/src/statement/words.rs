//! A statement read from its beginning: keywords and names.

use super::token::{Sort, Token, begins};

/// What is left of a statement.
pub(super) struct Words<'t, 'a> {
    pub(super) tokens: &'t [Token<'a>],
}

impl Words<'_, '_> {
    /// Takes these keywords if they come next.
    pub(super) fn take(&mut self, keywords: &[&str]) -> bool {
        let next = begins(self.tokens, keywords);
        if next {
            self.tokens = &self.tokens[keywords.len()..];
        }
        next
    }

    /// Goes on to the first of these keywords, or to the end.
    pub(super) fn skip_until(&mut self, keywords: &[&str]) {
        let at = self.tokens.iter().position(|token| token.is_any(keywords));
        self.tokens = &self.tokens[at.unwrap_or(self.tokens.len())..];
    }

    /// Takes a name.
    pub(super) fn name(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        let name = written(first)?;
        self.tokens = rest;
        Some(name)
    }

    /// Takes names that dots stand between.
    pub(super) fn path(&mut self) -> Option<Vec<String>> {
        let mut path = vec![self.name()?];
        while let [dot, rest @ ..] = self.tokens
            && dot.is_mark(".")
        {
            self.tokens = rest;
            path.push(self.name()?);
        }
        Some(path)
    }

    /// Whether no further action follows.
    pub(super) fn is_last(&self) -> bool {
        let mut depth = 0_i32;
        !self.tokens.iter().any(|token| {
            depth += i32::from(token.is_mark("(")) - i32::from(token.is_mark(")"));
            depth == 0 && token.is_mark(",")
        })
    }
}

/// A name as it is written: its case may count.
pub(super) fn written(token: &Token<'_>) -> Option<String> {
    match token.sort {
        Sort::Word => Some(token.text.to_owned()),
        _ => token.name(),
    }
}
