//! A working directory of a test's own, and the two programs run in it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    server::{self, binary},
    wait::DEADLINE,
};

/// A directory with a migration directory, and the environment that programs get in it: nothing of ours but this.
pub struct Home {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Makes sure of its exit code.
    ///
    /// # Panics
    /// When it is another one; shows all that it said.
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; it said:\n{}{}", self.stdout, self.stderr);
        self
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one, with a master key in the environment and an SQLite registry unless another one is set.
    #[must_use]
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// The same in a directory of the caller's.
    #[must_use]
    pub fn new_in(dir: &Path) -> Self {
        let dir = TempDir::new_in(dir).expect("a directory");
        std::fs::create_dir(dir.path().join("migrations")).expect("a directory");
        let home = Self { dir, env: Vec::new() };
        home.with("TENANTRY_MASTER_KEY", &"4f".repeat(32))
    }

    /// One for each kind of registry: an SQLite file, PostgreSQL and MariaDB.
    pub async fn on_each_registry() -> [Self; 3] {
        [Self::new(), Self::new().with_postgres_registry().await, Self::new().with_mariadb_registry().await]
    }

    /// The same with a variable in the environment, in place of an earlier one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self
    }

    /// The same with a new PostgreSQL database for the registry. The registry is not made yet.
    pub async fn with_postgres_registry(self) -> Self {
        let name = crate::fleet::unique("registry");
        crate::fleet::create_postgres_database(&server::postgres(), &name).await;
        self.with("TENANTRY_REGISTRY_URL", &server::with_database(&server::postgres(), &name))
    }

    /// The same with a new MariaDB database for the registry. The registry is not made yet.
    pub async fn with_mariadb_registry(self) -> Self {
        let name = crate::fleet::unique("registry");
        crate::fleet::create_mariadb_database(&server::mariadb(), &name).await;
        self.with("TENANTRY_REGISTRY_URL", &server::with_database(&server::mariadb(), &name))
    }

    /// The same with the shared Redis as its queue.
    #[must_use]
    pub fn with_redis_queue(self) -> Self {
        let url = server::redis();
        self.with("TENANTRY_QUEUE_URL", &url)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The registry's URL.
    #[must_use]
    pub fn registry_url(&self) -> String {
        let set =
            self.env.iter().find(|(name, _)| name == "TENANTRY_REGISTRY_URL").map(|(_, url)| url.clone());
        set.unwrap_or_else(|| format!("sqlite:{}", self.path().join(".tenantry/registry.db").display()))
    }

    /// Writes a migration.
    pub fn migration(&self, name: &str, sql: &str) -> PathBuf {
        let path = self.path().join("migrations").join(name);
        std::fs::write(&path, sql).expect("a migration");
        path
    }

    /// Runs `tenantry` with these words.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_input(args, "")
    }

    /// The same with something on standard input.
    #[must_use]
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self
            .command("tenantry", args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tenantry");
        // A program that does not read it may have ended already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        finish(child)
    }

    /// Starts `tenantry` and does not wait for it.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command("tenantry", args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tenantry")
    }

    /// Starts a worker; its log goes to `worker-<n>.log` in the directory. It is killed when this is dropped.
    #[must_use]
    pub fn worker(&self, args: &[&str]) -> WorkerProcess {
        self.worker_with(args, &[])
    }

    /// The same with more in its environment.
    #[must_use]
    pub fn worker_with(&self, args: &[&str], env: &[(&str, &str)]) -> WorkerProcess {
        let number = std::fs::read_dir(self.path()).expect("a directory").count();
        let log = self.path().join(format!("worker-{number}.log"));
        let health = self.path().join(format!("worker-{number}.health"));
        let file = std::fs::File::create(&log).expect("a log");
        let words: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let mut command = self.command("tenantry-worker", &words);
        command.envs(env.iter().copied());
        command.env("TENANTRY_HEALTH_FILE", &health).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        WorkerProcess { child: command.spawn().expect("tenantry-worker"), log, health }
    }

    /// A program of the workspace with this home's directory and environment, to be started.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(binary(program));
        command.args(args).current_dir(self.path()).env_clear().envs(self.env.iter().cloned());
        command.env("PATH", std::env::var("PATH").unwrap_or_default()).env("HOME", self.path());
        command
    }
}

/// Waits for a program's end, with a deadline.
///
/// # Panics
/// When it does not end in time: it is killed then.
#[must_use]
pub fn finish(child: Child) -> Ran {
    finish_within(DEADLINE * 2, child)
}

/// The same with a deadline of the caller's.
///
/// # Panics
/// When it does not end in time: it is killed then.
#[must_use]
pub fn finish_within(limit: Duration, mut child: Child) -> Ran {
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut pipe) = pipe {
                let _ = std::io::Read::read_to_string(&mut pipe, &mut text);
            }
            text
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let begun = Instant::now();
    let (status, late) = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break (Some(status), false),
            None if begun.elapsed() > limit => {
                let _ = child.kill();
                break (child.wait().ok(), true);
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (stdout, stderr) = (stdout.join().expect("text"), stderr.join().expect("text"));
    assert!(!late, "it did not end in time; it said:\n{stdout}{stderr}");
    Ran { code: status.and_then(|s| s.code()).unwrap_or(-1), stdout, stderr }
}

/// A running worker process.
pub struct WorkerProcess {
    child: Child,
    /// What it logs.
    pub log: PathBuf,
    /// Where it leaves signs of life.
    pub health: PathBuf,
}

impl WorkerProcess {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `TERM`, `INT`, `KILL`, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let done =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().expect("kill");
        assert!(done.success(), "kill -{name}");
        if name == "STOP" {
            self.stands_still();
        }
    }

    /// Waits until none of its threads runs any more: a signal is not there at once.
    fn stands_still(&self) {
        let begun = Instant::now();
        let stopped =
            |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
        let all_stopped = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
            threads.flatten().all(|t| std::fs::read_to_string(t.path().join("stat")).is_ok_and(stopped))
        };
        while !all_stopped() {
            assert!(begun.elapsed() < DEADLINE, "the worker does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end and gives its exit code; none when a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < DEADLINE, "the worker does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it runs no more.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
