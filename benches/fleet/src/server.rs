//! Private servers, started as the tests start theirs, but with data that survives a power failure. PostgreSQL vacuums
//! nothing by itself: what one round left would be cleaned up in the time of the next.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, MySqlConnection, PgConnection, Row as _};

use crate::house;

/// How long a server may take to write what it has.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// MariaDB writes pages in the background, as many a second as it is told that the disk can take.
const WRITE_ALL: &str = "SET GLOBAL innodb_io_capacity_max = 40000; SET GLOBAL innodb_io_capacity = 20000;
    SET GLOBAL innodb_max_dirty_pages_pct = 0";

/// Its defaults.
const WRITE_AS_EVER: &str = "SET GLOBAL innodb_max_dirty_pages_pct = 90; SET GLOBAL innodb_io_capacity = 200;
    SET GLOBAL innodb_io_capacity_max = 2000";

const POSTGRES: &str =
    "-c fsync=on -c full_page_writes=on -c max_locks_per_transaction=1024 -c autovacuum=off";
const MARIADB: &str = "--innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=512M";

/// One server; it is stopped when this is dropped, and its files stay, empty, until the program ends.
pub struct Server {
    kind: &'static str,
    dir: PathBuf,
    pub url: String,
}

impl Server {
    /// Starts `postgres`, `mariadb` or `redis`.
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

    /// Writes all that it has only in memory, so that nobody pays for it later.
    pub async fn settle(&self) {
        match self.kind {
            "postgres" => {
                let mut server = PgConnection::connect(&self.url).await.expect("postgres");
                sqlx::raw_sql("CHECKPOINT").execute(&mut server).await.expect("a checkpoint");
            }
            "mariadb" => self.flush().await,
            _ => {}
        }
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
