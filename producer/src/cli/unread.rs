//! A call that cannot be read.

use tenantry_shared::{fault::Fault, secret::redact};

/// What clap has to say of a call: what is wrong with it, or the help that was asked for.
pub(crate) struct Unread {
    pub(crate) error: clap::Error,
    /// Whether standard output was to be one JSON document.
    pub(crate) json: bool,
    /// Of URLs that are among the words, which clap repeats where it does not expect them.
    passwords: Vec<String>,
}

impl Unread {
    /// The call's words are looked through for `--json`, as they cannot be read otherwise. `variable` is what
    /// `TENANTRY_OUTPUT` says.
    pub(super) fn new(error: clap::Error, words: &[String], variable: Option<&str>) -> Self {
        let passwords = words.iter().filter_map(|word| password(word)).collect();
        Self { error, json: asked_for(words).unwrap_or(variable == Some("json")), passwords }
    }

    /// What clap says is wrong, where a password must be taken out of it.
    pub(crate) fn redacted(&self) -> Option<String> {
        (self.error.use_stderr() && !self.passwords.is_empty()).then(|| self.told())
    }

    fn told(&self) -> String {
        let told = self.error.render().to_string();
        self.passwords.iter().fold(told, |told, password| redact(&told, Some(password)))
    }

    /// What is wrong, in one line; nothing where help was asked for.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if !self.error.use_stderr() {
            return None;
        }
        let told = self.told();
        let first = told.strip_prefix("error: ").map(|told| told.lines().take_while(|line| !line.is_empty()));
        let first = first.map(|lines| lines.map(str::trim).collect::<Vec<_>>().join(" "));
        let tip = told.lines().find_map(|line| line.trim().strip_prefix("tip: "));
        let message = first.unwrap_or_else(|| "no command is given".into());
        Some(Fault::usage(message).with_hint(tip.unwrap_or("for more information, try --help")))
    }
}

/// The password of a URL that a word is, or ends with.
fn password(word: &str) -> Option<String> {
    let (_, rest) = word.split_once("://")?;
    let (user, _) = rest.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

/// Which output the words ask for, if they do.
fn asked_for(words: &[String]) -> Option<bool> {
    let mut words = words.iter().map(String::as_str).take_while(|word| *word != "--");
    let mut json = None;
    while let Some(word) = words.next() {
        let format = match word.strip_prefix("--output").or_else(|| word.strip_prefix("-o")) {
            Some("") => words.next(),
            Some(format) => Some(format.trim_start_matches('=')),
            None if word == "--json" => return Some(true),
            None => continue,
        };
        json = format.map(|format| format == "json").or(json);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_wherever_it_is_written() {
        let asked = |line: &str| asked_for(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in
            ["status --json --bogus", "-o json x", "x --output json", "-ojson", "--output=json", "-o=json"]
        {
            assert_eq!(asked(line), Some(true), "{line}");
        }
        assert_eq!(asked("x -o text"), Some(false));
        for line in ["status --bogus", "plan -- --json", "x -o"] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
