//! What processes cost, read from `/proc`: processor time and the peak of memory.

use std::{fs, time::Duration};

/// The length of a tick of the kernel's accounts.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of the processes of one server, those that have ended included.
pub fn group(leader: u32) -> Duration {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats = pids.filter_map(stat).filter(|stat| stat.group == leader);
    stats.map(|stat| stat.own + if stat.pid == leader { stat.ended } else { Duration::ZERO }).sum()
}

/// Processor time of one process, while it can still be asked: until it has been waited for.
pub fn process(pid: u32) -> Option<Duration> {
    stat(pid).map(|stat| stat.own)
}

/// Whether a process has ended and nobody has waited for it.
pub fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.ended_itself)
}

/// The most memory that a process has had so far, in bytes.
pub fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

struct Stat {
    pid: u32,
    group: u32,
    ended_itself: bool,
    own: Duration,
    ended: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok().map(|ticks| TICK * ticks);
    Some(Stat {
        pid,
        group: fields.get(2)?.parse().ok()?,
        ended_itself: fields[0] == "Z",
        own: ticks(11)? + ticks(12)?,
        ended: ticks(13)? + ticks(14)?,
    })
}
