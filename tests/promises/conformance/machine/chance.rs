//! What chance writes: what two runs are like, and the calls that are made.

use proptest::prelude::*;
use tenantry_shared::failure::Class;

use super::{IN_FIRST, TENANTS, model::LEASE};

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Applied,
    Current,
    Failed(Class, u8),
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A worker claims so many by the ledger's own order.
    Claim {
        worker: u8,
        limit: usize,
    },
    /// A worker takes so many messages out of the queue and claims what they name.
    Take {
        worker: u8,
        count: usize,
    },
    /// A worker that works nothing else claims what its workers were lost with.
    Suspect {
        worker: u8,
    },
    /// A claim is renewed, given back or ended: of all that were ever given, the so manieth from the last.
    Renew(usize),
    Release(usize),
    Record(usize, End),
    /// Time goes by.
    Pass(i64),
    Rescue,
    /// Due jobs go into the queue.
    Send {
        limit: u64,
    },
    /// A message that nobody sent is in the queue: of any target.
    Stray(usize),
    /// The queue loses everything.
    Lose,
    Resend,
    OpenRuns,
    StopRuns,
    CheckGates {
        first: bool,
    },
    BeginWaves,
    EndStopped,
    CloseRuns,
    /// A run is surveyed: all that nobody has claimed is read.
    Survey,
    /// What was read is written down as current, however much later.
    Found,
    Pause {
        first: bool,
    },
    Resume {
        first: bool,
    },
    Cancel {
        first: bool,
        force: bool,
    },
}

/// What the two runs are like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) canary: Option<u64>,
    pub(super) waves: Option<&'static str>,
    pub(super) max_failures: Option<u64>,
    pub(super) same_cause: u32,
    pub(super) soak: i64,
    pub(super) deadline: Option<i64>,
    pub(super) max_attempts: u32,
    pub(super) tenants: (usize, usize),
}

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    let rollout = (
        prop::option::of(1_u64..3),
        prop::option::of(prop::sample::select(vec!["25%", "50%,75%"])),
        prop::option::of(0_u64..3),
        0_u32..4,
        prop::sample::select(vec![0_i64, 0, 2]),
        prop::option::weighted(0.2, 3_i64..20),
    );
    (rollout, 1_u32..4, (1..=IN_FIRST, 1..=TENANTS - IN_FIRST)).prop_map(
        |(rollout, max_attempts, tenants)| {
            let (canary, waves, max_failures, same_cause, soak, deadline) = rollout;
            Shape { canary, waves, max_failures, same_cause, soak, deadline, max_attempts, tenants }
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let end = prop_oneof![
        4 => Just(End::Applied),
        1 => Just(End::Current),
        2 => (0_u8..2).prop_map(|cause| End::Failed(Class::Transient, cause)),
        1 => (0_u8..2).prop_map(|cause| End::Failed(Class::Permanent, cause)),
        1 => Just(End::Failed(Class::Interrupted, 0)),
    ];
    let first = any::<bool>();
    prop_oneof![
        8 => (0_u8..3, 1_usize..4).prop_map(|(worker, limit)| Event::Claim { worker, limit }),
        4 => (0_u8..3, 1_usize..4).prop_map(|(worker, count)| Event::Take { worker, count }),
        3 => (0_u8..3).prop_map(|worker| Event::Suspect { worker }),
        3 => (0_usize..8).prop_map(Event::Renew),
        2 => (0_usize..8).prop_map(Event::Release),
        10 => (0_usize..8, end).prop_map(|(claim, end)| Event::Record(claim, end)),
        6 => (1_i64..4).prop_map(Event::Pass),
        5 => Just(Event::Rescue),
        4 => (1_u64..6).prop_map(|limit| Event::Send { limit }),
        1 => (0_usize..TENANTS + 1).prop_map(Event::Stray),
        1 => Just(Event::Lose),
        2 => Just(Event::Resend),
        1 => Just(Event::OpenRuns),
        2 => Just(Event::StopRuns),
        2 => first.prop_map(|first| Event::CheckGates { first }),
        6 => Just(Event::BeginWaves),
        2 => Just(Event::EndStopped),
        3 => Just(Event::CloseRuns),
        2 => Just(Event::Survey),
        2 => Just(Event::Found),
        1 => first.prop_map(|first| Event::Pause { first }),
        2 => first.prop_map(|first| Event::Resume { first }),
        1 => prop::bool::weighted(0.3).prop_flat_map(move |go| (Just(go), first, any::<bool>()))
            .prop_map(|(go, first, force)| if go { Event::Cancel { first, force } } else { Event::Rescue }),
    ]
}

/// Mostly single calls; at times all workers are lost with what they have.
pub(super) fn sequences() -> impl Strategy<Value = Vec<Event>> {
    let lost = [
        Event::Claim { worker: 0, limit: TENANTS },
        Event::Suspect { worker: 1 },
        Event::Pass(LEASE),
        Event::Rescue,
    ];
    let part = prop_oneof![15 => events().prop_map(|event| vec![event]), 1 => Just(lost.to_vec())];
    prop::collection::vec(part, 20..60).prop_map(|parts| parts.concat())
}
