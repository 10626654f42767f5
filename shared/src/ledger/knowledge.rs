//! What is known of where tenants are, without asking them. The database counts, so that memory does not grow with the
//! fleet.
//!
//! A tenant is known by the version that was last read from its history, and by when. That is no proof while a rollback
//! is at work in it, or has failed in it since: it may have less by now.

use std::time::Duration;

use super::{
    Ledger, LedgerError, ms,
    selection::{Part, parts},
};
use crate::{
    run::Selection,
    store::{Row, Statement, StoreError, parameters},
    version::Version,
};

/// By so many tenants of each end of some it is judged what the registry knows of them.
const SAMPLE: usize = 16;

/// How many versions one statement carries.
const VERSIONS_PER_STATEMENT: usize = 500;

/// Tenants that may have less than is known of them.
const UNSURE: &str = "t.version_at IS NOT NULL AND t.id IN (
    SELECT g.tenant_id FROM runs r JOIN targets g ON g.run_id = r.id JOIN tenants u ON u.id = g.tenant_id
    WHERE r.action LIKE '%\"kind\":\"rollback\"%' AND g.attempt > 0 AND (g.state IN ('running', 'retryable')
        OR (g.state = 'failed' AND COALESCE(g.refused, 0) = 0 AND g.finished_at >= u.version_at)))";

/// Tenants that are known to be at one version, or of which none is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The version.
    pub version: Option<Version>,
    /// How many tenants.
    pub tenants: u64,
    /// How many of them may have less, because of a rollback that has not come to its end, or not well.
    pub unsure: u64,
    /// How many of the others were read too long ago.
    pub stale: u64,
    /// When the one that was read longest ago was read, of those that are neither; milliseconds since 1970.
    pub oldest_at: Option<i64>,
}

/// Why a tenant is not proven to be where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No version of it is known.
    Unseen,
    /// Its version is another one.
    Behind,
    /// A rollback is at work in it, or has failed in it.
    Unsure,
    /// Its version was read too long ago.
    Stale,
}

impl Why {
    /// The name in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Behind => "behind",
            Self::Unsure => "unsure",
            Self::Stale => "stale",
        }
    }
}

/// A tenant that is not proven to be where it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// Its slug.
    pub tenant: String,
    /// The version it is known by.
    pub version: Option<Version>,
    /// When that was read, in milliseconds since 1970.
    pub read_at: Option<i64>,
    /// What is missing.
    pub why: Why,
}

impl Ledger {
    /// Whether the registry has seen half of a sample of tenants, or more, at this version when it last heard of them. `of` selects
    /// each tenant's `id`.
    pub(super) async fn seem_current(
        &self,
        of: &str,
        bind: impl FnOnce(Statement) -> Statement,
        target: &Version,
    ) -> Result<bool, LedgerError> {
        let some = |order: &str| {
            format!(
                "SELECT {{array}}((SELECT v.version FROM tenants v WHERE v.id = picked.id)) AS line
                 FROM ({of} ORDER BY id {order} LIMIT {SAMPLE}) picked"
            )
        };
        let sample = self.store.query(&format!("{} UNION ALL {}", some("ASC"), some("DESC")));
        let sample: Vec<(Option<String>,)> = bind(sample).fetch_lines(self.store.pool()).await?;
        let target = target.to_string();
        let known = sample.iter().filter(|known| known.0.as_deref() == Some(&target)).count();
        Ok(known * 2 >= sample.len())
    }

    /// How many of the selected tenants are known to be at each version.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn knowledge(
        &self,
        selection: &Selection,
        max_age: Option<Duration>,
    ) -> Result<Vec<Known>, LedgerError> {
        let mut tx = self.store.begin_reading().await?;
        self.names_are_right(&mut tx, selection).await?;
        let mut all: Vec<Known> = Vec::new();
        let sure = format!("NOT ({UNSURE})");
        for from in parts(selection) {
            let left = selection.limit.map(|limit| u64::from(limit).saturating_sub(total(&all)));
            let stale = stale(max_age);
            let sql = format!(
                "SELECT t.version, count(*), count(CASE WHEN {UNSURE} THEN 1 END), count(CASE WHEN {sure} AND {stale} THEN 1 END),
                    min(CASE WHEN {sure} AND NOT ({stale}) THEN t.version_at END) FROM {} GROUP BY t.version",
                from.table(left)
            );
            for row in from.bind(self.store.query(&sql)).fetch_all(&mut *tx).await? {
                add(&mut all, read_known(&row)?);
            }
        }
        tx.commit().await?;
        if total(&all) == 0 { Err(LedgerError::NothingSelected) } else { Ok(all) }
    }

    /// The first of the selected tenants, by their slugs, that are at one of these versions, or whose version is not
    /// known, not sure or too old. At most `limit`.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn unproven(
        &self,
        selection: &Selection,
        behind: &[Version],
        max_age: Option<Duration>,
        limit: usize,
    ) -> Result<Vec<Unproven>, LedgerError> {
        let mut found: Vec<Unproven> = Vec::new();
        let mut chunks: Vec<&[Version]> = behind.chunks(VERSIONS_PER_STATEMENT).collect();
        chunks.push(&[]);
        let mut left = selection.limit.map(u64::from);
        for from in parts(selection) {
            for chunk in &chunks {
                found.extend(self.unproven_of(&from, left, chunk, max_age, limit).await?);
            }
            if let Some(left) = &mut left {
                *left = left.saturating_sub(self.count_part(&from, Some(*left)).await?);
            }
        }
        found.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        found.dedup_by(|later, first| later.tenant == first.tenant);
        found.truncate(limit);
        Ok(found)
    }

    /// Those of one part of the selection at one of these versions; without any, those whose version is no proof.
    async fn unproven_of(
        &self,
        from: &Part,
        left: Option<u64>,
        behind: &[Version],
        max_age: Option<Duration>,
        limit: usize,
    ) -> Result<Vec<Unproven>, LedgerError> {
        let stale = stale(max_age);
        let condition = if behind.is_empty() {
            format!("(t.version IS NULL OR ({UNSURE}) OR {stale})")
        } else {
            format!("t.version IN ({})", parameters(from.next(), behind.len()))
        };
        let why = if behind.is_empty() {
            format!("CASE WHEN t.version IS NULL THEN 0 WHEN {UNSURE} THEN 2 ELSE 3 END")
        } else {
            "1".to_owned()
        };
        let sql = format!(
            "SELECT t.slug, t.version, t.version_at, {why} FROM {} WHERE {condition} ORDER BY t.slug LIMIT {limit}",
            from.table(left)
        );
        let query = from.bind(self.store.query(&sql)).bind_all(behind.iter().map(Version::as_str));
        query.fetch_all(self.store.pool()).await?.iter().map(read_unproven).collect()
    }
}

/// Whether a tenant was read too long ago.
fn stale(max_age: Option<Duration>) -> String {
    max_age.map_or_else(|| "1 = 0".into(), |age| format!("t.version_at < {{now}} - {}", ms(age)))
}

fn total(known: &[Known]) -> u64 {
    known.iter().map(|known| known.tenants).sum()
}

fn add(all: &mut Vec<Known>, more: Known) {
    let Some(same) = all.iter_mut().find(|known| known.version == more.version) else {
        return all.push(more);
    };
    same.tenants += more.tenants;
    same.unsure += more.unsure;
    same.stale += more.stale;
    same.oldest_at = [same.oldest_at, more.oldest_at].into_iter().flatten().min();
}

fn read_known(row: &Row) -> Result<Known, LedgerError> {
    let count = |at: usize| Ok::<_, sqlx::Error>(u64::try_from(row.try_get::<i64>(at)?).unwrap_or(0));
    Ok(Known {
        version: row.try_get::<Option<String>>(0)?.map(Version::from),
        tenants: count(1)?,
        unsure: count(2)?,
        stale: count(3)?,
        oldest_at: row.try_get(4)?,
    })
}

fn read_unproven(row: &Row) -> Result<Unproven, LedgerError> {
    let why = match row.try_get::<i64>(3)? {
        0 => Why::Unseen,
        1 => Why::Behind,
        2 => Why::Unsure,
        3 => Why::Stale,
        other => return Err(StoreError::Value(other.to_string()).into()),
    };
    Ok(Unproven {
        tenant: row.try_get(0)?,
        version: row.try_get::<Option<String>>(1)?.map(Version::from),
        read_at: row.try_get(2)?,
        why,
    })
}
