//! The tenants of a seed on the servers of its stand, with tables in them that count what is done.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use tenantry_tests::{
    fleet::{Kind, create_postgres_database, unique},
    server::with_database,
};

use crate::{
    bundle::{Break, Bundle, Facts, Migration},
    dice::Dice,
    sql::Eye,
    stand::{Link, Stand},
};

const TABLES: &str = "CREATE TABLE canary (version INTEGER NOT NULL, step INTEGER NOT NULL);
    CREATE TABLE counter (n INTEGER NOT NULL); INSERT INTO counter VALUES (0);
    CREATE TABLE pace (n INTEGER NOT NULL, ms INTEGER NOT NULL); INSERT INTO pace VALUES (0, 0);
    CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL);
    CREATE TABLE extra (n INTEGER NOT NULL); INSERT INTO extra VALUES (0);";

const COLUMNS: [&str; 8] = [
    "canary.version",
    "canary.step",
    "counter.n",
    "pace.n",
    "pace.ms",
    "orders.id",
    "orders.version",
    "extra.n",
];

const POSTGRES_NAP: &str = "CREATE FUNCTION public.nap() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(NEW.ms / 1000.0); RETURN NEW; END'";

const POSTGRES_PACE: &str =
    "CREATE TRIGGER nap BEFORE UPDATE ON pace FOR EACH ROW EXECUTE FUNCTION public.nap();";

const MARIADB_PACE: &str =
    "CREATE TRIGGER nap BEFORE UPDATE ON pace FOR EACH ROW SET @nap = SLEEP(NEW.ms / 1000);";

/// SQLite cannot sleep, so it counts.
const SQLITE_PACE: &str = "CREATE TRIGGER nap BEFORE UPDATE ON pace BEGIN
    SELECT count(*) FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < NEW.ms * 300) SELECT i FROM c); END;";

/// One tenant.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Past the network that is cut.
    pub(crate) url: String,
    pub(crate) schema: Option<String>,
    /// Whether it takes migrations that build concurrently.
    pub(crate) concurrent: bool,
    pub(crate) broken: Option<Break>,
    /// Whether it is broken no more.
    pub(crate) mended: bool,
    pub(crate) ms: u64,
}

/// All of them, and where they are.
pub(crate) struct Fleet {
    pub(crate) tenants: Vec<Tenant>,
    /// The database that the schemas are in.
    pub(crate) shared: String,
    databases: Vec<(Kind, String)>,
}

impl Fleet {
    /// At least 200 tenants. Some SQLite files lie in `small`, a disk that can be filled.
    pub(crate) async fn make(dice: &mut Dice, stand: &Stand, home: &Path, small: Option<&Path>) -> Self {
        let tenants = roll(dice, stand, home, small);
        let shared = tenants.iter().find(|tenant| tenant.schema.is_some()).expect("schemas").url.clone();
        let mut fleet = Self { tenants, shared, databases: Vec::new() };
        let ((), postgres, mariadb) =
            tokio::join!(fleet.make_sqlite(home), fleet.make_postgres(stand), fleet.make_mariadb(stand));
        fleet.databases.extend(postgres.into_iter().map(|name| (Kind::PostgresDatabase, name)));
        fleet.databases.extend(mariadb.into_iter().map(|name| (Kind::MariaDb, name)));
        fleet
    }

    /// Gives the names of what was made.
    async fn make_postgres(&self, stand: &Stand) -> Vec<String> {
        let template = unique("template");
        create_postgres_database(&stand.postgres.url, &template).await;
        let url = with_database(&stand.postgres.url, &template);
        open(&url).await.run(POSTGRES_NAP).await.expect("a function");
        let mut made = vec![template.clone(), name_of(&self.shared).to_owned()];
        let mut server = open(&stand.postgres.url).await;
        server.run(&copy_of(&template, &made[1])).await.expect("a database");
        open(&url).await.run(&format!("{TABLES}{POSTGRES_PACE}")).await.expect("tables");
        for tenant in self.tenants.iter().filter(|tenant| tenant.kind == Kind::PostgresDatabase) {
            server.run(&copy_of(&template, &tenant.id)).await.expect("a database");
            open(&tenant.url).await.run(&tenant.prepared()).await.expect("a tenant");
            made.push(tenant.id.clone());
        }
        let schema = |tenant: &Tenant| {
            let (name, own) = (tenant.schema.as_ref()?, tenant.prepared());
            Some(format!("CREATE SCHEMA {name}; SET search_path = {name}; {TABLES}{POSTGRES_PACE}{own}"))
        };
        let schemas: String = self.tenants.iter().filter_map(schema).collect();
        open(&self.shared).await.run(&schemas).await.expect("schemas");
        made
    }

    async fn make_mariadb(&self, stand: &Stand) -> Vec<String> {
        let mut server = open(&stand.mariadb.url).await;
        let mut made = Vec::new();
        for tenant in self.tenants.iter().filter(|tenant| tenant.kind == Kind::MariaDb) {
            let (name, own) = (&tenant.id, tenant.prepared());
            let sql = format!("CREATE DATABASE {name}; USE {name}; {TABLES}{MARIADB_PACE}{own}");
            server.run(&sql).await.expect("a database");
            made.push(name.clone());
        }
        made
    }

    async fn make_sqlite(&self, home: &Path) {
        let first = home.join("first.db");
        let made = open(&format!("sqlite:{}?mode=rwc", first.display()))
            .await
            .run(&format!("{TABLES}{SQLITE_PACE}"))
            .await;
        made.expect("tables");
        for tenant in self.tenants.iter().filter(|tenant| tenant.kind == Kind::Sqlite) {
            std::fs::copy(&first, tenant.url.trim_start_matches("sqlite:")).expect("a copy");
            open(&tenant.url).await.run(&tenant.prepared()).await.expect("a tenant");
        }
    }

    /// What `tenants import` reads: URLs by way of the network.
    pub(crate) fn lines(&self, stand: &Stand) -> String {
        let line = |tenant: &Tenant| {
            let url = match tenant.kind {
                Kind::Sqlite => tenant.url.clone(),
                Kind::MariaDb => stand.link(Link::MariaDb).url(&tenant.url),
                _ => stand.link(Link::Postgres).url(&tenant.url),
            };
            let labels = serde_json::json!({ "concurrent": if tenant.concurrent { "on" } else { "off" } });
            let row =
                serde_json::json!({ "id": tenant.id, "url": url, "schema": tenant.schema, "labels": labels });
            row.to_string() + "\n"
        };
        self.tenants.iter().map(line).collect()
    }

    /// Takes away what was broken.
    pub(crate) async fn mend(&mut self) {
        for tenant in &mut self.tenants {
            tenant.mended = true;
            let mended = match tenant.broken {
                None => continue,
                Some(Break::Duplicate) => "DELETE FROM orders WHERE id = 7",
                Some(Break::MissingTable) => {
                    "CREATE TABLE extra (n INTEGER NOT NULL); INSERT INTO extra VALUES (0)"
                }
            };
            tenant.eye().await.expect("a tenant").run(mended).await.expect("mended");
        }
    }

    /// Drops its databases: a long soak would fill the disk.
    pub(crate) async fn drop_databases(&self, stand: &Stand) {
        let mut postgres = open(&stand.postgres.url).await;
        let mut mariadb = open(&stand.mariadb.url).await;
        for (kind, name) in &self.databases {
            let _ = match kind {
                Kind::MariaDb => mariadb.run(&format!("DROP DATABASE {name}")).await,
                _ => postgres.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await,
            };
        }
    }
}

impl Tenant {
    /// A connection past the network, in its schema.
    pub(crate) async fn eye(&self) -> Result<Eye, sqlx::Error> {
        let mut eye = Eye::open(&self.url).await?;
        if let Some(schema) = &self.schema {
            eye.run(&format!("SET search_path = {schema}")).await?;
        }
        Ok(eye)
    }

    /// The SQL of its pace, and of what is broken in it.
    fn prepared(&self) -> String {
        let broken = match self.broken {
            None => "",
            Some(Break::Duplicate) => "INSERT INTO orders VALUES (7, 0);",
            Some(Break::MissingTable) => "DROP TABLE extra;",
        };
        format!("UPDATE pace SET ms = {};{broken}", self.ms)
    }

    /// What is broken in it now.
    pub(crate) fn is_broken(&self) -> Option<Break> {
        self.broken.filter(|_| !self.mended)
    }

    /// In which version it fails, and with which code, when it was made broken.
    pub(crate) fn cause(&self, bundle: &Bundle) -> Option<(String, &'static str)> {
        let kind = self.broken?;
        let code = match (self.kind, kind) {
            (Kind::MariaDb, Break::Duplicate) => "1062",
            (Kind::MariaDb, Break::MissingTable) => "1146",
            (Kind::Sqlite, Break::Duplicate) => "1555",
            (Kind::Sqlite, Break::MissingTable) => "1",
            (_, Break::Duplicate) => "23505",
            (_, Break::MissingTable) => "42P01",
        };
        let migrations = bundle.of(self);
        let first = migrations.iter().find(|migration| migration.breaks_at(kind).is_some())?;
        Some((first.version.to_string(), code))
    }

    /// Whether such a migration is done there statement by statement.
    pub(crate) fn is_stepwise(&self, migration: &Migration) -> bool {
        self.kind == Kind::MariaDb || migration.marked
    }

    /// What can be seen of it before the first migration.
    pub(crate) fn begin(&self) -> Facts {
        let broken = self.is_broken();
        let there = |column: &&&str| broken != Some(Break::MissingTable) || !column.starts_with("extra");
        let mut facts: Facts =
            COLUMNS.iter().filter(there).map(|column| (format!("column {column}"), 1)).collect();
        if broken == Some(Break::Duplicate) {
            facts.insert("row orders.7".into(), 1);
        }
        facts
    }
}

/// Connections that are used for one tenant after the other.
#[derive(Default)]
pub(crate) struct Eyes(BTreeMap<String, Eye>);

impl Eyes {
    /// One in this tenant.
    pub(crate) async fn on(&mut self, tenant: &Tenant) -> Result<&mut Eye, sqlx::Error> {
        let (shared, go) = match (tenant.kind, &tenant.schema) {
            (Kind::PostgresSchema, Some(schema)) => {
                (tenant.url.clone(), format!("SET search_path = {schema}"))
            }
            (Kind::MariaDb, _) => {
                (with_database(&tenant.url, "mysql"), format!("USE {}", name_of(&tenant.url)))
            }
            _ => (tenant.url.clone(), String::new()),
        };
        if tenant.kind == Kind::Sqlite || tenant.kind == Kind::PostgresDatabase {
            self.0.clear();
        }
        let eye = match self.0.entry(shared) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => {
                let eye = Eye::open(none.key()).await?;
                none.insert(eye)
            }
        };
        if !go.is_empty() {
            eye.run(&go).await?;
        }
        Ok(eye)
    }
}

fn roll(dice: &mut Dice, stand: &Stand, home: &Path, small: Option<&Path>) -> Vec<Tenant> {
    let shared = with_database(&stand.postgres.url, &unique("shared"));
    let counts = [
        (Kind::PostgresSchema, dice.number(80, 95)),
        (Kind::PostgresDatabase, dice.number(8, 12)),
        (Kind::MariaDb, dice.number(45, 55)),
        (Kind::Sqlite, dice.number(70, 80)),
    ];
    let mut tenants = Vec::new();
    for (kind, count) in counts {
        for number in 0..count {
            let small = small.filter(|_| number < 8);
            tenants.push(one(dice, kind, stand, &shared, small.unwrap_or(home)));
        }
    }
    let broken = if dice.percent(85) { dice.number(3, 9) } else { 0 };
    for _ in 0..broken {
        let tenant = dice.place(tenants.len());
        tenants[tenant].broken = Some(*dice.pick(&[Break::Duplicate, Break::MissingTable]));
    }
    tenants
}

fn one(dice: &mut Dice, kind: Kind, stand: &Stand, shared: &str, files: &Path) -> Tenant {
    let id = unique(match kind {
        Kind::PostgresSchema => "schema",
        Kind::PostgresDatabase => "pg",
        Kind::MariaDb => "maria",
        Kind::Sqlite => "lite",
    });
    let url = match kind {
        Kind::PostgresSchema => shared.to_owned(),
        Kind::PostgresDatabase => with_database(&stand.postgres.url, &id),
        Kind::MariaDb => with_database(&stand.mariadb.url, &id),
        Kind::Sqlite => format!("sqlite:{}", files.join(format!("{id}.db")).display()),
    };
    let concurrent = match kind {
        Kind::PostgresDatabase => true,
        Kind::PostgresSchema => dice.percent(10),
        Kind::MariaDb | Kind::Sqlite => false,
    };
    let ms = if dice.percent(3) { dice.number(2_000, 4_000) } else { dice.number(20, 500) };
    let schema = (kind == Kind::PostgresSchema).then(|| id.clone());
    Tenant { id, kind, url, schema, concurrent, broken: None, mended: false, ms }
}

async fn open(url: &str) -> Eye {
    Eye::open(url).await.unwrap_or_else(|e| panic!("{url}: {e}"))
}

/// The database in a URL.
pub(crate) fn name_of(url: &str) -> &str {
    url.rsplit('/').next().expect("a database")
}

/// Files are copied: to write them page by page into the log takes longer.
fn copy_of(template: &str, name: &str) -> String {
    format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
}
