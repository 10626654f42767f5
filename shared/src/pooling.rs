//! What a PostgreSQL URL says of a pooler before its server, and how one shows itself. Pure.
//!
//! A pooler hands its own sessions with the server to its clients: for as long as a client stays, or for one transaction
//! after the other. In the second case a session's lock or setting is somebody else's a moment later. A pooler's sessions
//! are begun by it, so an option that we begin ours with is either refused by it or not in force behind it.

use percent_encoding::percent_decode_str;
use url::Url;

/// The option that tells a session that we have begun from one that a pooler has: it is a setting of ours, with a value
/// that is never used twice.
pub const MARK: &str = "tenantry.session";

/// What only we understand in a URL; the second is what Prisma's users write.
const POOLING: &str = "pooling";
const PGBOUNCER: &str = "pgbouncer";
const OPTIONS: &str = "options";

/// What a client of a pooler gets a session for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// For as long as it stays: as if there were no pooler.
    Session,
    /// For each transaction another one.
    Transaction,
}

/// A word that is no [`Pooling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// What a URL says of its pooler: `?pooling=session`, `?pooling=transaction`, or `?pgbouncer=true` for the latter. None:
/// nothing, so it is found out.
///
/// # Errors
/// When it says something else.
pub fn declared(url: &str) -> Result<Option<Pooling>, Unknown> {
    let pairs = pairs(url);
    let said = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match (said(POOLING), said(PGBOUNCER)) {
        (Some("session"), _) => Ok(Some(Pooling::Session)),
        (Some("transaction"), _) | (None, Some("true")) => Ok(Some(Pooling::Transaction)),
        (Some(_), _) => Err(Unknown),
        (None, _) => Ok(None),
    }
}

/// The URL for programs that do not know our word in it.
#[must_use]
pub fn without_ours(url: &str) -> String {
    without(url, |key| key == POOLING)
}

/// The URL for the driver: without what is said of a pooler.
#[must_use]
pub fn for_driver(url: &str) -> String {
    without(url, |key| [POOLING, PGBOUNCER].contains(&key))
}

/// The same without options of the session.
#[must_use]
pub fn without_options(url: &str) -> String {
    without(&for_driver(url), is_options)
}

/// The settings that the options of a URL name, in order.
#[must_use]
pub fn settings(url: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (key, value) in pairs(url) {
        match key.strip_prefix("options[").and_then(|key| key.strip_suffix(']')) {
            Some(name) => settings.push((name.to_owned(), value)),
            None if key == OPTIONS => settings.extend(of_options(&value)),
            None => {}
        }
    }
    settings
}

/// Whether a server that refuses a connection with these words is a pooler that does not know the options of a session.
#[must_use]
pub fn refuses_options(message: &str) -> bool {
    ["startup parameter", "command-line options"].iter().any(|words| message.contains(words))
}

fn is_options(key: &str) -> bool {
    key == OPTIONS || key.starts_with("options[")
}

fn pairs(url: &str) -> Vec<(String, String)> {
    let pairs = Url::parse(url).ok();
    pairs.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

/// Every other pair is left as it is written.
fn without(url: &str, dropped: impl Fn(&str) -> bool) -> String {
    let Some((start, query)) = url.split_once('?') else { return url.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !dropped(&key(pair))).collect();
    if kept.is_empty() { start.to_owned() } else { format!("{start}?{}", kept.join("&")) }
}

/// The name in a pair, decoded.
fn key(pair: &str) -> String {
    percent_decode_str(pair.split('=').next().unwrap_or_default()).decode_utf8_lossy().into_owned()
}

/// `-c name=value`, `-cname=value` and `--name=value`, as the server reads them.
fn of_options(options: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(setting) => Some(setting.to_owned()),
            None => word.strip_prefix("--").map(str::to_owned),
        };
        let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) else {
            continue;
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    settings
}

/// Split at blanks; a backslash takes the meaning from what follows it.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut chars) = (vec![String::new()], text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| {
                word.extend(if c == '\\' { chars.next() } else { Some(c) });
            }),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_say_what_its_pooler_does() {
        for (query, said) in [
            ("", Ok(None)),
            ("?sslmode=require", Ok(None)),
            ("?pooling=session", Ok(Some(Pooling::Session))),
            ("?a=b&pooling=transaction", Ok(Some(Pooling::Transaction))),
            ("?pgbouncer=true", Ok(Some(Pooling::Transaction))),
            ("?pgbouncer=false", Ok(None)),
            ("?pgbouncer=true&pooling=session", Ok(Some(Pooling::Session))),
            ("?pooling=statement", Err(Unknown)),
        ] {
            assert_eq!(declared(&format!("postgres://u@h/d{query}")), said, "{query}");
        }
    }

    #[test]
    fn what_others_do_not_know_is_taken_out_of_a_url() {
        let url =
            "postgres://u:p%3F@h/d?pooling=session&a=%20b&options=-c%20x%3Dy&pgbouncer=true&options%5Bz%5D=1";
        assert_eq!(
            without_ours(url),
            "postgres://u:p%3F@h/d?a=%20b&options=-c%20x%3Dy&pgbouncer=true&options%5Bz%5D=1"
        );
        assert_eq!(for_driver(url), "postgres://u:p%3F@h/d?a=%20b&options=-c%20x%3Dy&options%5Bz%5D=1");
        assert_eq!(without_options(url), "postgres://u:p%3F@h/d?a=%20b");
        assert_eq!(without_options("postgres://h/d?options=x"), "postgres://h/d");
    }

    #[test]
    fn the_options_of_a_url_are_settings() {
        let url = "postgres://h/d?options=-c%20search_path%3Da,b%20--lock-timeout=1s%20-cx.y%3Da%5C%20b%20-e&options[role]=owner";
        let expected = [("search_path", "a,b"), ("lock_timeout", "1s"), ("x.y", "a b"), ("role", "owner")];
        assert_eq!(settings(url), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(settings("postgres://h/d"), []);
    }
}
