//! The promises, each on real servers: one binary, one file a subject.

mod bad_input;
mod commands;
mod dedicated;
mod fleet;
mod runs;
mod state;
mod terminal;
