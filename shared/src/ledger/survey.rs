//! Surveys: which tenants of a run are at its version already, found by reading and written for many at once.
//!
//! Reading harms nobody, so a survey claims nothing: what it found is written only of targets that nobody has ever claimed,
//! by one guarded statement. Each wave of a run is surveyed once at most, by whoever takes it first. One that dies leaves
//! nothing behind but a hold that ends by itself.

use std::{cmp::Reverse, time::Duration};

use super::{Ledger, LedgerError, caps::CAPPED, claims::free, ms};
use crate::{
    id::{RunId, TenantId},
    store::{Statement, StoreError, Tx, list},
    version::Version,
};

/// So many tenants one statement names.
const AT_ONCE: usize = 500;

/// A run that somebody may look at now, as a condition.
const GOES_ON: &str = "state IN ('pending', 'running') AND stop_code IS NULL AND paused_at IS NULL";

/// The right to survey the open wave of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The run.
    pub run: RunId,
    /// How many tenants the wave has.
    pub tenants: u64,
    /// Whether the registry takes most of them for current: its claims are held back then.
    pub is_held: bool,
    wave: i64,
}

/// Some targets that nobody has claimed, when they were read.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Their tenants.
    pub tenants: Vec<TenantId>,
    /// The registry's time then.
    read_at: i64,
}

/// Tenants whose histories say that they are at a run's version.
#[derive(Clone, Debug)]
pub struct Found {
    /// The newest version there, where there is one.
    pub version: Option<Version>,
    /// Who they are.
    pub tenants: Vec<TenantId>,
}

impl Ledger {
    /// Takes the survey of a run whose open wave nobody has surveyed, and holds its claims back for so long where the registry takes most
    /// of its tenants for current. None: there is no such run, another one was quicker, or the wave has fewer tenants than that.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn begin_survey(&self, fewest: u64, hold: Duration) -> Result<Option<Survey>, LedgerError> {
        let sql = format!(
            "SELECT id, wave, waves, target_version FROM runs WHERE {GOES_ON} AND surveyed < wave ORDER BY number LIMIT 1"
        );
        let Some(row) = self.store.query(&sql).fetch_optional(self.store.pool()).await? else {
            return Ok(None);
        };
        let (run, wave, waves): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let sizes: Vec<u64> = serde_json::from_str(&waves).unwrap_or_default();
        let size = usize::try_from(wave - 1).ok().and_then(|at| sizes.get(at)).copied().unwrap_or(0);
        let is_large = size >= fewest;
        let target: Version = row.try_get::<String>(3)?.into();
        let of =
            "SELECT tenant_id AS id FROM targets WHERE run_id = $1 AND state = 'pending' AND attempt = 0";
        let sampled = |sample: Statement| sample.bind(run.as_str());
        let is_held = is_large && self.seem_current(of, sampled, &target).await?;
        let hold = is_held.then(|| ms(hold));
        let sql = format!(
            "UPDATE runs SET surveyed = $1, survey_until = {{now}} + $2 WHERE id = $3 AND surveyed < $4 AND {GOES_ON} {{hint}}"
        );
        let take = self.store.query(&sql).bind(wave).bind(hold).bind(run.as_str()).bind(wave);
        let taken = take.execute(self.store.pool()).await?.rows_affected() == 1;
        let run = run.parse().map_err(|_| StoreError::Value("runs.id".into()))?;
        Ok((taken && is_large).then_some(Survey { run, tenants: size, is_held, wave }))
    }

    /// Holds the run's claims back for so long from now on.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn hold_survey(&self, survey: Survey, hold: Duration) -> Result<(), LedgerError> {
        let sql = "UPDATE runs SET survey_until = {now} + $1 WHERE id = $2 AND surveyed = $3 {hint}";
        let renew = self.store.query(sql).bind(ms(hold)).bind(survey.run.to_string()).bind(survey.wave);
        renew.execute(self.store.pool()).await?;
        Ok(())
    }

    /// Lets the run's claims go on. With `resend`, jobs of it that came meanwhile are sent again: they were thrown away.
    ///
    /// # Errors
    /// When the registry cannot be reached; the hold ends by itself then.
    pub async fn end_survey(&self, survey: Survey, resend: bool) -> Result<(), LedgerError> {
        let sql = "UPDATE runs SET survey_until = NULL WHERE id = $1 AND surveyed = $2 {hint}";
        let end = self.store.query(sql).bind(survey.run.to_string()).bind(survey.wave);
        end.execute(self.store.pool()).await?;
        if resend {
            let sql = "UPDATE targets SET sent_at = NULL, due_at = {now}
                WHERE run_id = $1 AND state IN ('pending', 'retryable') AND sent_at IS NOT NULL";
            self.store.query(sql).bind(survey.run.to_string()).execute(self.store.pool()).await?;
        }
        Ok(())
    }

    /// Reads targets that are due and that nobody has ever claimed, from the newest tenants on, or those before this one. Those of
    /// servers with a cap are not among them: a claim is the permit of a connection there. Empty, too, where the run is paused or
    /// stopped.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn survey_page(
        &self,
        survey: Survey,
        before: Option<TenantId>,
        limit: usize,
    ) -> Result<Page, LedgerError> {
        // Behind every digit.
        let bound = before.map_or_else(|| "g".to_owned(), |id| id.to_string());
        // As a value: PostgreSQL would join all that has not ended, and sort it, for each page.
        let sql = format!(
            "SELECT {{array}}(tenant_id, {{now}}) AS line FROM targets WHERE run_id = $1 AND tenant_id < $2
                AND state = 'pending' AND attempt = 0 AND (due_at <= {{now}} OR sent_at IS NOT NULL)
                AND server_id NOT IN {CAPPED} AND CASE WHEN {} THEN 1 END = 1 AND EXISTS (SELECT 1 FROM runs WHERE id = $3 AND {GOES_ON})
             ORDER BY tenant_id DESC LIMIT {limit}",
            free()
        );
        let run = survey.run.to_string();
        let query = self.store.query(&sql).bind(run.as_str()).bind(bound).bind(run.as_str());
        let mut lines: Vec<(TenantId, i64)> = query.fetch_lines(self.store.pool()).await?;
        lines.sort_unstable_by_key(|(tenant, _)| Reverse(*tenant));
        let read_at = lines.iter().map(|(_, read_at)| *read_at).min().unwrap_or(0);
        Ok(Page { tenants: lines.into_iter().map(|(tenant, _)| tenant).collect(), read_at })
    }

    /// Writes down who of a page was found at the run's version, as far as nobody has claimed them meanwhile, and the run
    /// goes on. What was found out of a tenant since the page was read stays. Gives how many they were.
    ///
    /// # Errors
    /// When the registry cannot be reached; nothing is written then.
    pub async fn found_current(
        &self,
        survey: Survey,
        page: &Page,
        found: &[Found],
        owner: &str,
    ) -> Result<u64, LedgerError> {
        let mut tx = self.store.begin().await?;
        let mut written = 0;
        for Found { version, tenants } in found {
            let version = version.as_ref().map(ToString::to_string);
            for some in tenants.chunks(AT_ONCE) {
                let ids: Vec<String> = some.iter().map(ToString::to_string).collect();
                written += self.end_current(&mut tx, survey, version.as_deref(), &ids, owner).await?;
                if let Some(version) = &version {
                    self.note_current(&mut tx, survey, page, version, &ids).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(written)
    }

    async fn end_current(
        &self,
        tx: &mut Tx,
        survey: Survey,
        version: Option<&str>,
        ids: &[String],
        owner: &str,
    ) -> Result<u64, LedgerError> {
        let sql = format!(
            "UPDATE targets SET state = 'current', due_at = NULL, sent_at = NULL, owner = $1, started_at = {{now}},
                finished_at = {{now}}, from_version = $2, to_version = $3
             WHERE run_id = $4 AND tenant_id IN ({}) AND state = 'pending' AND attempt = 0
                AND EXISTS (SELECT 1 FROM runs WHERE id = $5 AND {GOES_ON})",
            list(self.store.dialect(), 6, ids.len())
        );
        let run = survey.run.to_string();
        let update = self.store.query(&sql).bind(owner).bind(version).bind(version);
        let update = update.bind(run.as_str()).bind(run.as_str()).bind_list(ids);
        Ok(update.execute(&mut **tx).await?.rows_affected())
    }

    async fn note_current(
        &self,
        tx: &mut Tx,
        survey: Survey,
        page: &Page,
        version: &str,
        ids: &[String],
    ) -> Result<(), LedgerError> {
        // As a value: PostgreSQL, which saw none that is current when the run was written, would begin with all of those.
        let sql = format!(
            "UPDATE tenants SET version = $1, version_at = {{now}} WHERE id IN ({}) AND (version_at IS NULL OR version_at <= $2)
                AND (SELECT g.state FROM targets g WHERE g.run_id = $3 AND g.tenant_id = tenants.id AND g.attempt = 0) = 'current'",
            list(self.store.dialect(), 4, ids.len())
        );
        let update = self.store.query(&sql).bind(version).bind(page.read_at).bind(survey.run.to_string());
        update.bind_list(ids).execute(&mut **tx).await?;
        Ok(())
    }
}
