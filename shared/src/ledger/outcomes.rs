//! Writing the outcome of an attempt: the target, the attempt and what is known of the tenant, in one transaction
//! that is guarded by the attempt's number.

use super::{Ledger, LedgerError, bind_attempt, bounded, ms};
use crate::{
    clock::millis,
    codes::is_server_full,
    failure::Failure,
    job::{Claim, Next, Outcome, Verdict, head_start},
    run::TargetState,
    schema::Catalog,
    store::{Statement, Tx},
};

/// So much of a text of somebody else's is kept, in bytes: every registry takes that in every column.
const TEXT_BYTES: usize = 60_000;

impl Ledger {
    /// Records how an attempt ended. `false`: a later attempt exists, and this result changes nothing.
    ///
    /// # Errors
    /// When the registry cannot be reached; nothing is written then.
    pub async fn record(
        &self,
        claim: &Claim,
        owner: &str,
        outcome: &Outcome,
        next: Next,
    ) -> Result<bool, LedgerError> {
        if let Some(catalog) = &outcome.fingerprint.catalog {
            self.try_to_keep(catalog, claim).await?;
        }
        if failure_of(outcome).is_some_and(is_server_full) {
            self.back_off(claim).await?;
        }
        let mut tx = self.store.begin().await?;
        if !self.write_outcome(&mut tx, claim, owner, outcome, next).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// A schema that the registry does not take must not cost the outcome: it is read anew when it is asked for. `false`: it
    /// was not kept.
    pub(super) async fn try_to_keep(&self, catalog: &Catalog, claim: &Claim) -> Result<bool, LedgerError> {
        match self.keep_schema(catalog).await {
            Err(error) if !error.is_temporary() => {
                tracing::warn!(%error, tenant.id = %claim.job.tenant, "the schema of a tenant was not kept");
                Ok(false)
            }
            kept => kept.map(|_| true),
        }
    }

    /// The same in a transaction of the caller's. `false`: nothing was written.
    pub(super) async fn write_outcome(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        owner: &str,
        outcome: &Outcome,
        next: Next,
    ) -> Result<bool, LedgerError> {
        if !self.update_target(tx, claim, outcome, next).await? {
            return Ok(false);
        }
        self.insert_attempt(tx, claim, owner, outcome, next).await?;
        self.update_tenant(tx, claim, outcome).await?;
        if next == Next::End(TargetState::Failed) {
            self.hold(tx, claim, outcome).await?;
        }
        for outsider in &outcome.fingerprint.appeared {
            self.insert_outsider(tx, claim, outsider).await?;
        }
        Ok(true)
    }

    async fn update_target(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        outcome: &Outcome,
        next: Next,
    ) -> Result<bool, LedgerError> {
        let (state, due, uncounted) = match next {
            Next::End(state) => (state, None, 0),
            Next::RetryIn(delay) => (TargetState::Retryable, Some(ms(delay)), 0),
            Next::SparedIn(delay) => (TargetState::Retryable, Some(ms(delay)), 1),
            Next::Again => (TargetState::Retryable, Some(0), 1),
        };
        let failure = failure_of(outcome);
        // Only a first attempt can say that nothing was changed: an earlier one may have begun.
        let refused = failure.map(|f| i64::from(f.refused && claim.attempt == 1));
        let update = "UPDATE targets SET state = $1, due_at = {now} + $2, uncounted = uncounted + $3,
                from_version = COALESCE(from_version, $4), to_version = COALESCE($5, to_version),
                class = $6, code = $7, message = $8, hint = $9, version = $10, statement = $11, line = $12, refused = $13, fingerprint = $14,
                finished_at = CASE WHEN $15 = 1 THEN {now} ELSE NULL END, schema_digest = $16, sighting = NULL
            WHERE run_id = $17 AND tenant_id = $18 AND attempt = $19 AND state = 'running'";
        let query = self
            .store
            .query(update)
            .bind(state.as_str())
            .bind(due)
            .bind(i64::from(uncounted))
            .bind(outcome.from.as_ref().map(ToString::to_string))
            .bind(outcome.to.as_ref().map(ToString::to_string));
        let query = bind_failure(query, failure)
            .bind(refused)
            .bind(failure.map(|f| f.fingerprint()))
            .bind(i64::from(state.is_final()))
            .bind(digest_of(outcome));
        let done = bind_attempt(query, claim).execute(&mut **tx).await?;
        Ok(done.rows_affected() == 1)
    }

    /// What was known of a tenant's schema is not true any more once something was applied to it.
    async fn update_tenant(&self, tx: &mut Tx, claim: &Claim, outcome: &Outcome) -> Result<(), LedgerError> {
        let (changed, tenant) = (!outcome.steps.is_empty(), claim.job.tenant.to_string());
        let pace = bounded(millis(head_start(outcome.duration)));
        let update = match (&outcome.verdict, &outcome.version) {
            (Verdict::Proven, Some(version)) => self
                .store
                .query("UPDATE tenants SET version = $1, version_at = {now}, schema_digest = CASE WHEN $2 = 1 THEN $3 ELSE schema_digest END,
                    head_start = CASE WHEN $2 = 1 THEN $4 ELSE head_start END WHERE id = $5")
                .bind(version.to_string())
                .bind(i64::from(changed))
                .bind(digest_of(outcome))
                .bind(pace),
            (Verdict::Proven, None) if changed => self
                .store
                .query("UPDATE tenants SET schema_digest = $1, head_start = $2 WHERE id = $3")
                .bind(digest_of(outcome))
                .bind(pace),
            _ if changed => self
                .store
                .query("UPDATE tenants SET schema_digest = NULL, head_start = $1 WHERE id = $2")
                .bind(pace),
            _ => return Ok(()),
        };
        update.bind(tenant).execute(&mut **tx).await?;
        Ok(())
    }

    async fn insert_attempt(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        owner: &str,
        outcome: &Outcome,
        next: Next,
    ) -> Result<(), LedgerError> {
        let word = match next {
            Next::End(state) if state != TargetState::Failed => state.as_str(),
            Next::Again => "interrupted",
            _ => "failed",
        };
        let insert = "INSERT INTO attempts (run_id, tenant_id, number, worker, started_at, finished_at, outcome, steps, class, code, message, hint, version, statement, line, output)
            VALUES ($1, $2, $3, $4, {now} - $5, {now}, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let query = bind_attempt(self.store.query(insert), claim)
            .bind(owner.to_owned())
            .bind(ms(outcome.duration))
            .bind(word)
            .bind(serde_json::to_string(&outcome.steps).unwrap_or_default());
        let query = bind_failure(query, failure_of(outcome)).bind(outcome.output.as_deref().map(kept));
        query.execute(&mut **tx).await?;
        Ok(())
    }
}

/// Binds class, code, message, hint, version, statement and line.
fn bind_failure(query: Statement, failure: Option<&Failure>) -> Statement {
    query
        .bind(failure.map(|f| f.class.as_str()))
        .bind(failure.map(|f| kept(&f.code)))
        .bind(failure.map(|f| kept(&f.message)))
        .bind(failure.and_then(|f| f.hint.as_deref()).map(kept))
        .bind(failure.and_then(|f| f.version.as_ref()).map(ToString::to_string))
        .bind(failure.and_then(|f| f.statement).map(i64::from))
        .bind(failure.and_then(|f| f.line).map(i64::from))
}

/// What a tenant's server or a program said, as every registry can hold it: a text that one refuses would cost the outcome.
pub(super) fn kept(text: &str) -> String {
    let begin = &text[..text.floor_char_boundary(TEXT_BYTES)];
    let more = if begin.len() < text.len() { "…" } else { "" };
    format!("{begin}{more}").replace('\0', "\u{fffd}")
}

pub(super) fn digest_of(outcome: &Outcome) -> Option<String> {
    outcome.fingerprint.catalog.as_ref().map(|catalog| catalog.digest().to_string())
}

pub(super) fn failure_of(outcome: &Outcome) -> Option<&Failure> {
    match &outcome.verdict {
        Verdict::Proven => None,
        Verdict::Failed(failure) => Some(failure),
    }
}
