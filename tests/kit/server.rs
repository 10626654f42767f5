//! The servers: those that `tests/run` started for all, and private ones for tests that break theirs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run these tests with tests/run, which starts the servers")
    })
}

/// The URL of the shared PostgreSQL, of its maintenance database.
#[must_use]
pub fn postgres() -> String {
    variable("TENANTRY_TEST_POSTGRES")
}

/// The URL of the shared MariaDB.
#[must_use]
pub fn mariadb() -> String {
    variable("TENANTRY_TEST_MARIADB")
}

/// Whether a MySQL stands where MariaDB stands else.
#[must_use]
pub fn is_mysql() -> bool {
    std::env::var_os("TENANTRY_TEST_MYSQL").is_some_and(|value| !value.is_empty())
}

/// Whether a test of what only MariaDB has is skipped; says why.
#[must_use]
pub fn skipped_on_mysql(why: &str) -> bool {
    if is_mysql() {
        eprintln!("skipped: {why}");
    }
    is_mysql()
}

/// The view of a MySQL's or a MariaDB's sessions. MySQL's former one fails while any of them runs a statement with bytes that are no text.
#[must_use]
pub fn sessions() -> &'static str {
    if is_mysql() { "performance_schema.processlist" } else { "information_schema.processlist" }
}

/// The URL of the shared Redis.
#[must_use]
pub fn redis() -> String {
    variable("TENANTRY_TEST_REDIS")
}

/// The passwords in the shared servers' URLs: what must be found nowhere.
#[must_use]
pub fn passwords() -> Vec<String> {
    let password = |url: String| {
        let (_, rest) = url.split_once("://").expect("a URL");
        let (user, _) = rest.split_once('@').expect("a user");
        user.split_once(':').expect("a password").1.to_owned()
    };
    vec![password(postgres()), password(mariadb()), password(redis())]
}

/// A URL with another database in it.
#[must_use]
pub fn with_database(url: &str, database: &str) -> String {
    let (start, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{start}/{database}")
}

/// A server of a test's own. It is stopped when this is dropped, and by `tests/run` at the latest.
pub struct Private {
    kind: &'static str,
    dir: TempDir,
    options: Vec<(String, String)>,
    /// Its URL, which it keeps over restarts.
    pub url: String,
}

impl Private {
    /// Starts one: `postgres`, `mariadb` (a MySQL where the shared one is) or `redis`. `options` are added to its command line, such as
    /// `-c max_connections=12`. A `pgbouncer` stands before the shared PostgreSQL; its options are lines of its
    /// configuration, with a `;` between them.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(kind: &'static str, options: &str) -> Self {
        Self::start_in(Path::new(&variable("TENANTRY_TEST_DIR")), kind, options)
    }

    /// The same in a directory of the caller's.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_in(dir: &Path, kind: &'static str, options: &str) -> Self {
        let dir = TempDir::new_in(dir).expect("a directory");
        let kind = if kind == "mariadb" && is_mysql() { "mysql" } else { kind };
        let name = match kind {
            "postgres" => "TENANTRY_TEST_PG_OPTIONS",
            "mariadb" => "TENANTRY_TEST_MARIADB_OPTIONS",
            "mysql" => "TENANTRY_TEST_MYSQL_OPTIONS",
            "pgbouncer" => "TENANTRY_TEST_PGBOUNCER_OPTIONS",
            _ => "TENANTRY_TEST_REDIS_OPTIONS",
        };
        let options = vec![(name.to_owned(), options.to_owned())];
        let mut server = Self { kind, dir, options, url: String::new() };
        server.url = server.up();
        server
    }

    /// Stops it: `fast`, `immediate` or `kill`.
    pub fn stop(&self, how: &str) {
        self.call(&["stop", self.kind, &self.path(), how]);
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&self) {
        assert_eq!(self.up(), self.url);
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("server/log")
    }

    fn up(&self) -> String {
        self.call(&["start", self.kind, &self.path()])
    }

    fn path(&self) -> String {
        self.dir.path().join("server").display().to_string()
    }

    fn call(&self, args: &[&str]) -> String {
        let script = variable("TENANTRY_TEST_SERVER");
        let done = Command::new(script).args(args).envs(self.options.clone()).output().expect("tests/server");
        assert!(done.status.success(), "tests/server {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text").trim().to_owned()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let script = std::env::var("TENANTRY_TEST_SERVER").unwrap_or_default();
        let _ = Command::new(script).args(["stop", self.kind, &self.path(), "immediate"]).output();
    }
}

/// Where cargo put a binary of this workspace.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let path = profile.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}
