//! Where the mysql client ends a statement: at the delimiter. Scripts that set none write a routine's body
//! with the same `;` inside and after it, so a body goes on to the `END` of its block.

use super::{
    script::{Cut, Fault},
    token::{Sort, Token, begins, has_at},
};

/// The blocks that an `END` with their name closes.
const NAMED: [&str; 5] = ["if", "loop", "while", "repeat", "for"];

/// What has a body of statements.
const ROUTINES: [&str; 4] = ["procedure", "function", "trigger", "event"];

/// Cuts at each delimiter that ends a statement.
pub(super) fn cut(tokens: &[Token<'_>]) -> Cut {
    let (mut ranges, mut start, mut block) = (Vec::new(), 0, Block::default());
    for at in 0..tokens.len() {
        if tokens[at].sort == Sort::Delimiter && (tokens[at].text != ";" || block.depth == 0) {
            ranges.push(start..at + 1);
            (start, block) = (at + 1, Block::default());
        } else {
            block.pass(tokens, start, at);
        }
    }
    if block.depth > 0 && tokens[start..].iter().any(|t| t.sort == Sort::Delimiter) {
        return Err(Fault { at: tokens[start].start, reason: "the body that begins here has no END" });
    }
    ranges.push(start..tokens.len());
    Ok(ranges)
}

/// How deep in a routine's body a token is.
#[derive(Default)]
struct Block {
    depth: usize,
    /// Whether the statement has a body at all, once its first words told.
    routine: bool,
    /// Whether the token before was an `END`.
    ended: bool,
}

impl Block {
    fn pass(&mut self, tokens: &[Token<'_>], start: usize, at: usize) {
        let token = &tokens[at];
        if token.sort == Sort::Hint {
            return;
        }
        if !self.routine {
            self.routine = has_body(tokens, start, at);
            // Of BEGIN NOT ATOMIC the block is already open.
            self.depth = usize::from(self.routine && token.is("atomic"));
            return;
        }
        let before = tokens[start..at].iter().rev().find(|t| t.sort != Sort::Hint);
        // CASE is reserved: only behind these two marks can it be a name.
        let marks: &[&str] = if token.is("case") { &[".", "@"] } else { &[".", ",", "(", "@"] };
        let column = before.is_some_and(|t| marks.iter().any(|mark| t.is_mark(mark)));
        let after_end = std::mem::replace(&mut self.ended, token.is("end") && !column);
        if self.ended {
            self.depth = self.depth.saturating_sub(1);
        } else if !after_end && !column && self.opens(tokens, at, before) {
            self.depth += 1;
        }
    }

    fn opens(&self, tokens: &[Token<'_>], at: usize, before: Option<&Token<'_>>) -> bool {
        let token = &tokens[at];
        let block = token.is_any(&NAMED) && self.begins_statement(token, before);
        let called = tokens.get(at + 1).is_some_and(|next| next.is_mark("("));
        match token {
            _ if token.is_any(&["begin", "case"]) => true,
            _ if token.is("if") => block && is_if(&tokens[at..]),
            _ if token.is("repeat") => block && !called,
            _ => block,
        }
    }

    /// Whether a token may be the first of a statement inside a body.
    fn begins_statement(&self, token: &Token<'_>, before: Option<&Token<'_>>) -> bool {
        let openers = ["begin", "then", "else", "do", "loop", "repeat", "atomic"];
        let inside = before.is_some_and(|t| t.is_mark(";") || t.is_mark(":") || t.is_any(&openers));
        // The body itself may be one block without a BEGIN: it follows the head of the routine.
        let named = before.is_some_and(|t| t.is_any(&ROUTINES));
        inside || (self.depth == 0 && !named && !token.is("for"))
    }
}

/// Whether an `IF` is the statement and not the function: its condition ends at a `THEN`.
fn is_if(tokens: &[Token<'_>]) -> bool {
    let mut open = 0_usize;
    for token in tokens {
        match token.text {
            "(" => open += 1,
            ")" if open == 0 => return false,
            ")" => open -= 1,
            _ if open > 0 => {}
            _ if token.is("then") => return true,
            _ if token.is_mark(";") || token.is_any(&["else", "end", "when"]) => return false,
            _ => {}
        }
    }
    false
}

/// Whether the word at `at` says that the statement from `start` has a body of statements.
fn has_body(tokens: &[Token<'_>], start: usize, at: usize) -> bool {
    let token = &tokens[at];
    if !token.is_any(&ROUTINES) && !token.is("atomic") {
        return false;
    }
    let head: Vec<Token<'_>> = tokens[start..=at].iter().copied().filter(|t| t.sort != Sort::Hint).collect();
    if token.is("atomic") {
        return begins(&head, &["begin", "not", "atomic"]);
    }
    // Between CREATE and the word stand OR REPLACE, DEFINER = user@host and AGGREGATE alone.
    let made = has_at(&head, 0, &["create", "alter"]) && head.len() <= 12;
    let other = ["table", "view", "index", "database", "schema", "user", "role", "grant", "server", "select"];
    made && !head.iter().any(|t| t.is_any(&other))
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use crate::place::Engine;

    fn texts(sql: &str) -> Vec<String> {
        split(sql, Engine::MySql).unwrap().into_iter().map(|s| s.text).collect()
    }

    const BODIES: [&str; 18] = [
        "CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW BEGIN INSERT INTO b VALUES (CASE NEW.case WHEN 1 THEN @case END, case when 1 then 3 end); SELECT sum(CASE WHEN 1 THEN 1 END) FROM a; END",
        "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END",
        "CREATE DEFINER=`root`@`%` PROCEDURE p(IN a INT) COMMENT 'x;' BEGIN IF a THEN SELECT 1; END IF; IF @b THEN SELECT 1; ELSEIF @c THEN SELECT 2; ELSE SELECT 3; END IF; END",
        "CREATE OR REPLACE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN IF(a > 1, REPEAT('x', 2), 2)",
        "CREATE FUNCTION IF NOT EXISTS f() RETURNS INT BEGIN RETURN CASE WHEN 1 THEN IF(1, 2, 3) ELSE REPEAT('y', 2) END; END",
        "create procedure p() l: begin w: while 1 do leave l; end while w; repeat set @a = 1; until @a end repeat; x: loop leave x; end loop x; end l",
        "CREATE PROCEDURE p() BEGIN CASE @a WHEN 1 THEN BEGIN END; ELSE SELECT 1; END CASE; SELECT 2; END",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.x = 1",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW IF NOT EXISTS (SELECT 1) THEN IF 1 THEN SET NEW.end = 1; END IF; SET NEW.b = 2; END IF",
        "CREATE TRIGGER t AFTER UPDATE ON a FOR EACH ROW BEGIN INSERT INTO b (begin, end) VALUES (NEW.begin, OLD.end); END",
        "CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DO BEGIN DELETE FROM a; DELETE FROM b; END",
        "ALTER EVENT e DO BEGIN DELETE FROM a; END",
        "BEGIN NOT ATOMIC SELECT 1; IF 1 THEN SELECT 2; END IF; END",
        "CREATE PROCEDURE p() BEGIN DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN SET @a = 1; END; FOR i IN 1..3 DO SELECT i; END FOR; END",
        "/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET @a = 1; END */",
        "CREATE PROCEDURE p() BEGIN DROP TABLE IF EXISTS a; CREATE TABLE IF NOT EXISTS b (c INT); END",
        "CREATE TABLE t (event INT, `trigger` INT, begin INT) COMMENT 'DELIMITER //'",
        "CREATE PROCEDURE p() BEGIN START TRANSACTION; COMMIT; # end;\n END",
    ];

    #[test]
    fn a_body_without_a_delimiter_goes_on_to_its_end() {
        for body in BODIES {
            assert_eq!(texts(&format!("SELECT 1;\n{body};\nSELECT 2")), ["SELECT 1", body, "SELECT 2"]);
            assert_eq!(texts(body), [body]);
        }
    }

    #[test]
    fn a_body_with_a_delimiter_goes_on_to_it() {
        for delimiter in ["//", "$$", ";;", "|", "go~"] {
            let bodies = BODIES.map(|body| format!("{body}{delimiter}\r\n")).concat();
            let script = format!("SELECT 1;\r\n  delimiter {delimiter}\r\n{bodies}DELIMITER ;\r\nSELECT 2;");
            let read = texts(&script);
            assert_eq!(read.len(), BODIES.len() + 2, "{delimiter}: {read:?}");
            let (first, rest) = (&read[0], &read[1..]);
            assert_eq!((first.as_str(), rest[BODIES.len()].as_str()), ("SELECT 1", "SELECT 2"));
            assert_eq!(&rest[..BODIES.len()], BODIES.map(|b| b.to_owned()));
        }
    }

    #[test]
    fn what_is_still_open_ends_where_the_delimiter_changes() {
        let sql = "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END\nDELIMITER ;\nSELECT 2";
        assert_eq!(texts(sql), ["CREATE PROCEDURE p() BEGIN SELECT 1; END", "SELECT 2"]);
        assert_eq!(texts("CREATE TABLE t (\n  delimiter varchar(9)\n)").len(), 1);
    }

    #[test]
    fn quotes_and_comments_are_those_of_mysql() {
        let statements = [
            r#"SELECT 'it\';s', "a\";''", `b;``c`, 'd''e;'"#,
            "SELECT 1--2",
            "/*!40101 SET NAMES utf8 */",
            "SELECT /* ; */ 1 # ;\n -- ;\n --\n + 2",
        ];
        let head = "\u{feff}/*M!999999\\- enable the sandbox mode */\n-- one;\n# two;\n";
        assert_eq!(texts(&format!("{head}{};", statements.join(";\n"))), statements);
    }

    #[test]
    fn what_has_no_end_is_told_by_its_line() {
        for (sql, line, about) in [
            ("SELECT 1;\nSELECT 'a\\';", 2, "quotes"),
            ("SELECT 1; /* a", 1, "comment"),
            ("\n/*!50000 SELECT 1;", 2, "comment"),
            ("SELECT 1;\nCREATE PROCEDURE p() BEGIN SELECT 1;", 2, "END"),
            ("SELECT 1;\nDELIMITER \nSELECT 1", 2, "DELIMITER"),
        ] {
            let error = split(sql, Engine::MySql).unwrap_err();
            assert_eq!(error.line, line, "{sql}");
            assert!(error.reason.contains(about), "{error}");
        }
    }
}
