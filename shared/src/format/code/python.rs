//! The few things that are read out of a program in Python: names, and the texts that they are set to.

/// What a name is set to, and in which line, counted from 1: the rest of that line, or all up to the end of the brackets
/// that it begins.
pub(super) fn value<'t>(text: &'t str, name: &str) -> Option<(u32, &'t str)> {
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let at = start;
        start += line.len();
        let Some(rest) = line.trim_start().strip_prefix(name) else { continue };
        let typed = rest.trim_start().starts_with(':');
        if let Some((before, after)) =
            rest.split_once('=').filter(|(before, _)| typed || before.trim().is_empty())
        {
            let from = at + (line.len() - rest.len()) + before.len() + 1;
            return Some((
                number,
                extent(&text[from..]).unwrap_or_else(|| after.trim_end_matches(['\r', '\n'])),
            ));
        }
    }
    None
}

/// All up to the end of the brackets that a text begins with.
fn extent(text: &str) -> Option<&str> {
    let begins = text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut depth = 0_usize;
    for token in tokens(&text[begins..]) {
        match token {
            Token::Open => depth += 1,
            Token::Close(at) => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(&text[..=begins + at]);
                }
            }
            Token::Text(..) | Token::Other if depth == 0 => return None,
            Token::Text(..) | Token::Other => {}
        }
    }
    None
}

/// The texts in quotes.
pub(super) fn texts(value: &str) -> Vec<&str> {
    let text = |token| if let Token::Text(text) = token { Some(text) } else { None };
    tokens(value).into_iter().filter_map(text).collect()
}

/// The pairs of texts: `("a", "b")`.
pub(super) fn pairs(value: &str) -> Vec<(&str, &str)> {
    let (mut pairs, mut open): (Vec<(&str, &str)>, Vec<&str>) = (Vec::new(), Vec::new());
    for token in tokens(value) {
        match token {
            Token::Open => open.clear(),
            Token::Text(text) => open.push(text),
            Token::Close(_) => {
                if let [first, second] = open.as_slice() {
                    pairs.push((first, second));
                }
                open.clear();
            }
            Token::Other => {}
        }
    }
    pairs
}

#[derive(Clone, Copy)]
enum Token<'t> {
    Open,
    Close(usize),
    Text(&'t str),
    Other,
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at + next.len_utf8()..];
        let length = match next {
            '(' | '[' => {
                tokens.push(Token::Open);
                0
            }
            ')' | ']' => {
                tokens.push(Token::Close(at));
                0
            }
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                let end = rest.find(next).unwrap_or(rest.len());
                tokens.push(Token::Text(&rest[..end]));
                (end + 1).min(rest.len())
            }
            _ if next.is_whitespace() || next == ',' => 0,
            _ => {
                tokens.push(Token::Other);
                0
            }
        };
        at += next.len_utf8() + length;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_rest_of_the_line_or_of_the_brackets() {
        let text = "\"\"\"Doc\n\nRevises: x\n\"\"\"\nrevision: str = 'b2'  # why\ndown_revision = (\n    \"a1\",  # (not \"x\")\n    'a2',\n)\n";
        assert_eq!(value(text, "revision").map(|(line, value)| (line, texts(value))), Some((5, vec!["b2"])));
        assert_eq!(
            value(text, "down_revision").map(|(line, value)| (line, texts(value))),
            Some((6, vec!["a1", "a2"]))
        );
        assert_eq!(value("down_revision = None\n", "down_revision"), Some((1, " None")));
        assert_eq!(value("revision_date = 'x'\nprint(revision)\n", "revision"), None);
    }

    #[test]
    fn pairs_are_two_texts_in_brackets() {
        let text = "    dependencies = [\n        ('shop', '0001_initial'),\n        migrations.swappable_dependency(settings.AUTH_USER_MODEL),\n        (\"auth\", \"0002_x\"),\n    ]\n    operations = [(\"no\", \"pair\")]\n";
        let (line, found) = value(text, "dependencies").unwrap();
        assert_eq!((line, pairs(found)), (1, vec![("shop", "0001_initial"), ("auth", "0002_x")]));
        assert!(pairs(value("dependencies = []\n", "dependencies").unwrap().1).is_empty());
    }
}
