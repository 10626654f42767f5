//! The runtime of a program, from its first task to its last.

use std::time::Duration;

use tenantry_shared::fault::Fault;
use tokio::runtime::Builder;

use crate::engine::works_files;

/// How long SQLite may take to roll back what was stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Does all of a program's work. What waits for the system then, a look-up of a name, say, does not keep the process: to wait
/// for the ends of its threads takes longer than most commands. SQLite files in which something was stopped do, for a moment.
///
/// # Errors
/// What the work ended with, or why there is no runtime.
pub fn run<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    if works_files() {
        runtime.shutdown_timeout(LAST_WORDS);
    } else {
        runtime.shutdown_background();
    }
    done
}
