//! PostgreSQL's tokens, and where psql would end a statement: at a `;` outside parentheses and outside a body
//! of `BEGIN ATOMIC`.

use squawk_lexer::{LiteralKind, Token as Raw, TokenKind, tokenize};

use super::{
    script::{Cut, Fault, Lexed},
    token::{Sort, Token, begins, has_at},
};

/// Said of what psql does and no server can.
pub(super) const CLIENT: &str =
    "commands of psql (such as \\connect) and the data of COPY … FROM stdin cannot be run";

/// The tokens of a script.
pub(super) fn lex(sql: &str) -> Lexed<'_> {
    let (mut tokens, mut start) = (Vec::new(), 0);
    for raw in tokenize(sql) {
        let text = &sql[start..start + raw.len as usize];
        match sort(&raw, text) {
            Ok(Some(sort)) => tokens.push(Token { sort, text, start }),
            Ok(None) => {}
            Err(reason) => return Lexed { tokens, fault: Some(Fault { at: start, reason }) },
        }
        start += text.len();
    }
    Lexed { tokens, fault: None }
}

/// What a token is; nothing for blanks and comments.
fn sort(raw: &Raw, text: &str) -> Result<Option<Sort>, &'static str> {
    Ok(Some(match raw.kind {
        TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { terminated: true } => {
            return Ok(None);
        }
        TokenKind::BlockComment { terminated: false } => {
            return Err("the comment that begins here has no end");
        }
        TokenKind::QuotedIdent { terminated: false, .. } => return Err("the name in quotes has no end"),
        TokenKind::QuotedIdent { .. } => Sort::Name,
        TokenKind::Literal { kind } => literal(kind)?,
        TokenKind::Ident | TokenKind::PositionalParam { .. } => Sort::Word,
        TokenKind::Semi => Sort::Delimiter,
        _ if text == "\\" => return Err(CLIENT),
        _ => Sort::Mark,
    }))
}

fn literal(kind: LiteralKind) -> Result<Sort, &'static str> {
    match kind {
        LiteralKind::Int { .. } | LiteralKind::Numeric { .. } => Ok(Sort::Word),
        LiteralKind::DollarQuotedString { terminated: false } => {
            Err("the text in dollar quotes that begins here has no end")
        }
        LiteralKind::Str { terminated }
        | LiteralKind::NationalStr { terminated }
        | LiteralKind::ByteStr { terminated }
        | LiteralKind::BitStr { terminated }
        | LiteralKind::UnicodeEscStr { terminated }
        | LiteralKind::EscStr { terminated }
        | LiteralKind::DollarQuotedString { terminated } => {
            terminated.then_some(Sort::Text).ok_or("the text in quotes that begins here has no end")
        }
    }
}

/// Cuts at each `;` that ends a statement.
pub(super) fn cut(tokens: &[Token<'_>]) -> Cut {
    let (mut ranges, mut start, mut open, mut bodies) = (Vec::new(), 0, 0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" => open += 1,
            ")" => open = open.saturating_sub(1),
            ";" if open == 0 && bodies == 0 => {
                ranges.push(start..at + 1);
                start = at + 1;
            }
            _ if open > 0 || !routine(&tokens[start..]) => {}
            _ if bodies == 0 => bodies = usize::from(begins(&tokens[at..], &["begin", "atomic"])),
            _ if token.is("case") => bodies += 1,
            _ if token.is("end") => bodies -= 1,
            _ => {}
        }
    }
    ranges.push(start..tokens.len());
    match ranges.iter().find(|range| copies_data(&tokens[(*range).clone()])) {
        Some(range) => Err(Fault { at: tokens[range.start].start, reason: CLIENT }),
        None if bodies > 0 => {
            Err(Fault { at: tokens[start].start, reason: "the body after BEGIN ATOMIC has no END" })
        }
        None => Ok(ranges),
    }
}

/// Whether a statement makes a function or a procedure.
fn routine(tokens: &[Token<'_>]) -> bool {
    let at = if begins(tokens, &["create", "or", "replace"]) { 3 } else { 1 };
    begins(tokens, &["create"]) && has_at(tokens, at, &["function", "procedure"])
}

/// Whether a statement reads rows from the client that sent it.
fn copies_data(tokens: &[Token<'_>]) -> bool {
    begins(tokens, &["copy"]) && super::token::holds(tokens, &["from", "stdin"])
}

#[cfg(test)]
mod tests {
    use super::super::{ScriptError, split};
    use crate::place::Engine;

    fn texts(sql: &str) -> Vec<String> {
        split(sql, Engine::Postgres).unwrap().into_iter().map(|s| s.text).collect()
    }

    fn error(sql: &str) -> ScriptError {
        split(sql, Engine::Postgres).unwrap_err()
    }

    #[test]
    fn a_body_goes_on_over_its_semicolons() {
        let bodies = [
            "CREATE FUNCTION f() RETURNS int AS $$ BEGIN RETURN 1; END $$ LANGUAGE plpgsql",
            "CREATE FUNCTION f() RETURNS int AS $body$ SELECT '$$;'; $bod$ $body$ LANGUAGE sql",
            "DO $é$ BEGIN PERFORM 1; COMMIT; END; $é$",
            "CREATE FUNCTION f() RETURNS int AS 'SELECT 1; SELECT ''x;'';' LANGUAGE sql",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 ELSE 3 END; END",
            "create or replace procedure p() begin atomic insert into \"end;\" values (1); end",
            "CREATE RULE r AS ON INSERT TO a DO INSTEAD (INSERT INTO b VALUES (1); NOTIFY c)",
            "CREATE TRIGGER t BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION f()",
            "SELECT E'it\\';s', U&'d\\0061;t', '\\'",
            "SELECT a /* /* nested; */ ; */ FROM b -- ;\n WHERE c",
            "SELECT a$b$c, \"x;\"\"y\"",
            "SELECT case when begin then 1 end FROM t",
            "SYNTAX nobody 'has' (ever; seen)",
        ];
        for body in bodies {
            assert_eq!(texts(&format!("SELECT 1;\n{body};\nSELECT 2")), ["SELECT 1", body, "SELECT 2"]);
        }
    }

    #[test]
    fn what_has_no_end_is_told_by_its_line() {
        for (sql, line, about) in [
            ("SELECT 1;\nSELECT 'a;\n;", 2, "quotes"),
            ("\n\nDO $x$ BEGIN; $y$", 3, "dollar quotes"),
            ("SELECT 1; /* /* */", 1, "comment"),
            ("SELECT \"a;", 1, "name in quotes"),
            ("SELECT 1;\nCREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", 2, "BEGIN ATOMIC"),
        ] {
            let error = error(sql);
            assert_eq!(error.line, line, "{sql}");
            assert!(error.reason.contains(about), "{error}");
        }
    }

    #[test]
    fn what_only_psql_can_do_is_refused() {
        for (sql, line) in [
            ("SELECT 1;\n\\connect other\nSELECT 1;", 2),
            ("\nCOPY t (a) FROM stdin;\n1\tit's\n\\.\n", 2),
            ("copy t from STDIN with (format csv);", 1),
        ] {
            let error = error(sql);
            assert_eq!((error.line, error.reason.contains("psql")), (line, true), "{error}");
        }
        assert_eq!(texts("COPY t TO stdout; COPY t FROM '/stdin'").len(), 2);
    }

    #[test]
    fn a_deep_nest_and_a_long_chain_are_no_trouble() {
        let deep = format!("SELECT {}1{};SELECT 2", "(".repeat(200_000), ")".repeat(200_000));
        let long = format!("SELECT {}1;SELECT 2", "1+".repeat(200_000));
        assert_eq!((texts(&deep).len(), texts(&long).len()), (2, 2));
    }
}
