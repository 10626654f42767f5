//! A sign of life for `tenantry-worker healthcheck`: a file that a living event loop touches.
//!
//! Never a database: an outage of the registry must not get workers restarted in the middle of a migration.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tenantry_shared::clock;

/// How old a sign of life may be.
pub const STALE: Duration = Duration::from_secs(30);

/// Where the file is when nothing else is said.
#[must_use]
pub fn default_path() -> PathBuf {
    std::env::temp_dir().join("tenantry-worker.health")
}

/// Leaves a sign of life. Whoever looks sees the last one or this one, never half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn touch(path: &Path) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&new, format!("{} {}\n", std::process::id(), clock::unix_ms()))?;
    std::fs::rename(new, path)
}

/// How old the last sign of life is; none when there is none that can be read.
#[must_use]
pub fn age(path: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(path).ok()?;
    let at: i64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(clock::unix_ms() - at).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_there_whenever_somebody_looks() {
        let path = std::env::temp_dir().join(format!("tenantry-health-{}", std::process::id()));
        touch(&path).unwrap();
        let touching = {
            let path = path.clone();
            std::thread::spawn(move || (0..2_000).for_each(|_| touch(&path).unwrap()))
        };
        while !touching.is_finished() {
            assert!(age(&path).is_some_and(|age| age < STALE));
        }
        touching.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
