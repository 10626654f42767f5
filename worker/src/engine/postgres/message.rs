//! A migration that one transaction can hold, sent as one message: settings, `BEGIN`, preamble, history table, script, record
//! and `COMMIT`; and behind the last one what will be asked next, read after the commit.
//!
//! A script whose end cannot be told would take in what follows it, and a record whose duration is no literal of its own
//! must wait for the script: both are sent in parts.

use std::{collections::VecDeque, time::Duration};

use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Either, Row as _};
use tenantry_shared::{
    clock::{self, Stopwatch},
    failure::Failure,
    place::Engine,
    site::Row,
    statement::{Kind, split},
};

use super::{PostgresSession, awaited::begin, line_of, texts};
use crate::engine::{Ahead, Change, Select, numbered, unrecorded};

/// Selections and their rows.
pub(super) struct Answers {
    pub(super) selects: Vec<Select>,
    pub(super) rows: Vec<Option<Vec<Row>>>,
}

/// The answers to what was foreseen, until somebody asks or something else is done.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) read: Option<Answers>,
    pub(super) catalog: Option<Vec<Row>>,
    pub(super) outsiders: Option<Vec<Row>>,
    /// Whether the session was freed behind all of this.
    pub(super) freed: bool,
}

/// What is sent behind a commit, behind what is read for the proof.
#[derive(Clone, Copy, Default)]
struct Behind {
    /// Whether the look at the catalog ends with what is around the tenant.
    around: bool,
    /// How many statements free the session.
    frees: usize,
}

/// Durations that stand for one that the server measures itself: two of them, so that what is another number is not taken for
/// one.
const STAND_INS: [Duration; 2] = [Duration::from_millis(1_234_567_891), Duration::from_millis(1_345_678_912)];

/// Since the message came and its transaction began. It is multiplied by a literal, which takes on its type: a new session
/// would search long for a way from one type of number to another.
const MEASURED: &str = "CAST(extract(epoch FROM clock_timestamp() - CURRENT_TIMESTAMP)";

/// A migration as one message.
pub(super) struct Message {
    before: String,
    script: String,
    record: String,
}

impl Message {
    /// None: it cannot be sent as one.
    pub(super) fn of(change: &Change<'_>, settings: &str, create: &str, text: &str) -> Option<Self> {
        let preamble = change.preamble.unwrap_or_default();
        let has_end = |sql: &str| split(sql, Engine::Postgres).is_ok();
        if !has_end(&change.script.text) || !has_end(preamble) {
            return None;
        }
        Some(Self {
            before: format!("{settings}{}{preamble}\n; {create}\n; ", begin(change)),
            script: text.to_owned(),
            record: measured(&change.record)?,
        })
    }

    fn text(&self, after: &str) -> String {
        format!("{}{}\n; {}\n; COMMIT{after}", self.before, self.script, self.record)
    }

    /// What an error after so many statements means.
    fn failed(
        &self,
        session: &PostgresSession,
        change: &Change<'_>,
        done: usize,
        error: &sqlx::Error,
    ) -> Failure {
        let failure = session.fail(error);
        let count = |sql: &str| {
            let sent = |kind: Kind| !matches!(kind, Kind::Begin | Kind::Commit);
            split(sql, Engine::Postgres).map_or(0, |all| all.iter().filter(|s| sent(s.kind)).count())
        };
        // The server reads all of it before it runs any of it: where it says what it means, that is what tells.
        let (before, script) = (self.before.chars().count(), self.script.chars().count());
        let position = position_of(error);
        let begun = count(&self.before) + 1;
        let ended = begun + count(&change.script.text);
        let stage = match position {
            Some(at) if done == 0 => usize::from(at > before) + usize::from(at > before + script),
            _ => usize::from(done >= begun) + usize::from(done >= ended),
        };
        match stage {
            0 => failure,
            1 => {
                let line = line_of(error, &self.script, before).map(|line| change.script.line + line - 1);
                let statement = u32::try_from((done + 1).saturating_sub(begun)).ok();
                let statement = statement.filter(|n| *n > 1 || line.is_none());
                numbered(Failure { statement, line, ..failure }, change.script, Engine::Postgres)
            }
            _ if done > ended => failure,
            _ => unrecorded(failure, change),
        }
    }
}

fn position_of(error: &sqlx::Error) -> Option<usize> {
    use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
    match error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.position()? {
        PgErrorPosition::Original(at) => Some(at),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// The record with the duration as the server measures it. None: it is not a number of its own in it.
fn measured(record: &dyn Fn(Duration, bool) -> String) -> Option<String> {
    let with = |took: Duration| {
        let nanos = (took.as_nanos(), format!("{MEASURED} * '1000000000' AS bigint)"));
        let millis = (took.as_millis(), format!("{MEASURED} * '1000' AS bigint)"));
        [nanos, millis]
            .iter()
            .fold(record(took, false), |text, (number, sql)| in_place_of(&text, *number, sql))
    };
    let [one, other] = STAND_INS.map(with);
    (one == other).then_some(one)
}

/// A text with SQL in place of a number, where that stands by itself and not within a literal.
fn in_place_of(text: &str, number: u128, sql: &str) -> String {
    let number = number.to_string();
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(&number) {
        let (before, behind) = (&rest[..at], &rest[at + number.len()..]);
        replaced.push_str(before);
        let alone = !goes_on(replaced.chars().next_back()) && !goes_on(behind.chars().next());
        let is_code = replaced.matches('\'').count().is_multiple_of(2);
        replaced.push_str(if alone && is_code { sql } else { &number });
        rest = behind;
    }
    replaced + rest
}

impl PostgresSession {
    /// Sends it, and keeps what was read behind it.
    pub(super) async fn send(&mut self, change: &Change<'_>, message: &Message) -> Result<(), Failure> {
        let ahead = self.ahead.take().filter(|ahead| !ahead.selects.is_empty());
        let mark = format!("tenantry {:016x}", clock::chance().to_bits());
        let (after, behind) = ahead.as_ref().map(|ahead| self.after(ahead, &mark)).unwrap_or_default();
        self.doing.whole(&change.script.text, false);
        let text = message.text(&after);
        let mut results = sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(&mut self.connection);
        let (mut done, mut committed, mut failed) = (0, false, None);
        let (mut sets, mut rows) = (Vec::new(), Vec::new());
        while let Some(result) = results.next().await {
            match result {
                Ok(Either::Left(_)) if committed => sets.push(std::mem::take(&mut rows)),
                Ok(Either::Left(_)) => done += 1,
                Ok(Either::Right(row)) if committed => rows.push(texts(&row)),
                Ok(Either::Right(row)) => {
                    let is_mark = ahead.is_some()
                        && row.len() == 1
                        && row.try_get(0).is_ok_and(|text: &str| text == mark);
                    committed |= is_mark;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(results);
        self.doing.statement(None);
        match (failed, ahead) {
            // What follows the commit is asked again when it is wanted, and fails then if it must.
            (Some(_), _) if committed => {}
            (Some(error), _) => return Err(message.failed(self, change, done, &error)),
            (None, Some(ahead)) => self.keep_ready(ahead, behind, sets),
            (None, None) => {}
        }
        Ok(())
    }

    /// What is sent behind the commit.
    fn after(&self, ahead: &Ahead, mark: &str) -> (String, Behind) {
        let selects: String = ahead.selects.iter().map(|select| format!("; {}", select.sql)).collect();
        let (look, around) = match &ahead.catalog {
            Some(histories) if self.can_look() => self.look_ahead(histories),
            _ => Default::default(),
        };
        let free = if ahead.left && self.can_be_left() { self.freeing() } else { String::new() };
        let frees = free.split_inclusive("; ").count();
        (format!("; SELECT '{mark}'{selects}; {look}; {free}"), Behind { around, frees })
    }

    /// The first set ends the mark, and those behind the selections are the look at the catalog.
    fn keep_ready(&mut self, ahead: Ahead, behind: Behind, sets: Vec<Vec<Result<Row, sqlx::Error>>>) {
        let all: Result<VecDeque<Vec<Row>>, _> =
            sets.into_iter().map(|rows| rows.into_iter().collect()).collect();
        let Ok(mut sets) = all else { return };
        let freed = sets.split_off(sets.len().saturating_sub(behind.frees)).pop_back();
        let outsiders = if behind.around { sets.pop_back() } else { None };
        let looked = ahead.catalog.is_some() && self.can_look();
        sets.pop_front();
        let selects = ahead.selects;
        let rows: Vec<_> = sets.drain(..selects.len().min(sets.len())).map(Some).collect();
        let catalog = looked.then(|| sets.into_iter().flatten().collect());
        if rows.len() == selects.len() {
            if looked {
                self.looked_ahead(behind.around);
            }
            let freed = freed.and_then(|rows| rows.into_iter().next()).is_some_and(|row| self.is_free(&row));
            self.ready = Ready { read: Some(Answers { selects, rows }), catalog, outsiders, freed };
        }
    }

    /// In parts: the record is made when it is known how long the script took.
    pub(super) async fn send_in_parts(
        &mut self,
        change: &Change<'_>,
        settings: &str,
        create: &str,
        text: String,
    ) -> Result<(), Failure> {
        let preamble = change.preamble.unwrap_or_default();
        self.raw(format!("{settings}{}{preamble}\n; {create}", begin(change))).await?;
        self.run_and_record(change, text).await?;
        self.end("COMMIT").await
    }

    /// Within a transaction.
    pub(super) async fn run_and_record(&mut self, change: &Change<'_>, text: String) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        self.doing.whole(&change.script.text, false);
        self.run_script(change.script, text).await?;
        self.doing.statement(None);
        let record = (change.record)(watch.elapsed(), false);
        self.raw(record).await.map_err(|failure| unrecorded(failure, change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_measured_where_it_is_a_number_of_its_own() {
        let sqlx = |took: Duration, _| format!("INSERT … VALUES (1, {})", took.as_nanos());
        let there = "INSERT … VALUES (1, CAST(extract(epoch FROM clock_timestamp() - CURRENT_TIMESTAMP) * '1000000000' AS bigint))";
        assert_eq!(measured(&sqlx).as_deref(), Some(there));
        let flyway = |took: Duration, _| format!("VALUES ({})", took.as_millis());
        assert!(measured(&flyway).is_some_and(|text| text.contains("* '1000' AS bigint")));
        let prisma = |took: Duration, _| format!("now() - interval '{} microseconds'", took.as_micros());
        assert_eq!(measured(&prisma), None);
    }

    #[test]
    fn a_number_that_only_looks_like_a_duration_stays() {
        let named = |took: Duration, _| format!("VALUES ('1234567891', {})", took.as_millis());
        assert!(measured(&named).is_some_and(|text| text.starts_with("VALUES ('1234567891', CAST(")));
        let said = |took: Duration, _| format!("VALUES ('took {} ms')", took.as_millis());
        assert_eq!(measured(&said), None);
        for fixed in ["VALUES ('1234567891')", "VALUES ('a')"] {
            assert_eq!(measured(&|_, _| fixed.to_owned()).as_deref(), Some(fixed));
        }
    }
}
