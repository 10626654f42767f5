//! Choosing tenants by their labels, in the notation of kubectl: `plan=pro,region in (eu,us),!beta`.

use std::{fmt, str::FromStr};

use crate::tenant::{Labels, is_label_key};

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `key=a` or `key in (a,b)`: the label is there and has one of the values.
    In(String, Vec<String>),
    /// `key!=a` or `key notin (a,b)`: the label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// `key`: the label is there.
    Exists(String),
    /// `!key`: the label is absent.
    Absent(String),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The conditions, in the order they were written.
    pub conditions: Vec<Condition>,
    text: String,
}

impl Selector {
    /// Whether these labels meet every condition.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Condition::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Condition::Exists(key) => labels.contains_key(key),
            Condition::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no selector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{part}' is not a label condition (expected key=value, key!=value, key in (a,b), key notin (a,b), key or !key)"
)]
pub struct SelectorError {
    part: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let conditions =
            split_outside_parentheses(text).into_iter().map(parse_condition).collect::<Result<_, _>>()?;
        Ok(Self { conditions, text: text.to_owned() })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_condition(part: &str) -> Result<Condition, SelectorError> {
    let part = part.trim();
    let error = || SelectorError { part: part.to_owned() };
    let key = |text: &str| if is_label_key(text.trim()) { Ok(text.trim().to_owned()) } else { Err(error()) };
    if let Some((left, right)) = part.split_once("!=") {
        return Ok(Condition::NotIn(key(left)?, vec![right.trim().to_owned()]));
    }
    if let Some((left, right)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Condition::In(key(left)?, vec![right.trim().to_owned()]));
    }
    if let Some(rest) = part.strip_prefix('!') {
        return Ok(Condition::Absent(key(rest)?));
    }
    let Some(open) = part.find('(') else { return Ok(Condition::Exists(key(part)?)) };
    let inner = part[open + 1..].strip_suffix(')').ok_or_else(error)?;
    let values: Vec<String> = inner.split(',').map(|v| v.trim().to_owned()).collect();
    match part[..open].split_whitespace().collect::<Vec<_>>()[..] {
        [name, "in"] => Ok(Condition::In(key(name)?, values)),
        [name, "notin"] => Ok(Condition::NotIn(key(name)?, values)),
        _ => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_kubectl_reads_them() {
        let selector: Selector =
            "plan=pro, region in (eu,us),!beta,tier!=free,a notin (x),b".parse().unwrap();
        let expected = [
            Condition::In("plan".into(), vec!["pro".into()]),
            Condition::In("region".into(), vec!["eu".into(), "us".into()]),
            Condition::Absent("beta".into()),
            Condition::NotIn("tier".into(), vec!["free".into()]),
            Condition::NotIn("a".into(), vec!["x".into()]),
            Condition::Exists("b".into()),
        ];
        assert_eq!(selector.conditions, expected);
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["", "a,,b", "a in x", "a in (x", "!", "a b", "in (x)"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
