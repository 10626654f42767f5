//! `[worker]` of the configuration: how workers work.

use std::time::Duration;

use serde::Deserialize;

use super::file::Span;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Tenants at once.
    pub concurrency: usize,
    /// How long a drain waits for running migrations.
    pub drain_timeout: Duration,
    /// How long a claim is good without being renewed. A killed worker's tenants start again after it.
    pub lease: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { concurrency: 8, drain_timeout: Duration::from_mins(5), lease: Duration::from_secs(15) }
    }
}

/// The same as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawWorker {
    concurrency: Option<usize>,
    drain_timeout: Option<Span>,
    lease: Option<Span>,
}

impl RawWorker {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(below.concurrency),
            drain_timeout: self.drain_timeout.or(below.drain_timeout),
            lease: self.lease.or(below.lease),
        }
    }

    pub(super) fn merged(self) -> WorkerConfig {
        let default = WorkerConfig::default();
        WorkerConfig {
            concurrency: self.concurrency.unwrap_or(default.concurrency).max(1),
            drain_timeout: self.drain_timeout.map_or(default.drain_timeout, |span| span.0),
            lease: self.lease.map_or(default.lease, |span| span.0),
        }
    }
}
