//! What will be asked once a migration has run, read in the message that writes its record, after that is committed.

use tenantry_shared::{failure::Failure, site::Row};

use super::{MySqlSession, ask::results, maria};
use crate::engine::{Ahead, Select};

/// Answers that were read ahead.
pub(super) struct Ready {
    selects: Vec<Select>,
    /// None: somebody has asked for them.
    rows: Option<Vec<Option<Vec<Row>>>>,
    /// The first answers of a look at the catalog, where they were read.
    pub(super) looked: Option<Vec<Vec<Row>>>,
}

impl MySqlSession {
    /// Runs these, which are committed then, and reads what was foreseen. What that fails with is nobody's business yet: it is
    /// asked again when it is wanted.
    pub(super) async fn execute_last(&mut self, sql: &[&str]) -> Result<(), Failure> {
        let Some(Ahead { selects, catalog, .. }) = self.ahead.take() else {
            return self.all(sql).await.map(|_| ());
        };
        let look = catalog.filter(|_| self.is_maria).map(|_| maria::first_look(&self.literal()));
        let mut message: Vec<String> = sql.iter().map(|&sql| sql.to_owned()).collect();
        message.extend(selects.iter().map(|select| select.sql.clone()));
        message.extend(look.iter().flatten().cloned());
        let (mut answers, failed) = self.asked(&message).await?;
        let ours = sql.iter().copied().map(results).sum();
        if answers.len() < ours {
            return failed.map_or(Ok(()), Err);
        }
        let mut read = answers.split_off(ours);
        let looked = read.split_off(selects.len().min(read.len()));
        if read.len() == selects.len() {
            let looked = look.filter(|look| look.len() == looked.len()).map(|_| looked);
            self.ready = Some(Ready { selects, rows: Some(read.into_iter().map(Some).collect()), looked });
        }
        Ok(())
    }

    /// What these were read as ahead.
    pub(super) fn ready_for(&mut self, selects: &[Select]) -> Option<Vec<Option<Vec<Row>>>> {
        let same = self.ready.as_ref().is_some_and(|ready| ready.selects == selects);
        if !same {
            self.ready = None;
        }
        self.ready.as_mut()?.rows.take()
    }

    /// The first answers of a look at the catalog that were read ahead.
    pub(super) fn looked_ahead(&mut self) -> Option<Vec<Vec<Row>>> {
        self.ready.take()?.looked
    }
}
