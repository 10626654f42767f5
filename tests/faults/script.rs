//! What happens when in a seed.

use std::{collections::BTreeMap, time::Duration};

use crate::{dice::Dice, scene::Setup};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault { $($(#[$doc])* $name),+ }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name in reports.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

faults! {
    /// SIGKILL of a worker.
    KillWorker = "worker killed",
    /// SIGKILL of the worker that conducts.
    KillConductor = "conductor killed",
    /// SIGSTOP of a worker beyond its lease, and SIGCONT.
    PauseWorker = "worker paused beyond its lease",
    /// SIGTERM of a worker; another one starts.
    DrainWorker = "worker drained",
    /// A worker whose clock is an hour off.
    WrongClock = "worker's clock an hour off",
    /// SIGKILL of a producer while it enqueues.
    KillProducer = "producer killed while it enqueues",
    /// A second run of the same tenants.
    TwoRuns = "two runs at once",
    /// An operator pauses a run and resumes it.
    PauseRun = "run paused and resumed",
    /// An operator cancels a run.
    CancelRun = "run canceled",
    /// The tenants' PostgreSQL is stopped at once and started again.
    CrashPostgres = "tenants' PostgreSQL crashed",
    /// The same of MariaDB.
    CrashMariaDb = "MariaDB killed",
    /// The registry is stopped at once and started again; a file is locked.
    CrashRegistry = "registry away",
    /// Redis is killed and comes back with its data.
    CrashQueue = "Redis killed",
    /// Redis is killed and comes back empty.
    LoseQueue = "Redis killed and emptied",
    /// Connections to a server are reset for a while.
    CutNetwork = "network cut",
    /// What is sent to a server and back is late.
    SlowNetwork = "network slow",
    /// Nothing that is sent to a server arrives for a while.
    StillNetwork = "network silent",
    /// What a server is told it does, and its answers are lost.
    LoseAnswers = "answers lost",
    /// No room is left on the disk of some SQLite tenants.
    FillDisk = "disk full",
    /// A stranger takes all connections of a server.
    TakeConnections = "too many connections",
    /// A server's operator ends sessions, whatever they do or wait for.
    EndSessions = "sessions ended by a server",
    /// A stranger holds the lock that migrating tools take.
    HoldAdvisoryLock = "migration lock held by a stranger",
    /// A stranger locks a table.
    LockTable = "table locked by a stranger",
    /// A stranger has an open transaction that has touched a table.
    OpenTransaction = "open transaction of a stranger",
    /// A stranger has an SQLite file for itself.
    LockFile = "SQLite file locked by a stranger",
    /// Jobs are in the queue several times, in any order, with jobs of runs that have ended.
    DoubleJobs = "jobs doubled and reordered",
}

impl Fault {
    /// Whether it may happen with such a registry. One in an SQLite file has the clock of the worker that asks: all workers
    /// of such a registry are on one machine.
    fn fits(self, setup: Setup) -> bool {
        match self {
            Self::WrongClock => setup != Setup::Sqlite,
            Self::CrashQueue | Self::LoseQueue | Self::DoubleJobs => setup == Setup::PostgresAndRedis,
            // Where it is chosen, it is chosen apart.
            Self::CancelRun => false,
            _ => true,
        }
    }

    /// Whether leases may lapse of it. A target that has lost five workers is failed, by design.
    fn costs_leases(self) -> bool {
        matches!(
            self,
            Self::KillWorker
                | Self::KillConductor
                | Self::PauseWorker
                | Self::CrashRegistry
                | Self::CutNetwork
                | Self::StillNetwork
                | Self::LoseAnswers
        )
    }
}

/// A fault at its moment.
pub(crate) struct Event {
    pub(crate) fault: Fault,
    /// When so many thousandths of the targets have ended.
    pub(crate) at: u64,
    /// How long it lasts, where it lasts.
    pub(crate) lasts: Duration,
    /// The chance in it.
    pub(crate) dice: Dice,
}

/// All that goes wrong in a seed, in no order.
pub(crate) struct Script {
    pub(crate) setup: Setup,
    /// How its runs are rolled out.
    pub(crate) rollout: &'static [&'static str],
    pub(crate) events: Vec<Event>,
    /// What goes wrong when everybody is current, and many tenants are looked at at once.
    pub(crate) last: Event,
}

/// In waves, as many of which may fail as there are.
const WAVES: &[&str] = &["--canary", "5%", "--waves", "20%,60%", "--max-failures", "100%"];

/// At most so many faults that may cost a lease, so that no target can lose five workers.
const COSTLY: usize = 4;

/// What may happen in the last run, which is short: all of it begins at once and lasts.
const LAST: [Fault; 5] =
    [Fault::EndSessions, Fault::CutNetwork, Fault::StillNetwork, Fault::LoseAnswers, Fault::TakeConnections];

impl Script {
    pub(crate) fn roll(seed: u64, dice: &mut Dice) -> Self {
        let setup = Setup::ALL[(seed % 4) as usize];
        let mut chosen: Vec<Fault> = Fault::ALL.iter().copied().filter(|fault| fault.fits(setup)).collect();
        dice.shuffle(&mut chosen);
        let mut costly = 0;
        chosen.retain(|fault| {
            costly += usize::from(fault.costs_leases());
            !fault.costs_leases() || costly <= COSTLY
        });
        chosen.truncate(dice.number(8, 12) as usize);
        if dice.percent(20) {
            chosen.push(Fault::CancelRun);
        }
        let events = chosen.into_iter().map(|fault| Event::roll(fault, dice)).collect();
        let rollout = if dice.percent(25) { WAVES } else { &[] };
        let last = Event { at: 0, ..Event::roll(*dice.pick(&LAST), dice) };
        Self { setup, rollout, events, last }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.events.iter().any(|event| event.fault == fault)
    }
}

impl Event {
    fn roll(fault: Fault, dice: &mut Dice) -> Self {
        let at = match fault {
            Fault::KillProducer => 0,
            Fault::CancelRun => dice.number(300, 800),
            _ => dice.number(0, 800),
        };
        let lasts = dice.millis(300, 2_500);
        Self { fault, at, lasts, dice: dice.fork() }
    }
}

/// How often each kind is in scripts of these seeds.
pub(crate) fn coverage(seeds: &[u64]) -> BTreeMap<&'static str, usize> {
    let mut kinds: BTreeMap<_, _> = Fault::ALL.iter().map(|fault| (fault.name(), 0)).collect();
    for seed in seeds {
        for event in Script::roll(*seed, &mut Dice::new(*seed)).events {
            *kinds.entry(event.fault.name()).or_default() += 1;
        }
    }
    kinds
}
