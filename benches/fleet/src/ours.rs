//! The product, as its users run it: the release build, a registry of its own, one command.

use std::{
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, Kind},
    house,
    meter::{self, Took},
};

/// A directory with a registry that knows a fleet.
pub struct Home {
    dir: PathBuf,
    program: PathBuf,
    registry: Option<String>,
}

impl Home {
    /// Makes the registry; an SQLite file unless it has a URL.
    pub fn new(program: &Path, registry: Option<String>) -> Self {
        let home = Self { dir: house::directory("home"), program: program.into(), registry };
        home.run(&["registry", "init"], b"");
        home
    }

    /// Adds the first so many tenants of a fleet, whose server is reached over another port if one is given.
    pub fn import(&self, fleet: &Fleet, count: usize, port: Option<u16>) {
        let mut lines = Vec::new();
        for at in 0..count {
            let schema = (fleet.kind == Kind::Schemas).then(|| Fleet::name(at));
            let url = at_port(&fleet.url(at), port);
            let line = json!({ "id": format!("tenant-{at:05}"), "url": url, "schema": schema });
            writeln!(lines, "{line}").expect("memory");
        }
        self.run(&["tenants", "import", "--format", "jsonl", "-"], &lines);
    }

    /// Where the migrations are.
    pub fn migrations(&self) -> PathBuf {
        self.dir.join("migrations")
    }

    /// Migrates all, and makes sure that each tenant ended in this state.
    pub fn migrate(&self, state: &str, concurrency: usize) -> Took {
        let concurrency = concurrency.to_string();
        let words = ["migrate", "--all", "--json", "--progress", "none", "--concurrency", &concurrency];
        let (took, said) = self.run(&words, b"");
        let document: Value = serde_json::from_slice(&said).expect("JSON");
        let counts = &document["counts"];
        assert_eq!(counts[state], counts["total"], "not all are {state}: {counts}");
        took
    }

    /// Runs a command that must succeed.
    pub fn run(&self, words: &[&str], input: &[u8]) -> (Took, Vec<u8>) {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.dir).env("TENANTRY_MASTER_KEY", "4f".repeat(32));
        if let Some(url) = &self.registry {
            command.env("TENANTRY_REGISTRY_URL", url);
        }
        run(&mut command, input)
    }
}

/// Runs a program that must succeed, in a process group of its own; gives what it cost and what it printed.
pub fn run(command: &mut Command, input: &[u8]) -> (Took, Vec<u8>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = child.id();
    house::keep_program(group);
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    let fed = std::thread::spawn(move || stdin.write_all(&input));
    let (took, output) = std::thread::scope(|scope| {
        let (mut out, mut err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let out = scope.spawn(move || read(&mut out));
        let err = scope.spawn(move || read(&mut err));
        (meter::watch(&child, started), [out.join().expect("output"), err.join().expect("output")])
    });
    house::forget_program(group);
    let status = child.wait().expect("a status");
    let _ = fed.join(); // a program may end without reading all
    let [out, err] = output;
    let said = [&err[..], &out[..]].map(String::from_utf8_lossy).concat();
    assert!(status.success(), "{command:?}: {status}: {said}");
    (took, out)
}

fn read(from: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).expect("output");
    all
}

fn at_port(url: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return url.to_owned() };
    let (start, database) = url.rsplit_once('/').expect("a URL with a database");
    let (start, _) = start.rsplit_once(':').expect("a URL with a port");
    format!("{start}:{port}/{database}")
}
