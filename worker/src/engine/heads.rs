//! Heads: what the histories of many tenants are, read together and without changing anything.
//!
//! Where one connection reaches many tenants, one message asks for many histories. Long ones may come as digests of their
//! rows in their order. Equal digests are equal rows, whatever the format: a number before each text says how long it is, so
//! that no two histories make the same text. What rows mean is somebody else's to say.

use std::time::Duration;

use futures::{StreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use sqlx::Either;
use tenantry_shared::{
    digest::hex,
    failure::Failure,
    format::Rules,
    place::{Engine, Place},
    registry::Access,
    site::{Row, Site},
};

/// A history table to be read.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// How it is read.
    pub(crate) rules: &'static dyn Rules,
    /// Its bare name.
    pub(crate) name: String,
    /// Whether it says itself what is half done.
    pub(crate) marks: bool,
}

impl Table {
    /// Reads it where a tenant is.
    pub(super) fn select(&self, engine: Engine, schema: Option<&str>) -> String {
        let site = Site { engine, schema: schema.map(str::to_owned), table: self.name.clone() };
        self.rules.select(&site)
    }
}

/// A connection that only reads histories.
pub(crate) trait Heads: Send + Sized + 'static {
    /// Connects, within this limit.
    fn open(access: &Access, limit: Duration) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// The rows of one tenant's tables. None: a migration of it may be half done, or a table is not there.
    ///
    /// # Errors
    /// When they cannot be read. Where no table is there some servers say so.
    fn whole(
        &mut self,
        place: &Place,
        tables: &[Table],
    ) -> impl Future<Output = Result<Option<Vec<Vec<Row>>>, Failure>> + Send;

    /// Ends the connection.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What was read of a tenant's tables, each of which has rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The rows of each.
    Rows(Vec<Vec<Row>>),
    /// The digest of each, as the server made it.
    Digests(Vec<String>),
}

/// A connection that reaches many tenants.
pub(crate) trait Together: Heads {
    /// What there is of each tenant. Where it is said how many columns each table has, the server may send digests. None: a
    /// migration may be half done, or a table is not there or empty.
    ///
    /// # Errors
    /// When a table of one of them cannot be read.
    fn read(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        columns: Option<&[usize]>,
    ) -> impl Future<Output = Result<Vec<Option<Seen>>, Failure>> + Send;
}

/// The digest of rows that were read, as the servers make it.
pub(crate) fn digest(rows: &[Row]) -> String {
    let mut sum = Sha256::new();
    for cell in rows.iter().flatten() {
        match cell {
            Some(text) => {
                sum.update(text.chars().count().to_string());
                sum.update(":");
                sum.update(text);
            }
            None => sum.update(":"),
        }
    }
    hex(&sum.finalize())
}

/// The rows of each statement of a message.
pub(super) async fn answers<Q, R>(
    mut results: BoxStream<'_, Result<Either<Q, R>, sqlx::Error>>,
    texts: fn(&R) -> Result<Row, sqlx::Error>,
) -> Result<Vec<Vec<Row>>, sqlx::Error> {
    let (mut answers, mut rows) = (Vec::new(), Vec::new());
    while let Some(result) = results.next().await {
        match result? {
            Either::Right(row) => rows.push(texts(&row)?),
            Either::Left(_) => answers.push(std::mem::take(&mut rows)),
        }
    }
    Ok(answers)
}

/// The names of so many columns.
pub(super) fn names(columns: usize) -> String {
    (1..=columns).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_histories_have_the_same_digest() {
        let text = |text: &str| Some(text.to_owned());
        let histories = [
            vec![vec![text("a"), text("b")]],
            vec![vec![text("ab"), None]],
            vec![vec![None, text("ab")]],
            vec![vec![text("a"), text("")], vec![text("b"), None]],
            vec![vec![text("1:a"), text(":")]],
            vec![],
        ];
        let digests: std::collections::BTreeSet<_> = histories.iter().map(|rows| digest(rows)).collect();
        assert_eq!(digests.len(), histories.len());
    }
}
