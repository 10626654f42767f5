//! What was read right after a migration, each to be given once.

use tenantry_shared::site::Row;

use crate::engine::{Ahead, Select};

/// What was read ahead.
#[derive(Default)]
pub(super) struct After {
    selects: Vec<Select>,
    rows: Option<Vec<Option<Vec<Row>>>>,
    histories: Vec<String>,
    catalog: Option<Vec<Row>>,
}

impl After {
    /// The answers to what was asked.
    pub(super) fn new(asked: Ahead, rows: Vec<Option<Vec<Row>>>, catalog: Option<Vec<Row>>) -> Self {
        let Ahead { selects, catalog: histories, .. } = asked;
        Self { selects, rows: Some(rows), histories: histories.unwrap_or_default(), catalog }
    }

    pub(super) fn rows_of(&mut self, selects: &[Select]) -> Option<Vec<Option<Vec<Row>>>> {
        self.rows.take().filter(|_| self.selects == selects)
    }

    pub(super) fn catalog_without(&mut self, histories: &[&str]) -> Option<Vec<Row>> {
        self.catalog.take().filter(|_| self.histories == histories)
    }
}
