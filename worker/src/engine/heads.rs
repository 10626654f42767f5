//! Heads: what the histories of many tenants are, read together and without changing anything.
//!
//! Where one connection reaches many tenants, many histories are one answer, each as a digest of its rows in their order.
//! Equal digests are equal rows, whatever the format: a number before each text says how long it is, so that no two
//! histories make the same text. What rows mean is somebody else's to say.

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

    /// The rows of one tenant's tables. None: a migration of it may be half done.
    ///
    /// # Errors
    /// When a table is not there, or cannot be read.
    fn whole(
        &mut self,
        place: &Place,
        tables: &[Table],
    ) -> impl Future<Output = Result<Option<Vec<Vec<Row>>>, Failure>> + Send;

    /// Ends the connection.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A connection that reaches many tenants.
pub(crate) trait Together: Heads {
    /// Of each tenant whether its tables may be read: no migration of it is half done.
    fn ready(
        &mut self,
        places: &[&Place],
        tables: &[Table],
    ) -> impl Future<Output = Result<Vec<bool>, Failure>> + Send;

    /// The digests of each tenant's tables, which have so many columns each. None: one is empty, or too large.
    ///
    /// # Errors
    /// When a table of one of them is not there, or cannot be read.
    fn digests(
        &mut self,
        places: &[&Place],
        tables: &[Table],
        columns: &[usize],
    ) -> impl Future<Output = Result<Vec<Option<Vec<String>>>, Failure>> + Send;
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

/// Puts digests in the order of their tenants. A row is its number, its digest, and nothing else.
pub(super) fn arranged(rows: Vec<Row>, places: usize, tables: usize) -> Vec<Option<Vec<String>>> {
    let mut found = vec![None; places * tables];
    for row in rows {
        let mut cells = row.into_iter();
        let number = cells.next().flatten().and_then(|number| number.parse::<usize>().ok());
        if let Some(slot) = number.and_then(|number| found.get_mut(number)) {
            *slot = cells.next().flatten();
        }
    }
    found.chunks(tables).map(|some| some.iter().cloned().collect()).collect()
}

/// The parts of a statement that reads many digests: one for each table of each tenant, with its number.
pub(super) fn all<T>(
    places: &[&Place],
    tables: &[Table],
    part: impl Fn(usize, &Place, usize) -> T,
) -> Vec<T> {
    let number = |at: usize, table: usize| at * tables.len() + table;
    let of = |(at, place): (usize, &&Place)| -> Vec<T> {
        (0..tables.len()).map(|table| part(number(at, table), place, table)).collect()
    };
    places.iter().enumerate().flat_map(of).collect()
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

    #[test]
    fn digests_are_arranged_by_their_numbers() {
        let row =
            |number: &str, digest: Option<&str>| vec![Some(number.to_owned()), digest.map(str::to_owned)];
        let rows = vec![row("3", Some("d")), row("0", Some("a")), row("2", Some("c")), row("1", None)];
        assert_eq!(arranged(rows, 2, 2), [None, Some(vec!["c".to_owned(), "d".to_owned()])]);
    }
}
