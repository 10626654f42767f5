//! Redis as the queue: one list of job ids per registry. One key is one hash slot, so Cluster and Sentinel do.

use std::time::Duration;

use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::QueueError;
use crate::{job::Job, secret::redact};

/// Longest wait for an answer, and for a connection. The driver's own default of 500 ms is too short for a busy server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A list in Redis.
#[derive(Clone)]
pub struct RedisQueue {
    connection: ConnectionManager,
    key: String,
    password: Option<String>,
}

impl RedisQueue {
    pub(super) async fn connect(url: &str, identity: &str) -> Result<Self, QueueError> {
        // Fails when another provider was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let password = url::Url::parse(url).ok().and_then(|u| u.password().map(str::to_owned));
        let fail =
            |e: redis::RedisError| QueueError::Unreachable(redact(&e.to_string(), password.as_deref()));
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(2)
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT));
        let client = Client::open(url).map_err(fail)?;
        let connection = ConnectionManager::new_with_config(client, config).await.map_err(fail)?;
        let queue = Self { connection, key: format!("{{tenantry:{identity}}}:jobs"), password };
        queue.depth().await?;
        Ok(queue)
    }

    pub(super) async fn depth(&self) -> Result<u64, QueueError> {
        self.query(redis::cmd("LLEN").arg(&self.key)).await
    }

    pub(super) async fn send(&self, jobs: &[Job]) -> Result<(), QueueError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut push = redis::cmd("RPUSH");
        push.arg(&self.key);
        for job in jobs {
            push.arg(serde_json::to_string(job).unwrap_or_default());
        }
        self.query::<u64>(&push).await.map(|_| ())
    }

    /// Takes up to `limit` messages off the list and reads the jobs in them. None: the list is empty.
    pub(super) async fn take(&self, limit: usize) -> Result<Option<Vec<Job>>, QueueError> {
        let taken: Option<Vec<Vec<u8>>> = self.query(redis::cmd("LPOP").arg(&self.key).arg(limit)).await?;
        let read = |bytes: Vec<u8>| {
            let job = serde_json::from_slice(&bytes);
            job.inspect_err(
                |e| tracing::error!(error = %e, key = %self.key, "dropped a job that cannot be read"),
            )
            .ok()
        };
        Ok(taken.map(|messages| messages.into_iter().filter_map(read).collect()))
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, QueueError> {
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.map_err(|e| QueueError::Unreachable(redact(&e.to_string(), self.password.as_deref())))
    }
}
