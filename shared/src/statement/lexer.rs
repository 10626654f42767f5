//! The tokens of MySQL and SQLite, which differ in comments, quotes and escapes alone.

use super::{
    script::{Fault, Lexed},
    token::{Sort, Token},
};

/// Whose tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MySQL or MariaDB, with the client's `DELIMITER` commands.
    MySqlScript,
    /// One statement of it.
    MySqlStatement,
    /// SQLite.
    Sqlite,
}

/// The tokens of a text.
pub(super) fn lex(sql: &str, dialect: Dialect) -> Lexed<'_> {
    let mut lexer = Lexer { sql, at: 0, dialect, delimiter: ";", hints: Vec::new(), tokens: Vec::new() };
    let fault = lexer.run().err();
    Lexed { tokens: lexer.tokens, fault }
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    dialect: Dialect,
    delimiter: &'a str,
    /// Where the `/*!` began that are not closed yet.
    hints: Vec<usize>,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), Fault> {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
        }
        while let Some(first) = self.rest().chars().next() {
            if first.is_ascii_whitespace() || first == '\u{b}' {
                self.at += 1;
            } else if self.rest().starts_with(self.delimiter) {
                self.push(Sort::Delimiter, self.delimiter.len());
            } else if !self.skip_comment()? && !self.command()? {
                self.token(first)?;
            }
        }
        match self.hints.last() {
            Some(at) => Err(Fault { at: *at, reason: "the comment that begins here has no end" }),
            None => Ok(()),
        }
    }

    fn rest(&self) -> &'a str {
        &self.sql[self.at..]
    }

    fn mysql(&self) -> bool {
        self.dialect != Dialect::Sqlite
    }

    fn push(&mut self, sort: Sort, len: usize) {
        self.tokens.push(Token { sort, text: &self.sql[self.at..self.at + len], start: self.at });
        self.at += len;
    }

    /// Skips a comment, if one begins here.
    fn skip_comment(&mut self) -> Result<bool, Fault> {
        let rest = self.rest();
        let line = if self.mysql() {
            rest.starts_with('#') || (rest.starts_with("--") && !rest[2..].starts_with(|c: char| c > ' '))
        } else {
            rest.starts_with("--")
        };
        if line {
            self.at += rest.find('\n').unwrap_or(rest.len());
            return Ok(true);
        }
        if !rest.starts_with("/*") || (self.mysql() && hint(rest) > 0) {
            return Ok(false);
        }
        match rest[2..].find("*/") {
            Some(len) => self.at += len + 4,
            None if self.mysql() => return Err(self.unended("the comment that begins here has no end")),
            None => self.at = self.sql.len(),
        }
        Ok(true)
    }

    fn unended(&self, reason: &'static str) -> Fault {
        Fault { at: self.at, reason }
    }

    /// Obeys `DELIMITER`, which stands first on its line and outside a statement.
    fn command(&mut self) -> Result<bool, Fault> {
        const WORD: &str = "delimiter";
        let rest = self.rest();
        let fits = self.dialect == Dialect::MySqlScript
            && rest.get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD))
            && rest[WORD.len()..].starts_with(|c: char| c.is_ascii_whitespace())
            && self.first_on_line()
            && (self.delimiter != ";" || self.tokens.last().is_none_or(|t| t.sort == Sort::Delimiter));
        if !fits {
            return Ok(false);
        }
        let line = rest.split('\n').next().unwrap_or(rest);
        let argument = line[WORD.len()..].split_ascii_whitespace().next();
        let argument = argument.ok_or(self.unended("DELIMITER needs a delimiter on its line"))?;
        // What was left open before it ends here: an empty delimiter takes no text.
        self.tokens.push(Token { sort: Sort::Delimiter, text: "", start: self.at });
        self.delimiter = argument;
        self.at += line.len();
        Ok(true)
    }

    fn first_on_line(&self) -> bool {
        let line = self.sql[..self.at].rsplit('\n').next().unwrap_or_default();
        line.trim_start_matches('\u{feff}').trim().is_empty()
    }

    fn token(&mut self, first: char) -> Result<(), Fault> {
        let rest = self.rest();
        let hint = if self.mysql() { hint(rest) } else { 0 };
        match first {
            _ if hint > 0 => {
                self.hints.push(self.at);
                self.push(Sort::Hint, hint);
            }
            '*' if rest.starts_with("*/") && self.hints.pop().is_some() => self.push(Sort::Hint, 2),
            '\'' => self.quoted(Sort::Text, '\'')?,
            '"' if self.mysql() => self.quoted(Sort::Text, '"')?,
            '"' | '`' => self.quoted(Sort::Name, first)?,
            '[' if !self.mysql() => self.quoted(Sort::Name, ']')?,
            _ if is_word(first) => {
                let ends = |(at, c): &(usize, char)| !is_word(*c) || rest[*at..].starts_with(self.delimiter);
                let len = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
                self.push(Sort::Word, len);
            }
            _ => self.push(Sort::Mark, first.len_utf8()),
        }
        Ok(())
    }

    /// Takes a quoted text. The quote is in it when written twice, or in MySQL's texts after a backslash.
    fn quoted(&mut self, sort: Sort, quote: char) -> Result<(), Fault> {
        let escapes = self.mysql() && sort == Sort::Text;
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if escapes && c == '\\' {
                chars.next();
            } else if c == quote && (quote == ']' || chars.next_if(|(_, next)| *next == quote).is_none()) {
                self.push(sort, at + quote.len_utf8());
                return Ok(());
            }
        }
        Err(self.unended("the text in quotes that begins here has no end"))
    }
}

/// How long the opening of a comment is that some versions run, such as `/*!50003` or `/*M!100100`; 0 when none
/// opens here. What MariaDB's dump marks with 999999 no version runs.
fn hint(rest: &str) -> usize {
    let head = ["/*!", "/*M!"].into_iter().find(|head| rest.starts_with(head)).map_or(0, str::len);
    let digits = rest[head..].bytes().take_while(u8::is_ascii_digit).count();
    if head == 0 || rest[head..].starts_with("999999") { 0 } else { head + digits }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c > '\u{7f}'
}
