//! `docs/reliability.md` names the tests of each promise: they are there, and say themselves which promise they are of.

use std::path::{Path, PathBuf};

/// A test that is named, and the promise under which.
struct Named<'a> {
    promise: &'a str,
    module: &'a str,
    function: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn named(text: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let mut promise = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            promise = title.starts_with("Promise ").then(|| title.split(':').next().expect("a title"));
        }
        let test = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        if let (Some(promise), Some((module, function))) = (promise, test.and_then(|t| t.rsplit_once("::"))) {
            found.push(Named { promise, module, function });
        }
    }
    found
}

/// The file of a module: of the promises, or of the pure rooms.
fn source(module: &str) -> String {
    let path = module.replace("::", "/");
    let place = |dir: &str, end: &str| root().join(dir).join(format!("{path}{end}"));
    let places =
        [place("tests/promises", ".rs"), place("tests/promises", "/mod.rs"), place("shared/src", ".rs")];
    let found = places.iter().find(|path| path.exists());
    let path = found.unwrap_or_else(|| panic!("there is no module {module}"));
    std::fs::read_to_string(path).expect("a source")
}

/// What is said of a function above it.
fn said_of(function: &str, source: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let start = format!("fn {function}(");
    let at = lines.iter().position(|line| line.contains(&start))?;
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
    Some(above.copied().collect::<Vec<_>>().join(" "))
}

#[test]
fn each_test_that_proves_a_promise_is_there_and_says_so() {
    let text = std::fs::read_to_string(root().join("docs/reliability.md")).expect("the promises");
    let named = named(&text);
    for number in 1..=6 {
        let of = named.iter().filter(|test| test.promise == format!("Promise {number}"));
        assert!(of.count() > 0, "no test is named for promise {number}");
    }
    for Named { promise, module, function } in &named {
        let said = said_of(function, &source(module));
        let said = said.unwrap_or_else(|| panic!("{module} has no test {function}"));
        assert!(said.contains(promise), "{module}::{function} does not say that it is of {promise}: {said}");
    }
}
