//! Tasks that must not end: one that panics is told of and begun again.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tenantry_shared::{clock, retry};

const RESTART_BASE: Duration = Duration::from_millis(200);
const RESTART_CAP: Duration = Duration::from_secs(10);

/// Runs what `begin` gives to its end; after a panic once more, with backoff, for as long as it takes.
pub async fn keep<F: Future<Output = ()>>(task: &str, mut begin: impl FnMut() -> F) {
    let mut panics = 0_u32;
    while let Err(panic) = AssertUnwindSafe(async { begin().await }).catch_unwind().await {
        panics = panics.saturating_add(1);
        let delay = retry::delay(panics, RESTART_BASE, RESTART_CAP, 0.5 + clock::chance() / 2.0);
        let (panic, retry_in_ms) = (message(panic.as_ref()), clock::millis(delay));
        tracing::error!(
            task,
            panic,
            panics,
            retry_in_ms,
            "a task of this worker panicked and is begun again"
        );
        tokio::time::sleep(delay).await;
    }
}

/// What was said at a panic.
#[must_use]
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_begun_again_until_it_ends() {
        let mut begun = 0;
        keep("a test's", || {
            begun += 1;
            let number = begun;
            async move { assert!(number > 2, "this panic is part of the test") }
        })
        .await;
        assert_eq!(begun, 3);
    }
}
