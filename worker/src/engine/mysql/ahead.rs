//! What will be asked once a migration has run, read in the message that writes its record, after that is committed.

use tenantry_shared::{failure::Failure, site::Row};

use super::{MySqlSession, ask::results, left::FREE, maria::Looked};
use crate::engine::{Ahead, Select};

/// Answers that were read ahead.
pub(super) struct Ready {
    selects: Vec<Select>,
    /// None: somebody has asked for them.
    rows: Option<Vec<Option<Vec<Row>>>>,
    /// What the first message of a look at the catalog tells, where that was asked.
    looked: Option<Looked>,
}

impl MySqlSession {
    /// Runs these, which are committed then, and reads what was foreseen. What that fails with is nobody's business yet: it is
    /// asked again when it is wanted.
    pub(super) async fn execute_last(&mut self, sql: &[&str]) -> Result<(), Failure> {
        let Some(Ahead { selects, catalog, left, alone }) = self.ahead.take() else {
            return self.all(sql).await.map(|_| ());
        };
        let histories = catalog.filter(|_| self.is_maria);
        let histories: Option<Vec<&str>> =
            histories.as_ref().map(|tables| tables.iter().map(String::as_str).collect());
        let look = histories.as_ref().map(|histories| self.first_look(histories, alone));
        let free = left && !self.left.more && self.may_be_left();
        let mut message: Vec<String> = sql.iter().map(|&sql| sql.to_owned()).collect();
        message.extend(selects.iter().map(|select| select.sql.clone()));
        message.extend(look.iter().flatten().cloned());
        message.extend(free.then(|| FREE.to_owned()));
        let (mut answers, failed) = self.asked(&message).await?;
        let ours = sql.iter().copied().map(results).sum();
        if answers.len() < ours {
            return failed.map_or(Ok(()), Err);
        }
        let mut read = answers.split_off(ours);
        let read_look = read.split_off(selects.len().min(read.len()));
        if read.len() == selects.len() {
            self.left.freed = free && failed.is_none();
            let looked = histories.zip(look).filter(|_| !read_look.is_empty());
            let looked = looked.map(|(tables, asked)| Looked::of(read_look, asked.len(), &tables));
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
    pub(super) fn looked_ahead(&mut self) -> Option<Looked> {
        self.ready.take()?.looked
    }
}
