//! Writing the outcomes of many attempts in one transaction: those that went well, which nearly all do.
//!
//! The rows travel as one JSON text, so that the statements are the same for any number of them. Each row keeps its own
//! guard, the number of its attempt: what that refuses is left out, and the others are written. Rows are locked in the
//! order of their tenants, targets before tenants: two who write at once wait for each other, and never in a circle.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    Ledger, LedgerError, bounded, ms,
    outcomes::{digest_of, kept},
    read_job,
};
use crate::{
    clock::millis,
    job::{Claim, Job, Next, Outcome, Verdict, head_start},
    run::TargetState,
    store::{Dialect, Lent, Row, Tx, expect_rows},
};

/// An outcome that needs nothing but its row in `targets`, `attempts` and `tenants`. What is none is not in the JSON text,
/// and null in the database then.
#[derive(Debug, Serialize)]
pub(super) struct Plain {
    tenant_id: String,
    run_id: String,
    attempt: u32,
    state: &'static str,
    took_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_version: Option<String>,
    /// What the tenant is known by from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Whether anything was applied.
    changed: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    head_start: i64,
    steps: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip)]
    job: Job,
}

impl Plain {
    /// None for an outcome that tells of a failure, or of something outside of its tenant.
    pub(super) fn of(claim: &Claim, outcome: &Outcome, next: Next) -> Option<Self> {
        let Next::End(state) = next else { return None };
        let plain = matches!(outcome.verdict, Verdict::Proven)
            && matches!(state, TargetState::Applied | TargetState::Current)
            && outcome.fingerprint.appeared.is_empty();
        plain.then(|| Self {
            tenant_id: claim.job.tenant.to_string(),
            run_id: claim.job.run.to_string(),
            attempt: claim.attempt,
            state: state.as_str(),
            took_ms: ms(outcome.duration),
            from_version: outcome.from.as_ref().map(ToString::to_string),
            to_version: outcome.to.as_ref().map(ToString::to_string),
            version: outcome.version.as_ref().map(ToString::to_string),
            changed: u8::from(!outcome.steps.is_empty()),
            digest: digest_of(outcome),
            head_start: bounded(millis(head_start(outcome.duration))),
            steps: serde_json::to_string(&outcome.steps).unwrap_or_default(),
            output: outcome.output.as_deref().map(kept),
            job: claim.job,
        })
    }

    pub(super) fn job(&self) -> Job {
        self.job
    }
}

/// The columns of a [`Plain`], with the types that they have in PostgreSQL and in MySQL.
const COLUMNS: [(&str, &str, &str); 13] = [
    ("tenant_id", "text", ID),
    ("run_id", "text", ID),
    ("attempt", "bigint", "BIGINT"),
    ("state", "text", "VARCHAR(16)"),
    ("took_ms", "bigint", "BIGINT"),
    ("from_version", "text", "VARCHAR(512)"),
    ("to_version", "text", "VARCHAR(512)"),
    ("version", "text", "VARCHAR(512)"),
    ("changed", "bigint", "BIGINT"),
    ("digest", "text", "VARCHAR(64)"),
    ("head_start", "bigint", "BIGINT"),
    ("steps", "text", "LONGTEXT"),
    ("output", "text", "LONGTEXT"),
];

const ID: &str = "VARCHAR(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// What guards a row, of the target `g` and what is told of it, `v`. The row is found by its key, and by no index on states: a
/// server that thinks that few targets run would go through all that do.
const GUARD: &str = "g.run_id = v.run_id AND g.tenant_id = v.tenant_id AND g.attempt = v.attempt AND COALESCE(g.state, '') = 'running'";

const ATTEMPT: &str = "INSERT INTO attempts (run_id, tenant_id, number, worker, started_at, finished_at, outcome, steps, output)
    SELECT v.run_id, v.tenant_id, v.attempt, $2, {now} - v.took_ms, {now}, v.state, v.steps, v.output FROM";

/// What is told of a tenant only if there is something to tell.
const TELLS: &str = "(v.version IS NOT NULL OR v.changed = 1)";

/// The rows in `$1`, as a table `v`.
fn told(dialect: Dialect) -> String {
    let list =
        |column: fn(&(&str, &str, &str)) -> String| COLUMNS.iter().map(column).collect::<Vec<_>>().join(", ");
    match dialect {
        Dialect::Postgres => {
            format!("json_to_recordset($1::json) AS v ({})", list(|(name, kind, _)| format!("{name} {kind}")))
        }
        Dialect::Sqlite => format!(
            "(SELECT {} FROM jsonb_each($1)) AS v",
            list(|(name, ..)| format!("value ->> '{name}' AS {name}"))
        ),
        Dialect::MySql => format!(
            "JSON_TABLE($1, '$[*]' COLUMNS ({})) AS v",
            list(|(name, _, kind)| format!("{name} {kind} PATH '$.{name}'"))
        ),
    }
}

/// What a target is set to. `own` stands before its columns where they are assigned.
fn ended(own: &str) -> String {
    let values = [
        ("state", "v.state"),
        ("due_at", "NULL"),
        ("from_version", "COALESCE(g.from_version, v.from_version)"),
        ("to_version", "COALESCE(v.to_version, g.to_version)"),
        ("finished_at", "{now}"),
        ("schema_digest", "v.digest"),
    ];
    let emptied = [
        "class",
        "code",
        "message",
        "hint",
        "version",
        "statement",
        "line",
        "refused",
        "fingerprint",
        "sighting",
    ];
    assigned(own, values.into_iter().chain(emptied.map(|column| (column, "NULL"))))
}

/// What a tenant is set to.
fn known(own: &str) -> String {
    let if_changed =
        |column: &str, value: &str| format!("CASE WHEN v.changed = 1 THEN {value} ELSE t.{column} END");
    let (digest, head_start) =
        (if_changed("schema_digest", "v.digest"), if_changed("head_start", "v.head_start"));
    let values = [
        ("version_at", "CASE WHEN v.version IS NULL THEN t.version_at ELSE {now} END"),
        ("version", "COALESCE(v.version, t.version)"),
        ("schema_digest", &digest),
        ("head_start", &head_start),
    ];
    assigned(own, values)
}

fn assigned<'a>(own: &str, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    values
        .into_iter()
        .map(|(column, value)| format!("{own}{column} = {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The right to write, where one at a time has it.
pub(super) struct Turn(Option<Lent>);

impl Ledger {
    /// Waits for the right to write outcomes.
    pub(super) async fn turn(&self) -> Result<Turn, LedgerError> {
        let one_writes = self.store.dialect() == Dialect::Sqlite;
        Ok(Turn(if one_writes { Some(self.store.writing().await?) } else { None }))
    }

    /// Records how attempts of one owner ended, and gives those that were written: of each other one a later attempt
    /// exists, and its result changes nothing.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses one of them; nothing is written then.
    pub(super) async fn record_all(
        &self,
        turn: Turn,
        owner: &str,
        mut rows: Vec<Plain>,
    ) -> Result<HashSet<Job>, LedgerError> {
        if rows.is_empty() {
            return Ok(HashSet::new());
        }
        rows.sort_unstable_by(|a, b| (&a.tenant_id, &a.run_id).cmp(&(&b.tenant_id, &b.run_id)));
        match (self.store.dialect(), turn) {
            (Dialect::Postgres, _) => self.record_at_once(owner, &rows).await,
            (_, Turn(Some(writing))) => self.record_in_turn(writing, owner, &rows).await,
            (_, Turn(None)) => {
                let mut tx = self.store.begin().await?;
                let written = self.record_in(&mut tx, owner, rows).await?;
                tx.commit().await?;
                Ok(written)
            }
        }
    }

    /// All of it in one statement. What is counted is locked before anything is changed.
    async fn record_at_once(&self, owner: &str, rows: &[Plain]) -> Result<HashSet<Job>, LedgerError> {
        let sql = format!(
            "WITH told AS MATERIALIZED (SELECT * FROM {}),
             mine AS MATERIALIZED (SELECT g.run_id, g.tenant_id FROM told v JOIN targets g ON {GUARD}
                ORDER BY g.tenant_id, g.run_id FOR NO KEY UPDATE OF g),
             ended AS (UPDATE targets g SET {} FROM told v WHERE {GUARD} AND (SELECT count(*) FROM mine) > 0 RETURNING v.*),
             theirs AS MATERIALIZED (SELECT t.id FROM tenants t WHERE t.id IN (SELECT v.tenant_id FROM ended v WHERE {TELLS})
                ORDER BY t.id FOR NO KEY UPDATE OF t),
             known AS (UPDATE tenants t SET {} FROM ended v WHERE t.id = v.tenant_id AND {TELLS} AND (SELECT count(*) FROM theirs) > 0),
             noted AS ({ATTEMPT} ended v)
             SELECT run_id, tenant_id FROM ended",
            told(Dialect::Postgres),
            ended(""),
            known(""),
        );
        let query = self.store.query(&sql).bind(text(rows)).bind(owner);
        jobs(&query.fetch_all(self.store.pool()).await?)
    }

    /// Each statement has the guard, and the last one takes away what it asks for.
    async fn record_in_turn(
        &self,
        writing: Lent,
        owner: &str,
        rows: &[Plain],
    ) -> Result<HashSet<Job>, LedgerError> {
        let (told, rows) = (told(Dialect::Sqlite), text(rows));
        let mut tx = self.store.begin_by(writing).await?;
        let note = format!("{ATTEMPT} {told} CROSS JOIN targets g ON {GUARD}");
        self.store.query(&note).bind(rows.as_str()).bind(owner).execute(&mut *tx).await?;
        let know = format!(
            "UPDATE tenants AS t SET {} FROM {told} CROSS JOIN targets g ON {GUARD} WHERE t.id = v.tenant_id AND {TELLS}",
            known("")
        );
        self.store.query(&know).bind(rows.as_str()).execute(&mut *tx).await?;
        let end = format!(
            "UPDATE targets AS g SET {} FROM {told} WHERE {GUARD} RETURNING run_id, tenant_id",
            ended("")
        );
        let written = jobs(&self.store.query(&end).bind(rows).fetch_all(&mut *tx).await?)?;
        tx.commit().await?;
        Ok(written)
    }

    async fn record_in(
        &self,
        tx: &mut Tx,
        owner: &str,
        mut rows: Vec<Plain>,
    ) -> Result<HashSet<Job>, LedgerError> {
        let told = told(Dialect::MySql);
        let mine =
            format!("SELECT g.run_id, g.tenant_id FROM {told} STRAIGHT_JOIN targets g ON {GUARD} FOR UPDATE");
        let written = jobs(&self.store.query(&mine).bind(text(&rows)).fetch_all(&mut **tx).await?)?;
        rows.retain(|row| written.contains(&row.job));
        let (count, rows) = (rows.len() as u64, text(&rows));
        let end = format!("UPDATE {told} STRAIGHT_JOIN targets g ON {GUARD} SET {}", ended("g."));
        let end = self.store.query(&end).bind(rows.as_str()).execute(&mut **tx).await?;
        expect_rows(end.rows_affected(), count)?;
        let note = self.store.query(&format!("{ATTEMPT} {told}")).bind(rows.as_str()).bind(owner);
        expect_rows(note.execute(&mut **tx).await?.rows_affected(), count)?;
        let know = format!(
            "UPDATE {told} STRAIGHT_JOIN tenants t ON t.id = v.tenant_id SET {} WHERE {TELLS}",
            known("t.")
        );
        self.store.query(&know).bind(rows.as_str()).execute(&mut **tx).await?;
        Ok(written)
    }
}

fn text(rows: &[Plain]) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}

fn jobs(rows: &[Row]) -> Result<HashSet<Job>, LedgerError> {
    rows.iter().map(read_job).collect()
}
