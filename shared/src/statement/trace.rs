//! What the schema of a MySQL database shows of a DDL statement once it is done. Such a statement commits by itself, so
//! after a crash in the middle of one this is all there is to tell how it ended.
//!
//! A statement is one change there, all of it or nothing, so its first action tells of the others.

use super::{
    lexer::{self, Dialect},
    token::{Sort, Token, begins, has_at},
    words::{Words, written},
};

/// How a statement is found out to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It may run once more, however it ended.
    Harmless,
    /// The object is there once it is done.
    Made(Object),
    /// The object is there until it is done.
    Gone(Object),
}

/// An object of a schema. Names are as written, the schema first if one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A table or a view.
    Table(Vec<String>),
    /// A column of a table.
    Column(Vec<String>, String),
    /// An index of a table.
    Index(Vec<String>, String),
    /// A constraint of a table.
    Constraint(Vec<String>, String),
    /// A procedure or function.
    Routine(Vec<String>),
    /// A trigger.
    Trigger(Vec<String>),
    /// An event.
    Event(Vec<String>),
}

/// What is to be looked for; none for a statement that leaves no sure trace.
#[must_use]
pub fn trace(text: &str) -> Option<Trace> {
    let lexed = lexer::lex(text, Dialect::MySqlStatement);
    let tokens: Vec<Token<'_>> = lexed.tokens.into_iter().filter(|token| token.sort != Sort::Hint).collect();
    let mut words = Words { tokens: &tokens };
    if words.take(&["analyze"]) || words.take(&["optimize"]) || words.take(&["check"]) {
        return Some(Trace::Harmless);
    }
    if words.take(&["create"]) {
        return create(words);
    }
    if words.take(&["drop"]) {
        return drop(words);
    }
    if words.take(&["rename", "table"]) {
        words.path()?;
        return words.take(&["to"]).then(|| words.path())?.map(|to| Trace::Made(Object::Table(to)));
    }
    let _ = words.take(&["alter", "ignore"]) || words.take(&["alter", "online"]);
    let alter = words.take(&["alter", "table"]) || words.take(&["table"]);
    if !alter || words.take(&["if", "exists"]) {
        return None;
    }
    let table = words.path()?;
    alter_table(words, table)
}

fn create(mut words: Words<'_, '_>) -> Option<Trace> {
    if words.take(&["or", "replace"]) {
        return Some(Trace::Harmless);
    }
    if words.take(&["definer"]) {
        words.skip_until(&["procedure", "function", "trigger", "event", "view", "sql"]);
    }
    let _ = words.take(&["aggregate"]);
    for kind in ["algorithm", "sql"] {
        if begins(words.tokens, &[kind]) {
            words.skip_until(&["view"]);
        }
    }
    let of = |mut words: Words<'_, '_>, object: fn(Vec<String>) -> Object| {
        if words.take(&["if", "not", "exists"]) {
            return Some(Trace::Harmless);
        }
        words.path().map(|path| Trace::Made(object(path)))
    };
    if words.take(&["table"]) || words.take(&["view"]) {
        return of(words, Object::Table);
    }
    if words.take(&["procedure"]) || words.take(&["function"]) {
        return of(words, Object::Routine);
    }
    if words.take(&["trigger"]) {
        return of(words, Object::Trigger);
    }
    if words.take(&["event"]) {
        return of(words, Object::Event);
    }
    let _ = words.take(&["unique"]) || words.take(&["fulltext"]) || words.take(&["spatial"]);
    if !words.take(&["index"]) {
        return None;
    }
    if words.take(&["if", "not", "exists"]) {
        return Some(Trace::Harmless);
    }
    let name = words.name()?;
    words.skip_until(&["on"]);
    words.take(&["on"]).then(|| words.path())?.map(|table| Trace::Made(Object::Index(table, name)))
}

type Kind = (&'static str, fn(Vec<String>) -> Object);

fn drop(mut words: Words<'_, '_>) -> Option<Trace> {
    let kinds: [Kind; 6] = [
        ("table", Object::Table),
        ("view", Object::Table),
        ("procedure", Object::Routine),
        ("function", Object::Routine),
        ("trigger", Object::Trigger),
        ("event", Object::Event),
    ];
    for (kind, object) in kinds {
        if words.take(&[kind]) {
            if words.take(&["if", "exists"]) {
                return Some(Trace::Harmless);
            }
            return words.path().map(|path| Trace::Gone(object(path)));
        }
    }
    if !words.take(&["index"]) {
        return None;
    }
    if words.take(&["if", "exists"]) {
        return Some(Trace::Harmless);
    }
    let name = words.name()?;
    words.take(&["on"]).then(|| words.path())?.map(|table| Trace::Gone(Object::Index(table, name)))
}

fn alter_table(mut words: Words<'_, '_>, table: Vec<String>) -> Option<Trace> {
    if words.take(&["add"]) {
        return add(words, table);
    }
    if words.take(&["drop"]) {
        return take_away(words, table);
    }
    if words.take(&["rename", "column"]) {
        words.name()?;
        return words.take(&["to"]).then(|| words.name())?.map(|to| Trace::Made(Object::Column(table, to)));
    }
    if words.take(&["rename", "index"]) || words.take(&["rename", "key"]) {
        words.name()?;
        return words.take(&["to"]).then(|| words.name())?.map(|to| Trace::Made(Object::Index(table, to)));
    }
    if words.take(&["rename"]) {
        let _ = words.take(&["to"]) || words.take(&["as"]);
        return words.path().map(|to| Trace::Made(Object::Table(to)));
    }
    if words.take(&["change"]) {
        let _ = words.take(&["column"]);
        let (from, to) = (words.name()?, words.name()?);
        if !from.eq_ignore_ascii_case(&to) {
            return Some(Trace::Made(Object::Column(table, to)));
        }
        return words.is_last().then_some(Trace::Harmless);
    }
    const SAME_AGAIN: [&str; 9] =
        ["modify", "engine", "convert", "comment", "default", "character", "charset", "collate", "alter"];
    (has_at(words.tokens, 0, &SAME_AGAIN) && words.is_last()).then_some(Trace::Harmless)
}

fn add(mut words: Words<'_, '_>, table: Vec<String>) -> Option<Trace> {
    if words.take(&["constraint"]) {
        return words.name().map(|name| Trace::Made(Object::Constraint(table, name)));
    }
    if words.take(&["primary", "key"]) {
        return Some(Trace::Made(Object::Constraint(table, "PRIMARY".into())));
    }
    let special = words.take(&["unique"]) || words.take(&["fulltext"]) || words.take(&["spatial"]);
    if words.take(&["index"]) || words.take(&["key"]) || special {
        return words.name().map(|name| Trace::Made(Object::Index(table, name)));
    }
    if has_at(words.tokens, 0, &["foreign", "check", "partition", "period", "system"]) {
        return None;
    }
    let _ = words.take(&["column"]);
    if words.take(&["if", "not", "exists"]) {
        return words.is_last().then_some(Trace::Harmless);
    }
    if words.tokens.first().is_some_and(|token| token.is_mark("(")) {
        words.tokens = &words.tokens[1..];
    }
    words.name().map(|name| Trace::Made(Object::Column(table, name)))
}

/// What is dropped may be made anew by the same statement: then nothing is sure.
fn take_away(mut words: Words<'_, '_>, table: Vec<String>) -> Option<Trace> {
    let object: fn(Vec<String>, String) -> Object = if words.take(&["primary", "key"]) {
        return words.is_last().then(|| Trace::Gone(Object::Constraint(table, "PRIMARY".into())));
    } else if words.take(&["foreign", "key"]) || words.take(&["constraint"]) {
        Object::Constraint
    } else if words.take(&["index"]) || words.take(&["key"]) {
        Object::Index
    } else {
        let _ = words.take(&["column"]);
        Object::Column
    };
    if words.take(&["if", "exists"]) {
        return words.is_last().then_some(Trace::Harmless);
    }
    let name = words.name()?;
    let again =
        words.tokens.iter().any(|token| written(token).is_some_and(|n| n.eq_ignore_ascii_case(&name)));
    (!again).then(|| Trace::Gone(object(table, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Vec<String> {
        name.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_a_statement_makes_is_its_trace() {
        let made = |text: &str, object: Object| assert_eq!(trace(text), Some(Trace::Made(object)), "{text}");
        made("CREATE TABLE Users (id int)", Object::Table(table("Users")));
        made("create view `a``b`.v as select 1", Object::Table(table("a`b.v")));
        made("CREATE UNIQUE INDEX i USING BTREE ON t (a)", Object::Index(table("t"), "i".into()));
        made("ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b INT", Object::Column(table("t"), "a".into()));
        made("ALTER TABLE t ADD a INT", Object::Column(table("t"), "a".into()));
        made("ALTER TABLE t ADD COLUMN (a INT, b INT)", Object::Column(table("t"), "a".into()));
        made("ALTER TABLE t ADD UNIQUE KEY u (a)", Object::Index(table("t"), "u".into()));
        made(
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES o (id)",
            Object::Constraint(table("t"), "f".into()),
        );
        made("RENAME TABLE a TO b", Object::Table(table("b")));
        made("ALTER TABLE a RENAME b", Object::Table(table("b")));
        made("ALTER TABLE t CHANGE a b INT", Object::Column(table("t"), "b".into()));
        made("CREATE DEFINER=`root`@`%` PROCEDURE p() BEGIN SELECT 1; END", Object::Routine(table("p")));
        made(
            "/*!50003 CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a = 1 */",
            Object::Trigger(table("g")),
        );
    }

    #[test]
    fn what_a_statement_takes_away_is_its_trace() {
        let gone = |text: &str, object: Object| assert_eq!(trace(text), Some(Trace::Gone(object)), "{text}");
        gone("DROP TABLE t", Object::Table(table("t")));
        gone("DROP INDEX i ON t", Object::Index(table("t"), "i".into()));
        gone("ALTER TABLE t DROP a, ADD b INT", Object::Column(table("t"), "a".into()));
        gone("ALTER TABLE t DROP FOREIGN KEY f", Object::Constraint(table("t"), "f".into()));
    }

    #[test]
    fn what_may_run_again_is_harmless() {
        for text in [
            "CREATE TABLE IF NOT EXISTS t (id int)",
            "DROP VIEW IF EXISTS v",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "ALTER TABLE t MODIFY a DECIMAL(10, 2) NOT NULL",
            "ALTER TABLE t ENGINE = InnoDB",
            "ALTER TABLE t CHANGE a a BIGINT",
            "ANALYZE TABLE t",
        ] {
            assert_eq!(trace(text), Some(Trace::Harmless), "{text}");
        }
    }

    #[test]
    fn what_leaves_no_sure_trace_has_none() {
        for text in [
            "ALTER TABLE t DROP COLUMN a, ADD COLUMN a INT",
            "ALTER TABLE t MODIFY a INT, ADD COLUMN b INT",
            "ALTER TABLE t ADD INDEX (a)",
            "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES o (id)",
            "TRUNCATE TABLE t",
            "CALL p()",
            "",
        ] {
            assert_eq!(trace(text), None, "{text}");
        }
    }
}
