//! What the ledger knows of schedules: a run that one started has its name and its time as its key.

use chrono::{DateTime, Utc};

use super::{Ledger, LedgerError};
use crate::{
    run::{Run, RunRef},
    timetable::stamp,
};

/// The key of a schedule's run: two schedulers, whatever their clocks say, ask for one run.
#[must_use]
pub fn schedule_key(name: &str, time: DateTime<Utc>) -> String {
    format!("{}{}", beginning(name), stamp(time))
}

fn beginning(name: &str) -> String {
    format!("schedule:{name}:")
}

impl Ledger {
    /// The last time that a schedule started a run for, and that run.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn last_scheduled(&self, name: &str) -> Result<Option<(DateTime<Utc>, Run)>, LedgerError> {
        let beginning = beginning(name);
        // Times of one form are in the order of their texts.
        let sql = format!(
            "SELECT r.number, r.idempotency_key FROM runs r WHERE substr(r.idempotency_key, 1, {}) = $1
             ORDER BY r.idempotency_key DESC LIMIT 1",
            beginning.len()
        );
        let row = self.store.query(&sql).bind(beginning.as_str()).fetch_optional(self.store.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let (number, key): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        // Somebody else may have made up such a key.
        let Ok(time) = key[beginning.len()..].parse() else { return Ok(None) };
        Ok(Some((time, self.find_run(RunRef::Number(number)).await?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_time_in_seconds_and_utc() {
        let time = "2026-03-29T03:00:00+02:00".parse::<DateTime<Utc>>().unwrap();
        assert_eq!(schedule_key("nightly", time), "schedule:nightly:2026-03-29T01:00:00Z");
    }
}
