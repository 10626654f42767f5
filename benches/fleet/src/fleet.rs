//! Fleets: many empty tenants of one kind, made again before each round, and counted after it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};

use crate::server::Server;

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
    dir: PathBuf,
}

impl Fleet {
    /// So many tenants, which [`Self::empty`] makes.
    pub fn new(kind: Kind, count: usize, server: Option<Arc<Server>>, dir: &Path) -> Self {
        Self { kind, count, server, dir: dir.join("files") }
    }

    /// The name of a tenant: its schema, database or file.
    pub fn name(at: usize) -> String {
        format!("t{at:05}")
    }

    /// How a tenant is reached.
    pub fn url(&self, at: usize) -> String {
        match self.kind {
            Kind::Schemas => self.at_server("fleet"),
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

    /// Makes all of them anew, with nothing in them.
    pub async fn empty(&self) {
        match self.kind {
            Kind::Schemas => self.empty_schemas().await,
            Kind::Databases => self.empty_databases().await,
            Kind::Mariadb => self.empty_mariadb().await,
            Kind::Sqlite => self.empty_files(),
        }
    }

    async fn empty_schemas(&self) {
        let mut server = postgres(&self.at_server("postgres")).await;
        let there = "SELECT count(*) FROM pg_database WHERE datname = 'fleet_empty'";
        let there: i64 = sqlx::query_scalar(there).fetch_one(&mut server).await.expect("a number");
        if there == 0 {
            pg(&mut server, "CREATE DATABASE fleet_empty").await;
            let mut template = postgres(&self.at_server("fleet_empty")).await;
            for at in 0..self.count {
                pg(&mut template, &format!("CREATE SCHEMA {}", Self::name(at))).await;
            }
            template.close().await.expect("close");
        }
        pg(&mut server, "DROP DATABASE IF EXISTS fleet WITH (FORCE)").await;
        pg(&mut server, "CREATE DATABASE fleet TEMPLATE fleet_empty").await;
        pg(&mut server, "CHECKPOINT").await;
    }

    async fn empty_databases(&self) {
        let mut server = postgres(&self.at_server("postgres")).await;
        let there = "SELECT count(*) FROM pg_database WHERE datname ~ '^t[0-9]+$'";
        let there: i64 = sqlx::query_scalar(there).fetch_one(&mut server).await.expect("a number");
        for at in usize::try_from(there).expect("a number")..self.count {
            pg(&mut server, &format!("CREATE DATABASE {}", Self::name(at))).await;
        }
        let clear = |at: usize| async move {
            let mut tenant = postgres(&self.url(at)).await;
            pg(&mut tenant, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            tenant.close().await.expect("close");
        };
        stream::iter(0..self.count).for_each_concurrent(AT_ONCE, clear).await;
        pg(&mut server, "CHECKPOINT").await;
    }

    async fn empty_mariadb(&self) {
        let clear = |at: usize| async move {
            let mut server = MySqlConnection::connect(&self.at_server("mysql")).await.expect("mariadb");
            let name = Self::name(at);
            let sql = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.expect("a database");
        };
        stream::iter(0..self.count).for_each_concurrent(AT_ONCE, clear).await;
    }

    fn empty_files(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        std::fs::create_dir_all(&self.dir).expect("a directory");
        for at in 0..self.count {
            std::fs::write(self.file(at), "").expect("a file");
        }
    }
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
