//! Migrations in one transaction that is never committed, on SQLite.

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    place::Engine,
};

use super::SqliteSession;
use crate::engine::{Change, Session as _, numbered, steps::Stepwise as _, whole_of};

/// SQLite's code of a foreign key that does not hold.
const FOREIGN_KEY: &str = "787";

/// A row where keys of the schema are looked at by the commit alone.
const DEFERRED: &str = "SELECT '1' FROM sqlite_master WHERE upper(sql) LIKE '%DEFERRED%' LIMIT 1";

/// How many references lead nowhere.
const ASTRAY: &str = "SELECT CAST(count(*) AS TEXT) FROM pragma_foreign_key_check
    WHERE (SELECT foreign_keys FROM pragma_foreign_keys) = 1";

impl SqliteSession {
    /// Leaves the transaction open.
    pub(super) async fn rehearse_all(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, Failure)> {
        self.begin(changes).await.map_err(|failure| (0, failure))?;
        for (at, change) in changes.iter().enumerate() {
            self.rehearse_one(change).await.map_err(|failure| (at, failure))?;
        }
        Ok(())
    }

    /// Only the first one may begin with settings, which no transaction holds.
    async fn begin(&mut self, changes: &[Change<'_>]) -> Result<(), Failure> {
        let preamble = changes.first().and_then(|change| change.preamble);
        self.raw(preamble.unwrap_or_default()).await?;
        self.raw(Self::BEGIN).await
    }

    async fn rehearse_one(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let text = whole_of(change, Engine::Sqlite)?;
        self.nobody_came_between(&change.select).await?;
        self.raw(&change.create).await?;
        let deferred = text.to_ascii_uppercase().contains("DEFER")
            || self.rows(DEFERRED).await?.is_some_and(|rows| !rows.is_empty());
        let before = if deferred { self.astray().await? } else { 0 };
        let watch = Stopwatch::start();
        let ran = self.run_script(text).await;
        ran.map_err(|failure| numbered(failure, change.script, Engine::Sqlite))?;
        self.raw(&(change.record)(watch.elapsed(), false)).await?;
        if deferred && self.astray().await? > before {
            return Err(Failure::new(Class::Permanent, FOREIGN_KEY, "FOREIGN KEY constraint failed"));
        }
        self.read(&change.select).await.map(|_| ())
    }

    async fn astray(&mut self) -> Result<u64, Failure> {
        let rows = self.rows(ASTRAY).await?.unwrap_or_default();
        let count = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or_default())
    }
}
