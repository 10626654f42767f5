//! What operators do in the middle of runs, and faults of the messages of runs.

use std::{sync::Arc, time::Duration};

use redis::AsyncCommands as _;

use super::{Struck, say};
use crate::{
    dice::Dice,
    producer::{self, Followed, enqueue_words},
    scene::{Scene, TEMPORARY},
};

/// Each is killed at another moment; what it leaves is a whole run or none.
pub(super) async fn kill_producer(scene: &Arc<Scene>, dice: &mut Dice) -> Struck {
    for _ in 0..dice.number(1, 3) {
        let words = enqueue_words(scene, false);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut child = scene.home.spawn(&words);
        tokio::time::sleep(dice.millis(20, 400)).await;
        child.kill().expect("a kill");
        let ended = child.wait().expect("its end");
        scene.note(format!("a producer was killed: {ended}"));
        if ended.code().is_some_and(|code| code != 0 && code != TEMPORARY) {
            scene.violated(format!("an enqueue ended with {ended}"));
        }
    }
    Ok(())
}

pub(super) async fn second(scene: &Arc<Scene>, followed: &mut Vec<Followed>) -> Struck {
    followed.extend(producer::enqueue(scene).await);
    Ok(())
}

pub(super) async fn pause(scene: &Arc<Scene>, lasts: Duration) -> Struck {
    let run = open_run(scene).await?;
    if !told(scene, "pause", &run).await {
        return Err(format!("run {run} had ended"));
    }
    tokio::time::sleep(lasts).await;
    told(scene, "resume", &run).await;
    Ok(())
}

pub(super) async fn cancel(scene: &Arc<Scene>, dice: &mut Dice) -> Struck {
    let run = open_run(scene).await?;
    let words = if dice.percent(50) { "cancel --force --yes" } else { "cancel" };
    match told(scene, words, &run).await {
        true => Ok(()),
        false => Err(format!("run {run} had ended")),
    }
}

async fn open_run(scene: &Scene) -> Result<String, String> {
    let open = scene.ask("SELECT max(number) FROM runs WHERE state IN ('pending', 'running')").await;
    let run = open.first().map(|row| row[0].clone()).filter(|run| !run.is_empty());
    run.ok_or_else(|| "no run is open".into())
}

/// Says it again while the registry is away. `false`: the run had ended, or was stopped.
async fn told(scene: &Arc<Scene>, what: &str, run: &str) -> bool {
    loop {
        let words: Vec<&str> = what.split(' ').chain([run]).collect();
        let ran = scene.tenantry(&words).await;
        scene.note(format!("{what} {run}: {} {}", ran.code, ran.stderr.lines().next().unwrap_or_default()));
        match ran.code {
            0 => return true,
            TEMPORARY => tokio::time::sleep(Duration::from_millis(100)).await,
            code => {
                let sql = format!("SELECT state, stop_code FROM runs WHERE number = {run}");
                let row = &scene.ask(&sql).await[0];
                if matches!(row[0].as_str(), "pending" | "running") && row[1].is_empty() {
                    scene.violated(format!("{what} {run} ended with {code}: {}", ran.stderr));
                }
                return false;
            }
        }
    }
}

/// Puts every job of every run into the queue, in any order, some twice, with some that were never a job.
pub(super) async fn double_jobs(scene: &Scene, dice: &mut Dice) -> Struck {
    let identity = scene.ask("SELECT value FROM settings WHERE name = 'registry_id'").await;
    let key = format!("{{tenantry:{}}}:jobs", identity[0][0]);
    let job = |row: &Vec<String>| serde_json::json!({ "run": row[0], "tenant": row[1] }).to_string();
    let mut jobs: Vec<String> =
        scene.ask("SELECT run_id, tenant_id FROM targets").await.iter().map(job).collect();
    jobs.extend_from_within(..);
    jobs.push("{}".into());
    dice.shuffle(&mut jobs);
    let client = redis::Client::open(scene.stand.redis.url.clone()).map_err(say)?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(say)?;
    let (head, tail) = jobs.split_at(jobs.len() / 2);
    connection.lpush::<_, _, ()>(&key, head).await.map_err(say)?;
    connection.rpush::<_, _, ()>(&key, tail).await.map_err(say)?;
    scene.note(format!("{} copies of jobs", jobs.len()));
    Ok(())
}
