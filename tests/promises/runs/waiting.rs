//! What waits for a run: its end, its signals and its progress.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command},
};

use serde_json::Value;
use tenantry_tests::{Home, Ran, home::finish};

use super::fleet;

#[tokio::test]
async fn waiting_has_an_end_when_it_is_told_to_and_the_run_goes_on() {
    let (home, _) = fleet(1).await;
    let gone = home.run(&["enqueue", "--all", "--wait", "--timeout", "100ms"]).exits(124);
    assert_eq!(gone.stdout, "1\n");
    assert!(gone.stderr.contains("the run goes on, follow it with: tenantry wait 1"), "{gone:?}");
    let gone = home.run(&["wait", "--timeout", "100ms", "--json"]).exits(124);
    assert_eq!(gone.json()["state"], "pending");
    let worker = home.worker(&[]);
    let _ = home.run(&["wait", "--timeout", "30s"]).exits(0);
    drop(worker);
}

fn signal(child: &Child, name: &str) {
    let done =
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().expect("kill");
    assert!(done.success());
}

/// Sends a signal once the first line of progress is there, and gives what it did with all that it said.
fn interrupt(home: &Home, args: &[&str], name: &str) -> Ran {
    let mut child = home.spawn(args);
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains(" 0/1 ") {
        let read = stderr.read_line(&mut said).expect("a line");
        assert!(read > 0, "it ended before it waited: {said}");
    }
    signal(&child, name);
    let ran = finish(child);
    stderr.read_to_string(&mut said).expect("text");
    Ran { stderr: said, ..ran }
}

/// Promise 4.
#[tokio::test]
async fn a_signal_ends_the_waiting_and_not_the_run() {
    let (home, _) = fleet(1).await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    for (args, name, code) in [
        (&["wait", "1"][..], "INT", 130),
        (&["wait", "1"], "TERM", 143),
        (&["enqueue", "--all", "--overlap", "--wait"], "INT", 130),
        (&["enqueue", "--all", "--overlap", "--wait"], "TERM", 143),
    ] {
        let ran = interrupt(&home, args, name).exits(code);
        assert!(
            ran.stderr.contains("interrupted; the run goes on, follow it with: tenantry wait "),
            "{ran:?}"
        );
    }
    let runs = home.run(&["runs", "--json"]).exits(0).json();
    let states: Vec<&Value> = runs["runs"].as_array().expect("runs").iter().map(|r| &r["state"]).collect();
    assert_eq!(states, ["pending", "pending", "pending"]);
}

#[tokio::test]
async fn progress_goes_to_standard_error_and_the_number_to_standard_output() {
    let (home, _) = fleet(3).await;
    let worker = home.worker(&[]);
    let ran = home.run(&["enqueue", "--all", "--wait"]).exits(0);
    assert_eq!(ran.stdout, "1\n");
    assert!(ran.stderr.lines().any(|l| l.contains("run #1 3/3 100%")), "{ran:?}");
    assert!(ran.stderr.contains("3 tenants: 3 applied"), "{ran:?}");
    assert!(!ran.stderr.contains('\r'), "{ran:?}");
    let quiet = home.run(&["enqueue", "--all", "--wait", "-q"]).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("2\n", ""));
    let none = home.run(&["enqueue", "--all", "--wait", "--progress", "none"]).exits(0);
    assert!(!none.stderr.contains('%') && none.stderr.contains("3 current"), "{none:?}");
    drop(worker);
}
