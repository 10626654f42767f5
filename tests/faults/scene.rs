//! One seed while it is played: its registry, its workers, and what has happened so far.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tenantry_tests::{
    Home, Ran, Weather, WorkerProcess,
    fleet::{create_mariadb_database, create_postgres_database, unique},
    home::finish_within,
    server::with_database,
};
use tokio::sync::watch;

use crate::{
    disk::Disk,
    script::Script,
    sql::Eye,
    stand::{Link, Stand},
};

/// How long a claim is good without being renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Longer than any program may take, however busy the machine is.
pub(crate) const LONGEST: Duration = Duration::from_secs(240);

/// The exit code of a step that may be done again later.
pub(crate) const TEMPORARY: i32 = 75;

const WORKER: [&str; 6] = ["--lease", "3s", "--concurrency", "6", "--drain-timeout", "60s"];

/// Where the registry and the queue are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    Sqlite,
    Postgres,
    PostgresAndRedis,
    MariaDb,
}

impl Setup {
    pub(crate) const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::PostgresAndRedis, Self::MariaDb];

    /// The network between the workers and the registry.
    pub(crate) fn link(self) -> Option<Link> {
        match self {
            Self::Sqlite => None,
            Self::Postgres | Self::PostgresAndRedis => Some(Link::PostgresRegistry),
            Self::MariaDb => Some(Link::MariaDbRegistry),
        }
    }

    async fn home(self, stand: &Stand) -> Home {
        let name = unique("registry");
        let url = match self {
            Self::Sqlite => return Home::new_in(&stand.directory()),
            Self::Postgres | Self::PostgresAndRedis => {
                create_postgres_database(&stand.registry.url, &name).await;
                with_database(&stand.registry.url, &name)
            }
            Self::MariaDb => {
                create_mariadb_database(&stand.mariadb.url, &name).await;
                with_database(&stand.mariadb.url, &name)
            }
        };
        let home = Home::new_in(&stand.directory()).with("TENANTRY_REGISTRY_URL", &url);
        if self == Self::PostgresAndRedis { home.with("TENANTRY_QUEUE_URL", &stand.redis.url) } else { home }
    }
}

/// What is there while a seed is played.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) setup: Setup,
    /// How its runs are rolled out.
    pub(crate) rollout: &'static [&'static str],
    pub(crate) stand: Arc<Stand>,
    /// A disk of some SQLite tenants, where one can be had.
    pub(crate) small_disk: Option<Disk>,
    /// Held by whoever breaks a server.
    pub(crate) servers: tokio::sync::Mutex<()>,
    /// So many thousandths of the targets have ended; 1000 once every run has.
    pub(crate) progress: watch::Sender<u64>,
    workers: Mutex<Vec<WorkerProcess>>,
    notes: Mutex<Vec<String>>,
    struck: Mutex<BTreeMap<&'static str, usize>>,
    violations: Mutex<Vec<String>>,
    begun: Instant,
}

impl Scene {
    pub(crate) async fn set(script: &Script, stand: Arc<Stand>) -> Self {
        Self {
            home: script.setup.home(&stand).await,
            setup: script.setup,
            rollout: script.rollout,
            stand,
            small_disk: None,
            servers: tokio::sync::Mutex::new(()),
            progress: watch::channel(0).0,
            workers: Mutex::default(),
            notes: Mutex::default(),
            struck: Mutex::default(),
            violations: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// Adds a line to what has happened.
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        let at = self.begun.elapsed().as_secs_f64();
        open(&self.notes).push(format!("{at:7.2} s  {}", line.as_ref()));
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        open(&self.notes).clone()
    }

    /// Counts a fault that has struck.
    pub(crate) fn count(&self, fault: &'static str) {
        *open(&self.struck).entry(fault).or_default() += 1;
    }

    pub(crate) fn struck(&self) -> BTreeMap<&'static str, usize> {
        open(&self.struck).clone()
    }

    /// Something that must not be.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("VIOLATED: {what}"));
        open(&self.violations).push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        open(&self.violations).clone()
    }

    /// Starts a worker that reaches its registry and its queue by way of the network.
    pub(crate) fn add_worker(&self, env: &[(&str, &str)]) {
        let mut env = env.to_vec();
        let registry = self.setup.link().map(|link| self.stand.link(link).url(&self.home.registry_url()));
        let queue = self.stand.link(Link::Queue).url(&self.stand.redis.url);
        if let Some(url) = &registry {
            env.push(("TENANTRY_REGISTRY_URL", url));
        }
        if self.setup == Setup::PostgresAndRedis {
            env.push(("TENANTRY_QUEUE_URL", &queue));
        }
        let worker = self.home.worker_with(&WORKER, &env);
        self.put_back(worker);
    }

    /// Takes the worker that `chosen` says out of those that others may break.
    pub(crate) fn take_worker(
        &self,
        chosen: impl FnOnce(&[WorkerProcess]) -> Option<usize>,
    ) -> Option<WorkerProcess> {
        let mut workers = open(&self.workers);
        let at = chosen(&workers)?;
        Some(workers.swap_remove(at))
    }

    pub(crate) fn put_back(&self, worker: WorkerProcess) {
        open(&self.workers).push(worker);
    }

    /// What a supervisor does: a worker that ended because its registry is away is started again. Nobody else ends.
    pub(crate) fn supervise(&self) {
        let mut ended: Vec<WorkerProcess> =
            open(&self.workers).extract_if(.., WorkerProcess::has_ended).collect();
        for worker in &mut ended {
            let (code, log) = (worker.exit_code(), worker.log.display());
            if code != Some(TEMPORARY) {
                self.violated(format!("a worker ended by itself with {code:?}: {log}"));
            }
            self.note(format!("worker {} ended with {code:?} and is started again", worker.pid()));
            self.add_worker(&[]);
        }
    }

    /// Workers do not panic, whatever happens.
    pub(crate) fn inspect_logs(&self) {
        for entry in std::fs::read_dir(self.home.path()).expect("a directory").flatten() {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if entry.path().extension().is_some_and(|e| e == "log") && log.contains("panicked") {
                self.violated(format!("a worker panicked: {}", entry.path().display()));
            }
        }
    }

    /// Ends every worker.
    pub(crate) fn end(&self) {
        open(&self.workers).clear();
    }

    /// Runs `tenantry` to its end.
    pub(crate) async fn tenantry(self: &Arc<Self>, args: &[&str]) -> Ran {
        let child = self.home.spawn(args);
        let ran = tokio::task::spawn_blocking(move || finish_within(LONGEST, child)).await;
        ran.unwrap_or_else(|late| Ran { code: -1, stdout: String::new(), stderr: late.to_string() })
    }

    /// A connection to the registry, past the network, once it is there.
    pub(crate) async fn ledger(&self) -> Eye {
        let begun = Instant::now();
        loop {
            match Eye::open(&self.home.registry_url()).await {
                Ok(eye) => return eye,
                Err(error) => assert!(begun.elapsed() < LONGEST, "no registry: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Rows of the registry, asked for until it answers.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        let begun = Instant::now();
        loop {
            match self.ledger().await.rows(sql).await {
                Ok(rows) => return rows,
                Err(error) => assert!(begun.elapsed() < LONGEST, "{sql}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The newest run; 0 is none.
    pub(crate) async fn newest_run(&self) -> i64 {
        let rows = self.ask("SELECT coalesce(max(number), 0) FROM runs").await;
        rows[0][0].parse().expect("a number")
    }

    /// Waits until so many thousandths of the targets have ended. `false`: that took too long.
    pub(crate) async fn until_progress(&self, thousandths: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|now| *now >= thousandths);
        tokio::time::timeout(LONGEST, reached).await.is_ok()
    }

    /// Ends what breaks networks and servers.
    pub(crate) fn set_weather(&self, link: Link, weather: Weather) {
        self.stand.link(link).set(weather);
    }
}

/// Nobody who panicked has left anything half done in these.
fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
