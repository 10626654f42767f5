//! Operators' commands that start and follow runs, said again while the registry is away.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tenantry_tests::{Home, Ran};

use crate::scene::{Scene, TEMPORARY};

/// More attempts than any outage of a script can use up.
const RETRIES: &str = "1000";

/// A run that was followed to its end.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) words: String,
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) run: Value,
}

/// How an enqueue of everybody is asked for.
pub(crate) fn enqueue_words(scene: &Scene, wait: bool) -> Vec<String> {
    let mut words = vec!["enqueue", "--all", "--yes", "--retries", RETRIES, "--halt-same-cause", "0"];
    words.extend(scene.rollout);
    if overlaps(&scene.home) {
        words.push("--overlap");
    }
    if wait {
        words.extend(["--wait", "--json"]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Whether runs of the same tenants have to be asked for.
fn overlaps(home: &Home) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| home.run(&["enqueue", "--help"]).stdout.contains("--overlap"))
}

/// Starts a run of everybody and follows it.
pub(crate) async fn enqueue(scene: &Arc<Scene>) -> Option<Followed> {
    start(scene, &enqueue_words(scene, true)).await
}

/// Runs a command that starts a run and follows it. One that ended because the registry was away may have started it.
pub(crate) async fn start(scene: &Arc<Scene>, words: &[String]) -> Option<Followed> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    loop {
        let before = scene.newest_run().await;
        let ran = scene.tenantry(&words).await;
        if ran.code != TEMPORARY {
            return read(scene, &words, &ran);
        }
        scene.note(format!("{}: {}", words[0], ran.stderr.trim()));
        let now = scene.newest_run().await;
        if now > before {
            return wait(scene, now).await;
        }
    }
}

/// Follows a run.
pub(crate) async fn wait(scene: &Arc<Scene>, run: i64) -> Option<Followed> {
    let number = run.to_string();
    let words = ["wait", &number, "--json"];
    loop {
        let ran = scene.tenantry(&words).await;
        if ran.code != TEMPORARY {
            return read(scene, &words, &ran);
        }
        scene.note(format!("wait {run}: {}", ran.stderr.trim()));
    }
}

fn read(scene: &Scene, words: &[&str], ran: &Ran) -> Option<Followed> {
    let words = words.join(" ");
    scene.note(format!("{words}: exit code {}", ran.code));
    match serde_json::from_str(&ran.stdout) {
        Ok(run) => Some(Followed { words, code: ran.code, run }),
        Err(_) => {
            scene.violated(format!("{words} ended with {}: {}{}", ran.code, ran.stdout, ran.stderr));
            None
        }
    }
}
