//! How far one transaction that is rolled back can hold what is pending, and why no further.

use tenantry_shared::{
    place::Engine,
    statement::{Course, Kind, split},
};

use super::{Change, course_of, sqlite::may_set};

const BY_ITSELF: &str = "DDL commits by itself in MySQL and MariaDB";
const BEGUN: &str = "an earlier attempt has begun it, and it goes on statement by statement";
const OWN: &str = "it begins or ends transactions of its own";
const ALONE: &str = "it runs statement by statement, because no transaction can hold it";
const UNREAD: &str = "where its statements end cannot be told";
const SETTINGS: &str = "it needs a session without the settings of the migrations before it";

/// The first of these changes that cannot be rehearsed behind those before it, and why. One that is not a script at all
/// can: it fails as it would in an attempt.
pub(crate) fn first_bar(changes: &[Change<'_>], engine: Engine) -> Option<(usize, &'static str)> {
    let mut stained = false;
    for (at, change) in changes.iter().enumerate() {
        let sets = engine == Engine::Sqlite && (change.preamble.is_some() || may_set(&change.script.text));
        let why = bar(change, engine).or_else(|| (at > 0 && (stained || sets)).then_some(SETTINGS));
        if let Some(why) = why {
            return Some((at, why));
        }
        stained = sets;
    }
    None
}

fn bar(change: &Change<'_>, engine: Engine) -> Option<&'static str> {
    if engine == Engine::MySql {
        return Some(BY_ITSELF);
    }
    if change.resumed {
        return Some(BEGUN);
    }
    let Ok(course) = course_of(change, engine) else { return None };
    let Ok(statements) = split(&change.script.text, engine) else { return Some(UNREAD) };
    let ends = |kind: Kind| matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback);
    match course {
        Course::Whole { .. } => statements.iter().any(|s| prepares(&s.text)).then_some(OWN),
        Course::Steps(_) if statements.iter().any(|s| ends(s.kind)) => Some(OWN),
        Course::Steps(_) => Some(ALONE),
    }
}

/// `PREPARE TRANSACTION` takes the transaction away from the session that would roll it back.
fn prepares(statement: &str) -> bool {
    let words = statement.to_ascii_uppercase();
    words.starts_with("PREPARE") && words.contains("TRANSACTION")
}
