//! Tenants on real servers, and SQL in them that shares no code with what is tested.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, Row as _, SqliteConnection,
    postgres::PgPoolOptions,
};

use crate::{home::Home, server};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test, and no other run of the tests on these servers, uses.
#[must_use]
pub fn unique(what: &str) -> String {
    format!("{what}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a PostgreSQL database.
///
/// # Panics
/// When the server refuses.
pub async fn create_postgres_database(server: &str, name: &str) {
    postgres_execute(server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
}

/// Makes a MariaDB database.
///
/// # Panics
/// When the server refuses.
pub async fn create_mariadb_database(server: &str, name: &str) {
    let mut connection = MySqlConnection::connect(server).await.expect("mariadb");
    let sql = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(sqlx::raw_sql(sql)).await.expect("a database");
    connection.close().await.expect("close");
}

async fn postgres_execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("postgres");
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    connection.close().await.expect("close");
}

/// What kind of database a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A PostgreSQL database.
    PostgresDatabase,
    /// A schema of a PostgreSQL database that all tenants of the fleet share.
    PostgresSchema,
    /// A MariaDB database.
    MariaDb,
    /// An SQLite file.
    Sqlite,
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantDb {
    /// Its name in the registry.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Its URL.
    pub url: String,
    /// Its schema.
    pub schema: Option<String>,
}

impl TenantDb {
    /// The database of a registry, to be looked at with SQL of a test's own.
    #[must_use]
    pub fn registry(url: &str) -> Self {
        let kind = match url.split(':').next() {
            Some("sqlite") => Kind::Sqlite,
            Some("mysql") => Kind::MariaDb,
            _ => Kind::PostgresDatabase,
        };
        Self { id: "the registry".into(), kind, url: url.to_owned(), schema: None }
    }

    /// Runs SQL in it.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(match &self.schema {
            Some(schema) => format!("SET search_path = {schema}; {sql}"),
            None => sql.to_owned(),
        });
        let sql = sqlx::raw_sql(sql);
        let done = match self.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => {
                let mut connection = PgConnection::connect(&self.url).await.expect("postgres");
                connection.execute(sql).await.map(|_| ())
            }
            Kind::MariaDb => {
                MySqlConnection::connect(&self.url).await.expect("mariadb").execute(sql).await.map(|_| ())
            }
            Kind::Sqlite => {
                SqliteConnection::connect(&self.url).await.expect("sqlite").execute(sql).await.map(|_| ())
            }
        };
        done.unwrap_or_else(|e| panic!("{}: {e}", self.id));
    }

    /// One number out of it.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn number(&self, sql: &str) -> i64 {
        self.value(sql).await
    }

    /// The versions in its history that are marked as done, in order; nothing when it has no history table.
    pub async fn versions(&self) -> Vec<i64> {
        if !self.tables().await.contains_key("_sqlx_migrations") {
            return Vec::new();
        }
        let all = match self.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => {
                "SELECT string_agg(version::text, ',' ORDER BY version) FROM _sqlx_migrations WHERE success"
            }
            Kind::MariaDb => {
                "SELECT CAST(group_concat(version ORDER BY version) AS CHAR) FROM _sqlx_migrations WHERE success"
            }
            Kind::Sqlite => {
                "SELECT group_concat(version) FROM (SELECT version FROM _sqlx_migrations WHERE success ORDER BY version)"
            }
        };
        let text = self.text(all).await.unwrap_or_default();
        text.split(',').filter(|v| !v.is_empty()).map(|v| v.parse().expect("a version")).collect()
    }

    /// Its tables, each with its columns in order.
    pub async fn tables(&self) -> BTreeMap<String, String> {
        let sql = match self.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => {
                "SELECT string_agg(t || ':' || c, ';') FROM (SELECT table_name t, string_agg(column_name, ',' ORDER BY ordinal_position) c
                 FROM information_schema.columns WHERE table_schema = current_schema() GROUP BY 1) x"
            }
            Kind::MariaDb => {
                "SELECT /*+ SET_VAR(group_concat_max_len = 4194304) */ CAST(group_concat(concat(t, ':', c) SEPARATOR ';') AS CHAR) FROM (SELECT table_name t, group_concat(column_name ORDER BY ordinal_position) c
                 FROM information_schema.columns WHERE table_schema = database() GROUP BY 1) x"
            }
            Kind::Sqlite => {
                "SELECT group_concat(t || ':' || c, ';') FROM (SELECT m.name t, group_concat(p.name) c FROM sqlite_master m, pragma_table_info(m.name) p
                 WHERE m.type = 'table' GROUP BY 1)"
            }
        };
        let text = self.text(sql).await.unwrap_or_default();
        let pair = |part: &str| part.split_once(':').map(|(t, c)| (t.to_owned(), c.to_owned()));
        text.split(';').filter_map(pair).collect()
    }

    /// One text out of it.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn text(&self, sql: &str) -> Option<String> {
        self.value(sql).await
    }

    /// The first column of the first row.
    async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
        T: for<'r> sqlx::Decode<'r, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        let text = AssertSqlSafe(sql.to_owned());
        let result = match self.kind {
            Kind::PostgresDatabase | Kind::PostgresSchema => {
                let mut connection = PgConnection::connect(&self.url).await.expect("postgres");
                if let Some(schema) = &self.schema {
                    let path = format!("SET search_path = {schema}");
                    connection.execute(sqlx::raw_sql(AssertSqlSafe(path))).await.expect("schema");
                }
                sqlx::query(text).fetch_one(&mut connection).await.map(|row| row.get(0))
            }
            Kind::MariaDb => {
                let mut connection = MySqlConnection::connect(&self.url).await.expect("mariadb");
                sqlx::query(text).fetch_one(&mut connection).await.map(|row| row.get(0))
            }
            Kind::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.expect("sqlite");
                sqlx::query(text).fetch_one(&mut connection).await.map(|row| row.get(0))
            }
        };
        result.unwrap_or_else(|e| panic!("{}: {sql}: {e}", self.id))
    }
}

/// Tenants of several kinds.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The tenants, in the order they were made.
    pub tenants: Vec<TenantDb>,
}

impl Fleet {
    /// Makes so many empty tenants of a kind, on the shared servers; SQLite files in `dir`.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn add(&mut self, kind: Kind, count: usize, dir: &Path) {
        let shared = (kind == Kind::PostgresSchema).then(|| unique("schemas"));
        if let Some(database) = &shared {
            create_postgres_database(&server::postgres(), database).await;
        }
        for _ in 0..count {
            let id = unique(match kind {
                Kind::PostgresDatabase => "pg",
                Kind::PostgresSchema => "schema",
                Kind::MariaDb => "maria",
                Kind::Sqlite => "lite",
            });
            let (url, schema) = match (kind, &shared) {
                (Kind::PostgresDatabase, _) => {
                    create_postgres_database(&server::postgres(), &id).await;
                    (server::with_database(&server::postgres(), &id), None)
                }
                (Kind::PostgresSchema, Some(database)) => {
                    let url = server::with_database(&server::postgres(), database);
                    postgres_execute(&url, &format!("CREATE SCHEMA {id}")).await;
                    (url, Some(id.clone()))
                }
                (Kind::MariaDb, _) => {
                    create_mariadb_database(&server::mariadb(), &id).await;
                    (server::with_database(&server::mariadb(), &id), None)
                }
                _ => {
                    let file = dir.join(format!("{id}.db"));
                    std::fs::write(&file, "").expect("a file");
                    (format!("sqlite:{}", file.display()), None)
                }
            };
            self.tenants.push(TenantDb { id, kind, url, schema });
        }
    }

    /// Imports all of them into a home's registry, from JSON Lines on standard input.
    ///
    /// # Panics
    /// When the import fails.
    pub fn register(&self, home: &Home) {
        let line = |t: &TenantDb| {
            let row = serde_json::json!({ "id": t.id, "url": t.url, "schema": t.schema, "labels": { "kind": format!("{:?}", t.kind) } });
            row.to_string() + "\n"
        };
        let lines: String = self.tenants.iter().map(line).collect();
        let _ = home.run_with_input(&["tenants", "import", "-", "--format", "jsonl"], &lines).exits(0);
    }

    /// A pool on the registry of a home that is in PostgreSQL, to look at the ledger with SQL of the test's own.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn postgres_registry(home: &Home) -> sqlx::PgPool {
        PgPoolOptions::new().max_connections(2).connect(&home.registry_url()).await.expect("the registry")
    }
}
