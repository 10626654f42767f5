//! What holds for every script, tried on scripts made by chance.

use proptest::prelude::*;

use super::{Engine, course, fingerprint, index_concurrently, leaves_settings, split};

const ENGINES: [Engine; 3] = [Engine::Postgres, Engine::MySql, Engine::Sqlite];

/// A word, a number, a text or a name in quotes, a comment, or something in parentheses, each with what might
/// be taken for the end of a statement. Every engine reads them alike.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zé]{1,8}",
        "[0-9]{1,4}",
        "'([a-zß;\n (/#]|''|--){0,8}'",
        "\"[a-z; ]{1,6}\"",
        "/\\* [a-z;'\"\n]{0,8} \\*/",
        "-- [a-z;'\"]{0,8}\n",
        "\\([a-z, ]{0,8}\\)",
    ]
}

/// A statement that begins and ends with a token, so that its text comes back as it is.
fn statement() -> impl Strategy<Value = String> {
    ("(SELECT|INSERT|CREATE TABLE|x)", prop::collection::vec(part(), 0..6), "[a-z]{1,3}|'[;]'")
        .prop_map(|(first, parts, last)| format!("{first} {} {last}", parts.join(" ")))
}

proptest! {
    #[test]
    fn what_is_joined_is_split_again(statements in prop::collection::vec(statement(), 0..6), blank in "(;|\r?\n| |-- ;\n)*") {
        let (mut script, mut written) = (String::new(), Vec::new());
        for statement in &statements {
            script.push_str(&blank);
            let line = script.matches('\n').count() + 1;
            written.push((statement.clone(), u32::try_from(line).unwrap()));
            script.push_str(&format!("{statement};\n"));
        }
        for engine in ENGINES {
            let read = split(&script, engine).unwrap().into_iter().map(|s| (s.text, s.line));
            prop_assert_eq!(read.collect::<Vec<_>>(), written.clone());
        }
    }

    #[test]
    fn comments_and_blanks_do_not_change_a_fingerprint(statement in statement()) {
        for engine in ENGINES {
            let loose = format!("\n/* a ; b */ {statement}\r\n-- end");
            prop_assert_eq!(fingerprint(&loose, engine), fingerprint(&statement, engine));
            prop_assert_ne!(fingerprint(&format!("{statement} y"), engine), fingerprint(&statement, engine));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", marked: bool) {
        everything(&text, marked);
    }

    #[test]
    fn no_order_of_tokens_makes_it_panic(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..24),
        marked: bool,
    ) {
        everything(&words.join(" "), marked);
        everything(&words.concat(), marked);
    }

    #[test]
    fn a_whole_script_keeps_its_lines_and_its_length(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..12)) {
        let script = words.join(" ");
        for engine in ENGINES {
            if let Ok(super::Course::Whole { text }) = course(&script, engine, false) {
                prop_assert_eq!(text.chars().count(), script.chars().count());
                prop_assert_eq!(text.lines().count(), script.lines().count());
            }
        }
    }
}

const WORDS: [&str; 62] = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "END",
    ";",
    "(",
    ")",
    "'a;b'",
    "\"n\"",
    "`n`",
    "[n]",
    "$$",
    "$a$",
    "\\",
    "--",
    "#",
    "/*",
    "*/",
    "/*!50003",
    "/*M!100100",
    "\n",
    "\r\n",
    "\u{feff}",
    "DELIMITER",
    "//",
    "\nDELIMITER //\n",
    "\nDELIMITER ;\n",
    "CREATE",
    "OR REPLACE",
    "UNIQUE",
    "INDEX",
    "CONCURRENTLY",
    "ON",
    "ONLY",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "EVENT",
    "ATOMIC",
    "NOT",
    "CASE",
    "IF",
    "THEN",
    "LOOP",
    "SET",
    "autocommit",
    "=",
    "0",
    "PRAGMA",
    "foreign_keys",
    "ALTER",
    "TYPE",
    "ADD VALUE",
    "'",
    "\"",
    "DROP",
    ".",
    "é",
    "COPY t FROM stdin",
    "EXPLAIN",
    "AND CHAIN",
    "LOCK TABLES",
];

fn everything(text: &str, marked: bool) {
    let _ = index_concurrently(text);
    for engine in ENGINES {
        let _ = (course(text, engine, marked), fingerprint(text, engine));
        if let Ok(statements) = split(text, engine) {
            let _ = leaves_settings(&statements, engine);
            assert!(statements.iter().all(|s| !s.text.is_empty() && text.contains(&s.text)));
            assert!(statements.is_sorted_by_key(|s| s.line));
        }
    }
}
