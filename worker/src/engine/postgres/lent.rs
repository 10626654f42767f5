//! A session that a pooler lends for one transaction at a time, and what can be done in it.
//!
//! There is no lock to hold over several transactions: each one that changes something begins with the tenant's locks, the
//! same ones that a session of our own takes, and looks once more whether somebody else was there since the plan was
//! made. Nothing is set but for the transaction, and statements go as one message each: no session is to know anything of
//! the message before.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, postgres::PgRow};
use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    place::Engine,
    site::Row,
    statement::{Course, outlives, split},
};

use super::{PostgresSession, texts};
use crate::engine::{Change, LOCK_POLL, Session as _, course_of, unwritten};

/// In one transaction the newest rows are to be seen, whatever the database's default is.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; ";

/// Around what is read within a transaction: whatever becomes of it, the transaction goes on as it was.
const ASIDE: &str = "SAVEPOINT tenantry; ";
const BACK: &str = "ROLLBACK TO SAVEPOINT tenantry; RELEASE SAVEPOINT tenantry";

const DIRECT: &str = "give the tenant a URL past the pooler: tenantry tenants set ID --url-stdin; where the pooler keeps a session for each client, say so in the URL: ?pooling=session";

/// What is kept of a session that is lent.
#[derive(Default)]
pub(super) struct Lent {
    /// Whether a transaction with the tenant's locks is open.
    pub(super) open: bool,
    /// What each history was when it was last read.
    seen: HashMap<String, Option<Vec<Row>>>,
}

impl Lent {
    /// Remembers what a selection was read as.
    pub(super) fn saw(&mut self, select: &str, rows: Option<Vec<Row>>) {
        self.seen.insert(select.to_owned(), rows);
    }
}

impl PostgresSession {
    /// Rows of a selection, within the transaction that is open, or with the settings of one.
    pub(super) async fn rows(&mut self, select: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        let message = match &self.lent {
            None => select.to_owned(),
            Some(lent) if lent.open => format!("{ASIDE}{select}\n; {BACK}"),
            Some(_) => format!("{}{select}", self.settings.of_transaction()),
        };
        let rows = sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(&mut self.connection).await;
        if rows.is_err() && self.is_open() {
            // Without it the error of the selection is that of whatever follows, too.
            let _ = self.raw(BACK.into()).await;
        }
        rows
    }

    /// Begins a transaction with the tenant's locks, if none is open. The session goes back while somebody else has them.
    pub(super) async fn begin_locked(&mut self) -> Result<(), Failure> {
        if self.is_open() {
            return Ok(());
        }
        let [(_, own), (kind, sqlx)] = self.locks();
        let message = format!(
            "{BEGIN}{}SELECT CASE WHEN NOT pg_try_advisory_xact_lock({own}) THEN '{own}'
                WHEN NOT pg_try_advisory_xact_lock{kind}({sqlx}) THEN '{sqlx}' END, CAST(pg_backend_pid() AS text)",
            self.settings.of_change()
        );
        let waited = Stopwatch::start();
        loop {
            let rows = sqlx::raw_sql(AssertSqlSafe(message.clone())).fetch_all(&mut self.connection).await;
            let rows = rows.map_err(|e| self.fail(&e))?;
            let row = rows.last().map(texts).transpose().map_err(|e| self.fail(&e))?.unwrap_or_default();
            let text = |at: usize| row.get(at).and_then(Option::as_deref);
            let Some(key) = text(0).and_then(|key| key.parse().ok()) else {
                self.set_open(true, text(1).and_then(|pid| pid.parse().ok()));
                self.doing.lock(None);
                return Ok(());
            };
            self.raw("ROLLBACK".into()).await?;
            self.waits_for(key);
            if waited.elapsed() >= self.limits.lock {
                return Err(self.busy(key).await);
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Ends the transaction: `COMMIT` or `ROLLBACK`.
    pub(super) async fn end(&mut self, how: &str) -> Result<(), Failure> {
        self.set_open(false, None);
        self.raw(how.into()).await
    }

    /// The plan was made of a history that was read in an earlier transaction.
    pub(super) async fn nobody_came_between(&mut self, select: &str) -> Result<(), Failure> {
        let now = self.table(select).await?;
        let seen = self.lent.as_ref().and_then(|lent| lent.seen.get(select));
        if seen.is_none_or(|seen| *seen == now) {
            return Ok(());
        }
        Err(Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"))
    }

    /// Runs a migration in one transaction that begins with the tenant's locks.
    pub(super) async fn run_lent(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        self.begin_locked().await?;
        self.nobody_came_between(&change.select).await?;
        let preamble = change.preamble.unwrap_or_default();
        self.raw(format!("{preamble}\n; {}", change.create)).await?;
        self.run_and_record(change, text).await?;
        self.read(&change.select).await?;
        self.end("COMMIT").await
    }

    /// Writes SQL of ours in one transaction with the tenant's locks.
    pub(super) async fn write_lent(
        &mut self,
        selects: &[String],
        statements: &[String],
    ) -> Result<(), Failure> {
        self.begin_locked().await?;
        for select in selects {
            self.nobody_came_between(select).await?;
        }
        for sql in statements.iter().filter(|sql| !sql.is_empty()) {
            self.raw(sql.clone()).await.map_err(unwritten)?;
        }
        self.end("COMMIT").await
    }

    pub(super) fn is_open(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.open)
    }

    /// The server's number of the session is another one with each transaction.
    fn set_open(&mut self, open: bool, pid: Option<u64>) {
        if let Some(lent) = &mut self.lent {
            lent.open = open;
            self.pid = pid;
            self.doing.moved(pid);
        }
    }
}

/// What cannot be done in a session that is lent: none of a pooler's sessions may keep anything of it, and nothing of it may
/// need the same session twice. None: a program that migrates by itself.
pub(super) fn refusal(change: Option<&Change<'_>>) -> Option<Failure> {
    let Some(change) = change else {
        return Some(refused("nobody can be kept out while a program migrates it"));
    };
    if change.resumed {
        return Some(refused("an earlier attempt has begun this migration, statement by statement"));
    }
    let preamble = split(change.preamble.unwrap_or_default(), Engine::Postgres).unwrap_or_default();
    if let Some((_, what)) = outlives(&preamble) {
        return Some(refused(&format!("the preamble of its set outlives its transaction: {what}")));
    }
    // What cannot be read at all fails as it does anywhere.
    match course_of(change, Engine::Postgres).ok()? {
        Course::Steps(_) => Some(refused("no transaction can hold this migration")),
        Course::Whole { .. } => {
            let statements = split(&change.script.text, Engine::Postgres).ok()?;
            let (at, what) = outlives(&statements)?;
            let failure = refused(&format!("a statement outlives its transaction: {what}"));
            let line = Some(change.script.line + statements[at].line - 1);
            Some(Failure { statement: u32::try_from(at + 1).ok(), line, ..failure })
        }
    }
}

/// What was begun statement by statement needs a session of its own to be gone on with.
pub(super) fn unsettled() -> Failure {
    refused("an earlier attempt has begun a migration, statement by statement")
}

fn refused(what: &str) -> Failure {
    let message = format!("{what}, and a pooler before this tenant lends its sessions by the transaction");
    let failure = Failure::new(Class::Permanent, "pooled", message).with_hint(DIRECT);
    Failure { refused: true, ..failure }
}
