//! What attempts that take long do now, and what they wait for: told by their workers, for whoever looks meanwhile.
//!
//! A sighting belongs to an attempt and goes with it: it is written only while the target is `running` in that very
//! attempt, every end of an attempt takes it away, and nothing but a running target is ever shown with one. Nothing is
//! decided by it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, bind_attempt, claims::WORKED, ms};
use crate::{
    clock::rfc3339,
    id::RunId,
    job::Claim,
    store::{Row, StoreError, Value},
    tenant::Slug,
    version::Version,
};

/// What an attempt was seen doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The migration that runs. None: something around the migrations.
    pub migration: Option<Version>,
    /// Which of its statements, counted from 1, where that is known.
    pub statement: Option<u32>,
    /// What it waits for, and who holds that, in one line without a value of anybody's statement.
    pub waits_for: Option<String>,
}

/// A running target, and what was last seen of it.
#[derive(Clone, Debug, Serialize)]
pub struct Sighting {
    /// Its tenant.
    pub tenant: String,
    /// The number of the attempt.
    pub attempt: i64,
    /// What it does.
    #[serde(flatten)]
    pub seen: Seen,
    /// Since when it does that, in milliseconds since 1970.
    #[serde(serialize_with = "as_rfc3339")]
    pub since: i64,
    /// Since when it is known to wait, in milliseconds since 1970.
    #[serde(serialize_with = "as_rfc3339")]
    pub waits_since: Option<i64>,
}

impl Ledger {
    /// Writes what an attempt does and has done for `lasted`, and for how long it is known to wait; or that there is
    /// nothing to be told of it any more. `false`: it is not the target's attempt any more.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn sight(
        &self,
        claim: &Claim,
        seen: Option<&Seen>,
        lasted: Duration,
        waited: Option<Duration>,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET sighting = $1, sighted_since = {now} - $2, waits_since = {now} - $3
            WHERE run_id = $4 AND tenant_id = $5 AND attempt = $6 AND state = 'running'";
        let text = seen.map(|seen| serde_json::to_string(seen).unwrap_or_default());
        let query = self.store.query(sql).bind(text).bind(ms(lasted)).bind(waited.map(ms));
        let done = bind_attempt(query, claim).execute(self.store.pool()).await?;
        Ok(done.rows_affected() == 1)
    }

    /// What is seen of a run's targets, or of one tenant's: those that wait first, the longest first.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn sightings(
        &self,
        run: RunId,
        tenant: Option<&Slug>,
        limit: u32,
    ) -> Result<Vec<Sighting>, LedgerError> {
        let of_one = if tenant.is_some() { "AND t.slug = $2" } else { "" };
        let sql = format!(
            "SELECT t.slug, g.attempt, g.sighting, g.sighted_since, g.waits_since
             FROM targets g JOIN tenants t ON t.id = g.tenant_id
             WHERE g.run_id = $1 AND {WORKED} AND g.sighting IS NOT NULL {of_one}
             ORDER BY CASE WHEN g.waits_since IS NULL THEN 1 ELSE 0 END, COALESCE(g.waits_since, g.sighted_since), t.slug
             LIMIT {limit}"
        );
        let values = tenant.map(|slug| Value::from(slug.to_string()));
        let query = self.store.query(&sql).bind(run.to_string()).bind_all(values);
        query.fetch_all(self.store.pool()).await?.iter().map(read_sighting).collect()
    }
}

fn read_sighting(row: &Row) -> Result<Sighting, LedgerError> {
    let text: String = row.try_get(2)?;
    let seen = serde_json::from_str(&text).map_err(|_| StoreError::Value("targets.sighting".into()))?;
    Ok(Sighting {
        tenant: row.try_get(0)?,
        attempt: row.try_get(1)?,
        seen,
        since: row.try_get::<Option<i64>>(3)?.unwrap_or_default(),
        waits_since: row.try_get(4)?,
    })
}

fn as_rfc3339<S: serde::Serializer>(ms: &(impl Copy + Into<Option<i64>>), to: S) -> Result<S::Ok, S::Error> {
    let ms: Option<i64> = (*ms).into();
    ms.map(rfc3339).serialize(to)
}
