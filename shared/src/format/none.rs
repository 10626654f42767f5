//! No format: what there is to do is known to a command alone, and whether it is done by its exit code.
//!
//! There is one migration, which stands for all that the command does. It is pending whenever it is looked at.

use std::time::Duration;

use super::{Applied, Draft, Entry, File, FormatError, Migration, NOTHING, Rules};
use crate::site::{Row, Site};

/// The version that stands for whatever the command does.
pub const COMMAND: &str = "command";

/// The rules of a command without a history.
#[derive(Debug)]
pub struct Nothing;

impl Rules for Nothing {
    fn name(&self) -> &'static str {
        "none"
    }

    fn table(&self) -> &'static str {
        "none"
    }

    fn suits(&self, _: &[File]) -> bool {
        false
    }

    fn keeps(&self, _: &str) -> bool {
        false
    }

    fn parse(&self, _: &[File]) -> Result<Vec<Migration>, FormatError> {
        Ok(vec![Migration {
            version: COMMAND.into(),
            description: "whatever the command does".into(),
            file: COMMAND.into(),
            up: None,
            down: None,
            checksum: None,
            equivalents: Vec::new(),
            repeatable: false,
            after: None,
        }])
    }

    fn skeleton(&self, _: &Draft<'_>) -> Vec<File> {
        Vec::new()
    }

    fn create(&self, _: &Site) -> String {
        NOTHING.into()
    }

    /// It changes nothing, and finds out whether the tenant is there.
    fn select(&self, _: &Site) -> String {
        "SELECT NULL".into()
    }

    fn read(&self, _: &[Row], _: &[&Migration]) -> Vec<Applied> {
        Vec::new()
    }

    fn record(&self, _: &Site, _: Entry<'_>, _: Duration, _: bool) -> String {
        NOTHING.into()
    }

    fn forget(&self, _: &Site, _: Entry<'_>) -> String {
        NOTHING.into()
    }

    fn proves(&self) -> bool {
        false
    }
}
