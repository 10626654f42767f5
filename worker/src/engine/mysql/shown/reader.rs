//! The tokens of what MariaDB writes of a table, and how they are read one after the other. Pure.

/// Types that have a collation.
const TEXTS: [&str; 8] = ["char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"];

const OTHERS: [&str; 20] = [
    "tinyint",
    "smallint",
    "mediumint",
    "int",
    "bigint",
    "decimal",
    "float",
    "double",
    "bit",
    "year",
    "date",
    "time",
    "datetime",
    "timestamp",
    "binary",
    "varbinary",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
];

/// What a foreign key may do.
const ACTIONS: [&[&str]; 5] =
    [&["RESTRICT"], &["CASCADE"], &["SET", "NULL"], &["SET", "DEFAULT"], &["NO", "ACTION"]];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// In backticks.
    Name,
    /// In quotes.
    Text,
    Word,
    Mark,
}

pub(super) struct Token {
    pub(super) sort: Sort,
    start: usize,
    end: usize,
}

/// The tokens of a text, if each of its quotes has an end.
pub(super) fn lexed(text: &str) -> Option<Vec<Token>> {
    let bytes = text.as_bytes();
    let (mut tokens, mut start) = (Vec::new(), 0);
    while let Some(first) = bytes.get(start) {
        let is_word =
            |byte: &u8| byte.is_ascii_alphanumeric() || [b'_', b'$'].contains(byte) || !byte.is_ascii();
        let (sort, end) = match first {
            b' ' | b'\n' => {
                start += 1;
                continue;
            }
            b'`' => (Sort::Name, quoted(bytes, start, b'`')?),
            b'\'' => (Sort::Text, quoted(bytes, start, b'\'')?),
            byte if is_word(byte) => {
                (Sort::Word, start + bytes[start..].iter().take_while(|byte| is_word(byte)).count())
            }
            _ => (Sort::Mark, start + 1),
        };
        tokens.push(Token { sort, start, end });
        start = end;
    }
    Some(tokens)
}

/// Where a quote ends that begins here. Two of it are one of it; in a text, a backslash takes what is behind it along.
fn quoted(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' if quote == b'\'' => at += 2,
            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// What stands between the commas of a list.
pub(super) fn parts<'t>(inner: &'t [Token], text: &str) -> Vec<&'t [Token]> {
    let mut depth = 0_i32;
    let ends = |token: &Token| {
        depth += depth_of(token, text);
        depth == 0 && token.sort == Sort::Mark && &text[token.start..token.end] == ","
    };
    inner.split(ends).collect()
}

/// By how much what is behind a token is deeper than what is before it.
fn depth_of(token: &Token, text: &str) -> i32 {
    match &text[token.start..token.end] {
        "(" => 1,
        ")" => -1,
        _ => 0,
    }
}

/// What is not read yet.
pub(super) struct Reader<'t, 'x> {
    pub(super) text: &'x str,
    pub(super) tokens: &'t [Token],
}

impl<'t, 'x> Reader<'t, 'x> {
    pub(super) fn next(&mut self, sort: Sort) -> Option<&'x str> {
        let (first, rest) = self.tokens.split_first().filter(|(first, _)| first.sort == sort)?;
        self.tokens = rest;
        Some(&self.text[first.start..first.end])
    }

    pub(super) fn word(&mut self) -> Option<&'x str> {
        self.next(Sort::Word)
    }

    /// Whether these words are next, which are read then.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let before = self.tokens;
        let all = words.iter().all(|word| self.word() == Some(word));
        if !all {
            self.tokens = before;
        }
        all
    }

    pub(super) fn mark(&mut self, mark: char) -> bool {
        let before = self.tokens;
        let is = self.next(Sort::Mark).is_some_and(|next| next.starts_with(mark));
        if !is {
            self.tokens = before;
        }
        is
    }

    pub(super) fn name(&mut self) -> Option<String> {
        let quoted = self.next(Sort::Name)?;
        Some(quoted[1..quoted.len() - 1].replace("``", "`"))
    }

    /// A name that no file system and no server writes otherwise.
    pub(super) fn plain(&mut self) -> Option<String> {
        self.name().filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    }

    /// Names in brackets.
    pub(super) fn names(&mut self) -> Option<String> {
        let (text, inner) = (self.text, self.bracketed()?);
        let names = parts(inner, text).into_iter().map(|tokens| Reader { text, tokens }.plain());
        Some(names.collect::<Option<Vec<_>>>()?.join(", "))
    }

    /// A column of an index, with how much of it, and its direction.
    pub(super) fn part_of_index(&mut self) -> Option<String> {
        let name = self.name()?;
        let length = self.bracketed().map(|inner| Reader { text: self.text, tokens: inner }.word());
        let length = length.map_or(Some(String::new()), |length| Some(format!("({})", length?)))?;
        let desc = if self.words(&["DESC"]) { " desc" } else { "" };
        self.tokens.is_empty().then(|| format!("{name}{length}{desc}"))
    }

    /// What is in the brackets that begin here, which are read with it.
    pub(super) fn bracketed(&mut self) -> Option<&'t [Token]> {
        let mut depth = 0;
        let closes = |token: &Token| {
            depth += depth_of(token, self.text);
            depth == 0
        };
        let end = self.tokens.iter().position(closes).filter(|end| *end > 0)?;
        let inner = &self.tokens[1..end];
        self.tokens = &self.tokens[end + 1..];
        Some(inner)
    }

    /// A type, and whether it has a collation.
    pub(super) fn kind(&mut self) -> Option<(&'x str, bool)> {
        let start = self.tokens.first()?.start;
        let (before, word) = (self.tokens, self.word()?);
        let is_text = TEXTS.contains(&word);
        if !is_text && !OTHERS.contains(&word) {
            return None;
        }
        let _ = self.bracketed();
        while self.words(&["unsigned"]) || self.words(&["zerofill"]) {}
        let last = &before[before.len() - self.tokens.len() - 1];
        Some((&self.text[start..last.end], is_text))
    }

    /// All up to the next blank.
    pub(super) fn value(&mut self) -> Option<&'x str> {
        let apart = self.tokens.windows(2).position(|two| two[0].end != two[1].start);
        let (value, rest) = self.tokens.split_at(apart.map_or(self.tokens.len(), |at| at + 1));
        self.tokens = rest;
        Some(&self.text[value.first()?.start..value.last()?.end])
    }

    /// What is done then; what is not written is to refuse.
    pub(super) fn action(&mut self, when: &[&str]) -> Option<String> {
        if !self.words(when) {
            return Some("RESTRICT".to_owned());
        }
        let action = ACTIONS.iter().find(|words| self.words(words))?;
        Some(action.join(" "))
    }
}
