//! Our own tables: made, and brought up to this program's version, by sqlx's migrator and one set of files for each
//! database. However many do it at once, it is done once.

use sqlx::{
    AnyConnection, Connection as _,
    migrate::{Migration, MigrationType, Migrator},
};

use super::{Dialect, Pool, Statement, StoreError, execute::Executor};

/// The table that keeps which of our own migrations the registry has.
const OWN_HISTORY: &str = "_tenantry_migrations";

/// How long to wait for another that makes the same registry in MySQL.
const INIT_TIMEOUT_S: u32 = 60;

/// Runs the migrations that are missing.
pub(super) async fn migrate(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), StoreError> {
    let mut migrator = Migrator::with_migrations(own_migrations(dialect));
    migrator.dangerous_set_table_name(OWN_HISTORY);
    let failed = |e| StoreError::Database(sqlx::Error::Migrate(Box::new(e)));
    match dialect {
        Dialect::Sqlite => {
            // A table that is made anew is dropped in between.
            sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *connection).await?;
            // All in one transaction, because sqlx locks nothing there.
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            migrator.run_direct(None, &mut *tx, false).await.map_err(failed)?;
            tx.commit().await?;
        }
        Dialect::Postgres => migrator.run_direct(None, connection, false).await.map_err(failed)?,
        Dialect::MySql => {
            begin_anew(connection).await?;
            migrator.set_locking(false);
            migrator.run_direct(None, connection, false).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// The version a registry has; none where there is no registry.
pub(super) async fn version(dialect: Dialect, pool: &Pool) -> Result<Option<i64>, StoreError> {
    let newest = Statement::new(dialect, "SELECT max(version) FROM _tenantry_migrations WHERE success");
    match newest.fetch_one(pool).await {
        Ok(row) => Ok(row.try_get(0)?),
        Err(sqlx::Error::Database(_)) if !has_history(dialect, pool).await? => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The version this program needs.
pub(super) fn newest(dialect: Dialect) -> i64 {
    own_migrations(dialect).iter().map(|m| m.version).max().unwrap_or(0)
}

/// Before our migrations run on MySQL: waits for whoever runs them now, which sqlx does not on MariaDB, and forgets one that
/// was cut off. It can be run again, and sqlx would refuse for ever. The lock goes with the connection.
async fn begin_anew(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let lock = format!("SELECT get_lock(concat('tenantry:', crc32(database())), {INIT_TIMEOUT_S})");
    let row = Statement::new(Dialect::MySql, &lock).fetch_one(&mut *connection).await?;
    if row.try_get::<Option<i64>>(0)? != Some(1) {
        return Err(StoreError::Unreachable(format!("it was being made for more than {INIT_TIMEOUT_S} s")));
    }
    if has_history(Dialect::MySql, &mut *connection).await? {
        let forget = "DELETE FROM _tenantry_migrations WHERE NOT success";
        Statement::new(Dialect::MySql, forget).execute(connection).await?;
    }
    Ok(())
}

async fn has_history(dialect: Dialect, executor: impl Executor) -> Result<bool, sqlx::Error> {
    let table = match dialect {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = $1",
        Dialect::Postgres => "SELECT count(*) FROM pg_class WHERE oid = to_regclass($1)",
        Dialect::MySql => {
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = $1"
        }
    };
    let count: i64 =
        Statement::new(dialect, table).bind(OWN_HISTORY).fetch_one(executor).await?.try_get(0)?;
    Ok(count > 0)
}

fn own_migrations(dialect: Dialect) -> Vec<Migration> {
    macro_rules! files {
        ($dialect:literal: $($version:literal $name:literal,)+; $($later:literal $called:literal,)+) => {
            vec![
                $(files!(one $dialect "/000" $version $name),)+
                $(files!(one $dialect "/00" $later $called),)+
            ]
        };
        (one $dialect:literal $zeros:literal $version:literal $name:literal) => {
            (
                $version,
                $name,
                include_str!(concat!("../../../migrations/registry/", $dialect, $zeros, $version, "_", $name, ".sql")),
            )
        };
    }
    macro_rules! all {
        ($dialect:literal) => {
            files! {
                $dialect:
                1 "registry",
                2 "versions",
                3 "sources",
                4 "schemas",
                5 "output",
                6 "plans",
                7 "waves",
                8 "once",
                9 "caps",
                ;
                10 "sightings",
                11 "suspects",
                12 "pace",
                13 "survey",
            }
        };
    }
    let files: Vec<(i64, &'static str, &'static str)> = match dialect {
        Dialect::Sqlite => all!("sqlite"),
        Dialect::Postgres => all!("postgres"),
        Dialect::MySql => all!("mysql"),
    };
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    files.into_iter().map(migration).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    #[test]
    fn every_database_has_the_same_versions_of_the_registry() {
        let versions = |dialect| own_migrations(dialect).iter().map(|m| m.version).collect::<Vec<_>>();
        assert_eq!(versions(Dialect::Postgres), versions(Dialect::Sqlite));
        assert_eq!(versions(Dialect::MySql), versions(Dialect::Sqlite));
    }

    #[tokio::test]
    async fn a_registry_of_the_first_version_is_brought_up_with_all_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let mut connection = driven(&creating(&url, Dialect::Sqlite), Dialect::Sqlite).await.unwrap();
        let first = own_migrations(Dialect::Sqlite).remove(0);
        let mut migrator = Migrator::with_migrations(vec![first]);
        migrator.dangerous_set_table_name(OWN_HISTORY);
        migrator.run_direct(None, &mut connection, false).await.unwrap();
        let rows = "INSERT INTO servers VALUES (1, 'sqlite', '/d');
            INSERT INTO tenants VALUES ('t', 'acme', 'active', 1, 'd', NULL, 'sealed', 20261121103012, 5, 1);
            INSERT INTO bundles VALUES ('b', 1);
            INSERT INTO runs VALUES ('r', 1, 'b', 3, 'd', 'all', '{}', 'failed', NULL, 'me', NULL, 1, 1, 1);
            INSERT INTO targets (run_id, tenant_id, state, max_attempts, from_version, to_version, version) VALUES ('r', 't', 'failed', 1, 1, 2, 3);
            INSERT INTO attempts VALUES ('r', 't', 1, 'w', 1, 2, 'failed', '[]', NULL, NULL, NULL, NULL, 3, NULL, NULL);";
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();

        let store = Store::init(&url).await.unwrap();
        let kept = "SELECT t.version, r.target_version, g.from_version, g.to_version, g.version, a.version
            FROM attempts a JOIN targets g USING (run_id, tenant_id) JOIN runs r ON r.id = g.run_id JOIN tenants t ON t.id = g.tenant_id";
        let row = store.query(kept).fetch_one(store.pool()).await.unwrap();
        let text = |at: usize| row.try_get::<String>(at).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(text), ["20261121103012", "3", "1", "2", "3", "3"]);
        let broken = store.query("PRAGMA foreign_key_check").fetch_all(store.pool()).await.unwrap();
        assert!(broken.is_empty());
    }

    #[tokio::test]
    async fn a_run_that_waits_for_its_central_database_has_its_tenants_in_wave_1_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let mut connection = driven(&creating(&url, Dialect::Sqlite), Dialect::Sqlite).await.unwrap();
        let before = own_migrations(Dialect::Sqlite).into_iter().filter(|m| m.version < 7).collect();
        let mut migrator = Migrator::with_migrations(before);
        migrator.dangerous_set_table_name(OWN_HISTORY);
        migrator.run_direct(None, &mut connection, false).await.unwrap();
        let rows = "PRAGMA foreign_keys = OFF;
            INSERT INTO runs (id, number, digest, target_version, description, selection, policy, state, requested_by, created_at)
                VALUES ('waits', 1, 'b', '3', 'd', 'all', '{}', 'running', 'me', 1), ('other', 2, 'b', '3', 'd', 'all', '{}', 'running', 'me', 1);
            INSERT INTO targets (run_id, tenant_id, state, max_attempts, wave)
                VALUES ('waits', 'c', 'running', 1, 0), ('waits', 't', 'pending', 1, 1), ('waits', 'u', 'pending', 1, 1), ('other', 't', 'pending', 1, 0);";
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let store = Store::init(&url).await.unwrap();
        let waves =
            "SELECT group_concat(waves || wave, ' ') FROM (SELECT waves, wave FROM runs ORDER BY number)";
        let row = store.query(waves).fetch_one(store.pool()).await.unwrap();
        assert_eq!(row.try_get::<String>(0).unwrap(), "[2]0 []0");
    }
}
