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

use std::time::Duration;

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    plan::Progress,
    site::Site,
    statement::{Statement, Unit, fingerprint, split},
};

use super::{Change, OWN_HISTORY, Session, unrecorded, unwritten};

/// The table of the row.
pub(crate) const PROGRESS_TABLE: &str = "_tenantry_progress";

/// `doubt` of a statement that runs alone.
const DOUBT: &str = "1";

/// The same of one whose trace was there before it.
pub(crate) const TRACELESS: &str = "2";

/// `doubt` when there is none.
const SURE: &str = "0";

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

/// The SQL that says how the statement in doubt ended.
pub(crate) fn settled(site: Site, progress: &Progress, done: bool) -> String {
    let row = Row { site, progress: progress.clone() };
    let number = u32::try_from(progress.fingerprints.len()).unwrap_or(u32::MAX);
    if done {
        row.advance(progress.done, number, &progress.fingerprints)
    } else {
        row.doubt(SURE, progress.done, &progress.fingerprints)
    }
}

/// The SQL that takes the record of a progress away. The second one ends a transaction on MySQL.
pub(crate) fn cleared(site: Site) -> [String; 2] {
    let row = Row { site, progress: Progress::default() };
    [row.forget(), row.drop_table()]
}

/// The SQL that begins a record of a progress that was known otherwise. The first one ends a transaction on MySQL.
pub(crate) fn written_down(site: Site, progress: &Progress) -> [String; 2] {
    let row = Row { site, progress: progress.clone() };
    [row.create_table(), row.insert()]
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

struct Walk<'s, S> {
    session: &'s mut S,
    sql: Row,
    /// The fingerprint of every statement, by its number less one.
    fingerprints: Vec<String>,
    done: u32,
    /// Whether an earlier attempt got somewhere.
    resumed: bool,
    first_line: u32,
}

impl<'s, S: Stepwise> Walk<'s, S> {
    fn new(
        session: &'s mut S,
        change: &Change<'_>,
        units: &[Unit],
        known: Option<&Progress>,
    ) -> Result<Self, Failure> {
        let site = session.site(PROGRESS_TABLE);
        let fingerprints = fingerprints(units, site.engine);
        let progress = known.unwrap_or(&change.progress).clone();
        let done = progress.done;
        let differing = progress
            .fingerprints
            .iter()
            .take(done as usize)
            .enumerate()
            .find(|(at, print)| fingerprints.get(*at) != Some(print));
        if let Some((at, _)) = differing {
            return Err(changed_underneath(at + 1, done));
        }
        Ok(Self {
            session,
            sql: Row { site, progress },
            fingerprints,
            done,
            resumed: known.is_some(),
            first_line: change.script.line,
        })
    }

    /// Writes the row and the mark, or the mark anew: the script may have been mended since.
    async fn begin(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let mark = change.begin.clone().unwrap_or_default();
        let unmark = if change.begin.is_some() { change.unmark.as_str() } else { "" };
        self.session.execute(S::BEGIN).await?;
        if self.resumed {
            self.still_ours().await?;
            self.all(&[unmark, &mark, "COMMIT"]).await
        } else {
            self.session.first(change).await?;
            let (create, insert) = (self.sql.create_table(), self.sql.insert());
            self.all(&[&change.create, &create, &insert, &mark, "COMMIT"])
                .await
                .map_err(|failure| unrecorded(failure, change))
        }
    }

    /// On MySQL taking the table away commits what is before it.
    async fn end(&mut self, change: &Change<'_>, took: Duration) -> Result<(), Failure> {
        let record = (change.record)(took, change.begin.is_some());
        self.session.doing().statement(None);
        self.session.execute(S::BEGIN).await?;
        self.still_ours().await?;
        let recorded = self.session.execute(&record).await.map_err(|failure| unrecorded(failure, change));
        match recorded {
            // The history has it, so nothing is left to be gone on with.
            Err(failure) if failure.code == OWN_HISTORY => {
                self.all(&["ROLLBACK", S::BEGIN, &self.sql.forget(), &self.sql.drop_table(), "COMMIT"])
                    .await?;
                return Err(failure);
            }
            recorded => recorded?,
        };
        self.all(&[&self.sql.forget()]).await?;
        self.session.last(change).await?;
        self.all(&[&self.sql.drop_table(), "COMMIT"]).await
    }

    async fn unit(&mut self, unit: &Unit) -> Result<(), Failure> {
        let behind = behind(unit);
        if unit.session {
            self.settings(unit).await
        } else if behind <= self.done {
            Ok(())
        } else if unit.atomic {
            self.atomic(unit, behind).await
        } else {
            self.alone(unit, behind).await
        }
    }

    /// In one transaction with the record of it.
    async fn atomic(&mut self, unit: &Unit, behind: u32) -> Result<(), Failure> {
        self.session.execute(S::BEGIN).await?;
        self.still_ours().await?;
        for (at, statement) in (unit.first..).zip(&unit.statements) {
            if at > self.done {
                self.statement(at, statement).await?;
            }
        }
        self.advance(behind).await?;
        self.session.execute("COMMIT").await.map_err(|failure| self.of(behind, None, failure))?;
        self.done = self.done.max(behind);
        Ok(())
    }

    /// Settings are gone with their session: they are made whenever the migration goes on, and are not recorded.
    async fn settings(&mut self, unit: &Unit) -> Result<(), Failure> {
        for statement in &unit.statements {
            self.statement(unit.first, statement).await?;
        }
        Ok(())
    }

    /// What cannot be rolled back: that it was begun is known before it begins.
    async fn alone(&mut self, unit: &Unit, behind: u32) -> Result<(), Failure> {
        for (at, statement) in (unit.first..).zip(&unit.statements) {
            let cleared = self.session.clear(&statement.text).await;
            cleared.map_err(|failure| self.of(at, Some(statement), failure))?;
            // What it makes may be there already: then it fails, and its trace would be taken for its own.
            let there = self.session.is_done(&statement.text).await? == Some(true);
            let doubt = if there { TRACELESS } else { DOUBT };
            let doubt = self.sql.doubt(doubt, self.done, &self.fingerprints[..at as usize]);
            self.touches_our_row(&doubt).await?;
            if let Err(failure) = self.statement(at, statement).await {
                self.undoubt(statement, &failure).await;
                return Err(failure);
            }
        }
        self.advance(behind).await?;
        self.done = behind;
        Ok(())
    }

    /// A server that reports an error has not done the statement. What an index build leaves is cleared at once, so
    /// that nothing has to keep it up to date meanwhile; if not now, then before the next try.
    async fn undoubt(&mut self, statement: &Statement, failure: &Failure) {
        if UNANSWERED.contains(&failure.code.as_str()) {
            return;
        }
        let _ = self.session.clear(&statement.text).await;
        let undoubt = self.sql.doubt(SURE, self.done, &self.fingerprints[..self.done as usize]);
        let _ = self.session.execute(&undoubt).await;
    }

    async fn statement(&mut self, at: u32, statement: &Statement) -> Result<(), Failure> {
        self.session.doing().statement(Some(at));
        let ran = self.session.statement(&statement.text).await;
        ran.map_err(|failure| self.of(at, Some(statement), failure))
    }

    /// The guard sees whether somebody else has gone on with it.
    async fn advance(&mut self, done: u32) -> Result<(), Failure> {
        let sql = self.sql.advance(self.done, done, &self.fingerprints);
        self.touches_our_row(&sql).await
    }

    /// At the beginning of a transaction: nobody has gone on with the migration meanwhile, or ended it. SQLite has no lock
    /// that keeps others out between two transactions.
    async fn still_ours(&mut self) -> Result<(), Failure> {
        let sql = self.sql.hold(self.done);
        self.touches_our_row(&sql).await
    }

    async fn touches_our_row(&mut self, sql: &str) -> Result<(), Failure> {
        match self.session.execute(sql).await {
            Ok(1) => Ok(()),
            Err(failure) if !is_missing_table(&failure) => Err(failure),
            Ok(_) | Err(_) => {
                Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
            }
        }
    }

    async fn all(&mut self, statements: &[&str]) -> Result<(), Failure> {
        for sql in statements.iter().filter(|sql| !sql.is_empty()) {
            self.session.execute(sql).await?;
        }
        Ok(())
    }

    /// After an error. Where nothing is done, nothing is to be seen of it; else the next attempt goes on from here.
    async fn stopped(&mut self, change: &Change<'_>, failure: Failure) -> Failure {
        let _ = self.session.execute("ROLLBACK").await;
        if self.done == 0 && !self.resumed {
            let unmark = if change.begin.is_some() { change.unmark.as_str() } else { "" };
            let (forget, drop_table) = (self.sql.forget(), self.sql.drop_table());
            // What stays for want of a connection is a row that says that nothing is done. One that says more is
            // somebody else's by now.
            if self.session.execute(S::BEGIN).await.is_ok() && self.still_ours().await.is_ok() {
                let _ = self.all(&[unmark, &forget, &drop_table, "COMMIT"]).await;
            }
            return failure;
        }
        with_what_stays(failure, self.done)
    }

    /// Says which statement it was, and where in its file.
    fn of(&self, number: u32, statement: Option<&Statement>, failure: Failure) -> Failure {
        placed(failure, self.first_line, number, statement)
    }
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

/// Whether a failure says that a table is not there: the row is gone with its table when a migration has ended.
fn is_missing_table(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "42P01" | "1146") || failure.message.starts_with("no such table")
}

fn changed_underneath(statement: usize, done: u32) -> Failure {
    let message = format!("statement {statement} is not what it was when it was done");
    let hint = format!(
        "statements 1 to {done} are done in this tenant: leave them as they were and change only what follows, or undo them by hand, then tell: tenantry repair --tenant ID --undone"
    );
    let failure = Failure::new(Class::Permanent, "resume", message).with_hint(hint);
    Failure { refused: true, ..failure }
}

/// The SQL of the row.
struct Row {
    site: Site,
    progress: Progress,
}

impl Row {
    fn create_table(&self) -> String {
        // A TEXT of MySQL holds the fingerprints of 3,855 statements.
        let text = if self.site.engine == Engine::MySql { "LONGTEXT" } else { "TEXT" };
        format!(
            "CREATE TABLE IF NOT EXISTS {} (history VARCHAR(200) NOT NULL, version VARCHAR(500) NOT NULL, down INT NOT NULL,
                done INT NOT NULL, doubt INT NOT NULL, fingerprints {text} NOT NULL, only_one INT NOT NULL UNIQUE)",
            self.site.table()
        )
    }

    fn insert(&self) -> String {
        let Progress { table, version, down, done, doubt, traceless, fingerprints } = &self.progress;
        let doubt = if !doubt {
            SURE
        } else if *traceless {
            TRACELESS
        } else {
            DOUBT
        };
        format!(
            "INSERT INTO {} (history, version, down, done, doubt, fingerprints, only_one) VALUES ({}, {}, {}, {done}, {doubt}, '{}', 1)",
            self.site.table(),
            self.site.text(table),
            self.site.text(version.as_str()),
            i32::from(*down),
            fingerprints.join(" "),
        )
    }

    fn advance(&self, from: u32, to: u32, fingerprints: &[String]) -> String {
        format!(
            "UPDATE {} SET done = {to}, doubt = 0, fingerprints = '{}' WHERE {}",
            self.site.table(),
            fingerprints[..(to as usize).min(fingerprints.len())].join(" "),
            self.of_it(from)
        )
    }

    /// Changes nothing, and touches the row if so many statements of this very migration are done.
    fn hold(&self, done: u32) -> String {
        format!("UPDATE {} SET done = {done} WHERE {}", self.site.table(), self.of_it(done))
    }

    fn of_it(&self, done: u32) -> String {
        let Progress { table, version, down, .. } = &self.progress;
        let (table, version) = (self.site.text(table), self.site.text(version.as_str()));
        format!("done = {done} AND history = {table} AND version = {version} AND down = {}", i32::from(*down))
    }

    /// With the fingerprint of the doubtful statement as the last.
    fn doubt(&self, doubt: &str, done: u32, fingerprints: &[String]) -> String {
        let (table, fingerprints, of_it) = (self.site.table(), fingerprints.join(" "), self.of_it(done));
        format!("UPDATE {table} SET doubt = {doubt}, fingerprints = '{fingerprints}' WHERE {of_it}")
    }

    fn forget(&self) -> String {
        format!("DELETE FROM {}", self.site.table())
    }

    fn drop_table(&self) -> String {
        format!("DROP TABLE {}", self.site.table())
    }
}
