//! Fleets: many empty tenants of one kind, made again before each round, and counted after it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};

use crate::{house, server::Server};

/// How many tenants are made or removed at once.
const AT_ONCE: usize = 8;

/// What a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A schema of one PostgreSQL database.
    Schemas,
    /// A PostgreSQL database.
    Databases,
    /// A MariaDB database.
    Mariadb,
    /// An SQLite file.
    Sqlite,
}

/// Tenants `t00000` and so on.
pub struct Fleet {
    pub kind: Kind,
    pub count: usize,
    pub server: Option<Arc<Server>>,
    /// The database of all schemas, and what is in it besides them, as SQL.
    database: String,
    beside: String,
    dir: PathBuf,
    /// How often it was made.
    times: AtomicUsize,
}

impl Fleet {
    /// So many tenants, which [`Self::empty`] makes.
    pub fn new(kind: Kind, count: usize, server: Option<Arc<Server>>) -> Self {
        let dir = house::directory("fleet").join("files");
        let (database, beside) = ("fleet".into(), String::new());
        Self { kind, count, server, database, beside, dir, times: AtomicUsize::new(0) }
    }

    /// As many schemas in another database of the same server, with more beside them, which this SQL makes.
    pub fn another(&self, database: String, beside: String) -> Self {
        Self { database, beside, ..Self::new(self.kind, self.count, self.server.clone()) }
    }

    /// The same with a server of its own, where it needs one.
    pub fn with_server(kind: Kind, count: usize) -> Self {
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Mariadb => Some(Server::start("mariadb")),
            Kind::Schemas | Kind::Databases => Some(Server::start("postgres")),
        };
        Self::new(kind, count, server.map(Arc::new))
    }

    /// The name of a tenant: its schema, database or file.
    pub fn name(at: usize) -> String {
        format!("t{at:05}")
    }

    /// How a tenant is reached.
    pub fn url(&self, at: usize) -> String {
        match self.kind {
            Kind::Schemas => self.at_server(&self.database),
            Kind::Databases | Kind::Mariadb => self.at_server(&Self::name(at)),
            Kind::Sqlite => format!("sqlite:{}", self.file(at).display()),
        }
    }

    /// The URL of a database of its server.
    pub fn at_server(&self, database: &str) -> String {
        self.server.as_ref().expect("a server").database(database)
    }

    /// The file of a tenant.
    pub fn file(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{}.db", Self::name(at)))
    }

    /// Makes all of them anew, with nothing in them. What was in them is kept elsewhere: see [`crate::house`].
    pub async fn empty(&self) {
        let time = self.times.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            Kind::Schemas => self.empty_schemas(time).await,
            Kind::Databases => self.empty_databases(time).await,
            Kind::Mariadb => self.empty_mariadb(time).await,
            Kind::Sqlite => self.empty_files(time),
        }
    }

    /// How many tables of these names all tenants have together, where one look tells.
    pub async fn tables(&self, names: &[&str]) -> Option<usize> {
        if self.kind != Kind::Schemas {
            return None;
        }
        let select =
            "SELECT count(*) FROM pg_tables WHERE schemaname ~ '^t[0-9]{5}$' AND tablename = ANY ($1)";
        let mut database = postgres(&self.url(0)).await;
        let count = sqlx::query_scalar::<_, i64>(select).bind(names).fetch_one(&mut database).await;
        Some(usize::try_from(count.expect("a count")).expect("a count"))
    }

    /// Has all written that is in memory only, so that one round does not pay for another.
    pub async fn settle(&self) {
        if let Some(server) = &self.server {
            server.settle().await;
        }
        house::settle();
    }

    /// A database each time; the last one keeps its tenants under another name.
    async fn empty_schemas(&self, time: usize) {
        let (mut server, name) = (postgres(&self.at_server("postgres")).await, &self.database);
        if time == 0 {
            pg(&mut server, &format!("CREATE DATABASE {name}_empty")).await;
            let mut template = postgres(&self.at_server(&format!("{name}_empty"))).await;
            for at in 0..self.count {
                pg(&mut template, &format!("CREATE SCHEMA {}", Self::name(at))).await;
            }
            pg(&mut template, &self.beside).await;
            template.close().await.expect("close");
        } else {
            let old = format!("ALTER DATABASE {name} RENAME TO {name}_was_{time}");
            pg(&mut server, &format!("{}; {old}", end_sessions(name))).await;
        }
        pg(&mut server, &format!("CREATE DATABASE {name} TEMPLATE {name}_empty")).await;
    }

    async fn empty_databases(&self, time: usize) {
        let clear = |at: usize| async move {
            if time == 0 {
                let mut server = postgres(&self.at_server("postgres")).await;
                pg(&mut server, &format!("CREATE DATABASE {} TEMPLATE template0", Self::name(at))).await;
            } else {
                let mut tenant = postgres(&self.url(at)).await;
                let anew = format!("ALTER SCHEMA public RENAME TO was_{time}; CREATE SCHEMA public");
                pg(&mut tenant, &anew).await;
                tenant.close().await.expect("close");
            }
        };
        stream::iter(0..self.count).for_each_concurrent(AT_ONCE, clear).await;
    }

    /// MariaDB renames tables, not databases.
    async fn empty_mariadb(&self, time: usize) {
        if time > 0 {
            mysql(&mut self.mariadb().await, &format!("CREATE DATABASE was_{time}")).await;
        }
        let clear = |at: usize| async move {
            let (mut server, name) = (self.mariadb().await, Self::name(at));
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
        stream::iter(0..self.count).for_each_concurrent(AT_ONCE, clear).await;
    }

    fn empty_files(&self, time: usize) {
        if time > 0 {
            let old = self.dir.with_file_name(format!("was_{time}"));
            std::fs::rename(&self.dir, old).expect("another name");
        }
        std::fs::create_dir_all(&self.dir).expect("a directory");
        for at in 0..self.count {
            std::fs::write(self.file(at), "").expect("a file");
        }
    }

    async fn mariadb(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.at_server("mysql")).await.expect("mariadb")
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
