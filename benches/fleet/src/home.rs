//! The product, as its users run it: the release build, a registry of its own, one command after the other.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::{
    bundle::{self, Migration},
    fleet::Fleet,
    house,
    meter::Took,
    places::{Kind, Places},
    program::{self, Running},
    registry::Address,
};

/// A directory with a registry that knows a fleet.
pub struct Home {
    dir: PathBuf,
    program: PathBuf,
    address: Address,
}

impl Home {
    /// Makes the registry.
    pub fn new(program: &Path, address: Address) -> Self {
        let home = Self { dir: house::directory("home"), program: program.into(), address };
        home.run(&["registry", "init"], b"");
        home
    }

    /// The migrations that are there from now on.
    pub fn write(&self, migrations: &[Migration]) {
        bundle::write(&self.dir.join("migrations"), migrations);
    }

    /// Adds the first so many tenants of a fleet, whose server is reached over another port if one is given.
    pub fn import(&self, fleet: &Fleet, count: usize, port: Option<u16>) {
        self.add(count, |at| {
            let schema = (fleet.places.kind == Kind::Schemas).then(|| Places::name(at));
            (at_port(&fleet.places.url(at), port), schema)
        });
    }

    /// Adds so many tenants, each with its URL and schema.
    pub fn add(&self, count: usize, place: impl Fn(usize) -> (String, Option<String>)) {
        let mut lines = Vec::new();
        for at in 0..count {
            let (url, schema) = place(at);
            let line = json!({ "id": format!("tenant-{at:07}"), "url": url, "schema": schema });
            writeln!(lines, "{line}").expect("memory");
        }
        self.run(&["tenants", "import", "--format", "jsonl", "-"], &lines);
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
        program::run(self.command(&self.program).args(words), input)
    }

    /// Starts a program that stands beside ours and goes on until it is told to end.
    pub fn start(&self, name: &str, words: &[&str]) -> Running {
        program::start(self.command(&self.program.with_file_name(name)).args(words))
    }

    /// A program in this home.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env("TENANTRY_MASTER_KEY", "4f".repeat(32));
        command.env("TENANTRY_REGISTRY_URL", self.registry());
        command.envs(self.address.queue.iter().map(|url| ("TENANTRY_QUEUE_URL", url)));
        command
    }

    /// A number that the registry itself gives.
    pub async fn number(&self, select: &str) -> i64 {
        let select = sqlx::query_scalar(AssertSqlSafe(select.to_owned()));
        select.fetch_one(&mut self.connected().await).await.expect("a number")
    }

    /// Has the registry forget what it knows of its tenants, as their places are empty again: else it takes them for current, and all
    /// are read before any is begun.
    pub async fn forget(&self) {
        let forget =
            "UPDATE tenants SET version = NULL, version_at = NULL, schema_digest = NULL, head_start = 0";
        self.connected().await.execute(forget).await.expect("a registry that forgets");
    }

    async fn connected(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        AnyConnection::connect(&self.registry()).await.expect("the registry")
    }

    fn registry(&self) -> String {
        let file = self.dir.join(".tenantry/registry.db");
        self.address.registry.clone().unwrap_or_else(|| format!("sqlite:{}", file.display()))
    }
}

fn at_port(url: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return url.to_owned() };
    let (start, database) = url.rsplit_once('/').expect("a URL with a database");
    let (start, _) = start.rsplit_once(':').expect("a URL with a port");
    format!("{start}:{port}/{database}")
}
