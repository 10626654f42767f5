//! The tokens of a script, the same for every engine. Blanks and comments are none.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A keyword, a name without quotes, or a number.
    Word,
    /// A name in quotes.
    Name,
    /// A text in quotes.
    Text,
    /// One character of punctuation.
    Mark,
    /// The `/*!50003` or `*/` around what only some versions of MySQL run.
    Hint,
    /// What may end a statement.
    Delimiter,
}

/// One token, by its place in the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) sort: Sort,
    pub(super) text: &'a str,
    /// Its first byte in the script.
    pub(super) start: usize,
}

impl Token<'_> {
    /// The first byte after it.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.sort == Sort::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is one of these keywords.
    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    /// Whether it is this punctuation.
    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.sort, Sort::Mark | Sort::Delimiter) && self.text == mark
    }

    /// The text of a name: one without quotes in lower case, one in quotes as it is.
    pub(super) fn name(&self) -> Option<String> {
        match self.sort {
            Sort::Word => Some(self.text.to_lowercase()),
            Sort::Name => {
                let quote = self.text.chars().next_back()?;
                let inner = self.text.trim_start_matches("U&").trim_start_matches("u&");
                let inner = inner.get(1..inner.len().checked_sub(1)?)?;
                Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
            }
            _ => None,
        }
    }
}

/// Whether a statement begins with these keywords.
pub(super) fn begins(tokens: &[Token<'_>], keywords: &[&str]) -> bool {
    tokens.len() >= keywords.len() && keywords.iter().zip(tokens).all(|(keyword, token)| token.is(keyword))
}

/// Whether a statement holds these keywords one after the other.
pub(super) fn holds(tokens: &[Token<'_>], keywords: &[&str]) -> bool {
    tokens.windows(keywords.len()).any(|window| begins(window, keywords))
}

/// Whether a statement has one of these keywords at the given place.
pub(super) fn has_at(tokens: &[Token<'_>], at: usize, keywords: &[&str]) -> bool {
    tokens.get(at).is_some_and(|token| token.is_any(keywords))
}
