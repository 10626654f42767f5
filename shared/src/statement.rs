//! A script as statements: where each begins and ends, what it does to the transaction around it, and how
//! the whole is to be run so that an interrupted run can go on where it stopped.
//!
//! The sessions with tenants and the commands that read migrations call it. It looks at tokens alone and knows
//! no grammar, so that syntax it has never heard of is still cut where the server's own client would cut it.

use sha2::{Digest as _, Sha256};

use crate::place::Engine;

mod course;
mod index;
mod kind;
mod lexer;
mod mysql;
mod outline;
mod outlives;
mod postgres;
mod script;
mod sqlite;
mod stretch;
mod token;
mod trace;
mod words;

#[cfg(test)]
mod properties;

pub use self::{
    course::{Course, Unit, course},
    index::{IndexWork, index_concurrently},
    outline::{names, outline},
    outlives::outlives,
    stretch::Lone,
    trace::{Object, Trace, trace},
};

/// One statement of a script, by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// As written, without the delimiter and without the comments around it.
    pub text: String,
    /// The line of its first token in the script, from 1.
    pub line: u32,
    /// What it does to the transaction around it.
    pub kind: Kind,
}

/// What a statement does to the transaction around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Begins a transaction.
    Begin,
    /// Ends a transaction and keeps what it did.
    Commit,
    /// Ends a transaction and drops what it did.
    Rollback,
    /// Changes only this session, so it is done again before a resumed script goes on.
    Session,
    /// Cannot run inside a transaction, or commits by itself there.
    Alone,
    /// Anything else: it rolls back with its transaction.
    Plain,
}

/// Why a text is no script of statements.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// The line it begins on, from 1.
    pub line: u32,
    /// What is wrong there.
    pub reason: String,
}

/// Splits a script. Statements that are empty or only comments are left out.
///
/// # Errors
/// When a quote, a comment or a body has no end, or when the text holds commands of a client that no server
/// knows.
pub fn split(sql: &str, engine: Engine) -> Result<Vec<Statement>, ScriptError> {
    Ok(script::pieces(sql, engine)?.into_iter().map(|piece| piece.statement).collect())
}

/// Sixteen hexadecimal digits of a hash over a statement's tokens. Blanks and comments do not count, so that a
/// mend elsewhere in the file leaves it alone.
#[must_use]
pub fn fingerprint(text: &str, engine: Engine) -> String {
    let mut hash = Sha256::new();
    let lexed = script::lex(text, engine);
    let unread = lexed.fault.map(|fault| &text[fault.at..]);
    for part in lexed.tokens.iter().map(|token| token.text).chain(unread) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether any statement may leave a setting of the session behind, so that the session is to be reset before
/// the next migration.
#[must_use]
pub fn leaves_settings(statements: &[Statement], engine: Engine) -> bool {
    statements
        .iter()
        .any(|s| s.kind == Kind::Session || kind::may_set(&script::tokens(&s.text, engine), engine))
}
