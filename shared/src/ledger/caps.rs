//! Caps: how many tenants of one server may be migrated at once, by all workers together.
//!
//! A claim is the permit. A target that is `running` with a lease that is good is one slot of its server, so that nothing
//! has to be given back, and a killed worker's slots come back with its leases. While no server has a cap or a limit, a
//! claim is the one statement that it is without caps, and asks for that itself: what a process remembers of caps
//! is a hint. Otherwise targets are claimed server by server, by an index of their own, so that what is due on a full server
//! stands in nobody's way. On a capped one it is done under a lock of the server's row, after the running ones were counted.
//! A server whose row is locked is passed over: whoever holds it may have been paused.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    Ledger, LedgerError, bounded,
    claims::{CLAIMED, due, due_on, read_claims},
    ms,
    suspects::TRUSTED,
};
use crate::{
    clock::{self, Stopwatch},
    job::Claim,
    store::{Row, Tx, Value},
};

/// How often a process that finds nothing due looks whether that is because of caps.
const LOOK: Duration = Duration::from_secs(1);

/// After a refusal nothing is begun on that server for so long.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// No server at all has a cap or a limit.
const NONE_CAPPED: &str = "NOT EXISTS (SELECT 1 FROM servers c WHERE c.capped = 1)";

/// The servers that have one, as a subquery.
pub(super) const CAPPED: &str = "(SELECT c.id FROM servers c WHERE c.capped = 1)";

/// The server of a tenant `t` as a target keeps it: 0 for an SQLite file.
pub(super) const SERVER_OF: &str = "CASE WHEN t.server_id IN (SELECT f.id FROM servers f WHERE f.engine = 'sqlite') THEN 0 ELSE t.server_id END";

/// How many targets of the server `s` run, as a subquery. By the open runs, as the plus keeps a column from its index: few
/// targets run, and many may wait.
pub(super) const RUNNING: &str = "(SELECT count(*) FROM runs r JOIN targets o ON o.run_id = r.id
    WHERE r.state IN ('pending', 'running') AND o.state = 'running' AND o.wave >= -1 AND +o.server_id = s.id AND +o.due_at > {now})";

/// What stands for the server of all SQLite files.
const FILES: i64 = 0;

/// What a process saw of caps when it last looked.
#[derive(Debug, Default)]
pub(super) struct Sight(Mutex<(bool, Option<Stopwatch>)>);

impl Sight {
    /// Whether there was a capped server.
    fn is_capped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether it is time to look again where there was none.
    fn is_old(&self) -> bool {
        let (_, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| since.elapsed() >= LOOK)
    }

    pub(super) fn set(&self, capped: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (capped, Some(Stopwatch::start()));
    }
}

/// Targets that are claimed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Those of a server without cap.
    Free(i64),
    /// Those of a server with one.
    Capped(i64),
}

impl Ledger {
    /// Changes up to so many due targets, as [`Self::claim_due`] does, and those of capped servers only if `capped`.
    pub(super) async fn change_due(
        &self,
        limit: u64,
        capped: bool,
        set: &str,
        values: &[Value],
    ) -> Result<Vec<Row>, LedgerError> {
        let uncapped = async || {
            let limited = [values, &[bounded(limit).into()]].concat();
            self.change(&due(NONE_CAPPED, limited.len()), set, limited).await
        };
        if !self.sight.is_capped() {
            let rows = uncapped().await?;
            if !rows.is_empty() || !self.sees_caps().await? {
                return Ok(rows);
            }
        }
        let Some(mut lanes) = self.lanes().await? else {
            return uncapped().await;
        };
        lanes.push(Lane::Free(FILES));
        lanes.retain(|lane| capped || !matches!(lane, Lane::Capped(_)));
        self.change_lanes(lanes, limit, set, values).await
    }

    /// Whether there is a server with a cap or a limit, as far as this process knows. While it does not know of one, what it
    /// claimed was on none: a claim asks for that itself.
    #[must_use]
    pub fn knows_caps(&self) -> bool {
        self.sight.is_capped()
    }

    /// Claims up to `limit` due targets of capped servers: they are in no queue but the ledger.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn claim_capped(
        &self,
        limit: usize,
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<Claim>, LedgerError> {
        if !self.sees_caps().await? {
            return Ok(Vec::new());
        }
        let mut lanes = self.lanes().await?.unwrap_or_default();
        lanes.retain(|lane| matches!(lane, Lane::Capped(_)));
        let values = [owner.into(), ms(lease).into()];
        read_claims(&self.change_lanes(lanes, limit as u64, CLAIMED, &values).await?)
    }

    /// Whether there is a capped server, as far as this process knows. It looks once in a while.
    async fn sees_caps(&self) -> Result<bool, LedgerError> {
        if !self.sight.is_capped() && self.sight.is_old() {
            let count = self.store.query("SELECT count(*) FROM servers c WHERE c.capped = 1");
            let capped: i64 = count.fetch_one(self.store.pool()).await?.try_get(0)?;
            self.sight.set(capped > 0);
        }
        Ok(self.sight.is_capped())
    }

    /// The servers with something due that have a slot free; none if no server is capped. A look without a lock: full ones
    /// are left alone.
    async fn lanes(&self) -> Result<Option<Vec<Lane>>, LedgerError> {
        let sql = format!(
            "SELECT s.id, COALESCE(s.capped, 0), CASE WHEN
                (SELECT due_at {}) IS NULL THEN 0 WHEN s.capped = 1 THEN {} - {RUNNING} ELSE 1 END
             FROM servers s WHERE s.engine IN ('postgres', 'mysql')",
            due_on(self.store.dialect(), "s.id", "TRUE", 1),
            most()
        );
        let (mut lanes, mut any) = (Vec::new(), false);
        for row in self.store.query(&sql).fetch_all(self.store.pool()).await? {
            let (server, capped, room): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            any |= capped == 1;
            if room > 0 {
                lanes.push(if capped == 1 { Lane::Capped(server) } else { Lane::Free(server) });
            }
        }
        self.sight.set(any);
        Ok(any.then_some(lanes))
    }

    /// One lane after the other, another one first each time, so that none has to wait for all of another one. What was
    /// changed before something failed is given: it is the caller's.
    async fn change_lanes(
        &self,
        mut lanes: Vec<Lane>,
        limit: u64,
        set: &str,
        values: &[Value],
    ) -> Result<Vec<Row>, LedgerError> {
        shuffle(&mut lanes);
        let mut rows = Vec::new();
        for lane in lanes {
            let left = limit - rows.len() as u64;
            if left == 0 {
                break;
            }
            match self.change_lane(lane, left, set, values.to_vec()).await {
                Ok(more) => rows.extend(more),
                Err(error) if rows.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the targets of a server could not be claimed");
                    break;
                }
            }
        }
        Ok(rows)
    }

    async fn change_lane(
        &self,
        lane: Lane,
        limit: u64,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, LedgerError> {
        match lane {
            Lane::Free(server) => {
                // The cap may be newer than the look.
                let only = format!("{TRUSTED} AND server_id NOT IN {CAPPED}");
                let ready = due_on(self.store.dialect(), server, &only, limit);
                self.change(&ready, set, values).await
            }
            Lane::Capped(server) => {
                let ready = |room| due_on(self.store.dialect(), server, TRUSTED, room);
                self.change_capped(server, limit, ready, set, values).await
            }
        }
    }

    async fn change_capped(
        &self,
        server: i64,
        limit: u64,
        ready: impl Fn(u64) -> String,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, LedgerError> {
        let mut tx = self.store.begin().await?;
        let rows = match self.room(&mut tx, server).await?.min(limit) {
            0 => Vec::new(),
            room => self.change_in(&mut tx, &ready(room), set, values).await?,
        };
        tx.commit().await?;
        Ok(rows)
    }

    /// Changes one of the targets that `ready` selects under a further condition, where its server has a slot free.
    pub(super) async fn change_one(
        &self,
        ready: impl Fn(&str) -> String,
        set: &str,
        values: Vec<Value>,
    ) -> Result<Option<Row>, LedgerError> {
        let free = format!("server_id NOT IN {CAPPED}");
        let mut rows = self.change(&ready(&free), set, values.clone()).await?;
        if rows.is_empty() && self.sees_caps().await? {
            for lane in self.lanes().await?.unwrap_or_default() {
                let Lane::Capped(server) = lane else { continue };
                let there = ready(&format!("server_id = {server}"));
                rows = self.change_capped(server, 1, |_| there.clone(), set, values.clone()).await?;
                if !rows.is_empty() {
                    break;
                }
            }
        }
        Ok(rows.pop())
    }

    /// Locks a server, and gives how many more of its tenants may be claimed: by nobody else, until the transaction ends.
    async fn room(&self, tx: &mut Tx, server: i64) -> Result<u64, LedgerError> {
        let sql = format!("SELECT {} FROM servers s WHERE s.id = $1 {{skip_locked}}", most());
        let Some(row) = self.store.query(&sql).bind(server).fetch_optional(&mut **tx).await? else {
            return Ok(0);
        };
        // By a statement of its own: one that waits for a lock may count what was before.
        let count = format!("SELECT {RUNNING} FROM servers s WHERE s.id = $1");
        let running = self.store.query(&count).bind(server).fetch_one(&mut **tx).await?;
        Ok(u64::try_from(row.try_get::<i64>(0)? - running.try_get::<i64>(0)?).unwrap_or(0))
    }
}

/// How many tenants of the server `s` may run now: none for a while after a refusal. Without cap there is no end to it.
fn most() -> String {
    let (cap, pause) = ("COALESCE(s.cap, s.cap_config, s.limit_now)", clock::millis(PAUSE));
    format!(
        "CASE WHEN s.limit_now IS NOT NULL AND s.refused_at > {{now}} - {pause} THEN 0 WHEN s.limit_now < {cap} THEN s.limit_now
         WHEN s.capped = 1 THEN {cap} ELSE {} END",
        i64::from(i32::MAX)
    )
}

fn shuffle(lanes: &mut [Lane]) {
    if lanes.is_empty() {
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number below the length"
    )]
    let first = (clock::chance() * lanes.len() as f64) as usize;
    lanes.rotate_left(first.min(lanes.len() - 1));
}
