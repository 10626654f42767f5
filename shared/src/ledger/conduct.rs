//! What the conductor does, one statement each. It takes no input but the ledger, and each of these may be done
//! twice or by two at once: the lease only saves work.

use std::time::Duration;

use super::{
    Ledger, LedgerError, bind_attempt,
    claims::WORKED,
    ms, number, read_job,
    stops::{SOME_GO_ON, unfinished},
    suspects,
};
use crate::{
    failure::{Class, Failure},
    job::{Claim, Job, MOST_HEAD_START, Next, Outcome, Verdict},
    run::{RunState, TargetState},
    schema::Fingerprint,
    store::{Connection, Row, StoreError},
    version::Version,
};

/// How many lapsed targets one call takes back.
const RESCUED_PER_CALL: u32 = 200;

/// A run that has ended just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: i64,
    /// How it ended.
    pub state: RunState,
}

impl Ledger {
    /// Takes or renews a lease by the registry's clock. `false`: somebody else holds it.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn hold_lease(&self, name: &str, holder: &str, term: Duration) -> Result<bool, LedgerError> {
        let sql = "UPDATE leases SET holder = $1, until_at = {now} + $2 WHERE name = $3 AND (holder = $1 OR until_at <= {now}) {hint}";
        let renew = self.store.query(sql).bind(holder).bind(ms(term)).bind(name);
        if renew.execute(self.store.pool()).await?.rows_affected() == 1 {
            return Ok(true);
        }
        let sql = "INSERT INTO leases (name, holder, until_at) VALUES ($1, $2, {now} + $3)";
        let take = self.store.query(sql).bind(name).bind(holder).bind(ms(term));
        Ok(take.insert(self.store.pool()).await?)
    }

    /// Gives a lease up, so that the next holder need not wait for its end.
    ///
    /// # Errors
    /// When the registry cannot be reached; the lease ends by itself then.
    pub async fn drop_lease(&self, name: &str, holder: &str) -> Result<(), LedgerError> {
        self.store
            .query("DELETE FROM leases WHERE name = $1 AND holder = $2 {hint}")
            .bind(name.to_owned())
            .bind(holder.to_owned())
            .execute(self.store.pool())
            .await?;
        Ok(())
    }

    /// Marks runs that a worker sees for the first time as running.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn open_runs(&self) -> Result<u64, LedgerError> {
        let sql = "UPDATE runs SET state = 'running', started_at = {now} WHERE state = 'pending' {hint}";
        Ok(self.store.query(sql).execute(self.store.pool()).await?.rows_affected())
    }

    /// Jobs that are due to be handed to a queue, again if need be, the longest due first. Each is due once more after `resend`, so
    /// that a crash between here and the queue, or a lost queue, only delays it. What is on a capped server is not sent:
    /// workers claim it from the ledger.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn take_due(&self, limit: u64, resend: Duration) -> Result<Vec<Job>, LedgerError> {
        // They are sent in the order in which they were due: `due_at` keeps that, as far as a head start goes.
        let early = ms(MOST_HEAD_START);
        let set = format!(
            "sent_at = {{now}}, due_at = {{now}} + $1 - CASE WHEN due_at > {{now}} - {early} THEN {{now}} - due_at ELSE {early} END"
        );
        let rows = self.change_due(limit, false, &set, &[ms(resend).into()]).await?;
        let dated = |row: &Row| Ok((row.try_get::<i64>(6)?, read_job(row)?));
        let mut jobs = rows.iter().map(dated).collect::<Result<Vec<_>, LedgerError>>()?;
        jobs.sort_by_key(|(due_at, _)| *due_at);
        Ok(jobs.into_iter().map(|(_, job)| job).collect())
    }

    /// Makes jobs due again that were sent longer than `grace` ago to a queue that is empty now: it has lost them. None
    /// while every run is held.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn resend_lost(&self, grace: Duration) -> Result<u64, LedgerError> {
        // What was sent of a run that is held is sent again when it goes on.
        let sql = format!(
            "UPDATE targets SET sent_at = NULL, due_at = {{now}}
             WHERE due_at IS NOT NULL AND state IN ('pending', 'retryable') AND sent_at <= {{now}} - $1 AND {SOME_GO_ON}"
        );
        let query = self.store.query(&sql).bind(ms(grace));
        Ok(query.execute(self.store.pool()).await?.rows_affected())
    }

    /// Takes back targets whose worker did not renew its lease, which lapsed by then (milliseconds since 1970 by the
    /// registry's clock). The attempt does not count; a target whose worker was lost too often while it worked nothing
    /// else is failed.
    ///
    /// # Errors
    /// When the registry cannot be reached; or when there was nothing but what cannot be taken back.
    pub async fn rescue(&self, lapsed_until: i64) -> Result<u64, LedgerError> {
        let sql = format!(
            "SELECT run_id, tenant_id, attempt, attempt - uncounted, max_attempts, lapses, owner, {{now}} - started_at, version, sighting
             FROM targets WHERE run_id IN (SELECT r.id FROM runs r WHERE r.state IN ('pending', 'running'))
                AND {WORKED} AND due_at <= {{now}} AND due_at <= $1 ORDER BY due_at LIMIT {RESCUED_PER_CALL}"
        );
        let (mut rescued, mut failed) = (0, None);
        for row in self.store.query(&sql).bind(lapsed_until).fetch_all(self.store.pool()).await? {
            match self.rescue_one(&row).await {
                Ok(taken) => rescued += u64::from(taken),
                Err(error) if error.is_temporary() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if rescued == 0 => Err(error),
            _ => Ok(rescued),
        }
    }

    async fn rescue_one(&self, row: &Row) -> Result<bool, LedgerError> {
        let claim = Claim {
            job: read_job(row)?,
            attempt: number(row, 2)?,
            counted: number(row, 3)?,
            max_attempts: number(row, 4)?,
            alone: number(row, 5)? >= suspects::IN_COMPANY,
        };
        let (lapses, owner): (u32, String) = (number(row, 5)? + 1, row.try_get(6)?);
        let began = row.try_get::<Option<String>>(8)?.filter(|_| claim.alone).map(Version::from);
        let failure = suspects::lost(lapses, began, row.try_get::<Option<String>>(9)?.as_deref());
        let duration = Duration::from_millis(u64::try_from(row.try_get::<i64>(7)?).unwrap_or(0));
        self.take_back(&claim, lapses, failure, &owner, duration).await
    }

    /// The lease is checked again: the worker may have renewed it since it was read. What somebody holds is left for the
    /// next time, so that a paused process keeps no other target waiting. The lapse is counted together with the end of
    /// the attempt, or not at all.
    async fn take_back(
        &self,
        claim: &Claim,
        lapses: u32,
        failure: Failure,
        owner: &str,
        duration: Duration,
    ) -> Result<bool, LedgerError> {
        let mut tx = self.store.begin().await?;
        let sql = "SELECT run_id FROM targets WHERE run_id = $1 AND tenant_id = $2 AND attempt = $3 AND state = 'running' AND due_at <= {now} {skip_locked}";
        if bind_attempt(self.store.query(sql), claim).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        let sql = "UPDATE targets SET lapses = $1 WHERE run_id = $2 AND tenant_id = $3 AND attempt = $4";
        let query = self.store.query(sql).bind(i64::from(lapses));
        bind_attempt(query, claim).execute(&mut *tx).await?;
        let blamed = failure.class == Class::Permanent;
        let next = if blamed { Next::End(TargetState::Failed) } else { Next::Again };
        let outcome = Outcome {
            verdict: Verdict::Failed(failure),
            from: None,
            to: None,
            version: None,
            steps: Vec::new(),
            duration,
            output: None,
            fingerprint: Fingerprint::default(),
            bytes: None,
        };
        let written = self.write_outcome(&mut tx, claim, owner, &outcome, next).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Ends the runs that have no target left to work. A run succeeds only when every target was proven to be
    /// at its version by reading its history.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn close_runs(&self) -> Result<Vec<Closed>, LedgerError> {
        // What has ended stays as it is, so what is read here is still so when it is written.
        let sql = format!(
            "SELECT id, number, CASE WHEN EXISTS (SELECT 1 FROM targets g WHERE g.run_id = runs.id
                    AND g.state NOT IN ('applied', 'current')) THEN CASE WHEN stop_code IS NULL THEN 'failed' ELSE 'halted' END ELSE 'succeeded' END
             FROM runs WHERE state IN ('pending', 'running') AND {} IS NULL",
            unfinished("runs.id", "1 = 1")
        );
        let mut closed = Vec::new();
        for row in self.store.query(&sql).fetch_all(self.store.pool()).await? {
            let (id, state): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            let mut lent = self.store.writing().await?;
            let is_closed = self.close(&mut lent, &id, &state).await?;
            lent.done();
            if is_closed {
                let state = state.parse().map_err(StoreError::Value)?;
                closed.push(Closed { number: row.try_get(1)?, state });
            }
        }
        Ok(closed)
    }

    /// Whether there is a run that has not ended.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn has_open_runs(&self) -> Result<bool, LedgerError> {
        let sql = "SELECT id FROM runs WHERE state IN ('pending', 'running') LIMIT 1";
        Ok(self.store.query(sql).fetch_optional(self.store.pool()).await?.is_some())
    }

    /// `false`: somebody else has closed it.
    pub(super) async fn close(
        &self,
        connection: &mut Connection,
        run: &str,
        state: &str,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE runs SET finished_at = {now}, started_at = COALESCE(started_at, {now}), state = $1
            WHERE id = $2 AND state IN ('pending', 'running')";
        let done = self.store.query(sql).bind(state).bind(run).execute(connection).await?;
        Ok(done.rows_affected() == 1)
    }
}
