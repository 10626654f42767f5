//! The product, as its users run it: the release build, a registry of its own, one command.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fleet::{Fleet, Kind},
    meter,
};

/// What one command took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub wall: Duration,
    pub processor: Duration,
    /// The peak of memory in bytes.
    pub memory: u64,
}

/// A directory with a registry that knows a fleet.
pub struct Home {
    dir: TempDir,
    program: PathBuf,
    registry: Option<String>,
}

impl Home {
    /// Makes the registry; an SQLite file unless it has a URL.
    pub fn new(program: &Path, registry: Option<String>) -> Self {
        let home = Self {
            dir: TempDir::with_prefix("fleet-home-").expect("a directory"),
            program: program.into(),
            registry,
        };
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
        self.dir.path().join("migrations")
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
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).env("TENANTRY_MASTER_KEY", "4f".repeat(32));
        if let Some(url) = &self.registry {
            command.env("TENANTRY_REGISTRY_URL", url);
        }
        let watch = Instant::now();
        let mut child = command.spawn().expect("the product");
        let (mut stdin, pid) = (child.stdin.take().expect("a pipe"), child.id());
        stdin.write_all(input).expect("input");
        drop(stdin);
        let meter = std::thread::spawn(move || watched(pid, watch));
        let output = std::thread::spawn(move || {
            let took = meter.join().expect("the meter");
            (took, child.wait_with_output().expect("the product"))
        });
        let (took, output) = output.join().expect("the product");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
        (took, output.stdout)
    }
}

/// Looks at a process until it has ended.
fn watched(pid: u32, watch: Instant) -> Took {
    let mut memory = 0;
    while !meter::has_ended(pid) {
        memory = meter::peak(pid).unwrap_or(0).max(memory);
        std::thread::sleep(Duration::from_millis(1));
    }
    Took { wall: watch.elapsed(), processor: meter::process(pid).unwrap_or_default(), memory }
}

fn at_port(url: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return url.to_owned() };
    let (start, database) = url.rsplit_once('/').expect("a URL with a database");
    let (start, _) = start.rsplit_once(':').expect("a URL with a port");
    format!("{start}:{port}/{database}")
}
