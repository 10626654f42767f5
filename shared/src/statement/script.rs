//! From text to statements: the engine's tokens, its cut, and the kind of each piece.

use std::ops::Range;

use super::{
    Kind, ScriptError, Statement, kind,
    lexer::{self, Dialect},
    mysql, postgres, sqlite,
    token::{Sort, Token},
};
use crate::place::Engine;

/// A statement and the bytes of the script it takes with its delimiter.
pub(super) struct Piece {
    pub(super) statement: Statement,
    pub(super) span: Range<usize>,
}

/// Why the tokens stop before the end of the text.
pub(super) struct Fault {
    /// The byte it begins at.
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

/// The tokens of a text, and what ended them early.
pub(super) struct Lexed<'a> {
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) fault: Option<Fault>,
}

/// Where the statements are: ranges of tokens, each with its closing delimiter.
pub(super) type Cut = Result<Vec<Range<usize>>, Fault>;

/// Reads one statement.
pub(super) fn lex(text: &str, engine: Engine) -> Lexed<'_> {
    match engine {
        Engine::Postgres => postgres::lex(text),
        Engine::MySql => lexer::lex(text, Dialect::MySqlStatement),
        Engine::Sqlite => lexer::lex(text, Dialect::Sqlite),
    }
}

/// The tokens of one statement that say what it does.
pub(super) fn tokens(text: &str, engine: Engine) -> Vec<Token<'_>> {
    let mut tokens = lex(text, engine).tokens;
    tokens.retain(|token| token.sort != Sort::Hint);
    tokens
}

/// A script cut into its statements.
pub(super) fn pieces(sql: &str, engine: Engine) -> Result<Vec<Piece>, ScriptError> {
    let lexed = match engine {
        Engine::MySql => lexer::lex(sql, Dialect::MySqlScript),
        Engine::Postgres | Engine::Sqlite => lex(sql, engine),
    };
    let cut = match engine {
        Engine::Postgres => postgres::cut(&lexed.tokens),
        Engine::MySql => mysql::cut(&lexed.tokens),
        Engine::Sqlite => sqlite::cut(&lexed.tokens),
    };
    let fault = match (lexed.fault, cut) {
        (None, Ok(cut)) => return Ok(read(sql, &lexed.tokens, cut, engine)),
        // A body without an end is only the consequence where the tokens stop early.
        (Some(early), Err(late)) => {
            if late.reason == postgres::CLIENT {
                late
            } else {
                early
            }
        }
        (Some(fault), Ok(_)) | (None, Err(fault)) => fault,
    };
    Err(ScriptError { line: Lines::new(sql).line(fault.at), reason: fault.reason.to_owned() })
}

fn read(sql: &str, tokens: &[Token<'_>], cut: Vec<Range<usize>>, engine: Engine) -> Vec<Piece> {
    let mut lines = Lines::new(sql);
    cut.into_iter().filter_map(|range| piece(sql, &tokens[range], &mut lines, engine)).collect()
}

fn piece(sql: &str, tokens: &[Token<'_>], lines: &mut Lines<'_>, engine: Engine) -> Option<Piece> {
    let close = tokens.last()?.end();
    let tokens =
        tokens.split_last().filter(|(t, _)| t.sort == Sort::Delimiter).map_or(tokens, |(_, rest)| rest);
    let (first, last) = (tokens.first()?, tokens.last()?);
    let text = sql[first.start..last.end()].to_owned();
    let said: Vec<Token<'_>> = tokens.iter().copied().filter(|t| t.sort != Sort::Hint).collect();
    let kind = if said.is_empty() { Kind::Plain } else { kind::of(&said, engine) };
    let statement = Statement { text, line: lines.line(first.start), kind };
    Some(Piece { statement, span: first.start..close })
}

/// Counts lines on the way through a text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of a byte, which may not lie before the one asked for last.
    fn line(&mut self, at: usize) -> u32 {
        let passed = self.text.as_bytes()[self.at..at].iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        self.at = at;
        self.line
    }
}
