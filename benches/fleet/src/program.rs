//! Programs that are measured, each in a process group of its own, so that none is left behind.

use std::{
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    house,
    meter::{self, Took},
};

/// Runs a program that must succeed; gives what it cost and what it printed.
pub fn run(command: &mut Command, input: &[u8]) -> (Took, Vec<u8>) {
    let mut running = start(command);
    let (mut stdin, input) = (running.child.stdin.take().expect("a pipe"), input.to_vec());
    let fed = std::thread::spawn(move || stdin.write_all(&input));
    let ended = running.end();
    let _ = fed.join(); // a program may end without reading all
    ended
}

/// Starts a program.
pub fn start(command: &mut Command) -> Running {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    house::keep_program(child.id());
    let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    Running { name: format!("{command:?}"), started, child, out: reader(out), err: reader(err) }
}

/// A program that has been started.
pub struct Running {
    name: String,
    started: Instant,
    child: Child,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Waits until it has succeeded.
    pub fn end(mut self) -> (Took, Vec<u8>) {
        let took = meter::watch(&self.child, self.started);
        let status = self.child.wait().expect("a status");
        house::forget_program(self.child.id());
        let (out, err) = (self.out.join().expect("output"), self.err.join().expect("output"));
        let said = [&err[..], &out[..]].map(String::from_utf8_lossy).concat();
        assert!(status.success(), "{}: {status}: {said}", self.name);
        (took, out)
    }

    /// Tells it to end, and waits until it has.
    pub fn terminate(self) -> Took {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a process");
        self.end().0
    }

    /// What it has cost so far.
    pub fn so_far(&self) -> Took {
        meter::so_far(self.child.id(), self.started)
    }
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("output");
        all
    })
}
