//! Tenants that failed for good in a migration are not tried again with the same bytes by a run that nobody has named them
//! for: their targets are written as failed at once, with what they failed with. They are tried when they are named, when
//! their run is retried, and when the bytes have changed, and they are held no more once such a run has succeeded.
//!
//! A held target has no attempt and is in no wave, so it counts for no gate.

use std::collections::BTreeMap;

use super::{
    Ledger, LedgerError,
    outcomes::{failure_of, kept},
    selection::clauses,
};
use crate::{
    bundle::Digest,
    failure::{Class, Failure},
    id::RunId,
    job::{Claim, Outcome},
    run::{RunSpec, Selection},
    store::{Row, Tx},
    version::Version,
};

/// The wave of a target that is not tried.
pub(super) const NOT_TRIED: i64 = -1;

/// What a target takes over of what its tenant failed with.
const CAUSE: [&str; 7] = ["code", "message", "hint", "version", "statement", "line", "fingerprint"];

/// What a tenant failed with for good, and the number of the run that it was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it failed with.
    pub failure: Failure,
    /// In which run.
    pub failed_in: i64,
}

/// The condition that a run has succeeded that tried what this row holds.
fn mended(row: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM runs r JOIN targets g ON g.run_id = r.id
            WHERE r.number = {row}.tried AND g.tenant_id = {row}.tenant_id AND g.state IN ('applied', 'current'))"
    )
}

impl Ledger {
    /// The selected tenants that failed for good with the bytes of one of these migrations, by name: a run that holds
    /// back would not try them.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn held(
        &self,
        selection: &Selection,
        migrations: &[Digest],
    ) -> Result<BTreeMap<String, Held>, LedgerError> {
        let limit = selection.limit.map(|limit| format!("LIMIT {limit}")).unwrap_or_default();
        let mut found = BTreeMap::new();
        for clause in clauses(selection, 1) {
            let sql = format!(
                "SELECT t.slug, h.bytes, h.run, {}
                 FROM held h JOIN (SELECT t.id, t.slug FROM tenants t WHERE {} ORDER BY t.slug {limit}) t ON t.id = h.tenant_id
                 WHERE NOT {}",
                CAUSE.map(|column| format!("h.{column}")).join(", "),
                clause.text(),
                mended("h"),
            );
            let rows = clause.bind(self.store.query(&sql)).fetch_all(self.store.pool()).await?;
            for row in &rows {
                let bytes: String = row.try_get(1)?;
                if migrations.iter().any(|own| own.as_str() == bytes) {
                    found.insert(row.try_get(0)?, read_held(row)?);
                }
            }
        }
        Ok(found)
    }

    /// Remembers what a tenant failed with for good, in place of what it failed with before.
    pub(super) async fn hold(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        outcome: &Outcome,
    ) -> Result<(), LedgerError> {
        let permanent = failure_of(outcome).filter(|failure| failure.class == Class::Permanent);
        let (Some(failure), Some(bytes)) = (permanent, &outcome.bytes) else { return Ok(()) };
        let tenant = claim.job.tenant.to_string();
        let forget = self.store.query("DELETE FROM held WHERE tenant_id = $1").bind(tenant.as_str());
        forget.execute(&mut **tx).await?;
        let insert = "INSERT INTO held (tenant_id, bytes, run, code, message, hint, version, statement, line, fingerprint)
            SELECT $1, $2, r.number, $3, $4, $5, $6, $7, $8, $9 FROM runs r WHERE r.id = $10";
        self.store
            .query(insert)
            .bind(tenant)
            .bind(bytes.as_str())
            .bind(kept(&failure.code))
            .bind(kept(&failure.message))
            .bind(failure.hint.as_deref().map(kept))
            .bind(failure.version.as_ref().map(ToString::to_string))
            .bind(failure.statement.map(i64::from))
            .bind(failure.line.map(i64::from))
            .bind(failure.fingerprint())
            .bind(claim.job.run.to_string())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Ends the targets of a new run whose tenants are held, and gives how many; or notes that the run tries them.
    pub(super) async fn hold_back(
        &self,
        tx: &mut Tx,
        run: RunId,
        number: i64,
        spec: &RunSpec,
    ) -> Result<u64, LedgerError> {
        self.forget_mended(tx).await?;
        let mut held = 0;
        for bytes in self.held_bytes(tx, spec).await? {
            if spec.holds_back() {
                held += self.end_held(tx, run, &bytes).await?;
            } else {
                self.note_tried(tx, run, number, &bytes).await?;
            }
        }
        Ok(held)
    }

    /// Forgets what tenants failed with that have come to their version since.
    async fn forget_mended(&self, tx: &mut Tx) -> Result<(), LedgerError> {
        let sql = format!("DELETE FROM held WHERE {}", mended("held"));
        self.store.query(&sql).execute(&mut **tx).await?;
        Ok(())
    }

    /// The bytes that tenants are held for, of those that the run has. They are few, however many tenants there are.
    async fn held_bytes(&self, tx: &mut Tx, spec: &RunSpec) -> Result<Vec<String>, LedgerError> {
        let rows = self.store.query("SELECT DISTINCT bytes FROM held").fetch_all(&mut **tx).await?;
        let mut bytes = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        bytes.retain(|bytes| spec.migrations.iter().any(|own| own.as_str() == bytes));
        Ok(bytes)
    }

    async fn end_held(&self, tx: &mut Tx, run: RunId, bytes: &str) -> Result<u64, LedgerError> {
        let of_tenant =
            |column: &str| format!("(SELECT h.{column} FROM held h WHERE h.tenant_id = targets.tenant_id)");
        let cause: Vec<String> =
            CAUSE.iter().map(|column| format!("{column} = {}", of_tenant(column))).collect();
        let sql = format!(
            "UPDATE targets SET state = 'failed', wave = {NOT_TRIED}, due_at = NULL, finished_at = {{now}},
                class = '{}', refused = 0, held = {}, {}
             WHERE run_id = $1 AND tenant_id IN (SELECT b.tenant_id FROM held b WHERE b.bytes = $2)",
            Class::Permanent.as_str(),
            of_tenant("run"),
            cause.join(", ")
        );
        let end = self.store.query(&sql).bind(run.to_string()).bind(bytes);
        Ok(end.execute(&mut **tx).await?.rows_affected())
    }

    async fn note_tried(&self, tx: &mut Tx, run: RunId, number: i64, bytes: &str) -> Result<(), LedgerError> {
        let sql = "UPDATE held SET tried = $1 WHERE bytes = $2
            AND tenant_id IN (SELECT g.tenant_id FROM targets g WHERE g.run_id = $3)";
        let note = self.store.query(sql).bind(number).bind(bytes).bind(run.to_string());
        note.execute(&mut **tx).await?;
        Ok(())
    }
}

fn read_held(row: &Row) -> Result<Held, sqlx::Error> {
    let number =
        |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>>(at)?.and_then(|n| u32::try_from(n).ok()));
    let failure = Failure::new(Class::Permanent, row.try_get::<String>(3)?, row.try_get::<String>(4)?);
    let version = row.try_get::<Option<String>>(6)?.map(Version::from);
    let (hint, statement, line) = (row.try_get(5)?, number(7)?, number(8)?);
    Ok(Held { failure: Failure { hint, version, statement, line, ..failure }, failed_in: row.try_get(2)? })
}
