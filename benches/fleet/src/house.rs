//! What must be gone when the program ends, however it ends: programs, servers, and last of all their files. Nothing is
//! deleted while anything is measured: ext4 is slow at making files for minutes after many were deleted.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

static HOUSE: LazyLock<Mutex<House>> = LazyLock::new(|| {
    let root = TempDir::with_prefix("fleet-").expect("a directory").keep();
    Mutex::new(House { root, directories: 0, servers: Vec::new(), programs: BTreeSet::new() })
});

struct House {
    root: PathBuf,
    directories: usize,
    /// Kind and directory.
    servers: Vec<(&'static str, PathBuf)>,
    /// Process groups.
    programs: BTreeSet<u32>,
}

/// A new directory, which stays until the program ends.
pub fn directory(name: &str) -> PathBuf {
    let mut house = house();
    house.directories += 1;
    let path = house.root.join(format!("{}-{name}", house.directories));
    std::fs::create_dir(&path).expect("a directory");
    path
}

/// Has the file system write all that is in memory only.
pub fn settle() {
    let root = house().root.clone();
    let done = Command::new("sync").arg("-f").arg(root).status();
    assert!(done.is_ok_and(|status| status.success()), "sync -f");
}

/// Gives back the room on the disk of what is not needed any more, and leaves the files, which are empty then.
pub fn hollow(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => hollow(&entry.path()),
            Ok(found) if found.is_file() && found.len() > 0 => drop(std::fs::File::create(entry.path())),
            _ => {}
        }
    }
}

/// How many bytes the disk has room for.
pub fn room() -> u64 {
    let disk = rustix::fs::statvfs(&house().root).expect("a file system");
    disk.f_bavail * disk.f_frsize
}

/// Says, before it starts, that a server will live in a directory.
pub fn keep_server(kind: &'static str, dir: &Path) {
    house().servers.push((kind, dir.into()));
}

/// Stops a server and leaves its files.
pub fn stop_server(kind: &str, dir: &Path) {
    let _ = Command::new(script()).args(["stop", kind]).arg(dir).arg("immediate").output();
}

/// Says that a program leads a process group of its own.
pub fn keep_program(group: u32) {
    house().programs.insert(group);
}

/// Says that it has ended.
pub fn forget_program(group: u32) {
    house().programs.remove(&group);
}

/// Ends programs and servers, and removes all directories.
pub fn clear() {
    let house = house();
    for group in &house.programs {
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--", &format!("-{group}")])
            .stderr(Stdio::null())
            .status();
    }
    for (kind, dir) in &house.servers {
        stop_server(kind, dir);
    }
    let _ = std::fs::remove_dir_all(&house.root);
}

/// The script that starts and stops servers.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/server")
}

/// A task that panicked has left nothing half done in here.
fn house() -> MutexGuard<'static, House> {
    HOUSE.lock().unwrap_or_else(PoisonError::into_inner)
}
