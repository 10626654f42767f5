//! The ledger, read with SQL of this suite's own: whether it agrees with itself and with what was broken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Known;
use crate::{fleet::Tenant, scene::Scene};

pub(crate) struct Run {
    id: String,
    pub(crate) number: i64,
    pub(crate) state: String,
    stop: String,
    finished: bool,
}

pub(crate) struct Target {
    run: String,
    /// The tenant's name.
    pub(crate) tenant: String,
    pub(crate) state: String,
    attempt: i64,
    uncounted: i64,
    most: i64,
    due: bool,
    finished: bool,
    class: String,
    code: String,
    version: String,
    message: String,
}

struct Attempt {
    run: String,
    tenant: String,
    number: i64,
    outcome: String,
    steps: Vec<String>,
}

/// All that is in it of runs.
pub(crate) struct Ledger {
    pub(crate) runs: Vec<Run>,
    targets: Vec<Target>,
    attempts: Vec<Attempt>,
    /// The version that each tenant is known by.
    versions: BTreeMap<String, String>,
    active: usize,
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("'{text}' is not a number"))
}

impl Ledger {
    pub(crate) async fn read(scene: &Scene) -> Self {
        let runs = scene
            .ask("SELECT id, number, state, stop_code, finished_at FROM runs ORDER BY number")
            .await
            .into_iter()
            .map(Run::of)
            .collect();
        let targets = scene
            .ask(
                "SELECT g.run_id, t.slug, g.state, g.attempt, g.uncounted, g.max_attempts, g.due_at, g.finished_at,
                    g.class, g.code, g.version, g.message FROM targets g JOIN tenants t ON t.id = g.tenant_id",
            )
            .await
            .into_iter()
            .map(Target::of)
            .collect();
        let attempts = scene
            .ask(
                "SELECT a.run_id, t.slug, a.number, a.outcome, a.steps
                 FROM attempts a JOIN tenants t ON t.id = a.tenant_id",
            )
            .await
            .into_iter()
            .map(Attempt::of)
            .collect();
        let tenants = scene.ask("SELECT slug, version, status FROM tenants WHERE central = 0").await;
        let active = tenants.iter().filter(|row| row[2] == "active").count();
        let versions = tenants.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        Self { runs, targets, attempts, versions, active }
    }

    pub(crate) fn targets_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Target> {
        self.targets.iter().filter(|target| target.run == run.id)
    }

    /// How each tenant ended in each run, by the run's number.
    pub(crate) fn ended_by_tenant(&self) -> BTreeMap<String, BTreeMap<i64, &Target>> {
        let mut ended: BTreeMap<String, BTreeMap<i64, &Target>> = BTreeMap::new();
        for run in &self.runs {
            for target in self.targets_of(run) {
                ended.entry(target.tenant.clone()).or_default().insert(run.number, target);
            }
        }
        ended
    }

    pub(super) fn contradictions(&self, known: &Known<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.active != known.fleet.tenants.len() {
            wrong.push(format!("{} tenants are active of {}", self.active, known.fleet.tenants.len()));
        }
        for run in &self.runs {
            let found = self.of_run(run, known);
            wrong.extend(found.into_iter().map(|what| format!("run {}: {what}", run.number)));
        }
        wrong.extend(self.doubled());
        wrong.extend(self.unknown_versions(known));
        wrong
    }

    fn of_run(&self, run: &Run, known: &Known<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let tenants: BTreeSet<&str> = self.targets_of(run).map(|target| target.tenant.as_str()).collect();
        let count = self.targets_of(run).count();
        let whole = known.retries.contains(&run.number) || tenants.len() == self.active;
        if !whole || count != tenants.len() {
            wrong.push(format!("{count} targets of {} tenants, {} are active", tenants.len(), self.active));
        }
        let proven = self.targets_of(run).all(|target| target.is_proven());
        let state = match (proven, run.stop.as_str()) {
            (true, _) => "succeeded",
            (false, "") => "failed",
            (false, _) => "halted",
        };
        if run.state != state || !run.finished {
            wrong.push(format!("it is {} and should be {state}; finished: {}", run.state, run.finished));
        }
        for target in self.targets_of(run) {
            let tenant = known.fleet.tenants.iter().find(|tenant| tenant.id == target.tenant);
            let found = target.contradictions(run, tenant, known).into_iter().chain(self.of_attempts(target));
            wrong.extend(found.map(|what| format!("{} is {}: {what}", target.tenant, target.state)));
        }
        wrong
    }

    /// Each attempt is there at most once, and the last one ended as the target did.
    fn of_attempts(&self, target: &Target) -> Vec<String> {
        let of_target = |a: &&Attempt| a.run == target.run && a.tenant == target.tenant;
        let attempts: Vec<&Attempt> = self.attempts.iter().filter(of_target).collect();
        let mut wrong = Vec::new();
        if attempts.iter().any(|attempt| !(1..=target.attempt).contains(&attempt.number)) {
            wrong.push(format!("an attempt is recorded that is not one of its {}", target.attempt));
        }
        let proofs: Vec<_> =
            attempts.iter().filter(|a| matches!(a.outcome.as_str(), "applied" | "current")).collect();
        let right = match proofs.as_slice() {
            // One that nobody ever claimed was found to be where it should be by a look at many.
            [] => !target.is_proven() || (target.state == "current" && target.attempt == 0),
            [proof] => target.is_proven() && proof.outcome == target.state && proof.number == target.attempt,
            _ => false,
        };
        if !right {
            let outcomes: Vec<_> = attempts.iter().map(|a| (a.number, &a.outcome)).collect();
            wrong.push(format!("its {} attempts say {outcomes:?}", target.attempt));
        }
        wrong
    }

    /// No migration is told to have been applied to a tenant twice.
    fn doubled(&self) -> Vec<String> {
        let mut told = BTreeSet::new();
        let mut wrong = Vec::new();
        for attempt in &self.attempts {
            for step in &attempt.steps {
                if !told.insert((&attempt.tenant, step)) {
                    wrong.push(format!("{}: {step} is told to have been applied twice", attempt.tenant));
                }
            }
        }
        wrong
    }

    /// The last run of a tenant that was proven says where it is.
    fn unknown_versions(&self, known: &Known<'_>) -> Vec<String> {
        let newest = known.bundle.migrations.last().expect("migrations").version.to_string();
        let proven = self.ended_by_tenant();
        let last = |tenant: &Tenant| proven.get(&tenant.id)?.values().next_back().copied();
        let behind = known.fleet.tenants.iter().filter(|tenant| {
            last(tenant).is_some_and(Target::is_proven) && self.versions.get(&tenant.id) != Some(&newest)
        });
        behind
            .map(|tenant| format!("{} is known by {:?}", tenant.id, self.versions.get(&tenant.id)))
            .collect()
    }
}

impl Run {
    fn of(row: Vec<String>) -> Self {
        let [id, run, state, stop, finished] = row.try_into().expect("five columns");
        Self { id, number: number(&run), state, stop, finished: !finished.is_empty() }
    }
}

impl Attempt {
    fn of(row: Vec<String>) -> Self {
        let [run, tenant, of, outcome, steps] = row.try_into().expect("five columns");
        let steps: Vec<Value> = serde_json::from_str(&steps).expect("steps");
        let version = |step: &Value| {
            step["version"].as_str().map_or_else(|| step["version"].to_string(), str::to_owned)
        };
        Self { run, tenant, number: number(&of), outcome, steps: steps.iter().map(version).collect() }
    }
}

impl Target {
    fn of(row: Vec<String>) -> Self {
        let [run, tenant, state, attempt, uncounted, most, due, finished, class, code, version, message] =
            row.try_into().expect("twelve columns");
        Self {
            run,
            tenant,
            state,
            attempt: number(&attempt),
            uncounted: number(&uncounted),
            most: number(&most),
            due: !due.is_empty(),
            finished: !finished.is_empty(),
            class,
            code,
            version,
            message,
        }
    }

    pub(crate) fn is_proven(&self) -> bool {
        matches!(self.state.as_str(), "applied" | "current")
    }

    /// Whether it failed of what is wrong with its tenant.
    pub(crate) fn is_blamed(&self) -> bool {
        self.state == "failed" && self.class == "permanent"
    }

    fn contradictions(&self, run: &Run, tenant: Option<&Tenant>, known: &Known<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.due || !self.finished {
            wrong.push(format!("due: {}, finished: {}", self.due, self.finished));
        }
        if self.attempt - self.uncounted > self.most || self.uncounted < 0 {
            wrong.push(format!(
                "{} attempts, {} not counted, at most {}",
                self.attempt, self.uncounted, self.most
            ));
        }
        let cause = tenant.and_then(|tenant| tenant.cause(known.bundle));
        let explained = match self.state.as_str() {
            "applied" | "current" => cause.is_none() || known.mended,
            "skipped" => run.stop == "canceled" && self.code == "canceled" && self.attempt == self.uncounted,
            "failed" if self.code == "canceled" => run.stop == "canceled",
            "failed" => cause.is_some_and(|(version, code)| {
                self.class == "permanent" && self.version == version && self.code == code
            }),
            _ => false,
        };
        // One that waited for another attempt when the run was canceled keeps what the last one ended with.
        let waited = self.state == "failed" && run.stop == "canceled" && self.class != "permanent";
        if !explained && !waited {
            wrong.push(format!(
                "nothing explains it: {} {} in {}, attempt {}: {}",
                self.class, self.code, self.version, self.attempt, self.message
            ));
        }
        wrong
    }
}
