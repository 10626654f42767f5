//! Migrations in one transaction that is never committed, on PostgreSQL.

use tenantry_shared::{
    clock::Stopwatch,
    failure::{Class, Failure},
    place::Engine,
    site::quoted,
};

use super::PostgresSession;
use crate::engine::{Change, Session as _, unwritten, whole_of};

/// The constraints of the tenant that are checked at once unless somebody says otherwise.
const IMMEDIATE: &str =
    "SELECT n.nspname, c.conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
    WHERE c.condeferrable AND NOT c.condeferred AND n.nspname = ANY (current_schemas(false))";

impl PostgresSession {
    /// Leaves the transaction open.
    pub(super) async fn rehearse_all(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, Failure)> {
        let begun = match self.lent {
            Some(_) => self.begin_locked().await,
            None => self.raw("BEGIN".into()).await,
        };
        begun.map_err(|failure| (0, failure))?;
        for (at, change) in changes.iter().enumerate() {
            self.rehearse_one(change).await.map_err(|failure| (at, failure))?;
        }
        Ok(())
    }

    async fn rehearse_one(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let text = whole_of(change, Engine::Postgres)?;
        let preamble = change.preamble.unwrap_or_default();
        let settings = match self.lent {
            Some(_) => self.settings.of_change(),
            None => self.settings.of_session(),
        };
        self.raw(format!("{settings}{preamble}\n; {}", change.create)).await?;
        let ours = self.transaction().await?;
        let watch = Stopwatch::start();
        self.run_script(change.script, text).await?;
        // Nothing is written outside of the transaction that is rolled back.
        if self.transaction().await? != ours {
            let ended = "it has ended the transaction that it ran in";
            return Err(Failure::new(Class::Permanent, "transaction", ended));
        }
        self.raw((change.record)(watch.elapsed(), false)).await.map_err(unwritten)?;
        self.check_constraints().await
    }

    async fn transaction(&mut self) -> Result<Option<String>, Failure> {
        let rows = self.read("SELECT CAST(txid_current() AS text)").await?;
        Ok(rows.and_then(|mut rows| rows.pop()).and_then(|row| row.into_iter().next().flatten()))
    }

    /// Checks what a commit would check, and leaves each constraint as a new transaction finds it.
    async fn check_constraints(&mut self) -> Result<(), Failure> {
        self.raw("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED".into()).await?;
        let rows = self.read(IMMEDIATE).await?.unwrap_or_default();
        let name = |row: Vec<Option<String>>| {
            let parts: Vec<String> =
                row.into_iter().flatten().map(|part| quoted(Engine::Postgres, &part)).collect();
            parts.join(".")
        };
        let names: Vec<String> = rows.into_iter().map(name).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.raw(format!("SET CONSTRAINTS {} IMMEDIATE", names.join(", "))).await
    }
}
