//! Fleets: many empty tenants of one kind, made again before each round, and counted after it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};

use crate::{
    house,
    places::{Kind, Places},
    server::Server,
};

/// How many tenants are made or removed at once.
const AT_ONCE: usize = 8;

/// Tenants and their server.
pub struct Fleet {
    pub places: Places,
    pub server: Option<Arc<Server>>,
    /// What is in the database of all schemas besides them, as SQL.
    beside: String,
    /// How often it was made.
    times: AtomicUsize,
}

impl Fleet {
    /// So many tenants, which [`Self::empty`] makes.
    fn new(kind: Kind, count: usize, database: String, server: Option<Arc<Server>>) -> Self {
        let dir = house::directory("fleet").join("files");
        let url = server.as_ref().map(|server| server.url.clone());
        let places = Places { kind, count, server: url, database, dir };
        Self { places, server, beside: String::new(), times: AtomicUsize::new(0) }
    }

    /// As many schemas in another database of the same server, with more beside them, which this SQL makes.
    pub fn another(&self, database: String, beside: String) -> Self {
        let mut another = Self::new(self.places.kind, self.places.count, database, self.server.clone());
        another.beside = beside;
        another
    }

    /// The same with a server of its own, where it needs one.
    pub fn with_server(kind: Kind, count: usize) -> Self {
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Mariadb => Some(Server::start("mariadb")),
            Kind::Schemas | Kind::Databases => Some(Server::start("postgres")),
        };
        Self::new(kind, count, "fleet".into(), server.map(Arc::new))
    }

    /// Makes all of them anew, with nothing in them. What they were keeps its files, which [`crate::house`] tells why.
    pub async fn empty(&self) {
        let time = self.times.fetch_add(1, Ordering::Relaxed);
        if let Some(server) = &self.server {
            server.hurry().await;
        }
        match self.places.kind {
            Kind::Schemas => self.empty_schemas(time).await,
            Kind::Databases => self.empty_databases(time).await,
            Kind::Mariadb => self.empty_mariadb(time).await,
            Kind::Sqlite => self.empty_files(time),
        }
    }

    /// How many tables of these names all tenants have together, where one look tells.
    pub async fn tables(&self, names: &[&str]) -> Option<usize> {
        if self.places.kind != Kind::Schemas {
            return None;
        }
        let select =
            "SELECT count(*) FROM pg_tables WHERE schemaname ~ '^t[0-9]{5}$' AND tablename = ANY ($1)";
        let mut database = postgres(&self.places.url(0)).await;
        let count = sqlx::query_scalar::<_, i64>(select).bind(names).fetch_one(&mut database).await;
        Some(usize::try_from(count.expect("a count")).expect("a count"))
    }

    /// Has all written that is in memory only, so that one round does not pay for another, and from now on waited for.
    pub async fn settle(&self) {
        match &self.server {
            Some(server) => server.settle().await,
            None => house::settle(),
        }
    }

    /// A database each time; the last one gets another name, and empty files.
    async fn empty_schemas(&self, time: usize) {
        let (mut server, name) = (postgres(&self.places.at_server("postgres")).await, &self.places.database);
        if time == 0 {
            pg(&mut server, &format!("CREATE DATABASE {name}_empty")).await;
            let mut template = postgres(&self.places.at_server(&format!("{name}_empty"))).await;
            for at in 0..self.places.count {
                pg(&mut template, &format!("CREATE SCHEMA {}", Places::name(at))).await;
            }
            pg(&mut template, &self.beside).await;
            template.close().await.expect("close");
        } else {
            let old = format!("was_{time}_{name}");
            pg(&mut server, &format!("{}; ALTER DATABASE {name} RENAME TO {old}", end_sessions(name))).await;
            self.server().hollow(&old).await;
        }
        pg(&mut server, &format!("CREATE DATABASE {name} TEMPLATE {name}_empty")).await;
    }

    /// New databases each time: what a former round left in one would be read with all that is in it. The last ones get
    /// other names, and empty files.
    async fn empty_databases(&self, time: usize) {
        if time > 0 {
            let name = Places::name;
            self.each(|at| {
                let old = format!("ALTER DATABASE {0} RENAME TO was_{time}_{0}", name(at));
                format!("{}; {old}", end_sessions(&name(at)))
            })
            .await;
            self.server().hollow(&format!("was_{time}_")).await;
        }
        self.each(|at| format!("CREATE DATABASE {} TEMPLATE template0", Places::name(at))).await;
    }

    /// Has PostgreSQL do something for each tenant.
    async fn each(&self, sql: impl Fn(usize) -> String) {
        let (places, sql) = (&self.places, &sql);
        let one =
            |at: usize| async move { pg(&mut postgres(&places.at_server("postgres")).await, &sql(at)).await };
        stream::iter(0..places.count).for_each_concurrent(AT_ONCE, one).await;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("a server")
    }

    /// MariaDB renames tables, not databases.
    async fn empty_mariadb(&self, time: usize) {
        if time > 0 {
            mysql(&mut self.mariadb().await, &format!("CREATE DATABASE was_{time}")).await;
        }
        let clear = |at: usize| async move {
            let (mut server, name) = (self.mariadb().await, Places::name(at));
            if time == 0 {
                mysql(&mut server, &format!("CREATE DATABASE {name}")).await;
                return;
            }
            let tables = sqlx::raw_sql(AssertSqlSafe(format!("SHOW TABLES IN {name}")));
            let tables = tables.fetch_all(&mut server).await.expect("tables");
            let tables = tables.iter().map(|row| row.get::<String, _>(0));
            let moves: Vec<String> =
                tables.map(|table| format!("{name}.{table} TO was_{time}.{name}_{table}")).collect();
            if !moves.is_empty() {
                mysql(&mut server, &format!("RENAME TABLE {}", moves.join(", "))).await;
            }
        };
        stream::iter(0..self.places.count).for_each_concurrent(AT_ONCE, clear).await;
    }

    fn empty_files(&self, time: usize) {
        if time > 0 {
            let old = self.places.dir.with_file_name(format!("was_{time}"));
            std::fs::rename(&self.places.dir, &old).expect("another name");
            house::hollow(&old);
        }
        std::fs::create_dir_all(&self.places.dir).expect("a directory");
        for at in 0..self.places.count {
            std::fs::write(self.places.file(at), "").expect("a file");
        }
    }

    async fn mariadb(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.places.at_server("mysql")).await.expect("mariadb")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        house::hollow(self.places.dir.parent().expect("a directory"));
    }
}

/// Ends who is still in a database, and waits until they are gone.
fn end_sessions(database: &str) -> String {
    format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{database}'"
    )
}

/// A connection.
pub async fn postgres(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("postgres")
}

/// Runs SQL as one message.
pub async fn pg(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// The same in MariaDB.
pub async fn mysql(connection: &mut MySqlConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.unwrap_or_else(|e| panic!("{sql}: {e}"));
}
