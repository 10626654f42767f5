//! Statements of MySQL that commit by themselves and can be begun together: where none of them was to be seen in the
//! database before the first one began, what is there later is their own doing, up to the last one that is to be seen.
//!
//! So of two of them neither may show or hide the trace of the other. That is told from their words alone: an object can
//! appear or go only by being named, and one inside of a table also with that table, or under a name that the server
//! makes up.

use std::collections::HashSet;

use super::{
    lexer::{self, Dialect},
    token::{Sort, Token},
    trace::{Object, Trace, trace},
    words::written,
};

/// These bring more into a table than they name. So does a second `TABLE`.
const BRING: [&str; 6] = ["like", "select", "rename", "exchange", "versioning", "values"];

/// These take away what they name.
const TAKE: [&str; 4] = ["drop", "rename", "change", "exchange"];

/// A statement that commits by itself.
#[derive(Clone, Debug)]
pub struct Lone {
    /// How it is found out to be done.
    pub trace: Trace,
    /// Its words, names and texts in lower case.
    words: HashSet<String>,
    /// Whether a table may have more inside than is named.
    brings: bool,
    /// Names with other letters may be equal in more ways than two cases.
    plain: bool,
}

impl Lone {
    /// None for a statement that leaves no sure trace.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let trace = trace(text)?;
        let lexed = lexer::lex(text, Dialect::MySqlStatement);
        let tokens: Vec<Token<'_>> = lexed.tokens.into_iter().filter(|t| t.sort != Sort::Hint).collect();
        let brings = tokens.iter().any(|t| t.is_any(&BRING)) || tokens.iter().skip(2).any(|t| t.is("table"));
        Some(Self { trace, words: tokens.iter().filter_map(word).collect(), brings, plain: text.is_ascii() })
    }

    /// Whether it can be begun together with one before it: neither shows or hides the trace of the other.
    #[must_use]
    pub fn goes_with(&self, earlier: &Self) -> bool {
        self.plain && earlier.plain && !earlier.shows(&self.trace) && !self.hides(&earlier.trace)
    }

    /// Whether an object may appear, or go, by this statement, too.
    fn shows(&self, trace: &Trace) -> bool {
        let (Trace::Made(object) | Trace::Gone(object)) = trace else { return false };
        let (table, inner) = names(object);
        let own = inner.unwrap_or(table);
        let within = inner.is_some() && self.has(table);
        self.has(own) || (within && (self.brings || made_up(own)))
    }

    /// Whether it may take away what another one makes, or the other way round.
    fn hides(&self, trace: &Trace) -> bool {
        let (Trace::Made(object) | Trace::Gone(object)) = trace else { return false };
        let (table, inner) = names(object);
        let takes = TAKE.iter().any(|word| self.words.contains(*word));
        takes && (self.has(table) || inner.is_some_and(|inner| self.has(inner)))
    }

    fn has(&self, name: &str) -> bool {
        self.words.contains(&name.to_ascii_lowercase())
    }
}

/// A text may be a name: that depends on the settings of the session.
fn word(token: &Token<'_>) -> Option<String> {
    let text = || (token.sort == Sort::Text).then(|| token.text.trim_matches(['"', '\'']).to_owned());
    written(token).or_else(text).map(|name| name.to_ascii_lowercase())
}

/// The table or what else stands by itself, and what is inside of it.
fn names(object: &Object) -> (&str, Option<&str>) {
    let (path, inner) = match object {
        Object::Table(path) | Object::Routine(path) | Object::Trigger(path) | Object::Event(path) => {
            (path, None)
        }
        Object::Column(path, name) | Object::Index(path, name) | Object::Constraint(path, name) => {
            (path, Some(name.as_str()))
        }
    };
    (path.last().map_or("", String::as_str), inner)
}

/// Whether the server may have thought of this name: `name_2`, `t_ibfk_1`, `CONSTRAINT_1`, `functional_index`.
fn made_up(name: &str) -> bool {
    let digits = name.rsplit_once('_').is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()));
    digits || name.eq_ignore_ascii_case("functional_index")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(earlier: &str, later: &str) -> bool {
        let lone = |text: &str| Lone::new(text).expect("a trace");
        lone(later).goes_with(&lone(earlier))
    }

    #[test]
    fn a_table_and_what_is_put_into_it_are_begun_together() {
        let table = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20) DEFAULT 'j', KEY k (name))";
        for later in [
            "CREATE INDEX i ON t (name)",
            "ALTER TABLE t ADD COLUMN email INT",
            "ALTER TABLE `T` ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES o (id)",
            "CREATE TABLE u (t INT)",
            "DROP TABLE v",
            "CREATE TABLE IF NOT EXISTS w (id INT)",
        ] {
            assert!(together(table, later), "{later}");
        }
        assert!(together("DROP TABLE IF EXISTS o", table));
    }

    #[test]
    fn what_the_one_before_may_have_brought_is_begun_apart() {
        for (earlier, later) in [
            ("CREATE TABLE t (a INT)", "ALTER TABLE t ADD COLUMN A INT"),
            ("CREATE TABLE t (a INT, KEY `I` (a))", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t (a INT, KEY \"i\" (a))", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t TABLE u", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t LIKE u", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t AS SELECT * FROM u", "ALTER TABLE t ADD COLUMN b INT"),
            ("RENAME TABLE u TO t", "ALTER TABLE t ADD COLUMN b INT"),
            ("ALTER TABLE u RENAME t", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t (a INT, KEY (a), KEY (a))", "CREATE INDEX a_2 ON t (a)"),
            (
                "CREATE TABLE t (a INT CHECK (a > 0))",
                "ALTER TABLE t ADD CONSTRAINT CONSTRAINT_1 CHECK (a > 1)",
            ),
            ("CREATE TABLE t (id INT PRIMARY KEY)", "ALTER TABLE t ADD PRIMARY KEY (id)"),
            ("CREATE TABLE t (é INT)", "ALTER TABLE t ADD COLUMN e INT"),
            ("CREATE TABLE t (a INT) WITH SYSTEM VERSIONING", "ALTER TABLE t ADD COLUMN row_start INT"),
        ] {
            assert!(!together(earlier, later), "{earlier}; {later}");
        }
    }

    #[test]
    fn what_would_hide_the_one_before_is_begun_apart() {
        for (earlier, later) in [
            ("CREATE TABLE t (a INT)", "DROP TABLE t"),
            ("CREATE TABLE t (a INT)", "DROP TABLE IF EXISTS t"),
            ("CREATE TABLE t (a INT)", "RENAME TABLE t TO u"),
            ("CREATE INDEX i ON t (a)", "DROP TABLE t"),
            ("CREATE INDEX i ON t (a)", "ALTER TABLE t DROP INDEX i"),
            ("ALTER TABLE t ADD COLUMN a INT", "ALTER TABLE t CHANGE a b INT"),
            ("DROP TABLE t", "CREATE TABLE t (a INT)"),
        ] {
            assert!(!together(earlier, later), "{earlier}; {later}");
        }
    }

    #[test]
    fn what_leaves_no_trace_is_none_of_them() {
        assert!(Lone::new("TRUNCATE TABLE t").is_none() && Lone::new("CALL p()").is_none());
    }
}
