//! The only room that reads time and draws chance. What must agree between machines uses the registry's clock
//! instead: see `store`.

#![expect(clippy::disallowed_methods, reason = "this is the room that the rule names")]

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};

/// Measures a duration from now on.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// How long it has run, in whole milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        millis(self.elapsed())
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number from 0 to 1 by chance, for jitter.
#[must_use]
pub fn chance() -> f64 {
    rand::random_range(0.0..=1.0)
}

/// A duration between half and one and a half of the given one, by chance.
#[must_use]
pub fn jitter(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + chance())
}

/// Now, as the first part of a new migration's version: `YYYYMMDDHHMMSS` in UTC.
#[must_use]
pub fn version_stamp() -> i64 {
    Utc::now().format("%Y%m%d%H%M%S").to_string().parse().unwrap_or(i64::MAX)
}

/// The time of day in UTC, for a progress line.
#[must_use]
pub fn time_of_day() -> String {
    Utc::now().format("%H:%M:%S").to_string()
}

/// Now by this machine's clock.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Milliseconds since 1970 by this machine's clock.
#[must_use]
pub fn unix_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    DateTime::from_timestamp_millis(unix_ms)
        .map(|t| t.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
