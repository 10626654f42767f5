//! The ledger as it should be: what each call makes of runs and targets, in memory, by rules that are written down here once
//! more and share no code with those of the ledger. Time goes in units, whole ones.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_shared::{
    id::{RunId, TenantId},
    job::{Claim, Job, Next},
    run::{RunState, TargetState},
};

/// Units of time that a claim is good for without being renewed.
pub(super) const LEASE: i64 = 2;

/// Units after which a job that was sent is due once more.
pub(super) const RESEND: i64 = 3;

/// Units after which a job that was sent to a queue that is empty now is lost.
pub(super) const LOST: i64 = 1;

/// How many workers are lost with a target before it is worked alone, and before it is blamed.
const IN_COMPANY: u32 = 2;
const MAX_LAPSES: u32 = 5;

pub(super) type Key = (RunId, TenantId);

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) state: TargetState,
    pub(super) attempt: u32,
    pub(super) uncounted: u32,
    pub(super) lapses: u32,
    /// In how many units; 0 is now.
    pub(super) due: Option<i64>,
    /// How many units ago.
    pub(super) sent: Option<i64>,
    pub(super) owner: Option<String>,
    /// The class and the code of its failure.
    pub(super) failure: Option<(String, String)>,
    pub(super) wave: u64,
    /// How many attempts have an entry of their own.
    pub(super) recorded: u32,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) state: RunState,
    pub(super) wave: u64,
    pub(super) waves: Vec<u64>,
    /// In how many units the next wave may open; 0 is now.
    pub(super) soak: Option<i64>,
    /// In how many units its time is over.
    pub(super) deadline: Option<i64>,
    pub(super) paused: bool,
    pub(super) stop: Option<String>,
    /// The last wave that was surveyed.
    pub(super) surveyed: i64,
}

/// What stops a run, and how long its waves are watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many of a wave may fail.
    pub(super) may_fail: Option<u64>,
    pub(super) same_cause: usize,
    pub(super) soak: i64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) runs: BTreeMap<RunId, Line>,
    pub(super) targets: BTreeMap<Key, Target>,
}

pub(super) fn key(job: Job) -> Key {
    (job.run, job.tenant)
}

fn waits(state: TargetState) -> bool {
    matches!(state, TargetState::Pending | TargetState::Retryable)
}

fn later(time: &mut Option<i64>, units: i64) {
    *time = time.map(|left| (left - units).max(0));
}

impl Line {
    fn is_open(&self) -> bool {
        !self.state.is_final()
    }

    fn goes_on(&self) -> bool {
        self.is_open() && self.stop.is_none()
    }
}

impl Model {
    pub(super) fn pass(&mut self, units: i64) {
        for target in self.targets.values_mut() {
            later(&mut target.due, units);
            target.sent = target.sent.map(|ago| ago + units);
        }
        for run in self.runs.values_mut() {
            later(&mut run.soak, units);
            later(&mut run.deadline, units);
        }
    }

    /// What may be claimed now: of these jobs, or by the ledger's own order.
    pub(super) fn claimable(&self, jobs: Option<&[Job]>) -> BTreeSet<Key> {
        let named = |key: &Key| jobs.is_some_and(|jobs| jobs.iter().any(|job| self::key(*job) == *key));
        let ready = |key: &Key, target: &Target| match jobs {
            None => target.due == Some(0),
            Some(_) => named(key) && (target.due == Some(0) || target.sent.is_some()),
        };
        self.free(|key, target| target.lapses < IN_COMPANY && ready(key, target))
    }

    /// What may be claimed now by a worker that works nothing else.
    pub(super) fn suspects(&self) -> BTreeSet<Key> {
        self.free(|_, target| target.lapses >= IN_COMPANY && target.due == Some(0))
    }

    fn free(&self, ready: impl Fn(&Key, &Target) -> bool) -> BTreeSet<Key> {
        let free = |key: &Key, target: &Target| {
            let run = &self.runs[&key.0];
            waits(target.state) && run.goes_on() && !run.paused && ready(key, target)
        };
        self.targets.iter().filter(|(key, target)| free(key, target)).map(|(key, _)| *key).collect()
    }

    /// The run whose survey is to be had. A wave without tenants has none.
    pub(super) fn survey(&mut self) -> Option<RunId> {
        let wave = |line: &Line| i64::try_from(line.wave).expect("a wave");
        let wanted = |line: &Line| line.goes_on() && !line.paused && line.surveyed < wave(line);
        let (run, line) = self.runs.iter_mut().find(|(_, line)| wanted(line))?;
        line.surveyed = wave(line);
        (line.wave > 0).then_some(*run)
    }

    /// Those of a run that nobody has claimed and that are due, or in a queue.
    pub(super) fn unclaimed(&self, run: RunId) -> BTreeSet<Key> {
        let line = &self.runs[&run];
        let is = |target: &Target| target.due == Some(0) || target.sent.is_some();
        let free = self.free(|key, target| key.0 == run && target.attempt == 0 && is(target));
        if line.goes_on() { free } else { BTreeSet::new() }
    }

    /// Writes down those that nobody has claimed since, and lets the run go on.
    pub(super) fn found(&mut self, run: RunId, read: &BTreeSet<Key>, owner: &str) -> u64 {
        let goes_on = self.runs[&run].goes_on() && !self.runs[&run].paused;
        let mut found = 0;
        for (_, target) in self.targets.iter_mut().filter(|(key, _)| goes_on && read.contains(key)) {
            if target.state == TargetState::Pending && target.attempt == 0 {
                (target.state, target.due, target.sent) = (TargetState::Current, None, None);
                target.owner = Some(owner.to_owned());
                found += 1;
            }
        }
        let sent = |key: &Key, target: &Target| key.0 == run && waits(target.state) && target.sent.is_some();
        for (_, target) in self.targets.iter_mut().filter(|(key, target)| sent(key, target)) {
            send_again(target);
        }
        found
    }

    pub(super) fn claim(&mut self, claim: &Claim, owner: &str) {
        let target = self.targets.get_mut(&key(claim.job)).expect("a target");
        target.state = TargetState::Running;
        target.attempt += 1;
        target.due = Some(LEASE);
        target.sent = None;
        target.owner = Some(owner.to_owned());
        assert_eq!((claim.attempt, claim.counted), (target.attempt, target.attempt - target.uncounted));
        assert_eq!(claim.alone, target.lapses >= IN_COMPANY);
    }

    pub(super) fn send(&mut self, job: Job) {
        let target = self.targets.get_mut(&key(job)).expect("a target");
        (target.due, target.sent) = (Some(RESEND), Some(0));
    }

    /// The target, if this claim is its owner's still.
    fn owned(&mut self, claim: &Claim) -> Option<&mut Target> {
        let target = self.targets.get_mut(&key(claim.job)).expect("a target");
        (target.state == TargetState::Running && target.attempt == claim.attempt).then_some(target)
    }

    pub(super) fn renew(&mut self, claim: &Claim) -> bool {
        self.owned(claim).map(|target| target.due = Some(LEASE)).is_some()
    }

    pub(super) fn release(&mut self, claim: &Claim) -> bool {
        let Some(target) = self.owned(claim) else { return false };
        target.uncounted += 1;
        (target.state, target.due) = (TargetState::Retryable, Some(0));
        true
    }

    pub(super) fn record(&mut self, claim: &Claim, next: Next, failure: Option<(String, String)>) -> bool {
        let Some(target) = self.owned(claim) else { return false };
        end_attempt(target, next, failure);
        true
    }

    pub(super) fn rescue(&mut self) -> u64 {
        let lapsed = |target: &&mut Target| target.state == TargetState::Running && target.due == Some(0);
        let mut rescued = 0;
        for target in self.targets.values_mut().filter(lapsed) {
            target.lapses += 1;
            let blamed = target.lapses >= MAX_LAPSES;
            let next = if blamed { Next::End(TargetState::Failed) } else { Next::Again };
            let class = if blamed { "permanent" } else { "interrupted" };
            end_attempt(target, next, Some((class.into(), "worker-lost".into())));
            rescued += 1;
        }
        rescued
    }

    /// Nothing while every run is held: what was sent of such a one is sent again when it goes on.
    pub(super) fn resend_lost(&mut self) -> u64 {
        if !self.runs.values().any(|run| run.goes_on() && !run.paused) {
            return 0;
        }
        let lost = |target: &&mut Target| waits(target.state) && target.sent.is_some_and(|ago| ago >= LOST);
        self.targets.values_mut().filter(lost).map(send_again).count() as u64
    }

    pub(super) fn pause(&mut self, run: RunId) -> bool {
        let run = self.runs.get_mut(&run).expect("a run");
        let pauses = run.goes_on() && !run.paused;
        run.paused |= pauses;
        pauses
    }

    pub(super) fn resume(&mut self, run: RunId) -> bool {
        let sent = |(key, target): &(&Key, &mut Target)| {
            key.0 == run && waits(target.state) && target.sent.is_some()
        };
        self.targets.iter_mut().filter(sent).for_each(|(_, target)| send_again(target));
        std::mem::take(&mut self.runs.get_mut(&run).expect("a run").paused)
    }

    pub(super) fn cancel(&mut self, run: RunId) {
        self.stop(run, "canceled");
        self.end_stopped();
        self.close();
    }

    fn stop(&mut self, run: RunId, code: &str) {
        let is_left = self.of(run).any(|target| !target.state.is_final());
        let run = self.runs.get_mut(&run).expect("a run");
        if run.goes_on() && is_left {
            (run.stop, run.soak) = (Some(code.to_owned()), None);
        }
    }

    pub(super) fn open_runs(&mut self) {
        for run in self.runs.values_mut().filter(|run| run.state == RunState::Pending) {
            run.state = RunState::Running;
        }
    }

    pub(super) fn stop_runs(&mut self, limits: &BTreeMap<RunId, Limits>) {
        for (run, limits) in limits {
            if self.runs[run].deadline == Some(0) {
                self.stop(*run, "deadline");
            }
            self.check_gates(*run, *limits);
        }
    }

    pub(super) fn check_gates(&mut self, run: RunId, limits: Limits) {
        let tenants: Vec<_> = self.of(run).filter(|target| target.wave > 0).collect();
        let failed = || tenants.iter().filter(|target| target.state == TargetState::Failed);
        let in_wave = failed().filter(|target| target.wave == self.runs[&run].wave).count() as u64;
        let too_many = self.runs[&run].wave > 0 && limits.may_fail.is_some_and(|may| in_wave > may);
        let mut causes = BTreeMap::new();
        for (class, code) in failed().filter_map(|target| target.failure.as_ref()) {
            *causes.entry(code).or_insert(0) += usize::from(class == "permanent");
        }
        let proven = tenants.iter().any(|t| matches!(t.state, TargetState::Applied | TargetState::Current));
        let one_cause =
            limits.same_cause > 0 && !proven && causes.values().any(|count| *count >= limits.same_cause);
        if tenants.iter().any(|target| waits(target.state)) && (too_many || one_cause) {
            self.stop(run, "halted");
        }
    }

    pub(super) fn begin_waves(&mut self, limits: &BTreeMap<RunId, Limits>) {
        for (run, limits) in limits {
            let line = self.runs[run].clone();
            let done = self.of(*run).all(|target| target.wave > line.wave || target.state.is_final());
            if line.goes_on() && !line.paused && done && line.wave < line.waves.len() as u64 {
                self.begin_next(*run, line.wave + 1, *limits);
            }
        }
    }

    fn begin_next(&mut self, run: RunId, wave: u64, limits: Limits) {
        if wave == 1 {
            if self.of(run).any(|target| target.wave == 0 && target.state == TargetState::Failed) {
                return self.skip(run, "central-failed");
            }
        } else {
            self.check_gates(run, limits);
            let line = self.runs.get_mut(&run).expect("a run");
            if line.stop.is_some() || soaks(line, limits.soak) {
                return;
            }
        }
        let line = self.runs.get_mut(&run).expect("a run");
        (line.wave, line.soak) = (wave, None);
        for (_, target) in self.targets.iter_mut().filter(|(key, t)| key.0 == run && t.wave == wave) {
            target.due = Some(0);
        }
    }

    pub(super) fn end_stopped(&mut self) {
        for (run, line) in self.runs.clone() {
            if let (true, Some(code)) = (line.is_open(), line.stop) {
                self.skip(run, &code);
            }
        }
    }

    /// Ends what waits: what was never begun is skipped, what failed and would be tried again has failed.
    fn skip(&mut self, run: RunId, code: &str) {
        for (_, target) in self.targets.iter_mut().filter(|(key, t)| key.0 == run && waits(t.state)) {
            let begun = target.failure.is_some();
            target.state = if begun { TargetState::Failed } else { TargetState::Skipped };
            target.failure.get_or_insert(("permanent".into(), code.into()));
            (target.due, target.sent) = (None, None);
        }
    }

    pub(super) fn close(&mut self) -> u64 {
        let open: Vec<_> = self.runs.iter().filter(|(_, line)| line.is_open()).map(|(id, _)| *id).collect();
        let ended = |run: &RunId| self.of(*run).all(|target| target.state.is_final());
        let ended: Vec<_> = open.into_iter().filter(ended).collect();
        for run in &ended {
            let proven = self.proven(*run);
            let line = self.runs.get_mut(run).expect("a run");
            let otherwise = if line.stop.is_some() { RunState::Halted } else { RunState::Failed };
            line.state = if proven { RunState::Succeeded } else { otherwise };
        }
        ended.len() as u64
    }

    pub(super) fn of(&self, run: RunId) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |(key, _)| key.0 == run).map(|(_, target)| target)
    }

    pub(super) fn proven(&self, run: RunId) -> bool {
        self.of(run).all(|target| matches!(target.state, TargetState::Applied | TargetState::Current))
    }
}

fn end_attempt(target: &mut Target, next: Next, failure: Option<(String, String)>) {
    (target.state, target.due) = match next {
        Next::End(state) => (state, None),
        Next::RetryIn(delay) | Next::SparedIn(delay) => (TargetState::Retryable, Some(super::units(delay))),
        Next::Again => (TargetState::Retryable, Some(0)),
    };
    target.uncounted += u32::from(matches!(next, Next::Again | Next::SparedIn(_)));
    target.recorded += 1;
    target.failure = failure;
}

fn send_again(target: &mut Target) {
    (target.due, target.sent) = (Some(0), None);
}

/// Whether the wave is still watched. It begins to be when somebody first looks.
fn soaks(run: &mut Line, soak: i64) -> bool {
    match (soak, run.soak) {
        (0, _) => false,
        (_, Some(left)) => left > 0,
        (_, None) => {
            run.soak = Some(soak);
            true
        }
    }
}
