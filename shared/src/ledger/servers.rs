//! Servers: the caps that people give them, and the limits that are found out.
//!
//! A server that refuses connections gets a limit: half of what ran there at that moment, halved again by a refusal more
//! than a pause later. The conductor raises it by one at a time while there is no refusal, and it ends where it came
//! from. Each step is one guarded statement by the database's clock, so that it is taken once, whoever takes it.

use std::time::Duration;

use serde::Serialize;

use super::{
    Ledger, LedgerError, bind_attempt,
    caps::{PAUSE, RUNNING},
    ms,
};
use crate::{
    config::Caps,
    job::Claim,
    store::{Row, expect_rows},
};

/// A limit is raised by one when there was no refusal for so long.
const STEP: Duration = Duration::from_secs(3);

/// A server with its tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerRow {
    /// Its number in this registry.
    pub id: i64,
    /// What it runs.
    pub engine: String,
    /// Host and port, or the directory of SQLite files.
    pub address: String,
    /// How many tenants it has, whatever their status.
    pub tenants: i64,
    /// How many of them are being migrated now.
    pub running: i64,
    /// How many may be, as somebody has set it or the configuration says.
    pub cap: Option<i64>,
    /// Whether that is from the configuration.
    pub cap_from_config: bool,
    /// How many may be for now, because it refused connections.
    pub limit: Option<i64>,
    /// Since when it has that limit, in milliseconds since 1970.
    pub limited_at: Option<i64>,
}

impl Ledger {
    /// All servers that have or had tenants, by address.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn servers(&self) -> Result<Vec<ServerRow>, LedgerError> {
        let sql = format!(
            "SELECT s.id, s.engine, s.address, (SELECT count(*) FROM tenants t WHERE t.server_id = s.id AND t.central = 0), {RUNNING},
                COALESCE(s.cap, s.cap_config), CASE WHEN s.cap IS NULL AND s.cap_config IS NOT NULL THEN 1 ELSE 0 END, s.limit_now, s.limited_at
             FROM servers s ORDER BY s.address, s.engine"
        );
        let rows = self.store.query(&sql).fetch_all(self.store.pool()).await?;
        rows.iter().map(read_server).collect()
    }

    /// Gives a server a cap, or takes the one away that was given; that of the configuration holds then. `server` is
    /// its address or its number. It holds for every claim from now on; what runs goes on.
    ///
    /// # Errors
    /// When there is no such server, or it is a directory: nothing is changed then.
    pub async fn set_cap(
        &self,
        server: &str,
        cap: Option<u32>,
        actor: &str,
    ) -> Result<ServerRow, LedgerError> {
        let named = |row: &ServerRow| row.address == server || row.id.to_string() == server;
        let found = self.servers().await?.into_iter().find(named);
        let mut row = found.ok_or_else(|| LedgerError::UnknownServer(server.to_owned()))?;
        if row.engine == "sqlite" {
            return Err(LedgerError::NoConnections(row.address));
        }
        let mut tx = self.store.begin().await?;
        let update = self.store.query("UPDATE servers SET cap = $1 WHERE id = $2");
        let done = update.bind(cap.map(i64::from)).bind(row.id).execute(&mut *tx).await?;
        expect_rows(done.rows_affected(), 1)?;
        let detail = format!("{}: {}", row.address, cap.map_or("none".into(), |cap| cap.to_string()));
        self.event(&mut tx, "server.cap", None, actor, &detail).await?;
        let sql = "SELECT cap_config FROM servers WHERE id = $1";
        let config: Option<i64> = self.store.query(sql).bind(row.id).fetch_one(&mut *tx).await?.try_get(0)?;
        tx.commit().await?;
        row.cap = cap.map(i64::from).or(config);
        row.cap_from_config = cap.is_none() && config.is_some();
        Ok(row)
    }

    /// Writes down the caps of the configuration, where they are not so already.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn put_caps(&self, caps: &Caps) -> Result<(), LedgerError> {
        let sql = "SELECT id, address, cap_config FROM servers WHERE engine IN ('postgres', 'mysql')";
        for row in self.store.query(sql).fetch_all(self.store.pool()).await? {
            let (id, address): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            let cap = caps.of(&address).map(i64::from);
            if row.try_get::<Option<i64>>(2)? != cap {
                let update = self.store.query("UPDATE servers SET cap_config = $1 WHERE id = $2");
                update.bind(cap).bind(id).execute(self.store.pool()).await?;
            }
        }
        Ok(())
    }

    /// Takes note that the server of this claim's tenant refused a connection.
    ///
    /// # Errors
    /// When the registry cannot be reached. The next refusal says the same.
    pub(super) async fn back_off(&self, claim: &Claim) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT s.id, s.limit_now, {RUNNING} FROM targets g JOIN servers s ON s.id = g.server_id
             WHERE g.run_id = $1 AND g.tenant_id = $2 AND g.attempt = $3"
        );
        let select = bind_attempt(self.store.query(&sql), claim);
        let Some(row) = select.fetch_optional(self.store.pool()).await? else { return Ok(()) };
        let (server, limit, running): (i64, Option<i64>, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let half = (limit.map_or(running, |limit| limit.min(running)) / 2).max(1);
        let sql = "UPDATE servers SET limit_now = $1, limit_top = COALESCE(limit_top, $2), limited_at = COALESCE(limited_at, {now}),
                refused_at = {now}, stepped_at = {now}
            WHERE id = $3 AND (limit_now IS NULL OR refused_at <= {now} - $4)";
        let update = self.store.query(sql).bind(half).bind(running.max(1)).bind(server).bind(ms(PAUSE));
        if update.execute(self.store.pool()).await?.rows_affected() == 1 {
            self.sight.set(true);
            tracing::warn!(server.id = server, running, limit = half, "the server refuses connections");
        }
        Ok(())
    }

    /// Raises the limits of servers that have refused nothing for a while, and ends those that are where they came from.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn raise_limits(&self) -> Result<(), LedgerError> {
        // The order matters where an assignment sees those before it.
        let sql = "UPDATE servers SET stepped_at = {now}, limited_at = CASE WHEN limit_now < limit_top THEN limited_at END,
                limit_top = CASE WHEN limit_now < limit_top THEN limit_top END,
                limit_now = CASE WHEN limit_now < limit_top THEN limit_now + 1 END
            WHERE capped = 1 AND limit_now IS NOT NULL AND stepped_at <= {now} - $1";
        self.store.query(sql).bind(ms(STEP)).execute(self.store.pool()).await?;
        Ok(())
    }
}

fn read_server(row: &Row) -> Result<ServerRow, LedgerError> {
    Ok(ServerRow {
        id: row.try_get(0)?,
        engine: row.try_get(1)?,
        address: row.try_get(2)?,
        tenants: row.try_get(3)?,
        running: row.try_get(4)?,
        cap: row.try_get(5)?,
        cap_from_config: row.try_get::<i64>(6)? == 1,
        limit: row.try_get(7)?,
        limited_at: row.try_get(8)?,
    })
}
