//! Two runs in a ledger, and beside them the model: each call goes to both.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use tenantry_shared::{
    failure::Failure,
    id::RunId,
    job::{Claim, Direction, Job, Outcome, Step, Verdict, next},
    ledger::{Found, Page, Survey},
    run::{Pick, Policy, RunSpec, RunState, Selection, TargetState},
    summary::exit_of,
    wave::{Canary, Rollout, Share},
};

use super::{
    super::bench::{Bench, success},
    IN_FIRST, TENANTS,
    chance::{End, Event, Shape},
    glance::Window,
    model::{self, LEASE, LOST, Limits, Model, RESEND, key},
    time,
};

/// A sequence that leaves a run open is brought to its end by so many rounds of ordinary work.
const ROUNDS: usize = 40;

/// Two runs in a ledger, and what is known of them.
pub(super) struct Play<'a> {
    bench: &'a Bench,
    window: &'a mut Window,
    runs: [RunId; 2],
    policies: BTreeMap<RunId, Policy>,
    limits: BTreeMap<RunId, Limits>,
    /// Every claim that was ever given.
    claims: Vec<Claim>,
    /// What was read for a survey and is not written down.
    survey: Option<(Survey, Page)>,
    queue: Vec<Job>,
    model: Model,
}

impl<'a> Play<'a> {
    pub(super) async fn begin(bench: &'a Bench, window: &'a mut Window, shape: &Shape) -> Self {
        for table in ["attempts", "targets", "events", "runs"] {
            window.execute(&format!("DELETE FROM {table}")).await;
        }
        let (first, second) = (IN_FIRST - shape.tenants.0, IN_FIRST + shape.tenants.1);
        let specs = [spec(bench, shape, first..IN_FIRST, false), spec(bench, shape, IN_FIRST..second, true)];
        let mut runs = Vec::new();
        for spec in &specs {
            runs.push(bench.ledger.enqueue(spec, "chance").await.expect("a run").id);
        }
        let of_each = || runs.iter().zip(&specs);
        let mut play = Self {
            runs: [runs[0], runs[1]],
            policies: of_each().map(|(run, spec)| (*run, spec.policy.clone())).collect(),
            limits: of_each().map(|(run, spec)| (*run, limits(shape, spec))).collect(),
            bench,
            model: window.look().await,
            window,
            claims: Vec::new(),
            survey: None,
            queue: Vec::new(),
        };
        play.is_whole(shape);
        play
    }

    /// What an enqueue leaves: one target for each tenant, and the first wave due.
    fn is_whole(&mut self, shape: &Shape) {
        for (run, tenants, central) in [(0, shape.tenants.0, 0), (1, shape.tenants.1, 1)] {
            let (line, targets) = (&self.model.runs[&self.runs[run]], self.model.of(self.runs[run]));
            let targets: Vec<_> = targets.collect();
            assert_eq!(line.waves.iter().sum::<u64>(), tenants as u64);
            assert_eq!(targets.len(), tenants + central);
            for (wave, size) in (1..).zip(&line.waves) {
                assert_eq!(targets.iter().filter(|t| t.wave == wave).count() as u64, *size);
            }
            let due = |wave: u64| if wave == line.wave { Some(0) } else { None };
            assert!(targets.iter().all(|t| t.state == TargetState::Pending && t.due == due(t.wave)));
        }
    }

    fn run(&self, first: bool) -> RunId {
        self.runs[usize::from(!first)]
    }

    fn claim(&self, back: usize) -> Option<Claim> {
        self.claims.iter().rev().nth(back).cloned()
    }

    /// One call, and all that must be true after it.
    pub(super) async fn step(&mut self, event: Event) {
        let before = self.model.clone();
        self.call(event).await;
        let now = self.window.look().await;
        assert_eq!(now, self.model, "the ledger (left) after {event:?} upon {before:#?}");
        always(&before, &now, &self.policies, event);
    }

    /// Calls the ledger and the model, which must answer alike.
    async fn call(&mut self, event: Event) {
        let (ledger, bench) = (&self.bench.ledger, self.bench);
        match event {
            Event::Claim { worker, limit } => {
                let may = self.model.claimable(None);
                let worker = format!("w{worker}");
                let claims = ledger.claim_due(limit, &worker, time(LEASE)).await.expect("claims");
                assert_eq!(claims.len(), may.len().min(limit), "of {may:?}");
                self.given(claims, &may, &worker);
            }
            Event::Take { worker, count } => {
                let jobs: Vec<_> = self.queue.drain(..count.min(self.queue.len())).collect();
                let may = self.model.claimable(Some(&jobs));
                let worker = format!("w{worker}");
                let claims = ledger.claim_jobs(&jobs, &worker, time(LEASE)).await.expect("claims");
                assert_eq!(claims.len(), may.len(), "of {may:?}");
                self.given(claims, &may, &worker);
            }
            Event::Suspect { worker } => {
                let (may, worker) = (self.model.suspects(), format!("w{worker}"));
                let claim = ledger.claim_suspect(&worker, time(LEASE)).await.expect("an answer");
                assert_eq!(claim.is_some(), !may.is_empty(), "of {may:?}");
                self.given(claim.into_iter().collect(), &may, &worker);
            }
            Event::Renew(_) | Event::Release(_) | Event::Record(..) => self.answer(event).await,
            Event::Pass(units) => {
                self.window.pass(time(units)).await;
                self.model.pass(units);
            }
            Event::Rescue => {
                assert_eq!(ledger.rescue(i64::MAX).await.expect("a rescue"), self.model.rescue())
            }
            Event::Send { limit } => {
                let may = self.model.claimable(None);
                let jobs = ledger.take_due(limit, time(RESEND)).await.expect("jobs");
                assert_eq!(jobs.len() as u64, limit.min(may.len() as u64), "of {may:?}");
                assert!(jobs.iter().all(|job| may.contains(&key(*job))), "{jobs:?} of {may:?}");
                jobs.iter().for_each(|job| self.model.send(*job));
                self.queue.extend(jobs);
            }
            Event::Stray(at) => {
                let stray = self.model.targets.keys().cycle().nth(at).copied();
                self.queue.extend(stray.map(|(run, tenant)| Job { run, tenant }));
            }
            Event::Lose => self.queue.clear(),
            Event::Resend => {
                let sent = ledger.resend_lost(time(LOST)).await.expect("lost jobs");
                assert_eq!(sent, self.model.resend_lost());
            }
            _ => self.conduct(bench, event).await,
        }
    }

    fn given(&mut self, claims: Vec<Claim>, may: &BTreeSet<model::Key>, owner: &str) {
        for claim in claims {
            let of = |other: &Claim| (other.job, other.attempt) == (claim.job, claim.attempt);
            assert!(!self.claims.iter().any(of), "{claim:?} was given twice");
            assert!(may.contains(&key(claim.job)), "{claim:?} was not to be had");
            self.model.claim(&claim, owner);
            self.claims.push(claim);
        }
    }

    /// What the owner of a claim does, or who believes to be it.
    async fn answer(&mut self, event: Event) {
        let (Event::Renew(back) | Event::Release(back) | Event::Record(back, _)) = event else { return };
        let (Some(claim), ledger) = (self.claim(back), &self.bench.ledger) else { return };
        match event {
            Event::Renew(_) => {
                let is_ours = ledger.renew(&claim, time(LEASE)).await.expect("an answer");
                assert_eq!(is_ours, self.model.renew(&claim), "{claim:?}");
            }
            Event::Release(_) => {
                let is_ours = ledger.release(&claim).await.expect("an answer");
                assert_eq!(is_ours, self.model.release(&claim), "{claim:?}");
            }
            Event::Record(_, end) => {
                let outcome = outcome(end);
                let next = next(&claim, &outcome, &self.policies[&claim.job.run], 1.0);
                let is_ours = ledger.record(&claim, "a test", &outcome, next).await.expect("an answer");
                assert_eq!(is_ours, self.model.record(&claim, next, failed(&outcome)), "{claim:?}");
            }
            _ => {}
        }
    }

    /// What conductors and operators do.
    async fn conduct(&mut self, bench: &Bench, event: Event) {
        let ledger = &bench.ledger;
        match event {
            Event::OpenRuns => {
                ledger.open_runs().await.expect("open runs");
                self.model.open_runs();
            }
            Event::StopRuns => {
                ledger.stop_runs().await.expect("stopped runs");
                self.model.stop_runs(&self.limits);
            }
            Event::CheckGates { first } => {
                let run = self.run(first);
                ledger.check_gates(run).await.expect("an answer");
                self.model.check_gates(run, self.limits[&run]);
            }
            Event::BeginWaves => {
                ledger.begin_waves().await.expect("waves");
                self.model.begin_waves(&self.limits);
            }
            Event::EndStopped => {
                ledger.end_stopped().await.expect("an end");
                self.model.end_stopped();
            }
            Event::CloseRuns => {
                assert_eq!(ledger.close_runs().await.expect("closed runs").len() as u64, self.model.close());
            }
            Event::Survey => {
                let survey = ledger.begin_survey(1, Duration::ZERO).await.expect("an answer");
                assert_eq!(survey.map(|survey| survey.run), self.model.survey());
                let Some(survey) = survey else { return };
                let page = ledger.survey_page(survey, None, TENANTS + 1).await.expect("a page");
                let read = page.tenants.iter().map(|tenant| (survey.run, *tenant)).collect();
                assert_eq!(self.model.unclaimed(survey.run), read);
                self.survey = Some((survey, page));
            }
            Event::Found => {
                let Some((survey, page)) = self.survey.take() else { return };
                let read = page.tenants.iter().map(|tenant| (survey.run, *tenant)).collect();
                let found = [Found { version: Some(1.into()), tenants: page.tenants.clone() }];
                let written =
                    ledger.found_current(survey, &page, &found, "a survey").await.expect("an answer");
                ledger.end_survey(survey, true).await.expect("an end");
                assert_eq!(written, self.model.found(survey.run, &read, "a survey"));
            }
            Event::Pause { first } => {
                let run = self.run(first);
                assert_eq!(ledger.pause(run, "a test").await.expect("an answer"), self.model.pause(run));
            }
            Event::Resume { first } => {
                let run = self.run(first);
                assert_eq!(ledger.resume(run, "a test").await.expect("an answer"), self.model.resume(run));
            }
            Event::Cancel { first, force } => {
                let run = self.run(first);
                ledger.cancel(run, force, "a test").await.expect("canceled");
                self.model.cancel(run);
            }
            _ => {}
        }
    }

    /// Whatever happened: with workers that work, both runs come to their end.
    pub(super) async fn finish(&mut self) {
        for first in [true, false] {
            self.step(Event::Resume { first }).await;
        }
        let have_ended = |model: &Model| model.runs.values().all(|run| run.state.is_final());
        for _ in 0..ROUNDS {
            if have_ended(&self.model) {
                break;
            }
            for event in [
                Event::Pass(10),
                Event::OpenRuns,
                Event::Rescue,
                Event::StopRuns,
                Event::BeginWaves,
                Event::EndStopped,
                Event::CloseRuns,
                Event::Claim { worker: 9, limit: TENANTS },
                Event::Suspect { worker: 9 },
            ] {
                self.step(event).await;
            }
            for back in 0..=TENANTS {
                self.step(Event::Record(back, End::Applied)).await;
            }
        }
        assert!(have_ended(&self.model), "a run has no end: {:#?}", self.model);
        for run in self.runs {
            self.adds_up(run).await;
        }
    }

    /// The counts of a run that has ended, and its exit code: 0 exactly when every target is proven.
    async fn adds_up(&self, run: RunId) {
        let counts = self.bench.ledger.counts(run).await.expect("counts");
        let central = self.model.of(run).any(|target| target.wave == 0);
        assert_eq!(counts.total as usize + usize::from(central), self.model.of(run).count());
        assert_eq!(counts.ended(), counts.total, "{counts:?}");
        for refused in [false, true] {
            let exit = exit_of(self.model.runs[&run].state, &counts, refused);
            assert_eq!(exit.code() == 0, self.model.proven(run), "{counts:?}");
        }
        let forced = self.bench.ledger.forced_runs().await.expect("runs");
        assert!(!forced.contains(&run), "what has ended is to be stopped");
    }
}

/// What is true after every call, whatever the model says.
fn always(before: &Model, now: &Model, policies: &BTreeMap<RunId, Policy>, event: Event) {
    for (key, target) in &now.targets {
        let (was, run) = (&before.targets[key], &now.runs[&key.0]);
        assert!(
            !was.state.is_final() || was == target,
            "{event:?} changed what had ended: {was:?}, {target:?}"
        );
        assert!((was.attempt..=was.attempt + 1).contains(&target.attempt), "{event:?}: {was:?}, {target:?}");
        assert!(target.attempt - target.uncounted <= policies[&key.0].max_attempts, "{event:?}: {target:?}");
        assert!(target.lapses <= 5 && target.recorded <= target.attempt, "{event:?}: {target:?}");
        assert_eq!(target.attempt > was.attempt, is_begun(was, target), "{event:?}: {was:?}, {target:?}");
        assert!(!target.state.is_final() || (target.due, target.sent) == (None, None), "{target:?}");
        assert!(target.state != TargetState::Running || target.owner.is_some() && target.due.is_some());
        let earlier = now.of(key.0).filter(|other| other.wave < target.wave);
        let mut earlier = earlier.map(|other| other.state.is_final());
        assert!(target.attempt == 0 || earlier.all(|ended| ended), "{target:?} began before its wave");
        assert!(!run.state.is_final() || target.state.is_final(), "{run:?} ended before {target:?}");
    }
    for (id, run) in &now.runs {
        let was = &before.runs[id];
        assert!(!was.state.is_final() || was.state == run.state, "{event:?}: {was:?}, {run:?}");
        assert_eq!(run.state == RunState::Succeeded, run.state.is_final() && now.proven(*id), "{run:?}");
        assert!(run.wave >= was.wave && (was.stop.is_none() || was.stop == run.stop), "{was:?}, {run:?}");
    }
}

/// Only who waits is begun.
fn is_begun(was: &model::Target, target: &model::Target) -> bool {
    target.state == TargetState::Running && was.state != TargetState::Running
}

fn spec(bench: &Bench, shape: &Shape, tenants: Range<usize>, central: bool) -> RunSpec {
    let named = tenants.map(|at| format!("t{at:02}").parse().expect("a slug")).collect();
    let rollout = Rollout {
        canary: shape.canary.filter(|_| !central).map(|count| Canary::Some(Share::Count(count))),
        waves: shape.waves.filter(|_| !central).map(|waves| waves.parse().expect("waves")),
        soak_ms: time(shape.soak).as_millis() as u64,
        max_failures: shape.max_failures.map(Share::Count),
        same_cause: shape.same_cause,
        deadline_ms: shape.deadline.map(|units| time(units).as_millis() as u64),
    };
    let (base, cap) = (time(1).as_millis() as u64, time(4).as_millis() as u64);
    RunSpec {
        selection: Selection { pick: Pick::Tenants(named), exclude: vec![], limit: None },
        central,
        policy: Policy {
            max_attempts: shape.max_attempts,
            backoff_base_ms: base,
            backoff_cap_ms: cap,
            rollout,
            ..Policy::default()
        },
        ..bench.spec.clone()
    }
}

fn limits(shape: &Shape, spec: &RunSpec) -> Limits {
    let none_with_waves = spec.policy.rollout.has_waves().then_some(0);
    Limits {
        may_fail: shape.max_failures.or(none_with_waves),
        same_cause: shape.same_cause as usize,
        soak: shape.soak,
    }
}

fn outcome(end: End) -> Outcome {
    let step =
        Step { direction: Direction::Up, version: 1.into(), file: "1_first.sql".into(), duration_ms: 1 };
    match end {
        End::Applied => Outcome { steps: vec![step], ..success() },
        End::Current => success(),
        End::Failed(class, cause) => {
            let failure = Failure::new(class, format!("cause-{cause}"), "it went wrong");
            Outcome { verdict: Verdict::Failed(failure), to: None, version: None, ..success() }
        }
    }
}

fn failed(outcome: &Outcome) -> Option<(String, String)> {
    match &outcome.verdict {
        Verdict::Proven => None,
        Verdict::Failed(failure) => Some((failure.class.as_str().to_owned(), failure.code.clone())),
    }
}
