//! A migration that does not run in one transaction: statement by statement, with a record of how far it came.
//!
//! The record is one row beside the tenant's history, in a table that is there only meanwhile. It says how many
//! statements are done, from the first on, with their fingerprints; and whether the one after them was begun and cannot
//! be rolled back, so that nobody knows how it ended. What can share a transaction with the update of this row does.
//!
//! | ended by | the next attempt |
//! |---|---|
//! | an error, nothing being done | begins anew: mark and row are taken away |
//! | an error later | goes on at the statement that failed; those before must be the same as they were |
//! | a crash | asks the database whether the doubtful statement is done; what cannot be told is refused |

mod row;
mod walk;

use tenantry_shared::{
    clock::Stopwatch,
    failure::Failure,
    format::Script,
    place::Engine,
    plan::Progress,
    statement::{Statement, Unit, fingerprint, split},
};

pub(crate) use self::row::{PROGRESS_TABLE, TRACELESS, cleared, settled, written_down};
use self::walk::Walk;
use super::{Change, Session, unwritten};

/// In place of the fingerprint where a number has no statement to run.
const NONE: &str = "-";

/// After these the server has not said how the statement ended.
pub(super) const UNANSWERED: [&str; 4] = ["connection", "protocol", "no-answer", "connect-timeout"];

/// What an engine offers to run statements one by one.
pub(super) trait Stepwise: Session {
    /// Begins a transaction.
    const BEGIN: &'static str;

    /// Runs SQL of ours; gives how many rows it changed.
    fn execute(&mut self, sql: &str) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Runs one statement of a migration, within the time limit of statements.
    fn statement(&mut self, text: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes room for a statement that runs alone: takes away what a failed try of it left behind.
    fn clear(&mut self, statement: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether the database looks as it does once a statement is done. None: it does not tell.
    fn is_done(&mut self, statement: &str) -> impl Future<Output = Result<Option<bool>, Failure>> + Send;

    /// In the transaction that begins a migration: whether it may begin.
    fn first(&mut self, _: &Change<'_>) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }

    /// In the transaction that ends a migration.
    fn last(&mut self, _: &Change<'_>) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Finds out how the statement ended that nobody knows of, where the database can tell.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn settle<S: Stepwise>(
    session: &mut S,
    mut progress: Progress,
    script: &Script,
) -> Result<Progress, Failure> {
    let site = session.site(PROGRESS_TABLE);
    let engine = site.engine;
    let Ok(statements) = split(&script.text, engine) else { return Ok(progress) };
    let number = u32::try_from(progress.fingerprints.len()).unwrap_or(u32::MAX);
    let begun = statements.get(number as usize - 1);
    let same = |begun: &&Statement| Some(&fingerprint(&begun.text, engine)) == progress.fingerprints.last();
    let Some(begun) = begun.filter(same).filter(|_| !progress.traceless) else { return Ok(progress) };
    let Some(done) = session.is_done(&begun.text).await? else { return Ok(progress) };
    session.execute(&settled(site, &progress, done)).await?;
    if done {
        progress.done = number;
    }
    progress.doubt = false;
    Ok(progress)
}

/// Writes SQL of ours in one transaction. On MySQL, DDL in it ends that.
///
/// # Errors
/// What the first statement failed with that did.
pub(super) async fn write<S: Stepwise>(session: &mut S, statements: &[String]) -> Result<(), Failure> {
    session.execute(S::BEGIN).await?;
    for sql in statements.iter().filter(|sql| !sql.is_empty()) {
        session.execute(sql).await.map_err(unwritten)?;
    }
    session.execute("COMMIT").await.map(|_| ())
}

/// The fingerprint of every statement of these units, by its number less one.
pub(super) fn fingerprints(units: &[Unit], engine: Engine) -> Vec<String> {
    let mut fingerprints = Vec::new();
    for unit in units.iter().filter(|unit| !unit.session) {
        let last = unit.first as usize - 1 + unit.statements.len();
        fingerprints.resize(last.max(fingerprints.len()), NONE.to_owned());
        for (at, statement) in unit.statements.iter().enumerate() {
            fingerprints[unit.first as usize - 1 + at] = fingerprint(&statement.text, engine);
        }
    }
    fingerprints
}

/// The number of the last statement of a unit.
pub(super) fn behind(unit: &Unit) -> u32 {
    unit.first + u32::try_from(unit.statements.len()).unwrap_or(u32::MAX) - 1
}

/// Runs a migration unit by unit, from where it was left.
///
/// # Errors
/// What the first failing statement failed with; or a refusal, when what was done before is not what the script
/// says now.
pub(super) async fn run<S: Stepwise>(
    session: &mut S,
    change: &Change<'_>,
    units: &[Unit],
) -> Result<(), Failure> {
    let known = change.resumed.then_some(&change.progress);
    run_from(session, change, units, known, 0).await
}

/// The same from a unit on, all of those before it being done in this session, with a record that may be there.
///
/// # Errors
/// The same.
pub(super) async fn run_from<S: Stepwise>(
    session: &mut S,
    change: &Change<'_>,
    units: &[Unit],
    known: Option<&Progress>,
    from: usize,
) -> Result<(), Failure> {
    let mut walk = Walk::new(session, change, units, known)?;
    walk.begin(change).await?;
    let watch = Stopwatch::start();
    for unit in &units[from..] {
        if let Err(failure) = walk.unit(unit).await {
            return Err(walk.stopped(change, failure).await);
        }
    }
    walk.end(change, watch.elapsed()).await
}

/// A failure that says which statement it was, and where in a file whose script begins in this line.
pub(super) fn placed(
    failure: Failure,
    first_line: u32,
    number: u32,
    statement: Option<&Statement>,
) -> Failure {
    let begins = statement.map(|statement| first_line + statement.line - 1);
    let line = match (begins, failure.line) {
        (Some(begins), Some(within)) => Some(begins + within - 1),
        (begins, within) => begins.or(within),
    };
    Failure { statement: Some(number), line, ..failure }
}

/// A failure that says how many statements before it are done.
pub(super) fn with_what_stays(failure: Failure, done: u32) -> Failure {
    let hint = failure.hint.clone();
    let kept = match done {
        0 => return failure,
        1 => "statement 1 is done and stays".to_owned(),
        n => format!("statements 1 to {n} are done and stay"),
    };
    let kept = format!("{kept}: mend the rest, and a retry goes on at statement {}", done + 1);
    failure.with_hint(hint.map_or(kept.clone(), |hint| format!("{hint}; {kept}")))
}
