//! The worker: takes claims, works one tenant each, records what became of it.
//!
//! Reading order: [`attempt`] is the story of one attempt, [`consume`] is what surrounds it (lease, outcome),
//! [`conductor`] keeps the runs going, [`worker`] puts them together. Nothing here knows the operator's
//! commands, and nothing here prints.

pub mod accesses;
pub mod attempt;
mod baseline;
pub mod change;
pub mod conductor;
pub mod consume;
pub mod engine;
pub mod fan;
pub mod fingerprint;
pub mod foreign;
mod grace;
pub mod health;
pub mod keep;
pub mod mend;
pub mod notes;
pub mod orders;
pub mod preview;
pub mod pulse;
pub mod rehearse;
pub mod revert;
pub mod runtime;
pub mod signals;
pub mod survey;
pub mod variables;
pub mod verify;
pub mod watch;
pub mod worker;
