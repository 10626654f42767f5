//! Cases without a floor: what is ours alone.

pub mod enqueue;
pub mod growth;
pub mod queue;
pub mod start;
pub mod tail;

/// The place of a tenant that is never reached: there is no such server.
fn nowhere(at: usize) -> (String, Option<String>) {
    (format!("postgres://nobody@127.0.0.1:1/{}", crate::places::Places::name(at)), None)
}
