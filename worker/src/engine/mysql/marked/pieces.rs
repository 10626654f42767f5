//! A migration in pieces: what one transaction can hold, and stretches of statements that tell of each other. Pure.

use tenantry_shared::{
    format::Tally,
    statement::{Lone, Statement, Trace, Unit},
};

use crate::engine::steps::behind;

/// So many statements are looked for in one query.
const LONGEST_STRETCH: usize = 50;

/// So many bytes of statements are sent as one message: far less than any server refuses.
const LONGEST_MESSAGE: usize = 1 << 16;

/// A part of a migration.
pub(super) enum Piece<'u> {
    /// Changes the session alone, and is made again whenever the migration goes on.
    Settings(&'u Unit),
    /// One transaction.
    Data(&'u Unit),
    /// Statements that commit by themselves and tell of each other.
    Stretch(Vec<Step<'u>>),
}

/// A statement that commits by itself.
pub(super) struct Step<'u> {
    pub(super) number: u32,
    pub(super) statement: &'u Statement,
    lone: Lone,
}

/// What tells that these are done.
pub(super) fn traces<'s>(steps: &'s [Step<'_>]) -> Vec<&'s Trace> {
    steps.iter().map(|step| &step.lone.trace).collect()
}

/// How many of these are sent as one message, the first at least. What has a `;` in it may be several statements to the server,
/// and the number of its results not known: it is sent alone.
pub(super) fn together(steps: &[Step<'_>]) -> usize {
    let mut length = 0;
    let fits = |step: &&Step<'_>| {
        length += step.statement.text.len();
        length <= LONGEST_MESSAGE && !step.statement.text.contains(';')
    };
    steps.iter().take_while(fits).count().max(1)
}

/// The pieces of a migration. None: something in it needs a record of its own. `counted`: its mark can have a tally.
pub(super) fn pieces(units: &[Unit], counted: bool) -> Option<Vec<Piece<'_>>> {
    let last = units.last().map_or(0, behind);
    Tally { done: last, looked: last }.number()?;
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for unit in units {
        if unit.session {
            if unit.statements.iter().any(goes_elsewhere) {
                return None;
            }
            pieces.push(Piece::Settings(unit));
        } else if unit.atomic {
            pieces.push(Piece::Data(unit));
        } else {
            alone(&mut pieces, unit)?;
        }
    }
    let is_data = |piece: &Piece<'_>| matches!(piece, Piece::Data(_));
    let whole = pieces.last().is_none_or(is_data) && pieces.iter().filter(|p| is_data(p)).count() <= 1;
    let stretches = pieces.iter().any(|piece| matches!(piece, Piece::Stretch(_)));
    (counted || (whole && !stretches)).then_some(pieces)
}

/// The traces would be asked for in another database after a crash.
fn goes_elsewhere(statement: &Statement) -> bool {
    let words = statement.text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.into_iter().any(|word| word.eq_ignore_ascii_case("use"))
}

fn alone<'u>(pieces: &mut Vec<Piece<'u>>, unit: &'u Unit) -> Option<()> {
    for (number, statement) in (unit.first..).zip(&unit.statements) {
        let step = Step { number, statement, lone: Lone::new(&statement.text)? };
        match pieces.last_mut() {
            Some(Piece::Stretch(steps)) if goes_on(steps, &step.lone) => steps.push(step),
            _ => pieces.push(Piece::Stretch(vec![step])),
        }
    }
    Some(())
}

/// Of two that may run again, one after the other, the first may not be what it was before the second one.
fn goes_on(steps: &[Step<'_>], next: &Lone) -> bool {
    let again = |lone: &Lone| lone.trace == Trace::Harmless;
    let both = again(next) && steps.last().is_some_and(|step| again(&step.lone));
    !both && steps.len() < LONGEST_STRETCH && steps.iter().all(|step| next.goes_with(&step.lone))
}

#[cfg(test)]
mod tests {
    use tenantry_shared::{
        place::Engine,
        statement::{Course, course},
    };

    use super::*;

    /// A word for each piece, with how many statements it has.
    fn shape(sql: &str, counted: bool) -> Option<Vec<String>> {
        let Ok(Course::Steps(units)) = course(sql, Engine::MySql, false) else { panic!("units: {sql}") };
        let shown = |piece: &Piece<'_>| match piece {
            Piece::Settings(unit) => format!("settings {}", unit.statements.len()),
            Piece::Data(unit) => format!("data {}", unit.statements.len()),
            Piece::Stretch(steps) => format!("stretch {}", steps.len()),
        };
        pieces(&units, counted).map(|pieces| pieces.iter().map(shown).collect())
    }

    #[test]
    fn statements_that_tell_of_each_other_are_one_stretch() {
        let sql = "CREATE TABLE t (a INT); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1); ALTER TABLE t ADD b INT";
        assert_eq!(shape(sql, true).unwrap(), ["stretch 2", "data 1", "stretch 1"]);
        let sql = "CREATE TABLE t (a INT); ALTER TABLE t ADD b INT; DROP TABLE t";
        assert_eq!(shape(sql, true).unwrap(), ["stretch 2", "stretch 1"]);
        let sql = "DROP TABLE IF EXISTS a; DROP TABLE IF EXISTS b; CREATE TABLE c (n INT)";
        assert_eq!(shape(sql, true).unwrap(), ["stretch 1", "stretch 2"]);
    }

    #[test]
    fn statements_are_sent_together_up_to_one_that_may_be_several() {
        let counted = |sql: &str| {
            let Ok(Course::Steps(units)) = course(sql, Engine::MySql, false) else { panic!("units: {sql}") };
            let pieces = pieces(&units, true).expect("pieces");
            let Some(Piece::Stretch(steps)) = pieces.first() else { panic!("a stretch: {sql}") };
            together(steps)
        };
        assert_eq!(counted("CREATE TABLE a (n INT); CREATE TABLE b (n INT); CREATE TABLE c (n INT)"), 3);
        assert_eq!(counted("CREATE TABLE a (n INT); CREATE TABLE b (n TEXT COMMENT ';'); DROP TABLE c"), 1);
        assert_eq!(counted("CREATE TABLE a (n INT COMMENT ';'); CREATE TABLE b (n INT)"), 1);
        let long = format!("CREATE TABLE a (n INT COMMENT '{}')", "x".repeat(LONGEST_MESSAGE / 2));
        assert_eq!(counted(&format!("{long}; {}; DROP TABLE c", long.replace(" a ", " b "))), 1);
    }

    #[test]
    fn what_leaves_no_trace_or_goes_elsewhere_has_a_record_of_its_own() {
        assert_eq!(shape("CREATE TABLE t (a INT); TRUNCATE TABLE t", true), None);
        assert_eq!(shape("USE other; CREATE TABLE t (a INT)", true), None);
        assert_eq!(shape("CREATE TABLE t (a INT)", false), None);
    }

    #[test]
    fn data_alone_needs_no_mark() {
        let sql = "SET @a = 1; INSERT INTO t VALUES (@a); UPDATE t SET a = 2";
        assert_eq!(shape(sql, false).unwrap(), ["settings 1", "data 2"]);
        assert_eq!(shape("INSERT INTO t VALUES (1); SET @a = 1", false), None);
        assert!(shape("", false).unwrap().is_empty());
    }
}
