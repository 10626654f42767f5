//! Private servers, started as the tests start theirs, but with data that survives a power failure.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// One server; it is stopped when this is dropped.
pub struct Server {
    kind: &'static str,
    dir: TempDir,
    pub url: String,
}

impl Server {
    /// Starts `postgres`, `mariadb` or `redis`.
    pub fn start(kind: &'static str) -> Self {
        let dir = TempDir::with_prefix("fleet-").expect("a directory");
        let done = Command::new(script())
            .args(["start", kind, &path(dir.path())])
            .env(
                "TENANTRY_TEST_PG_OPTIONS",
                "-c fsync=on -c full_page_writes=on -c max_locks_per_transaction=1024",
            )
            .env(
                "TENANTRY_TEST_MARIADB_OPTIONS",
                "--innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=512M",
            )
            .output()
            .expect("tests/server");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { kind, dir, url: String::from_utf8(done.stdout).expect("text").trim().to_owned() }
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        let file = PathBuf::from(path(self.dir.path())).join("pid");
        std::fs::read_to_string(file).expect("a pid").trim().parse().expect("a pid")
    }

    /// Its URL with another database.
    pub fn database(&self, name: &str) -> String {
        let (start, _) = self.url.rsplit_once('/').expect("a URL with a database");
        format!("{start}/{name}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ =
            Command::new(script()).args(["stop", self.kind, &path(self.dir.path()), "immediate"]).output();
    }
}

fn path(dir: &Path) -> String {
    dir.join("server").display().to_string()
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/server")
}
