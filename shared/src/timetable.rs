//! When a schedule is due: a cron expression in a time zone. Pure: the time is an argument.
//!
//! Times of day that a clock skips are not lost, and those that it has twice are due once: see the tests. croner is named
//! only here.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// A cron expression of five fields, or a name such as `@daily`, in a time zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    text: String,
}

impl Timetable {
    /// Reads an expression and the name of a time zone.
    ///
    /// # Errors
    /// When either is none, or there is no such time, ever.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let wrong = |why: String| {
            format!("'{cron}' is not a cron expression of five fields, such as '30 2 * * *' or @daily: {why}")
        };
        let parsed = parser.parse(cron).map_err(|e| wrong(e.to_string()))?;
        let zone =
            Tz::from_str(zone).map_err(|_| format!("'{zone}' is not a time zone, such as Europe/Berlin"))?;
        let table = Self { cron: parsed, zone, text: cron.to_owned() };
        match table.next(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(table),
            None => Err(wrong("it is never due".into())),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of its time zone.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first time after this one; none where there is none in the calendar.
    #[must_use]
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = after.with_timezone(&self.zone);
        self.cron.find_next_occurrence(&after, false).ok().map(|time| time.with_timezone(&Utc))
    }

    /// The next so many times after this one.
    #[must_use]
    pub fn following(&self, after: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next(after), |time| self.next(*time)).take(count).collect()
    }

    /// The last time after the first and not after the second one.
    #[must_use]
    pub fn last_within(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let times = std::iter::successors(self.next(after), |time| self.next(*time));
        times.take_while(|time| *time <= until).last()
    }

    /// A time as it is read off a clock in its time zone.
    #[must_use]
    pub fn local(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.zone).format("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

/// A schedule's time as it stands in a run's key.
#[must_use]
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let table = Timetable::parse(cron, zone).unwrap();
        table.following(at(after), count).into_iter().map(stamp).collect()
    }

    #[test]
    fn a_time_that_the_clocks_skip_is_due_when_they_have_gone_on() {
        // In Berlin it is 03:00 after 01:59 on that night.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clocks_have_twice_is_due_once() {
        // In Berlin it is 02:30 twice on that night, at 00:30 and at 01:30 UTC.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn every_so_many_minutes_goes_on_while_the_clocks_change() {
        for after in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
            let times = times("*/30 * * * *", "Europe/Berlin", after, 6);
            let gaps: Vec<i64> = times.windows(2).map(|t| (at(&t[1]) - at(&t[0])).num_minutes()).collect();
            assert_eq!(gaps, [30; 5], "{times:?}");
        }
    }

    #[test]
    fn names_last_days_and_numbered_weekdays_are_read() {
        assert_eq!(times("@daily", "UTC", "2026-11-21T10:00:00Z", 1), ["2026-11-22T00:00:00Z"]);
        assert_eq!(times("0 3 L * *", "UTC", "2026-02-01T00:00:00Z", 1), ["2026-02-28T03:00:00Z"]);
        assert_eq!(times("0 3 * * MON#2", "UTC", "2026-11-01T00:00:00Z", 1), ["2026-11-09T03:00:00Z"]);
    }

    #[test]
    fn what_is_no_timetable_is_told() {
        for (cron, zone, says) in [
            ("* * * * * *", "UTC", "five fields"),
            ("61 * * * *", "UTC", "five fields"),
            ("30 2 31 2 *", "UTC", "never due"),
            ("@daily", "Berlin", "not a time zone"),
        ] {
            let error = Timetable::parse(cron, zone).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn of_all_that_was_missed_the_last_one_is_found() {
        let hourly = Timetable::parse("@hourly", "UTC").unwrap();
        let last = |after, until| hourly.last_within(at(after), at(until)).map(stamp);
        assert_eq!(
            last("2026-11-21T10:00:00Z", "2026-11-21T15:59:00Z").as_deref(),
            Some("2026-11-21T15:00:00Z")
        );
        assert_eq!(last("2026-11-21T10:00:00Z", "2026-11-21T10:59:59Z"), None);
        assert_eq!(
            last("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z").as_deref(),
            Some("2026-11-21T11:00:00Z")
        );
    }
}
