//! Waiting for a condition, with a deadline and without guessing how long it takes.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long a condition may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
///
/// # Panics
/// When it does not hold before the deadline; `what` is in the message.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
