//! What a person is asked before something is begun.

use std::io::{IsTerminal as _, Write as _};

use tenantry_shared::fault::Fault;

use super::Output;

impl Output {
    /// Asks before something is begun. Without a terminal nobody can be asked, and it goes on.
    ///
    /// # Errors
    /// When it should ask and must not: `flag` says how to answer beforehand.
    pub(crate) fn confirm(&self, question: &str, flag: &str) -> Result<bool, Fault> {
        if !is_terminal() {
            return Ok(true);
        }
        if self.no_input {
            return Err(Fault::usage(format!("'{question}' cannot be asked with --no-input"))
                .with_hint(format!("answer it with {flag}")));
        }
        let answer = answer(&format!("{question} [y/N]"))?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a word to be typed before something is begun that cannot be taken back. Without a terminal it is not begun.
    ///
    /// # Errors
    /// When nobody can be asked: `flag` says how to answer beforehand.
    pub(crate) fn confirm_typed(&self, question: &str, word: &str, flag: &str) -> Result<bool, Fault> {
        if self.no_input || !is_terminal() {
            return Err(Fault::usage(format!("'{question}' needs an answer on a terminal"))
                .with_hint(format!("answer it with {flag}")));
        }
        Ok(answer(&format!("{question} Type {word} to go on:"))? == word)
    }
}

fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What is typed behind these words.
fn answer(words: &str) -> Result<String, Fault> {
    let mut error = anstream::stderr();
    write!(error, "{words} ")?;
    error.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
