//! `[[schedule]]`: when a run starts by itself, and the flags of `enqueue` that it has.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use toml::Value;

use super::{ConfigError, file::Span};
use crate::timetable::Timetable;

/// How long after its time a run that was missed is started, where nothing else is said.
const CATCH_UP: Duration = Duration::from_hours(1);

/// Longest name of a schedule.
const MAX_NAME: usize = 64;

/// A schedule.
#[derive(Clone, Debug)]
pub struct ScheduleConfig {
    /// Its name, unique among the schedules of a registry.
    pub name: String,
    /// When it is due.
    pub timetable: Timetable,
    /// How long after its time a run that was missed is started, once.
    pub catch_up: Duration,
    /// What it says of its runs, as flags of `enqueue`.
    pub flags: Vec<String>,
}

/// A schedule as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RawSchedule {
    name: String,
    cron: String,
    timezone: Option<String>,
    catch_up: Option<Span>,
    /// All else is a flag, for whoever reads flags to judge.
    #[serde(flatten)]
    flags: BTreeMap<String, Value>,
}

impl RawSchedule {
    fn read(self) -> Result<ScheduleConfig, ConfigError> {
        let wrong = |reason: String| ConfigError::Schedule { name: self.name.clone(), reason };
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(good) {
            return Err(wrong(format!("a name is 1 to {MAX_NAME} letters, digits, '-', '_' and '.'")));
        }
        let zone = self.timezone.as_deref().unwrap_or("UTC");
        let timetable = Timetable::parse(&self.cron, zone).map_err(wrong)?;
        let flags = self.flags.iter().map(|(key, value)| flag(key, value));
        let flags = flags.collect::<Result<Vec<_>, _>>().map_err(wrong)?.into_iter().flatten().collect();
        let catch_up = self.catch_up.map_or(CATCH_UP, |span| span.0);
        Ok(ScheduleConfig { timetable, catch_up, flags, name: self.name })
    }
}

/// `canary = "1%"` is `--canary=1%`, `all = true` is `--all`, and a list has commas.
fn flag(key: &str, value: &Value) -> Result<Option<String>, String> {
    let text = match value {
        Value::Boolean(true) => return Ok(Some(format!("--{key}"))),
        Value::Boolean(false) => return Ok(None),
        Value::Array(values) => {
            values.iter().map(|value| word(key, value)).collect::<Result<Vec<_>, _>>()?.join(",")
        }
        value => word(key, value)?,
    };
    Ok(Some(format!("--{key}={text}")))
}

fn word(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => Err(format!(
            "`{key}` is a {}, and a text, a number, true or a list of texts was expected",
            value.type_str()
        )),
    }
}

/// All of them, each with a name of its own.
pub(super) fn all(raw: Vec<RawSchedule>) -> Result<Vec<ScheduleConfig>, ConfigError> {
    let mut schedules: Vec<ScheduleConfig> = Vec::new();
    for schedule in raw {
        let schedule = schedule.read()?;
        if schedules.iter().any(|other| other.name == schedule.name) {
            let reason = "another one has this name".into();
            return Err(ConfigError::Schedule { name: schedule.name, reason });
        }
        schedules.push(schedule);
    }
    Ok(schedules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ScheduleConfig>, String> {
        #[derive(Deserialize)]
        struct File {
            schedule: Vec<RawSchedule>,
        }
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        all(file.schedule).map_err(|e| e.to_string())
    }

    #[test]
    fn what_a_schedule_says_of_its_runs_is_flags() {
        let text = "[[schedule]]\nname = 'nightly'\ncron = '30 2 * * *'\nall = true\nsync = false\ncanary = '1%'\nretries = 3\nexclude = ['a', 'b']";
        let schedule = read(text).unwrap().remove(0);
        assert_eq!(schedule.flags, ["--all", "--canary=1%", "--exclude=a,b", "--retries=3"]);
        assert_eq!((schedule.timetable.zone(), schedule.catch_up), ("UTC", CATCH_UP));
    }

    #[test]
    fn a_schedule_that_cannot_be_is_told_by_its_name() {
        let one = "[[schedule]]\nname = 'a'\ncron = '@daily'\n";
        for (text, says) in [
            (format!("{one}{one}"), "[[schedule]] a: another one has this name"),
            (format!("{one}timezone = 'Berlin'"), "[[schedule]] a: 'Berlin' is not a time zone"),
            (format!("{one}soak = {{ h = 1 }}"), "[[schedule]] a: `soak` is a table"),
            (one.replace("'a'", "'a:b'"), "[[schedule]] a:b: a name is"),
            (one.replace("@daily", "daily"), "[[schedule]] a: 'daily' is not a cron expression"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
