//! The independent checker: it knows the files, the tenants and what was broken in them, and reads the rest with SQL of
//! its own. It asks whether the ledger, the tenants and the exit codes tell one story, and whether that is the right one.

mod ledger;
mod tenants;

use std::collections::BTreeMap;

pub(crate) use ledger::{Ledger, Target};

use crate::{
    bundle::Bundle,
    fleet::{Eyes, Fleet},
    producer::Followed,
    scene::Scene,
};

/// What is known before anything is looked at.
pub(crate) struct Known<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) fleet: &'a Fleet,
    /// Commands that followed runs, with their exit codes.
    pub(crate) followed: &'a [Followed],
    /// Runs of some tenants only.
    pub(crate) retries: &'a [i64],
    /// Whether what was broken has been mended by now.
    pub(crate) mended: bool,
}

/// Looks at everything and reports all that must not be.
pub(crate) async fn check(scene: &Scene, known: &Known<'_>) {
    let ledger = Ledger::read(scene).await;
    let mut wrong = ledger.contradictions(known);
    for followed in known.followed {
        wrong.extend(told_wrong(&ledger, followed));
    }
    let ended = ledger.ended_by_tenant();
    let (none, mut eyes) = (BTreeMap::new(), Eyes::default());
    for tenant in &known.fleet.tenants {
        let states = ended.get(&tenant.id).unwrap_or(&none);
        let found = match tenants::look(&mut eyes, tenant).await {
            Ok(seen) => tenants::contradictions(tenant, known.bundle, &seen, states),
            Err(error) => vec![format!("it cannot be looked at: {error}")],
        };
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", tenant.id)));
    }
    for what in wrong {
        scene.violated(what);
    }
}

/// The exit code and the counts that a command ended with, against the ledger.
fn told_wrong(ledger: &Ledger, followed: &Followed) -> Vec<String> {
    let number = followed.run["number"].as_i64().unwrap_or_default();
    let Some(run) = ledger.runs.iter().find(|run| run.number == number) else {
        return vec![format!("{} followed run {number}, which is not there", followed.words)];
    };
    let targets: Vec<&Target> = ledger.targets_of(run).collect();
    let count = |states: &[&str]| targets.iter().filter(|t| states.contains(&t.state.as_str())).count();
    let proven = count(&["applied", "current"]);
    let code = match run.state.as_str() {
        _ if proven == targets.len() => 0,
        "halted" => 102,
        _ => 100,
    };
    let mut wrong = Vec::new();
    if followed.code != code {
        wrong.push(format!(
            "{} ended with {} and not with {code}: run {number} is {}, {proven} of {} proven",
            followed.words,
            followed.code,
            run.state,
            targets.len()
        ));
    }
    for (name, expected) in [
        ("total", targets.len()),
        ("applied", count(&["applied"])),
        ("current", count(&["current"])),
        ("failed", count(&["failed"])),
        ("skipped", count(&["skipped"])),
    ] {
        let said = &followed.run["counts"][name];
        if *said != expected {
            wrong.push(format!("{} says {name} {said}, the ledger {expected}", followed.words));
        }
    }
    wrong
}
