//! Private servers, started as the tests start theirs, but with data that survives a power failure whenever something is
//! measured. PostgreSQL vacuums nothing by itself: what one round left would be cleaned up in the time of the next.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};

use crate::house;

/// Of how many databases the files are cut at once: the file system's journal makes each wait.
const AT_ONCE: usize = 8;

/// How long a server may take to write what it has.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// MariaDB writes pages in the background, as many a second as it is told that the disk can take.
const WRITE_ALL: &str = "SET GLOBAL innodb_io_capacity_max = 40000; SET GLOBAL innodb_io_capacity = 20000;
    SET GLOBAL innodb_max_dirty_pages_pct = 0";

/// Its defaults.
const WRITE_AS_EVER: &str = "SET GLOBAL innodb_max_dirty_pages_pct = 90; SET GLOBAL innodb_io_capacity = 200;
    SET GLOBAL innodb_io_capacity_max = 2000";

const POSTGRES: &str = "-c full_page_writes=on -c max_locks_per_transaction=1024 -c autovacuum=off";

/// As many tables stay open as the largest fleet has.
const MARIADB: &str = "--innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=512M
    --table-open-cache=30000 --table-definition-cache=30000 --innodb-open-files=30000";

/// One server; it is stopped when this is dropped, and its files stay, empty, until the program ends.
pub struct Server {
    kind: &'static str,
    dir: PathBuf,
    pub url: String,
}

impl Server {
    /// Starts `postgres`, `mariadb` or `redis`. PostgreSQL waits for the disk once it is settled.
    pub fn start(kind: &'static str) -> Self {
        let dir = house::directory(kind).join("server");
        house::keep_server(kind, &dir);
        let mut start = Command::new(house::script());
        start.args(["start", kind]).arg(&dir);
        start.env("TENANTRY_TEST_PG_OPTIONS", POSTGRES).env("TENANTRY_TEST_MARIADB_OPTIONS", MARIADB);
        let done = start.output().expect("tests/server");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { kind, dir, url: String::from_utf8(done.stdout).expect("text").trim().to_owned() }
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("a pid");
        pid.trim().parse().expect("a pid")
    }

    /// Its URL with another database.
    pub fn database(&self, name: &str) -> String {
        let (start, _) = self.url.rsplit_once('/').expect("a URL with a database");
        format!("{start}/{name}")
    }

    /// Waits for the disk no more until it is settled: what is prepared need not survive anything, and a database of
    /// PostgreSQL is 300 files, each of which would be waited for.
    pub async fn hurry(&self) {
        if self.kind == "postgres" {
            self.wait_for_disk("off").await;
        }
    }

    /// Has all written that is in memory only, so that nobody pays for it later. From now on it waits for the disk.
    pub async fn settle(&self) {
        match self.kind {
            "postgres" => self.checkpoint().await,
            "mariadb" => self.flush().await,
            _ => {}
        }
        house::settle();
        if self.kind == "postgres" {
            self.wait_for_disk("on").await;
        }
    }

    /// Gives back the room on the disk of PostgreSQL's databases whose names begin like this. Nobody may open them again.
    pub async fn hollow(&self, prefix: &str) {
        self.checkpoint().await;
        let mut server = self.postgres().await;
        let select = "SELECT oid::BIGINT FROM pg_database WHERE starts_with(datname, $1)";
        let found = sqlx::query_scalar::<_, i64>(select).bind(prefix).fetch_all(&mut server).await;
        let hollow = |oid: i64| async move {
            let dir = self.dir.join(format!("data/base/{oid}"));
            tokio::task::spawn_blocking(move || house::hollow(&dir)).await.expect("empty files");
        };
        stream::iter(found.expect("databases")).for_each_concurrent(AT_ONCE, hollow).await;
    }

    async fn wait_for_disk(&self, wait: &str) {
        let mut server = self.postgres().await;
        let set = AssertSqlSafe(format!("ALTER SYSTEM SET fsync = {wait}"));
        sqlx::raw_sql(set).execute(&mut server).await.expect("a setting");
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut server).await.expect("the settings");
        let until = Instant::now() + SETTLE_LIMIT;
        let now = async || {
            sqlx::query_scalar::<_, String>("SHOW fsync").fetch_one(&mut self.postgres().await).await
        };
        while now().await.expect("a setting") != wait {
            assert!(Instant::now() < until, "fsync is not {wait}");
        }
    }

    async fn checkpoint(&self) {
        sqlx::raw_sql("CHECKPOINT").execute(&mut self.postgres().await).await.expect("a checkpoint");
    }

    async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("postgres")
    }

    async fn flush(&self) {
        let mut server = MySqlConnection::connect(&self.url).await.expect("mariadb");
        let until = Instant::now() + SETTLE_LIMIT;
        run(&mut server, WRITE_ALL).await;
        while Instant::now() < until {
            let dirty = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'";
            let dirty = sqlx::raw_sql(dirty).fetch_one(&mut server).await.expect("a status");
            if dirty.get::<String, _>(1) == "0" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run(&mut server, WRITE_AS_EVER).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        house::stop_server(self.kind, &self.dir);
        house::hollow(&self.dir);
    }
}

async fn run(server: &mut MySqlConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(server).await.expect("a setting");
}
