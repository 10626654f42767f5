//! What processes cost, read from `/proc`: time, processor time and the peak of memory.

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The length of a tick of the kernel's accounts.
const TICK: Duration = Duration::from_millis(10);

/// How often a process is asked for its peak of memory.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What one round took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    pub wall: Duration,
    /// Processor time of whoever did it.
    pub processor: Duration,
    /// Processor time of the tenants' server meanwhile.
    pub server: Duration,
    /// The peak of memory in bytes.
    pub memory: u64,
}

/// Processor time of a server's processes, those that have ended included.
pub fn server(first: u32) -> Duration {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats = pids.filter_map(stat).filter(|stat| stat.pid == first || stat.parent == first);
    stats.map(|stat| stat.own + if stat.pid == first { stat.ended } else { Duration::ZERO }).sum()
}

/// The same during some work.
pub fn server_during<T>(first: Option<u32>, work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || first.map(server).unwrap_or_default();
    let before = now();
    let result = work();
    (result, now().saturating_sub(before))
}

/// Waits for a program that was just started, and watches it. It can still be asked for its output and status.
pub fn watch(child: &Child, started: Instant) -> Took {
    let pid = child.id();
    let ended = std::thread::spawn(move || {
        let id = Pid::from_raw(pid.cast_signed()).expect("a pid");
        let ended = waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        ended.expect("a child");
        started.elapsed()
    });
    let mut memory = 0;
    while !ended.is_finished() {
        memory = peak(pid).unwrap_or(0).max(memory);
        std::thread::park_timeout(LOOK_AGAIN);
    }
    let wall = ended.join().expect("a wait");
    Took { wall, memory, ..so_far(pid, started) }
}

/// What a program has cost until now.
pub fn so_far(pid: u32, started: Instant) -> Took {
    let processor = stat(pid).map(|stat| stat.own + stat.ended).unwrap_or_default();
    let memory = peak(pid).unwrap_or_default();
    Took { wall: started.elapsed(), processor, server: Duration::ZERO, memory }
}

/// The most memory that a process has had so far, in bytes.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The figure in the middle.
pub fn median(figures: impl Iterator<Item = Duration>) -> Duration {
    let mut figures: Vec<Duration> = figures.collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

struct Stat {
    pid: u32,
    parent: u32,
    own: Duration,
    /// Of the children that have ended and been waited for.
    ended: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok().map(|ticks| TICK * ticks);
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended: ticks(13)? + ticks(14)?,
    })
}
