//! Where SQLite ends a statement: at a `;`, and that of a trigger at the one after its `END`.

use super::{
    script::{Cut, Fault},
    token::{Token, begins, has_at},
};

/// Cuts at each `;` that ends a statement.
pub(super) fn cut(tokens: &[Token<'_>]) -> Cut {
    let (mut ranges, mut start) = (Vec::new(), 0);
    for at in 0..tokens.len() {
        if tokens[at].is_mark(";") && (!trigger(&tokens[start..=at]) || closed(&tokens[start..at])) {
            ranges.push(start..at + 1);
            start = at + 1;
        }
    }
    let rest = &tokens[start..];
    if trigger(rest) && rest.iter().any(|t| t.is_mark(";")) && !closed(rest) {
        return Err(Fault { at: rest[0].start, reason: "the body of this trigger has no END" });
    }
    ranges.push(start..tokens.len());
    Ok(ranges)
}

/// Whether a statement makes a trigger.
fn trigger(tokens: &[Token<'_>]) -> bool {
    let tokens = match tokens {
        [first, rest @ ..] if first.is("explain") && begins(rest, &["query", "plan"]) => &rest[2..],
        [first, rest @ ..] if first.is("explain") => rest,
        _ => tokens,
    };
    let at = if has_at(tokens, 1, &["temp", "temporary"]) { 2 } else { 1 };
    begins(tokens, &["create"]) && has_at(tokens, at, &["trigger"])
}

/// Whether a trigger's body has come to its `END`. That of a `CASE` never stands after a `;`.
fn closed(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [.., semicolon, end] if semicolon.is_mark(";") && end.is("end"))
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use crate::place::Engine;

    fn texts(sql: &str) -> Vec<String> {
        split(sql, Engine::Sqlite).unwrap().into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn a_trigger_goes_on_to_its_end() {
        let statements = [
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x = CASE WHEN 1 THEN 2 END; SELECT 1; END",
            "create temp trigger if not exists t update on a begin select case 1 when 1 then 2 end; end",
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; /* ; */ -- end;\n END",
            "CREATE TABLE trigger_end (\"begin;\" int, [a;'b] int, `c;` text DEFAULT 'it''s; \\')",
            "BEGIN",
            "SELECT x'00', :a, ?1, @b, $c",
            "END",
        ];
        for tail in ["", ";", ";\n-- end", "; /* open"] {
            assert_eq!(texts(&format!("{}{tail}", statements.join(";\n"))), statements);
        }
    }

    #[test]
    fn a_trigger_without_an_end_is_told() {
        let error = split("SELECT 1;\nCREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; ", Engine::Sqlite);
        assert_eq!(error.unwrap_err().to_string(), "line 2: the body of this trigger has no END");
    }
}
