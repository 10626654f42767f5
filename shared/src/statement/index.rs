//! The index that a statement builds or drops while the table stays in use. PostgreSQL leaves an invalid one
//! behind when such a statement breaks off.

use super::{
    postgres,
    token::{Token, begins},
};

/// An index built or dropped concurrently. Names are as the server knows them: in lower case where they stand
/// without quotes, the schema first if one is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexWork {
    /// `CREATE INDEX CONCURRENTLY`.
    Build {
        /// The index; `None` lets the server choose a name.
        name: Option<Vec<String>>,
        /// The table it is on.
        table: Vec<String>,
    },
    /// `DROP INDEX CONCURRENTLY`.
    Drop {
        /// The index.
        name: Vec<String>,
    },
}

/// What a statement does to an index concurrently; `None` for every other statement.
#[must_use]
pub fn index_concurrently(text: &str) -> Option<IndexWork> {
    let lexed = postgres::lex(text);
    let tokens = lexed.tokens.as_slice();
    if begins(tokens, &["drop", "index", "concurrently"]) {
        let (name, _) = name(skip(&tokens[3..], &["if", "exists"]))?;
        return Some(IndexWork::Drop { name });
    }
    let at = if begins(tokens, &["create", "unique"]) { 2 } else { 1 };
    if !begins(tokens, &["create"]) || !begins(&tokens[at..], &["index", "concurrently"]) {
        return None;
    }
    let rest = skip(&tokens[at + 2..], &["if", "not", "exists"]);
    let (index, rest) =
        if begins(rest, &["on"]) { (None, rest) } else { name(rest).map(|(n, r)| (Some(n), r))? };
    let rest = begins(rest, &["on"]).then(|| skip(&rest[1..], &["only"]))?;
    let (table, _) = name(rest)?;
    Some(IndexWork::Build { name: index, table })
}

/// What follows these keywords, or everything when they do not stand here.
fn skip<'t, 'a>(tokens: &'t [Token<'a>], keywords: &[&str]) -> &'t [Token<'a>] {
    if begins(tokens, keywords) { &tokens[keywords.len()..] } else { tokens }
}

/// A name of one or more parts, and what follows it.
fn name<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(Vec<String>, &'t [Token<'a>])> {
    let (first, mut rest) = tokens.split_first()?;
    let mut parts = vec![first.name()?];
    while let [dot, part, after @ ..] = rest
        && dot.is_mark(".")
    {
        parts.push(part.name()?);
        rest = after;
    }
    Some((parts, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Option<(Option<String>, String)> {
        match index_concurrently(text)? {
            IndexWork::Build { name, table } => Some((name.map(|n| n.join("/")), table.join("/"))),
            IndexWork::Drop { .. } => None,
        }
    }

    #[test]
    fn a_build_names_its_index_and_its_table() {
        for (text, name, table) in [
            ("CREATE INDEX CONCURRENTLY i ON t (a)", Some("i"), "t"),
            (
                "create unique index concurrently if not exists Ab on only S.T using btree (a)",
                Some("ab"),
                "s/t",
            ),
            ("CREATE INDEX CONCURRENTLY ON \"Sch\".\"a\"\"b.c\" (a)", None, "Sch/a\"b.c"),
            ("CREATE /* x */ INDEX CONCURRENTLY \"on\" ON t(a)", Some("on"), "t"),
        ] {
            assert_eq!(build(text), Some((name.map(str::to_owned), table.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_drop_names_its_index() {
        let name = vec!["S".to_owned(), "i".to_owned()];
        let text = "DROP INDEX CONCURRENTLY IF EXISTS \"S\".I CASCADE";
        assert_eq!(index_concurrently(text), Some(IndexWork::Drop { name }));
    }

    #[test]
    fn other_statements_are_about_no_index() {
        for text in [
            "CREATE INDEX i ON t (a)",
            "CREATE INDEX concurrently_x ON t (a)",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "CREATE",
            "DROP INDEX CONCURRENTLY",
            "CREATE INDEX CONCURRENTLY i",
            "",
        ] {
            assert_eq!(index_concurrently(text), None, "{text}");
        }
    }
}
