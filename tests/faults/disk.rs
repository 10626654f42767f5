//! Disks of a test's own that are memory: quick ones, and small ones that can be filled. Only root may mount them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tenantry_tests::fleet::unique;

/// A disk. It is unmounted when this is dropped, and by `tests/run` at the latest.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one of this size, such as `4m`.
    pub(crate) fn mount(size: &str) -> Result<Self, String> {
        let dir = directory().join(unique("disk"));
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let words = ["-t", "tmpfs", "-o", &format!("mode=0755,size={size}"), "tmpfs"];
        let mount = Command::new("mount").args(words).arg(&dir).output().map_err(|e| e.to_string())?;
        let mounted = mount.status.success().then_some(Self(dir));
        mounted.ok_or_else(|| String::from_utf8_lossy(&mount.stderr).trim().to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a worker that is being killed may have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Where everything lies that `tests/run` takes away.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(std::env::var("TENANTRY_TEST_DIR").expect("run this with tests/run"))
}
