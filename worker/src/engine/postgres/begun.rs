//! How an attempt begins on PostgreSQL: settings, the tenant's lock if it is to be had, and what is there, in one message;
//! and in a second one the histories, where there are any.
//!
//! The look holds as one under the lock: what is asked behind the lock in that message is asked by statements of their own,
//! each of which sees what was committed before it began. A session that was kept is taken over in the same way.

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Either, PgConnection};
use tenantry_shared::{
    failure::Failure,
    registry::Access,
    site::{Row, Site},
};

use super::{
    PostgresSession, UNDEFINED_TABLE,
    opened::{self, Begun, missing},
    settings::Settings,
    texts,
    there::{Guarded, There},
};
use crate::engine::{Asks, Limits, Seen, Select, Session as _};

/// Each statement sees what was committed before it, whatever the database's default is.
const NEWEST: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ";

const LOCKED: &str = "locked";
const UNKNOWN: &str = "unknown";

/// What the first message tells beside the rows that are read.
struct First {
    database: String,
    schema: Option<String>,
    linux: bool,
    lent: bool,
    pid: Option<u64>,
    lock: String,
}

/// What is known before the server was asked.
struct Known<'a> {
    settings: &'a str,
    /// Asks whether the session is lent.
    lent: &'a str,
    /// Whether the names of database and schema are only expected.
    guessed: bool,
}

impl PostgresSession {
    /// A new session.
    pub(super) async fn begin_new(
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        let Begun { connection, settings, lent } = opened::begin(access, limits).await?;
        let Some(lent) = lent else {
            return Self::begin_lent(connection, settings, access, limits, asks).await;
        };
        let start = settings.of_start(&lent);
        let mut session = Self::expected(connection, settings, access, limits);
        let known = Known { settings: &start, lent: &lent, guessed: true };
        let wanted = asks(&session.site(""));
        let (first, seen) = session.ask(&known, &wanted).await?;
        if first.lent {
            return Self::begin_lent(session.connection, session.settings, access, limits, asks).await;
        }
        if let Some(failure) = missing(access, first.schema.as_deref()) {
            return Err(failure);
        }
        session.pid = first.pid;
        session.settings.linux = first.linux;
        session.tell(wanted.doing.clone());
        if first.lock != UNKNOWN {
            let seen = session.finish(&wanted, seen, first.lock == LOCKED).await;
            return Ok((session, seen));
        }
        // Another database or schema than its URL lets expect.
        session.database = first.database;
        session.schema = first.schema.unwrap_or_else(|| session.schema.clone());
        let seen = session.look_locked(&asks(&session.site(""))).await;
        Ok((session, seen))
    }

    async fn begin_lent(
        connection: PgConnection,
        settings: Settings,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        let mut session = opened::borrow(connection, settings, access).await?.session(access, limits)?;
        let Asks { needed, doing, .. } = asks(&session.site(""));
        session.tell(doing);
        let read = session.read_all(&needed).await;
        Ok((session, read.map(|rows| Seen { locked: false, rows })))
    }

    /// A session that another tenant of the same database has left.
    pub(super) async fn take_over(
        mut self,
        access: &Access,
        limits: Limits,
        asks: &(dyn Fn(&Site) -> Asks + Sync),
    ) -> Result<(Self, Result<Seen, Failure>), Failure> {
        self.settings = self.settings.for_access(access, limits);
        self.schema = access.place.schema.clone().unwrap_or_default();
        self.limits = limits;
        self.outskirts.passed = None;
        self.served += 1;
        self.clean = true;
        let start = self.settings.of_next();
        let wanted = asks(&self.site(""));
        self.tell(wanted.doing.clone());
        let known = Known { settings: &start, lent: "false", guessed: false };
        let (first, seen) = self.ask(&known, &wanted).await?;
        if let Some(failure) = missing(access, first.schema.as_deref()) {
            return Err(failure);
        }
        let seen = self.finish(&wanted, seen, first.lock == LOCKED).await;
        Ok((self, seen))
    }

    async fn look_locked(&mut self, asks: &Asks) -> Result<Seen, Failure> {
        let known = Known { settings: "", lent: "false", guessed: false };
        let (first, seen) = self.ask(&known, asks).await?;
        self.finish(asks, seen, first.lock == LOCKED).await
    }

    /// The first message. Its rows: of each selection that is neither of a table nor has a guard, and then of each of the
    /// others whether there is something to read.
    async fn ask(&mut self, known: &Known<'_>, asks: &Asks) -> Result<(First, Vec<Vec<Row>>), Failure> {
        let always = all(asks).filter(|select| select.guard.is_none());
        let always: Vec<&str> = always.map(|select| select.sql.as_str()).collect();
        let guards: Vec<Guarded<'_>> = all(asks).filter_map(Guarded::of).collect();
        let prepared = self.there(&guards);
        let is_prepared = prepared.is_some();
        let There { before, execute } = prepared.unwrap_or_else(|| self.each(&guards, always.is_empty()));
        let message = format!(
            "{NEWEST}{}{}; {before}{}{execute}",
            known.settings,
            self.question(known),
            always.iter().map(|sql| format!("{sql}; ")).collect::<String>(),
        );
        let mut sets = self.sets(message).await.map_err(|e| self.fail(&e))?;
        let mut rows = sets.split_off(sets.len().saturating_sub(always.len() + 1));
        if is_prepared {
            let found = rows.pop().unwrap_or_default();
            rows.push(self.as_conditions(&found, &guards));
        }
        let before = sets.into_iter().rev().find_map(|mut set| set.pop()).unwrap_or_default();
        let text = |at: usize| before.get(at).cloned().flatten();
        let first = First {
            schema: text(0),
            database: text(1).unwrap_or_default(),
            linux: text(2).as_deref() == Some("t"),
            pid: text(3).and_then(|pid| pid.parse().ok()),
            lent: text(4).as_deref() == Some("t"),
            lock: text(5).unwrap_or_default(),
        };
        Ok((first, rows))
    }

    /// Asks whose session it is and takes the tenant's locks, one behind the other, in the order in which all of us do. Words
    /// of the grammar cost a new session less than functions, of which it must look each up, and casts.
    fn question(&self, known: &Known<'_>) -> String {
        let Known { lent, guessed, .. } = known;
        let site = self.site("");
        let other = match guessed {
            true => format!(
                "OR current_schema IS DISTINCT FROM {} OR current_catalog <> {}",
                site.text(&self.schema),
                site.text(&self.database)
            ),
            false => String::new(),
        };
        // What else a session says of itself it does not say twice.
        let about = match guessed {
            true => "current_schema, current_catalog, version() LIKE '%linux%', pg_backend_pid()",
            false => "current_schema, NULL, NULL, NULL",
        };
        let [(_, own), (kind, sqlx)] = self.locks();
        format!(
            "SELECT {about}, {lent}, CASE WHEN {lent} {other} THEN '{UNKNOWN}' WHEN NOT pg_try_advisory_lock({own}) THEN '{own}'
                    WHEN NOT pg_try_advisory_lock{kind}({sqlx}) THEN '{sqlx}' ELSE '{LOCKED}' END"
        )
    }

    /// The answers, with the rows of the tables that are there.
    async fn finish(&mut self, asks: &Asks, mut first: Vec<Vec<Row>>, locked: bool) -> Result<Seen, Failure> {
        let there = first.pop().and_then(|mut rows| rows.pop()).unwrap_or_default();
        let (mut there, mut first) = (there.into_iter(), first.into_iter());
        let wanted = if locked { asks.wanted.len() } else { 0 };
        let mut rows = Vec::new();
        let mut left = Vec::new();
        for (at, select) in all(asks).enumerate() {
            let asked = select.guard.is_some();
            let there = !asked || there.next().flatten().is_some();
            rows.push(match &select.table {
                None if !asked => first.next(),
                // Where there may be something, whoever needs it asks again.
                None => (!there).then(Vec::new),
                Some(_) => {
                    left.extend(there.then(|| (at, select.clone())));
                    None
                }
            });
        }
        rows.truncate(asks.needed.len() + wanted);
        left.retain(|(at, _)| *at < rows.len());
        let selects: Vec<Select> = left.iter().map(|(_, select)| select.clone()).collect();
        for ((at, _), found) in left.iter().zip(self.read_all(&selects).await?) {
            rows[*at] = found;
        }
        Ok(Seen { locked, rows })
    }

    /// Several selections in one message. Where a table is not there after all, one after the other.
    pub(super) async fn read_together(
        &mut self,
        selects: &[Select],
    ) -> Result<Option<Vec<Option<Vec<Row>>>>, Failure> {
        let message = selects.iter().map(|select| select.sql.as_str()).collect::<Vec<_>>().join("; ");
        match self.sets(message).await {
            Ok(sets) => Ok(Some(sets.into_iter().map(Some).collect())),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// The rows of each statement of a message.
    async fn sets(&mut self, message: String) -> Result<Vec<Vec<Row>>, sqlx::Error> {
        let (mut sets, mut rows) = (Vec::new(), Vec::new());
        let mut results = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(&mut self.connection);
        while let Some(result) = results.next().await {
            match result? {
                Either::Left(_) => sets.push(std::mem::take(&mut rows)),
                Either::Right(row) => rows.push(texts(&row)?),
            }
        }
        Ok(sets)
    }
}

fn all(asks: &Asks) -> impl Iterator<Item = &Select> {
    asks.needed.iter().chain(&asks.wanted)
}
