//! Reading the ledger: for summaries, tables and workers. Nothing here writes.

use serde::Serialize;

use super::{Ledger, LedgerError, held::NOT_TRIED, waves::CENTRAL_ID};
use crate::{
    id::{RunId, TenantId},
    job::Step,
    registry::clause::Clause,
    run::{Run, RunRef, Stop, TargetState},
    store::{Row, StoreError},
    summary::Counts,
    version::Version,
};

const RUN_COLUMNS: &str = "r.id, r.number, r.digest, r.target_version, r.description, r.selection, r.policy, r.state,
    (SELECT p.number FROM runs p WHERE p.id = r.parent_id), r.requested_by, r.reason, r.created_at, r.started_at, r.finished_at, r.action,
    r.waves, r.wave, r.soak_until, r.paused_at, r.deadline_at, r.stop_code, r.stop_reason, r.idempotency_key";

const TARGETS: &str = "SELECT t.slug, g.state, g.attempt - g.uncounted, g.from_version, g.to_version, g.code, g.message, g.hint, g.fingerprint,
        g.held, (SELECT n.number FROM runs n WHERE n.id = g.run_id)
    FROM targets g JOIN tenants t ON t.id = g.tenant_id";

/// Which targets to list: a page in the order of their tenants' slugs.
#[derive(Clone, Debug, Default)]
pub struct TargetQuery {
    /// Only these states; empty means all.
    pub states: Vec<TargetState>,
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only those behind this slug.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// One target, for a table.
#[derive(Clone, Debug, Serialize)]
pub struct TargetRow {
    /// Its tenant.
    pub tenant: String,
    /// Its state.
    pub state: String,
    /// Attempts that count.
    pub attempts: i64,
    /// The version before the run.
    pub from: Option<String>,
    /// The version after its last attempt.
    pub to: Option<String>,
    /// Why it failed, or waits.
    pub code: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// The name of the cause.
    pub fingerprint: Option<String>,
    /// Whether it was not tried: its tenant had failed with the same before.
    pub held: bool,
    /// The number of the run in which that was.
    pub failed_in: Option<i64>,
}

/// One attempt, for `logs`. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// Its tenant.
    pub tenant: String,
    /// Its number.
    pub number: i64,
    /// Who made it.
    pub worker: String,
    /// When it began.
    pub started_at: i64,
    /// When it ended.
    pub finished_at: i64,
    /// How it ended.
    pub outcome: String,
    /// What it applied.
    pub steps: Vec<Step>,
    /// Why it did not succeed.
    pub code: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// The migration that failed.
    pub version: Option<String>,
    /// Which of its statements, counted from 1.
    pub statement: Option<u32>,
    /// The line in its file.
    pub line: Option<i64>,
    /// The end of what a program said that migrated in place of our engine.
    pub output: Option<String>,
}

impl Ledger {
    /// Finds a run by what a person calls it.
    ///
    /// # Errors
    /// [`LedgerError::UnknownRun`] when there is none.
    pub async fn find_run(&self, name: RunRef) -> Result<Run, LedgerError> {
        let first = |condition| {
            self.store.query(&format!(
                "SELECT {RUN_COLUMNS} FROM runs r WHERE {condition} ORDER BY r.number DESC LIMIT 1"
            ))
        };
        let query = match name {
            RunRef::Latest => first("1 = 1"),
            RunRef::LatestFailed => first("r.state IN ('failed', 'halted')"),
            RunRef::Number(number) => first("r.number = $1").bind(number),
            RunRef::Id(id) => first("r.id = $1").bind(id.to_string()),
        };
        let row = query.fetch_optional(self.store.pool()).await?;
        row.as_ref().map(read_run).transpose()?.ok_or_else(|| LedgerError::UnknownRun(name.to_string()))
    }

    /// The newest runs.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn list_runs(&self, limit: u32) -> Result<Vec<Run>, LedgerError> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs r ORDER BY r.number DESC LIMIT {limit}");
        self.store.query(&sql).fetch_all(self.store.pool()).await?.iter().map(read_run).collect()
    }

    /// How many tenants of a run are in each state, and where its central database is.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn counts(&self, run: RunId) -> Result<Counts, LedgerError> {
        let sql = format!(
            "SELECT count(*) FROM targets WHERE run_id = $1 AND tenant_id <> COALESCE({CENTRAL_ID}, '')
                AND state IN ('applied', 'current') AND attempt - uncounted > 1"
        );
        let retried = self.store.query(&sql).bind(run.to_string()).fetch_one(self.store.pool()).await?;
        let retried = u64::try_from(retried.try_get::<i64>(0)?).unwrap_or(0);
        Ok(Counts { retried, ..self.tally(run).await? })
    }

    /// The same without how many needed more than one attempt, which an index alone tells.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn tally(&self, run: RunId) -> Result<Counts, LedgerError> {
        let sql = format!(
            "SELECT state, count(*), count(CASE WHEN wave = {NOT_TRIED} THEN 1 END) FROM targets
             WHERE run_id = $1 AND tenant_id <> COALESCE({CENTRAL_ID}, '') GROUP BY state"
        );
        let mut counts = Counts { central: self.central_state(run).await?, ..Counts::default() };
        for row in self.store.query(&sql).bind(run.to_string()).fetch_all(self.store.pool()).await? {
            let (state, count, held): (String, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            counts.add(state.parse().map_err(StoreError::Value)?, u64::try_from(count).unwrap_or(0));
            counts.held += u64::try_from(held).unwrap_or(0);
        }
        Ok(counts)
    }

    async fn central_state(&self, run: RunId) -> Result<Option<TargetState>, LedgerError> {
        let sql = format!("SELECT state FROM targets WHERE run_id = $1 AND tenant_id = {CENTRAL_ID}");
        let row = self.store.query(&sql).bind(run.to_string()).fetch_optional(self.store.pool()).await?;
        let state = row.map(|row| row.try_get::<String>(0)).transpose()?;
        Ok(state.map(|state| state.parse().map_err(StoreError::Value)).transpose()?)
    }

    /// The central database in a run that begins with it.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn central_target(&self, run: RunId) -> Result<Option<TargetRow>, LedgerError> {
        let sql = format!("{TARGETS} WHERE g.run_id = $1 AND t.id = {CENTRAL_ID}");
        let query = self.store.query(&sql).bind(run.to_string());
        query.fetch_optional(self.store.pool()).await?.as_ref().map(read_target).transpose()
    }

    /// A page of a run's targets. The central database is not in it, unless it is asked for by its name.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn targets(&self, run: RunId, query: &TargetQuery) -> Result<Vec<TargetRow>, LedgerError> {
        let named = query.tenant.is_some();
        let mut clause = if named { Clause::new(2) } else { Clause::of_tenants(2) };
        let states: Vec<String> = query.states.iter().map(ToString::to_string).collect();
        clause.one_of("g.state", true, &states);
        if let Some(tenant) = &query.tenant {
            clause.compare("t.slug =", tenant);
        }
        if let Some(after) = &query.after {
            clause.compare("t.slug >", after);
        }
        let sql = format!(
            "{TARGETS} WHERE g.run_id = $1 AND {} ORDER BY t.slug LIMIT {}",
            clause.text(),
            query.limit
        );
        let query = clause.bind(self.store.query(&sql).bind(run.to_string()));
        query.fetch_all(self.store.pool()).await?.iter().map(read_target).collect()
    }

    /// A run's attempts at one tenant, oldest first.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn attempts(&self, run: RunId, tenant: TenantId) -> Result<Vec<AttemptRow>, LedgerError> {
        let sql = "SELECT t.slug, a.number, a.worker, a.started_at, a.finished_at, a.outcome, a.steps, a.code, a.message, a.hint, a.version, a.statement, a.line, a.output
            FROM attempts a JOIN tenants t ON t.id = a.tenant_id WHERE a.run_id = $1 AND a.tenant_id = $2 ORDER BY a.number";
        let rows = self
            .store
            .query(sql)
            .bind(run.to_string())
            .bind(tenant.to_string())
            .fetch_all(self.store.pool())
            .await?;
        rows.iter().map(read_attempt).collect()
    }

    /// How many active tenants were last seen at each version, the newest first.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn fleet(&self) -> Result<Vec<(Option<Version>, i64)>, LedgerError> {
        let sql =
            "SELECT version, count(*) FROM tenants WHERE status = 'active' AND central = 0 GROUP BY version";
        let rows = self.store.query(sql).fetch_all(self.store.pool()).await?;
        let mut versions = rows
            .iter()
            .map(|r| Ok((r.try_get::<Option<String>>(0)?.map(Version::from), r.try_get(1)?)))
            .collect::<Result<Vec<(Option<Version>, i64)>, sqlx::Error>>()?;
        versions.sort_by(|a, b| b.0.cmp(&a.0));
        Ok(versions)
    }
}

fn read_run(row: &Row) -> Result<Run, LedgerError> {
    let damaged = |what: &str| StoreError::Value(format!("runs.{what}"));
    let text = |at: usize| row.try_get::<String>(at);
    Ok(Run {
        id: text(0)?.parse().map_err(|_| damaged("id"))?,
        number: row.try_get(1)?,
        digest: text(2)?.parse().map_err(|_| damaged("digest"))?,
        target: row.try_get::<String>(3)?.into(),
        description: text(4)?,
        selection: text(5)?,
        policy: serde_json::from_str(&text(6)?).map_err(|_| damaged("policy"))?,
        state: text(7)?.parse().map_err(|_| damaged("state"))?,
        parent: row.try_get(8)?,
        requested_by: text(9)?,
        reason: row.try_get(10)?,
        key: row.try_get(22)?,
        created_at: row.try_get(11)?,
        started_at: row.try_get(12)?,
        finished_at: row.try_get(13)?,
        action: serde_json::from_str(&text(14)?).map_err(|_| damaged("action"))?,
        waves: serde_json::from_str(&text(15)?).map_err(|_| damaged("waves"))?,
        wave: u64::try_from(row.try_get::<i64>(16)?).unwrap_or(0),
        soak_until: row.try_get(17)?,
        paused_at: row.try_get(18)?,
        deadline_at: row.try_get(19)?,
        stop: match row.try_get::<Option<String>>(20)? {
            Some(code) => Some(Stop { code, reason: row.try_get::<Option<String>>(21)?.unwrap_or_default() }),
            None => None,
        },
    })
}

fn read_target(row: &Row) -> Result<TargetRow, LedgerError> {
    let (tenant, failed_in): (String, Option<i64>) = (row.try_get(0)?, row.try_get(9)?);
    let hint = match failed_in {
        Some(failed_in) => Some(way_out_of_held(failed_in, row.try_get(10)?, &tenant)),
        None => row.try_get(7)?,
    };
    Ok(TargetRow {
        tenant,
        state: row.try_get(1)?,
        attempts: row.try_get(2)?,
        from: row.try_get(3)?,
        to: row.try_get(4)?,
        code: row.try_get(5)?,
        message: row.try_get(6)?,
        hint,
        fingerprint: row.try_get(8)?,
        held: failed_in.is_some(),
        failed_in,
    })
}

fn way_out_of_held(failed_in: i64, number: i64, tenant: &str) -> String {
    format!(
        "not tried again: failed in run #{failed_in}; once it is mended: tenantry retry {number} --tenant {tenant}"
    )
}

fn read_attempt(row: &Row) -> Result<AttemptRow, LedgerError> {
    Ok(AttemptRow {
        tenant: row.try_get(0)?,
        number: row.try_get(1)?,
        worker: row.try_get(2)?,
        started_at: row.try_get(3)?,
        finished_at: row.try_get(4)?,
        outcome: row.try_get(5)?,
        steps: serde_json::from_str(&row.try_get::<String>(6)?)
            .map_err(|_| StoreError::Value("attempts.steps".into()))?,
        code: row.try_get(7)?,
        message: row.try_get(8)?,
        hint: row.try_get(9)?,
        version: row.try_get(10)?,
        statement: row.try_get::<Option<i64>>(11)?.and_then(|n| u32::try_from(n).ok()),
        line: row.try_get(12)?,
        output: row.try_get(13)?,
    })
}
