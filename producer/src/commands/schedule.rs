//! `schedule`: runs that start by the clock.
//!
//! Which of its times a schedule has started a run for is told by the registry alone: name and time are the run's key. So
//! schedulers need not know of each other, and one that is killed at any moment leaves a run or none. The clock is this
//! machine's.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tenantry_shared::{
    clock,
    config::{Config, ScheduleConfig},
    exit::Exit,
    fault::Fault,
    ledger::{Enqueued, Joined, schedule_key},
    retry,
    timetable::stamp,
};
use tenantry_worker::signals::Signals;

use super::{enqueue, selection};
use crate::{
    app::{self, App},
    cli::{Global, ScheduleCommand, Scheduled},
    output::{Output, Table, or_dash, plural},
};

/// A clock that was set, or a machine that slept, is noticed after this long at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Whoever looks every minute must not miss a time, even where nothing is caught up.
const SHORTEST_CATCH_UP: TimeDelta = TimeDelta::seconds(90);

const OUTAGE_BACKOFF_BASE: Duration = Duration::from_secs(1);
const OUTAGE_BACKOFF_CAP: Duration = Duration::from_secs(30);

/// A schedule with its flags read.
struct Entry {
    config: ScheduleConfig,
    args: Scheduled,
}

pub(crate) async fn run(global: &Global, command: ScheduleCommand, output: &Output) -> Result<Exit, Fault> {
    let config = app::config(global)?;
    let entries = entries(&config)?;
    match command {
        ScheduleCommand::List => list(&App::with(config).await?, &entries, output).await,
        ScheduleCommand::Next { name, count } => {
            let chosen: Vec<&Entry> = match &name {
                Some(name) => vec![named(&entries, name)?],
                None => entries.iter().collect(),
            };
            next(&chosen, usize::from(count), output)
        }
        ScheduleCommand::Trigger { name, wait, timeout } => {
            let Entry { args, .. } = named(&entries, &name)?;
            let (app, reason) = (App::with(config).await?, format!("schedule {name}, by hand"));
            let run = enqueue::scheduled(&app, args.clone(), reason, None, output).await?;
            enqueue::started(&app, run, wait.then_some(timeout), output).await
        }
        ScheduleCommand::Run { once } => {
            let scheduler =
                Scheduler { config, entries, started: clock::now(), done: HashMap::new(), app: None };
            if once { scheduler.once(output).await } else { scheduler.until_a_signal(output).await }
        }
    }
}

fn entries(config: &Config) -> Result<Vec<Entry>, Fault> {
    if config.schedules.is_empty() {
        return Err(Fault::new(Exit::Config, "there is no schedule in the configuration")
            .with_hint("write one: [[schedule]] in tenantry.toml; see: tenantry schedule --help"));
    }
    let read = |config: &ScheduleConfig| match Scheduled::read(&config.flags) {
        Ok(args) if selection::is_given(&args.selection) => Ok(args),
        Ok(_) => {
            Err("no tenants are selected: say `all = true`, `selector`, `tenant` or `tenants-file`".into())
        }
        Err(reason) => Err(reason),
    };
    let entry = |config: &ScheduleConfig| match read(config) {
        Ok(args) => Ok(Entry { config: config.clone(), args }),
        Err(reason) => Err(Fault::new(Exit::Config, format!("[[schedule]] {}: {reason}", config.name))
            .with_hint("docs/schedule.md has examples")),
    };
    config.schedules.iter().map(entry).collect()
}

fn named<'a>(entries: &'a [Entry], name: &str) -> Result<&'a Entry, Fault> {
    entries.iter().find(|entry| entry.config.name == name).ok_or_else(|| {
        let names: Vec<&str> = entries.iter().map(|entry| entry.config.name.as_str()).collect();
        Fault::usage(format!("there is no schedule '{name}' ({})", names.join(", ")))
    })
}

async fn list(app: &App, entries: &[Entry], output: &Output) -> Result<Exit, Fault> {
    let now = clock::now();
    let mut table = Table::new(&["name", "cron", "timezone", "next", "last", "run", "state"]);
    let mut documents = Vec::new();
    for Entry { config, .. } in entries {
        let (name, timetable) = (&config.name, &config.timetable);
        let last = app.ledger.last_scheduled(name).await?;
        let next = timetable.next(now).map(stamp);
        documents.push(json!({
            "name": name, "cron": timetable.text(), "timezone": timetable.zone(), "next": next,
            "catch_up_ms": clock::millis(config.catch_up), "flags": config.flags,
            "last": last.as_ref().map(|(time, run)| json!({ "at": stamp(*time), "number": run.number, "state": run.state.as_str() })),
        }));
        table.row(vec![
            name.clone(),
            timetable.text().to_owned(),
            timetable.zone().to_owned(),
            or_dash(next),
            or_dash(last.as_ref().map(|(time, _)| stamp(*time))),
            or_dash(last.as_ref().map(|(_, run)| run.number)),
            or_dash(last.as_ref().map(|(_, run)| run.state)),
        ]);
    }
    output.either(&json!({ "schema": "tenantry.schedules/v1", "schedules": documents }), || table.text());
    Ok(Exit::Ok)
}

fn next(entries: &[&Entry], count: usize, output: &Output) -> Result<Exit, Fault> {
    let now = clock::now();
    let mut times: Vec<(DateTime<Utc>, &ScheduleConfig)> = Vec::new();
    for Entry { config, .. } in entries {
        times.extend(config.timetable.following(now, count).into_iter().map(|time| (time, config)));
    }
    times.sort_by_key(|(time, _)| *time);
    let documents: Vec<Value> =
        times.iter().map(|(time, config)| json!({ "name": config.name, "at": stamp(*time) })).collect();
    output.either(&json!({ "schema": "tenantry.schedule-times/v1", "times": documents }), || {
        let mut table = Table::new(&["name", "utc", "local"]);
        for (time, config) in &times {
            table.row(vec![config.name.clone(), stamp(*time), config.timetable.local(*time)]);
        }
        table.text()
    });
    Ok(Exit::Ok)
}

/// A process that starts runs.
struct Scheduler {
    config: Config,
    entries: Vec<Entry>,
    started: DateTime<Utc>,
    /// Up to when each schedule is done, by its name.
    done: HashMap<String, DateTime<Utc>>,
    /// The registry, once it could be reached.
    app: Option<App>,
}

/// A run that a schedule started, or joined.
struct Fired {
    name: String,
    time: DateTime<Utc>,
    run: Enqueued,
}

impl Scheduler {
    /// Starts what is due now. A schedule that never started a run has that of its last time, too.
    async fn once(mut self, output: &Output) -> Result<Exit, Fault> {
        let (mut fired, mut exit) = (Vec::new(), Exit::Ok);
        for at in 0..self.entries.len() {
            match self.fire_due(at, true, output).await {
                Ok(run) => fired.extend(run),
                Err(fault) => {
                    output.fault(&self.of_schedule(at, &fault));
                    exit = if exit == Exit::Ok { fault.exit } else { exit };
                }
            }
        }
        if output.is_json() && exit == Exit::Ok {
            let one = |f: &Fired| json!({ "name": f.name, "at": stamp(f.time), "number": f.run.number, "joined": f.run.joined.is_some() });
            let fired: Vec<Value> = fired.iter().map(one).collect();
            output.document(&json!({ "schema": "tenantry.schedule-runs/v1", "runs": fired }));
        }
        Ok(exit)
    }

    /// Goes on through whatever happens; a signal ends it, and no run.
    async fn until_a_signal(mut self, output: &Output) -> Result<Exit, Fault> {
        let mut signals = Signals::listen()?;
        for entry in &self.entries {
            let next =
                entry.config.timetable.next(self.started).map(|time| entry.config.timetable.local(time));
            output.note(&format!("{}: next at {}", entry.config.name, or_dash(next)));
        }
        tokio::select! {
            never = self.go_on(output) => never,
            exit = signals.next() => Ok(exit),
        }
    }

    async fn go_on(&mut self, output: &Output) -> Result<Exit, Fault> {
        let mut outages = 0;
        loop {
            let wait = match self.look(output).await {
                Ok(()) => {
                    outages = 0;
                    self.until_next()
                }
                Err(fault) => {
                    outages += 1;
                    output.note(&format!("{}  {fault}, trying again", stamp(clock::now())));
                    retry::delay(
                        outages,
                        OUTAGE_BACKOFF_BASE,
                        OUTAGE_BACKOFF_CAP,
                        0.5 + clock::chance() / 2.0,
                    )
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Starts what is due of each schedule.
    ///
    /// # Errors
    /// When the registry, the queue or a source is away: it is to be looked again. What else is wrong with a schedule is
    /// told, and its time is over.
    async fn look(&mut self, output: &Output) -> Result<(), Fault> {
        let mut away = None;
        for at in 0..self.entries.len() {
            match self.fire_due(at, false, output).await {
                Ok(_) => {}
                Err(fault) if fault.exit == Exit::Temporary => away = Some(fault),
                Err(fault) => output.fault(&self.of_schedule(at, &fault)),
            }
        }
        away.map_or(Ok(()), Err)
    }

    /// Starts a schedule's run for the last of its times that is due, if one is: what was missed before it is not made up for.
    async fn fire_due(&mut self, at: usize, once: bool, output: &Output) -> Result<Option<Fired>, Fault> {
        let now = clock::now();
        let done = self.done(at, once).await?;
        let ScheduleConfig { name, timetable, catch_up, .. } = &self.entries[at].config;
        let catch_up = TimeDelta::from_std(*catch_up).unwrap_or(TimeDelta::days(366)).max(SHORTEST_CATCH_UP);
        let Some(due) = timetable.last_within(done.max(now - catch_up), now) else { return Ok(None) };
        let (name, args) = (name.clone(), self.entries[at].args.clone());
        let (reason, key) = (format!("schedule {name}"), schedule_key(&name, due));
        let app = self.app().await?;
        let written = enqueue::scheduled(app, args, reason, Some(key), output).await;
        // What will not heal by itself is not tried again for this time.
        if !matches!(&written, Err(fault) if fault.exit == Exit::Temporary) {
            self.done.insert(name.clone(), due);
        }
        let run = written?;
        output.note(&format!("{}  {name}: {}", stamp(now), told(&run)));
        Ok(Some(Fired { name, time: due, run }))
    }

    /// Up to when a schedule is done. A first start makes up for nothing, but for one that is to look only once. A time
    /// to come is of a scheduler whose clock is ahead: its runs have their keys.
    async fn done(&mut self, at: usize, once: bool) -> Result<DateTime<Utc>, Fault> {
        let name = self.entries[at].config.name.clone();
        if let Some(done) = self.done.get(&name) {
            return Ok(*done);
        }
        let last = self.app().await?.ledger.last_scheduled(&name).await?.map(|(time, _)| time);
        let never = if once { DateTime::UNIX_EPOCH } else { self.started };
        let done = last.unwrap_or(never).min(self.started);
        self.done.insert(name, done);
        Ok(done)
    }

    async fn app(&mut self) -> Result<&App, Fault> {
        if self.app.is_none() {
            self.app = Some(App::with(self.config.clone()).await?);
        }
        self.app.as_ref().ok_or_else(|| Fault::new(Exit::Error, "no registry"))
    }

    fn until_next(&self) -> Duration {
        let now = clock::now();
        let next = self.entries.iter().filter_map(|entry| entry.config.timetable.next(now)).min();
        let left = next.and_then(|next| (next - now).to_std().ok()).unwrap_or(LOOK_EVERY);
        left.min(LOOK_EVERY)
    }

    fn of_schedule(&self, at: usize, fault: &Fault) -> Fault {
        let message = format!("{}  {}: {fault}", stamp(clock::now()), self.entries[at].config.name);
        Fault { exit: fault.exit, message, hint: fault.hint.clone() }
    }
}

fn told(run: &Enqueued) -> String {
    match run.joined {
        None => format!("started run #{} of {}", run.number, plural(run.targets, "tenant")),
        Some(Joined::Key) => format!("run #{} was started for this time already", run.number),
        Some(Joined::UnderWay { .. }) => {
            format!("run #{} is still under way, no other one is started", run.number)
        }
    }
}
