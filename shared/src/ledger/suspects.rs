//! Suspects: targets that may kill the worker that works them, and so the attempts of its neighbors.
//!
//! Invariant: once a target's workers were lost `IN_COMPANY` times it is claimed only by [`Ledger::claim_suspect`], for a
//! worker that works nothing else. So every lapse after those is one that it had alone, and nothing else needs to be
//! kept to blame it for `ALONE` of them. A neighbor that was lost with it is run alone as well, and is done.

use std::time::Duration;

use super::{
    Ledger, LedgerError, Seen, bind_attempt,
    claims::{CLAIMED, free, read_claims},
    ms,
    stops::HELD,
};
use crate::{
    failure::{Class, Failure},
    job::Claim,
    version::Version,
};

/// How often its worker may be lost while others ran beside it. Two: once may be anything, and each time costs all
/// neighbors a lapse.
pub(super) const IN_COMPANY: u32 = 2;

/// How often its worker may be lost while nothing ran beside it. Three: a machine that is taken away at random, or out of
/// memory for another reason, hardly meets one tenant so often, and what kills its worker does it every time.
const ALONE: u32 = 3;

/// The targets that may be claimed together with others: [`IN_COMPANY`] in SQL.
pub(super) const TRUSTED: &str = "lapses < 2";

/// The others, in the words of the index that finds them.
const SUSPECT: &str = "lapses >= 2 AND due_at IS NOT NULL";

/// The suspects as one worker sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// For how long the first one has been due. None: none is due.
    pub waited: Option<Duration>,
    /// Whether this worker has claimed one.
    pub held: bool,
}

impl Ledger {
    /// Claims the suspect that is due longest. The owner must work nothing else until it has ended.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn claim_suspect(&self, owner: &str, lease: Duration) -> Result<Option<Claim>, LedgerError> {
        let ready = |condition: &str| {
            format!(
                "FROM targets {{by_lapses}} WHERE {SUSPECT} AND due_at <= {{now}} AND state IN ('pending', 'retryable')
                    AND run_id NOT IN {HELD} AND {condition} AND {} ORDER BY due_at LIMIT 1",
                free()
            )
        };
        // What an earlier attempt was at is not what this one is at.
        let set = format!("{CLAIMED}, version = NULL");
        let row = self.change_one(ready, &set, vec![owner.into(), ms(lease).into()]).await?;
        Ok(read_claims(row.as_slice())?.pop())
    }

    /// Notes the migration that an attempt begins now, in case it is the last that is heard of it. `false`: it is not the
    /// target's attempt any more.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn note_begun(&self, claim: &Claim, version: &Version) -> Result<bool, LedgerError> {
        let sql = "UPDATE targets SET version = $1 WHERE run_id = $2 AND tenant_id = $3 AND attempt = $4 AND state = 'running'";
        let query = bind_attempt(self.store.query(sql).bind(version.as_str()), claim);
        Ok(query.execute(self.store.pool()).await?.rows_affected() == 1)
    }

    /// The suspects, as this worker sees them.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn suspects(&self, owner: &str) -> Result<Suspects, LedgerError> {
        let sql = format!(
            "SELECT {{now}} - min(CASE WHEN state <> 'running' AND run_id NOT IN {HELD} THEN due_at END),
                count(CASE WHEN state = 'running' AND owner = $1 THEN 1 END) FROM targets {{by_lapses}} WHERE {SUSPECT}"
        );
        let row = self.store.query(&sql).bind(owner).fetch_one(self.store.pool()).await?;
        let waited = row.try_get::<Option<i64>>(0)?.and_then(|ms| u64::try_from(ms).ok());
        Ok(Suspects { waited: waited.map(Duration::from_millis), held: row.try_get::<i64>(1)? > 0 })
    }
}

/// What an attempt ended with whose worker was lost, for so many times now; with the migration that it had begun, and the
/// statement that it was sighted at, where those are known. Permanent: the target is to blame.
pub(super) fn lost(lapses: u32, began: Option<Version>, sighting: Option<&str>) -> Failure {
    let seen = sighting.and_then(|text| serde_json::from_str::<Seen>(text).ok());
    let seen = seen.filter(|seen| began.is_some() && seen.migration == began);
    Failure { statement: seen.and_then(|seen| seen.statement), version: began, ..failure(lapses) }
}

fn failure(lapses: u32) -> Failure {
    let (code, alone) = ("worker-lost", lapses.saturating_sub(IN_COMPANY));
    if alone >= ALONE {
        let died = format!("its worker died {alone} times while it ran this tenant alone");
        let hint = "does a migration take all memory, or end its process? see those workers' logs and the kernel's (dmesg); tenantry logs names them";
        return Failure::new(Class::Permanent, code, died).with_hint(hint);
    }
    let next = if lapses >= IN_COMPANY { "; it is run alone next" } else { "" };
    let times = if lapses == 1 { "once".to_owned() } else { format!("{lapses} times") };
    let lost = format!("the worker was lost during the attempt (so far {times}){next}");
    Failure::new(Class::Interrupted, code, lost)
        .with_hint("look at that worker's log: was it killed, out of memory, or cut off from the registry?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_are_those_of_the_limit() {
        assert_eq!(TRUSTED, format!("lapses < {IN_COMPANY}"));
        assert!(SUSPECT.starts_with(&format!("lapses >= {IN_COMPANY} ")));
    }

    #[test]
    fn the_statement_is_told_of_the_migration_that_had_begun() {
        let seen = r#"{"migration":"7","statement":2,"waits_for":null}"#;
        let told = |began: Option<u64>, seen| {
            let lost = lost(5, began.map(|version| version.to_string().into()), seen);
            (lost.version.map(|version| version.to_string()), lost.statement)
        };
        assert_eq!(told(Some(7), Some(seen)), (Some("7".into()), Some(2)));
        assert_eq!(told(Some(8), Some(seen)), (Some("8".into()), None));
        assert_eq!(told(None, Some(seen)), (None, None));
        assert_eq!(told(Some(7), Some("damaged")), (Some("7".into()), None));
    }

    #[test]
    fn only_workers_lost_alone_are_held_against_a_target() {
        let blamed = |lapses| lost(lapses, None, None).class == Class::Permanent;
        assert_eq!([1, 2, 3, 4].map(blamed), [false; 4]);
        assert!(blamed(IN_COMPANY + ALONE));
        let said = [1, 2].map(|lapses| lost(lapses, None, None).message);
        assert!(said[0].ends_with("(so far once)"), "{said:?}");
        assert!(said[1].ends_with("(so far 2 times); it is run alone next"), "{said:?}");
        assert!(lost(5, None, None).message.contains("died 3 times while it ran this tenant alone"));
    }
}
