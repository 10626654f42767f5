//! Faults of workers' processes. Whoever is taken away is replaced, so that the fleet keeps its size.

use std::{path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use tenantry_tests::WorkerProcess;

use super::Struck;
use crate::{
    dice::Dice,
    disk::directory,
    scene::{LEASE, Scene},
};

fn take(scene: &Scene, dice: &mut Dice) -> Result<WorkerProcess, String> {
    let any = |workers: &[WorkerProcess]| (!workers.is_empty()).then(|| dice.place(workers.len()));
    scene.take_worker(any).ok_or_else(|| "no worker is there".into())
}

pub(super) async fn kill(scene: &Scene, dice: &mut Dice) -> Struck {
    let worker = take(scene, dice)?;
    gone(scene, worker);
    Ok(())
}

pub(super) async fn kill_conductor(scene: &Scene) -> Struck {
    let holder = scene.ask("SELECT holder FROM leases WHERE name = 'conductor'").await;
    let holder = holder.first().ok_or("nobody conducts")?[0].clone();
    let pid = holder.split('/').nth(1).unwrap_or_default().to_owned();
    let conducts = |workers: &[WorkerProcess]| workers.iter().position(|w| w.pid().to_string() == pid);
    let worker = scene.take_worker(conducts).ok_or(format!("{holder} is away already"))?;
    gone(scene, worker);
    Ok(())
}

fn gone(scene: &Scene, worker: WorkerProcess) {
    scene.note(format!("kill -KILL {}", worker.pid()));
    worker.signal("KILL");
    drop(worker);
    scene.add_worker(&[]);
}

pub(super) async fn pause(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let worker = take(scene, dice)?;
    scene.note(format!("kill -STOP {}", worker.pid()));
    worker.signal("STOP");
    tokio::time::sleep(LEASE + lasts).await;
    worker.signal("CONT");
    scene.note(format!("kill -CONT {}", worker.pid()));
    scene.put_back(worker);
    Ok(())
}

pub(super) async fn drain(scene: &Scene, dice: &mut Dice) -> Struck {
    let mut worker = take(scene, dice)?;
    scene.note(format!("kill -TERM {}", worker.pid()));
    worker.signal("TERM");
    scene.add_worker(&[]);
    let (pid, log) = (worker.pid(), worker.log.clone());
    let code = tokio::task::spawn_blocking(move || worker.exit_code()).await;
    match code {
        Ok(Some(0)) => scene.note(format!("worker {pid} has drained")),
        Ok(code) => scene.violated(format!("a drain ended with {code:?}: {}", log.display())),
        Err(_) => scene.violated(format!("a drain does not end: {}", log.display())),
    }
    Ok(())
}

pub(super) async fn set_clock(scene: &Scene, dice: &mut Dice) -> Struck {
    let library = wrong_clock()?;
    let shift = *dice.pick(&["3600", "-3600"]);
    let worker = take(scene, dice)?;
    scene.note(format!("worker {} is replaced by one whose clock is {shift} s off", worker.pid()));
    gone_gently(scene, worker).await;
    let library = library.display().to_string();
    scene.add_worker(&[("LD_PRELOAD", &library), ("CLOCK_SHIFT_S", shift)]);
    Ok(())
}

/// Without a fault of its own.
async fn gone_gently(scene: &Scene, mut worker: WorkerProcess) {
    worker.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || worker.exit_code()).await;
    if ended.is_err() {
        scene.violated("a drain does not end");
    }
}

/// A library that puts a wrong clock in front of the right one.
fn wrong_clock() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        let dir = directory();
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        std::fs::write(&source, include_str!("clock.c")).map_err(|e| e.to_string())?;
        let words = ["-shared", "-fPIC", "-O1", "-o"];
        let compiler = Command::new("cc").args(words).arg(&library).arg(&source).arg("-ldl").output();
        let done = compiler.map_err(|e| format!("no cc: {e}"))?;
        let ok = done.status.success().then_some(library);
        ok.ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
    };
    MADE.get_or_init(make).clone()
}
